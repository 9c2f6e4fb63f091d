"""Whether a published model is one that TensorFlow Serving can serve, and that repeats itself.

    python -m export.verify --model=BASE/NAME[/VERSION] [--isolated=true]

Runs every gate and prints a table; exit code 2 if one fails. A version passes the same gates
before it is published. They stand in for tensorflow_model_server, with which no model was
verified yet.

| gate     | what must hold                                                           |
|----------|--------------------------------------------------------------------------|
| files    | manifest.json lists every file, with its size and SHA-256                |
| graph    | no XLA, stateful random or Python operation; no device but the CPU;      |
|          | every input and output has a free first dimension; one VarHandleOp per   |
|          | variable                                                                 |
| session  | a C++ session without XLA loads it and executes every signature          |
| warm-up  | every record of assets.extra/tf_serving_warmup_requests executes         |
| golden   | the golden seeds give the golden samples                                 |
| seeds    | row (s, i) is the same bytes in any batch and order, for any number of   |
|          | rows, in a new session                                                   |
| isolated | tf.saved_model.load gives the same bytes where neither Keras nor this    |
|          | project can be imported                                                  |
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from export import publish, runtime, warmup
from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.paths import literal

__all__ = ["GATES", "Result", "check", "verify"]

_ROWS = 20  # more than one group of rows (`export.strategy`), and no multiple of it
# What `isolated` runs: nothing but TensorFlow and NumPy.
_ELSEWHERE = """
import sys
for name in ("keras", "tf_keras", "tf_mixed_nash", "export", "trainers", "configs"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
model, seeds, output = sys.argv[1:]
sample = tf.saved_model.load(model).signatures["sample"]
np.save(output, sample(seeds=tf.constant(np.load(seeds)))["samples"].numpy())
"""


class Result(NamedTuple):
    """What a gate found.

    Attributes:
      gate: its name.
      passed: whether it holds.
      detail: figures, or why not.
    """

    gate: str
    passed: bool
    detail: str


class _Version:
    """A version folder and, once a gate asks for it, its session."""

    def __init__(self, directory: Path, served: runtime.ServedModel | None):
        self.directory = directory
        self._served = served

    @property
    def served(self) -> runtime.ServedModel:
        if self._served is None:
            self._served = runtime.ServedModel(self.directory)
        return self._served

    def close(self) -> None:
        """Ends the session; who asks for one after it gets a new one."""
        if self._served is not None:
            self._served.close()
            self._served = None
            gc.collect()  # graphs refer to themselves

    def sample(self, seeds: np.ndarray) -> np.ndarray:
        return self.served.run("sample", {"seeds": seeds})["samples"]


def _files(version: _Version) -> str:
    manifest = publish.read_manifest(version.directory)
    size = sum(file["bytes"] for file in manifest["files"].values())
    return f"{len(manifest['files'])} files, {size:,} bytes"


def _graph(version: _Version) -> str:
    from export import checks

    checks.check_graph(version.directory)
    return f"signatures: {', '.join(sorted(runtime.read_signatures(version.directory)))}"


def _session(version: _Version) -> str:
    served = version.served
    for signature, specs in served.signatures.items():
        outputs = served.run(signature, warmup.example_inputs(specs, _ROWS))
        for name, value in outputs.items():
            if len(value) != _ROWS:
                raise InputError(f"{signature} gives {len(value)} {name} for {_ROWS} rows.")
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise InputError(f"{signature} gives {name} that are not finite.")
    return f"{len(served.signatures)} signatures executed"


def _warm_up(version: _Version) -> str:
    if not (version.directory / warmup.FILE).is_file():
        raise InputError(f"{warmup.FILE} is missing.")
    return f"{warmup.replay(version.served, version.directory)} records replayed"


def _golden(version: _Version) -> str:
    with np.load(version.directory / publish.GOLDEN) as golden:
        seeds, expected = golden["seeds"], golden["samples"]
    samples = version.sample(seeds)
    if samples.tobytes() == expected.tobytes():
        digest = hashlib.sha256(samples.astype("<f4").tobytes()).hexdigest()
        return f"{len(seeds)} samples, bytes equal, SHA-256 {digest[:12]}"
    # Another kind of processor rounds differently.
    from export import rounding

    if samples.shape != expected.shape:
        raise InputError(f"The golden samples have shape {expected.shape}, here {samples.shape}.")
    error = np.abs(samples - expected).max()
    tolerance = rounding.of_other_kernels(version.directory)
    if not np.allclose(samples, expected, rtol=tolerance, atol=tolerance):
        raise InputError(f"The golden samples differ by up to {error:.3g}.")
    return f"{len(seeds)} samples, equal to {error:.1g} (published on another processor)"


def _seeds(version: _Version) -> str:
    seeds = _seed_rows(5, _ROWS)
    samples = version.sample(seeds)
    order = np.random.default_rng(0).permutation(_ROWS)
    others = [
        ("for fewer rows", version.sample(seeds[:7]), samples[:7]),
        ("in another order", version.sample(seeds[order]), samples[order]),
        ("alone", version.sample(seeds[13:14]), samples[13:14]),
        (
            "among rows of another seed",
            version.sample(np.concatenate([_seed_rows(6, 9), seeds]))[9:],
            samples,
        ),
    ]
    version.close()  # before the new one begins: each holds a copy of all components
    others.append(("in a new session", version.sample(seeds), samples))
    for what, other, expected in others:
        if other.tobytes() != expected.tobytes():
            error = np.abs(other - expected).max()
            raise InputError(f"A row of seeds differs {what} by up to {error:.3g}.")
    return "same bytes in any batch, order and session"


def _isolated(version: _Version) -> str:
    seeds = _seed_rows(7, _ROWS)
    directory = version.directory.resolve()
    with tempfile.TemporaryDirectory() as folder, literal(directory) as plain:
        np.save(Path(folder, "seeds.npy"), seeds)
        output = Path(folder, "samples.npy")
        arguments = [plain, Path(folder, "seeds.npy"), output]
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise InputError(f"It does not load without Keras and this project: {last[0]}")
        samples = np.load(output)
    if samples.tobytes() != version.sample(seeds).tobytes():
        raise InputError("tf.saved_model.load gives other bytes than the C++ session.")
    return "same bytes without Keras and this project"


GATES: dict[str, Callable[[_Version], str]] = {
    "files": _files,
    "graph": _graph,
    "session": _session,
    "warm-up": _warm_up,
    "golden": _golden,
    "seeds": _seeds,
    "isolated": _isolated,
}


def verify(
    directory: Path, isolated: bool = True, served: runtime.ServedModel | None = None
) -> list[Result]:
    """Runs the gates on a version folder, each whatever the others found.

    Args:
      directory: of the version.
      isolated: whether to run the last, which starts a process and takes seconds.
      served: its session, where there is one already; it is closed.
    """
    results = []
    with contextlib.closing(_Version(directory, served)) as version:
        for name, gate in GATES.items():
            if name == "isolated" and not isolated:
                continue
            try:
                results.append(Result(name, True, gate(version)))
            except Exception as error:  # what is damaged can fail in any way
                reason, _, _ = str(error).partition("\n")
                results.append(Result(name, False, reason or type(error).__name__))
    return results


def check(
    directory: Path, isolated: bool = True, served: runtime.ServedModel | None = None
) -> None:
    """`verify`; raises InputError for the first gate that a version folder does not pass."""
    for result in verify(directory, isolated, served):
        if not result.passed:
            raise InputError(
                f"The model cannot be published: gate {result.gate}: {result.detail.rstrip('.')}."
            )


def _seed_rows(seed: int, num: int) -> np.ndarray:
    return np.stack([np.full(num, seed, np.int64), np.arange(num, dtype=np.int64)], axis=1)


def _define_flags() -> None:
    flags.DEFINE_string("model", None, "The model's folder BASE/NAME, or one of its versions.")
    flags.DEFINE_boolean("isolated", True, "Also load it in a process without Keras.")
    flags.mark_flag_as_required("model")


def _run() -> int:
    f = flags.FLAGS
    directory = publish.find_version(Path(f.model))
    runtime.import_tensorflow()
    results = verify(directory, f.isolated)
    print(f"{directory}")
    for result in results:
        print(f"{'pass' if result.passed else 'FAIL'}  {result.gate:<9} {result.detail}")
    failed = [result.gate for result in results if not result.passed]
    if failed:
        return cli.fail(f"{directory} does not pass: {', '.join(failed)}.")
    print("Not yet verified against tensorflow_model_server.")
    return cli.DONE


if __name__ == "__main__":
    _define_flags()
    cli.main(_run)
