"""Which versions of which models are loaded, and who is using them.

The folders are polled. A new version is checked against its manifest, loaded and warmed up in a
thread while the old one serves; then the next request gets the new one, and the old one is
closed when its last request is answered. A version that does not load is reported and leaves the
served one alone; it is tried again when anything about its files changes, and now and again anyway,
since what was missing may be elsewhere: memory, file descriptors, a file system.

Everything but loading happens on the event loop's thread, so there are no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from export import publish, runtime, warmup
from export.serving.bounds import Bounds
from export.serving.config import ModelConfig
from export.serving.errors import Code, ServingError
from tf_mixed_nash.errors import InputError

__all__ = ["Models", "State", "Version", "VersionStatus"]

_log = logging.getLogger(__name__)

# Seconds until a version that did not load is tried again though nothing has changed; they double.
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0


class State:
    """States of a version, with the numbers of TF Serving's proto."""

    START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50


class VersionStatus(NamedTuple):
    """What GetModelStatus says of a version.

    Attributes:
      state: see State.
      error: empty, or why it does not serve.
    """

    state: int
    error: str = ""


class Version:
    """A loaded version.

    Attributes:
      model: its model's name.
      number: of the version.
      served: its session.
      manifest: its manifest.
      directory: its folder.
      in_use: requests that hold it.
      bounds: what a request for it is at most, once it was worked out.
      rows_by_size: binary digits of a REST body's length -> about the fewest rows such a body had.
    """

    def __init__(self, model: str, number: int, directory: Path):
        self.model, self.number, self.directory = model, number, directory
        self.bounds: Bounds | None = None
        self.rows_by_size: dict[int, float] = {}
        self.manifest = publish.read_manifest(directory)
        self.served = runtime.ServedModel(directory)
        self.in_use = 0
        try:
            if (directory / warmup.FILE).is_file():
                warmup.replay(self.served, directory)
        except BaseException:
            self.served.close()
            raise


class _Failure(NamedTuple):
    """A version that did not load: its files then, when it is tried again, and the wait."""

    files: Any
    again: float
    wait: float


class _Model:
    def __init__(self, config: ModelConfig):
        self.config = config
        # Where labels point now; see `move_labels`.
        self.labels = dict(config.labels)
        self.loaded: dict[int, Version] = {}
        self.status: dict[int, VersionStatus] = {}
        self.failed: dict[int, _Failure] = {}
        self.said: set[str] = set()  # warnings of its folder

    def move_labels(self) -> None:
        """Points labels where the config says, but for one whose new version does not serve yet.

        It stays where it is, if that serves, so that no request by label is lost meanwhile.
        """
        self.labels = {
            label: number
            if number in self.loaded or self.labels.get(label) not in self.loaded
            else self.labels[label]
            for label, number in self.config.labels.items()
        }

    def waiting(self) -> set[int]:
        """Versions that serve a label until its new version does."""
        return {n for label, n in self.labels.items() if n != self.config.labels[label]}


class Models:
    """The models that are served.

    Args:
      configs: which.
      on_change: called with no arguments when a version begins or ends to serve.
    """

    def __init__(self, configs: list[ModelConfig], on_change: Callable[[], None] | None = None):
        self._models = {config.name: _Model(config) for config in configs}
        self._on_change = on_change or (lambda: None)
        self._closing: set[asyncio.Future] = set()

    @property
    def names(self) -> list[str]:
        """The models' names."""
        return list(self._models)

    def loaded(self, name: str) -> dict[int, Version]:
        """The loaded versions of a model, by number."""
        return self._models[name].loaded

    def labels(self, name: str) -> dict[str, int]:
        """Labels of a model -> the version that serves them."""
        return self._models[name].labels

    def configure(self, configs: list[ModelConfig]) -> None:
        """Takes other configs, of the same or other models; `poll` then follows them."""
        old, self._models = self._models, {}
        for config in configs:
            model = old.pop(config.name, None)
            if model and model.config.base_path == config.base_path:
                model.config = config
                model.move_labels()
            elif model:
                self._unload_all(model)
                model = None
            self._models[config.name] = model or _Model(config)
        for model in old.values():
            self._unload_all(model)

    def statuses(self, name: str, number: int | None = None) -> dict[int, VersionStatus]:
        """The state of every version that was seen, newest first.

        Raises:
          ServingError: NOT_FOUND for an unknown model or version.
        """
        model = self._models.get(name)
        found = dict(sorted(model.status.items(), reverse=True)) if model else {}
        if number is not None:
            found = {v: s for v, s in found.items() if v == number}
        if not found:
            which = f" version {number}" if number is not None else ""
            raise ServingError(
                Code.NOT_FOUND, f"Could not find any versions of model {name}{which}"
            )
        return found

    @contextlib.contextmanager
    def lease(
        self, name: str, number: int | None = None, label: str | None = None
    ) -> Iterator[Version]:
        """A version that stays loaded inside the `with`: the newest, or that of number or label.

        Raises:
          ServingError: NOT_FOUND for a model or version that is not served, INVALID_ARGUMENT
            for an unknown label.
        """
        version = self._find(name, number, label)
        version.in_use += 1
        try:
            yield version
        finally:
            version.in_use -= 1
            model = self._models.get(name)
            if not version.in_use and (
                not model or model.loaded.get(version.number) is not version
            ):
                self._close(version)

    def _find(self, name: str, number: int | None, label: str | None) -> Version:
        model = self._models.get(name)
        if model is None:
            raise ServingError(
                Code.NOT_FOUND,
                f"Servable not found for request: Latest({name}). Models: {', '.join(self.names)}",
            )
        if label is not None:
            if label not in model.labels:
                raise ServingError(
                    Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
                )
            number = model.labels[label]
        if number is None and model.loaded:
            number = max(model.loaded)
        if number not in model.loaded:
            what = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {what}")
        return model.loaded[number]

    async def poll(self) -> None:
        """Looks at the folders once; loads and unloads."""
        for model in list(self._models.values()):
            try:
                await self._follow(model)
            except OSError as error:  # of its folder: other models are followed all the same
                _warn(model, f"{model.config.base_path} cannot be read ({error.strerror})")

    async def _follow(self, model: _Model) -> None:
        config = model.config
        loop = asyncio.get_running_loop()
        paths, odd = await loop.run_in_executor(None, _look, config.base_path)
        there = sorted(paths)
        for text in odd:
            _warn(model, text)
        for gone in set(model.failed) - set(there):
            del model.failed[gone]
        # A version that does not load must not hide an older one that is not loaded yet: each
        # failure makes the policy choose anew among the others.
        failed: set[int] = set()
        while True:
            aspired = config.policy.choose([n for n in there if n not in failed])
            for number in aspired:
                if number not in model.loaded:
                    await self._load(model, number, paths[number])
            keep = [n for n in aspired if n in model.loaded]
            if len(keep) == len(aspired):
                break
            failed |= set(aspired) - set(keep)
        if not keep:
            # Nothing newer serves: better an old version than none.
            return
        old = sorted(set(model.loaded) - set(keep))
        if config.policy.kind == "specific" and failed & set(config.policy.versions):
            old = old[:-1]  # a version that fails to load must not cost the one it was to replace
        for number in set(old) - model.waiting():
            self._unload(model, number)

    async def _load(self, model: _Model, number: int, directory: Path) -> None:
        loop = asyncio.get_running_loop()
        files = await loop.run_in_executor(None, _fingerprint, directory)
        before = model.failed.get(number)
        wait = _FIRST_WAIT
        if before and before.files == files:
            if loop.time() < before.again:
                return
            wait = min(2 * before.wait, _LONGEST_WAIT)
        said = model.status.get(number)
        model.status[number] = VersionStatus(State.LOADING)
        try:
            version = await loop.run_in_executor(
                None, Version, model.config.name, number, directory
            )
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            if not (said and said.error == reason):  # not again at every try
                if not isinstance(error, InputError):
                    _log.exception("%s does not load", directory)
                _log.warning("%s does not load: %s", directory, reason)
            model.failed[number] = _Failure(files, loop.time() + wait, wait)
            model.status[number] = VersionStatus(State.END, reason)
            return
        model.failed.pop(number, None)
        model.loaded[number] = version
        model.move_labels()
        model.status[number] = VersionStatus(State.AVAILABLE)
        _log.info("%s serves", directory)
        self._on_change()

    def _unload_all(self, model: _Model) -> None:
        for number in list(model.loaded):
            self._unload(model, number)

    def _unload(self, model: _Model, number: int) -> None:
        version = model.loaded.pop(number)
        model.status[number] = VersionStatus(State.UNLOADING)
        self._on_change()
        if not version.in_use:
            self._close(version)

    def _close(self, version: Version) -> None:
        # Frees the session's memory, which takes a while.
        model = self._models.get(version.model)
        if model and version.number not in model.loaded:
            model.status[version.number] = VersionStatus(State.END)
        _log.info("%s is unloaded", version.directory)
        with contextlib.suppress(RuntimeError):  # no loop: the process ends anyway
            future = asyncio.get_running_loop().run_in_executor(None, version.served.close)
            self._closing.add(future)
            future.add_done_callback(self._closing.discard)


def _warn(model: _Model, text: str) -> None:
    """Logs a warning once."""
    if text not in model.said:
        model.said.add(text)
        _log.warning("%s", text)


def _look(base: Path) -> tuple[dict[int, Path], list[str]]:
    """The versions in a folder, and warnings of what is passed over."""
    paths = publish.version_paths(base)
    odd = []
    names = {path.name for path in paths.values()}
    for name in os.listdir(base) if base.is_dir() else ():
        if name in names or not (name.isascii() and name.isdecimal()):
            continue
        if int(name) > publish.MAX_VERSION:
            odd.append(f"{base / name} is passed over: a version is at most 2^63 - 1")
        elif int(name) in paths:
            odd.append(f"{base / name} is passed over: {paths[int(name)]} is the same version")
    return paths, odd


def _fingerprint(directory: Path) -> tuple:
    """Changes when anything in the folder does: files, links and what they lead to, permissions."""
    found = []

    def note(path: str) -> None:
        for look in (os.lstat, os.stat):
            try:
                s = look(path)
                facts = (s.st_mode, s.st_uid, s.st_gid, s.st_ino, s.st_size, s.st_mtime_ns,
                         s.st_ctime_ns)  # fmt: skip
            except OSError as error:
                facts = (error.errno,)
            found.append((path, *facts))

    note(str(directory))
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(directory, followlinks=True):
        with contextlib.suppress(OSError):
            s = os.stat(folder)
            if (s.st_dev, s.st_ino) in seen:  # a link to a folder above
                folders.clear()
                continue
            seen.add((s.st_dev, s.st_ino))
        folders.sort()
        for name in (*folders, *sorted(files)):
            note(os.path.join(folder, name))
    return tuple(found)
