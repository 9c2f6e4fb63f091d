"""Checkpoints that appear whole or not at all, and that are checked before they are believed.

    WORKDIR/checkpoints/step_00003000/     a checkpoint, named by its mini-batch
        tensors.index, tensors.data-...    as tf.train.load_checkpoint reads them
        mixture.rows, mixture_w.rows       the reservoir, row by row
        manifest.json                      step, config, code, RNG, metrics; size and SHA-256 of
                                           each file; its own checksum
    WORKDIR/checkpoints/.building-*        being written; ignored, and removed by the next run
    WORKDIR/checkpoints/damaged-*          did not pass; kept as evidence, never read

A thread writes while the training goes on: into a dotted folder, flushed to the disk, then
renamed. Old ones go only after a new one is there. Each has all rows of the reservoir in files
of its own, though most were in the one before, too: a file that two checkpoints shared would be
lost to both when it is damaged (docs/decisions/0016).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.rows import Rows
from trainers.system.files import (
    describe_files,
    sync,
    sync_tree,
    what_is_wrong,
    without_nan,
    write_json,
)
from trainers.system.paths import literal

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["Checkpoint", "Checkpoints", "Retention", "Saved"]

# Format 1 has all in the tensors, 2 the reservoir in files of rows.
_MANIFEST, _TENSORS, _FORMAT = "manifest.json", "tensors", 2
_NAME = re.compile(r"step_(\d{8,})")
_BUILDING, _REMOVING, _DAMAGED = ".building-", ".removing-", "damaged-"
# Of versions that wrote no manifest: ckpt-3000.index and its data.
_OLD_NAME = re.compile(r"ckpt-(\d+)\.index")
_OLD_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


class Retention(NamedTuple):
    """Which checkpoints stay.

    Attributes:
      last: so many of the newest; at least 1.
      every: and the first at or after each multiple of so many mini-batches; 0: none.
      best: and the best by a metric of metrics.jsonl: "min:KEY" or "max:KEY"; "": none.
    """

    last: int = 3
    every: int = 0
    best: str = ""


class Saved(NamedTuple):
    """A checkpoint on the disk.

    Attributes:
      step: its mini-batch.
      path: its folder (of old versions: the prefix of its files).
      manifest: {} for those of old versions.
    """

    step: int
    path: Path
    manifest: Mapping[str, Any]


class Checkpoint(NamedTuple):
    """A checkpoint that was read and found good.

    Attributes:
      saved: where it is, and its manifest.
      tensors: by name.
      damaged: newer ones that were not good: (path, what is wrong).
    """

    saved: Saved
    tensors: Mapping[str, Any]
    damaged: tuple[tuple[Path, str], ...] = ()


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: where they are.
      retention: which stay.
    """

    def __init__(self, folder: Path, retention: Retention = Retention()):  # noqa: B008 - immutable
        self._folder = folder
        self._retention = retention
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future | None = None

    # Reading.

    @property
    def steps(self) -> list[int]:
        """The mini-batches of the checkpoints that are there, good or not, ascending."""
        return sorted(self._paths())

    @property
    def damaged(self) -> list[Path]:
        """Those that did not pass, kept as evidence."""
        return sorted(self._folder.glob(f"{_DAMAGED}*"))

    @property
    def latest(self) -> Path | None:
        """The path of the newest."""
        paths = self._paths()
        return paths[max(paths)] if paths else None

    @property
    def best(self) -> int | None:
        """The mini-batch of the one that `Retention.best` keeps; None if there is none."""
        return self._best({s: _manifest_or_none(p) or {} for s, p in self._paths().items()})

    def read(self, step: int | None = None) -> Checkpoint | None:
        """The newest good checkpoint, or that of mini-batch `step`.

        Returns:
          None if there is no checkpoint at all.

        Raises:
          InputError: if there is none of that mini-batch, or none of those that there are is good.
        """
        paths = self._paths()
        if step is not None and step not in paths:
            raise InputError(
                f"There is no checkpoint of mini-batch {step}. There are: "
                f"{', '.join(map(str, sorted(paths))) or 'none'}."
            )
        damaged = []
        for number in [step] if step is not None else sorted(paths, reverse=True):
            path = paths[number]
            try:
                saved = self._check(number, path)
                return Checkpoint(saved, _read_tensors(saved), tuple(damaged))
            except _DamagedError as error:
                damaged.append((path, str(error)))
        if damaged:
            what = "; ".join(f"{path}: {reason}" for path, reason in damaged)
            raise InputError(
                f"No checkpoint is good. {what}. Restore the folder from a backup, or begin anew "
                "in another --workdir."
            )
        return None

    def newest_manifest(self) -> dict[str, Any] | None:
        """That of the newest checkpoint that has a readable one, whose files are not checked.

        {} where that is of a version that wrote none; None if there is no such checkpoint.
        """
        paths = self._paths()
        for step in sorted(paths, reverse=True):
            found = _manifest_or_none(paths[step]) if paths[step].is_dir() else {}
            if found is not None:
                return found
        return None

    def saved(self, step: int) -> Saved:
        """What is known of a checkpoint, after checking its files.

        Raises:
          InputError: if it is damaged.
        """
        path = self._paths()[step]
        try:
            return self._check(step, path)
        except _DamagedError as error:
            raise InputError(f"{path}: {error}.") from None

    def set_aside(self, path: Path) -> Path:
        """Renames a damaged checkpoint, so that it is not read again; returns its new path."""
        target = path.with_name(f"{_DAMAGED}{path.name}-{secrets.token_hex(2)}")
        if path.is_dir():
            path.rename(target)
        else:  # of an old version: a few files
            for file in path.parent.glob(f"{path.name}.*"):
                file.rename(target.with_name(target.name + file.name[len(path.name) :]))
        return target

    def clean(self) -> None:
        """Removes what an interrupted process left half-written or half-removed."""
        for prefix in (_BUILDING, _REMOVING):
            for path in self._folder.glob(f"{prefix}*"):
                shutil.rmtree(path, ignore_errors=True)

    # Writing.

    def save(
        self,
        step: int,
        tensors: Mapping[str, tf.Tensor | Rows | Callable[[], tf.Tensor | Rows]],
        facts: Mapping[str, Any],
    ) -> None:
        """Begins to write a checkpoint; the one before it is written first.

        Args:
          step: its mini-batch.
          tensors: by name, or matrices of rows; or functions that make them, called on the
            writer's thread.
          facts: of its manifest; `metrics` are what `Retention.best` reads.

        Raises:
          InputError: if the one before could not be written.
        """
        self.wait()
        self._writing = self._writer.submit(self._write, step, dict(tensors), dict(facts))

    def wait(self) -> None:
        """Waits until all that was saved is on the disk.

        Raises:
          InputError: if it could not be written; nothing half-written remains.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def close(self) -> None:
        """Waits, and ends the thread. Errors of writing are not raised."""
        self._writer.shutdown(wait=True)

    def _write(self, step: int, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        import tensorflow as tf

        final = self._folder / f"step_{step:08d}"
        building = self._folder / f"{_BUILDING}{final.name}-{secrets.token_hex(4)}"
        try:
            building.mkdir(parents=True)
            values: dict[str, Any] = {n: x() if callable(x) else x for n, x in tensors.items()}
            rows = {n: x for n, x in values.items() if isinstance(x, Rows)}
            plain = {n: x for n, x in values.items() if n not in rows}
            with tf.device("CPU:0"):
                tf.raw_ops.SaveV2(
                    prefix=str(building / _TENSORS),
                    tensor_names=list(plain),
                    shape_and_slices=[""] * len(plain),
                    tensors=[tf.convert_to_tensor(x) for x in plain.values()],
                )
            files = describe_files(building, but=_MANIFEST)
            files |= {
                _rows_file(n): _write_rows(building / _rows_file(n), x) for n, x in rows.items()
            }
            manifest = {
                "format": _FORMAT,
                "step": step,
                **facts,
                "keep": self._crosses(step),
                "rows": {
                    n: {"shape": list(x.shape), "dtype": x.dtype.name} for n, x in rows.items()
                },
                "sizes": _sizes(values),
                "bytes": sum(file["bytes"] for file in files.values()),
                "files": files,
            }
            write_json(building / _MANIFEST, {**manifest, "checksum": _checksum(manifest)})
            sync_tree(building)
            if final.exists():  # of a run that was rolled back or fell back
                self._remove(final)
            building.rename(final)
            sync(self._folder)
            self._retire()
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(building, ignore_errors=True)
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            good = self.latest or "none yet"
            raise InputError(
                f"The checkpoint of mini-batch {step} could not be written ({reason}). The last "
                f"good one: {good}. Free space or mend the disk; the same command resumes from it."
            ) from None

    def _crosses(self, step: int) -> bool:
        """Whether `Retention.every` keeps the checkpoint that is written now."""
        every = self._retention.every
        before = max((s for s in self.steps if s < step), default=0)
        return bool(every) and before // every != step // every

    def _retire(self) -> None:
        """Removes those that need not stay."""
        paths = self._paths()
        manifests = {step: _manifest_or_none(path) or {} for step, path in paths.items()}
        stay = set(sorted(paths)[-max(1, self._retention.last) :])
        stay |= {step for step, m in manifests.items() if m.get("keep")}
        if best := self._best(manifests):
            stay.add(best)
        for step in set(paths) - stay:
            self._remove(paths[step])

    def _best(self, manifests: Mapping[int, Mapping[str, Any]]) -> int | None:
        kind, _, key = self._retention.best.partition(":")
        values = {step: m.get("metrics", {}).get(key) for step, m in manifests.items()}
        known = {
            s: v for s, v in values.items() if isinstance(v, (int, float)) and math.isfinite(v)
        }
        if not known:
            return None
        return min(known, key=lambda s: (known[s] if kind == "min" else -known[s], -s))

    def _remove(self, path: Path) -> None:
        if not path.is_dir():
            for file in path.parent.glob(f"{path.name}.*"):
                file.unlink(missing_ok=True)
            return
        # First out of sight, at once: a reader never finds half of one.
        hidden = path.with_name(f"{_REMOVING}{path.name}-{secrets.token_hex(4)}")
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)

    # What both share.

    def _paths(self) -> dict[int, Path]:
        """Step -> folder, or prefix of an old version's files."""
        paths = {}
        with contextlib.suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                if found := _OLD_NAME.fullmatch(path.name):
                    paths.setdefault(int(found[1]), path.with_suffix(""))
                elif (found := _NAME.fullmatch(path.name)) and path.is_dir():
                    paths[int(found[1])] = path
        return paths

    def _check(self, step: int, path: Path) -> Saved:
        if not path.is_dir():
            return Saved(step, path, {})
        manifest = _manifest_or_none(path)
        if manifest is None:
            raise _DamagedError(f"its {_MANIFEST} is missing or damaged")
        if wrong := what_is_wrong(path, manifest["files"]):
            raise _DamagedError(wrong)
        if manifest["step"] != step:
            raise _DamagedError(f"it is of mini-batch {manifest['step']}, not {step}")
        return Saved(step, path, manifest)


class _DamagedError(Exception):
    """What is wrong with a checkpoint."""


def _manifest_or_none(path: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
        checksum = manifest.pop("checksum")
        good = checksum == _checksum(manifest)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return manifest if good else None


def _checksum(manifest: Mapping[str, Any]) -> str:
    return sha256(json.dumps(without_nan(manifest), sort_keys=True).encode()).hexdigest()


def _sizes(values: Mapping[str, Any]) -> dict[str, int]:
    """Bytes by kind of state: scheme/theta, scheme/w, ema, mixture, ..."""
    sizes: dict[str, int] = {}
    for name, value in values.items():
        kind = "/".join(name.split("/")[:2])
        size = value.nbytes if isinstance(value, Rows) else _bytes(value)
        sizes[kind] = sizes.get(kind, 0) + size
    return sizes


def _bytes(tensor: Any) -> int:
    return int(tensor.shape.num_elements() or 0) * tensor.dtype.size


def _rows_file(name: str) -> str:
    return f"{name}.rows"


def _write_rows(path: Path, matrix: Rows) -> dict[str, Any]:
    """Writes a matrix row by row; its bytes and hashes as `files.what_is_wrong` checks them."""
    with path.open("wb", buffering=0) as file:
        for row in matrix.rows:
            content = memoryview(row.value.data).cast("B")
            while content:  # a file without a buffer may write less than it was given
                content = content[file.write(content) :]
    return {"bytes": matrix.nbytes, "sha256": [row.sha256 for row in matrix.rows]}


def _read_tensors(saved: Saved) -> dict[str, Any]:
    """The tensors of a checkpoint by name, as NumPy arrays."""
    import tensorflow as tf

    path = saved.path
    folder, name = (path, _TENSORS) if path.is_dir() else (path.parent, path.name)
    try:
        with literal(folder) as plain:
            reader = tf.train.load_checkpoint(str(plain / name))
            tensors = {n: reader.get_tensor(n) for n in reader.get_variable_to_dtype_map()}
        if path.is_dir():
            rows = saved.manifest.get("rows", {})  # none in format 1
            return tensors | {
                name: np.fromfile(path / _rows_file(name), facts["dtype"]).reshape(facts["shape"])
                for name, facts in rows.items()
            }
        return {
            name.removesuffix(_OLD_SUFFIX).replace("__", "/"): tensor
            for name, tensor in tensors.items()
            if name.endswith(_OLD_SUFFIX) and not name.startswith("save_counter")
        }
    except (OSError, tf.errors.OpError, ValueError, RuntimeError) as error:
        raise _DamagedError(
            f"its tensors cannot be read ({str(error).partition(chr(10))[0]})"
        ) from None
