"""The folders of a game: written by `save`, told apart from those of other runs."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop
from trainers.experiment import settings
from trainers.experiment.build import Given, Run
from trainers.session.session import facts_of, functions_of, other_functions
from trainers.system.files import make_writable, write_atomically
from trainers.tasks.data import user_data
from trainers.workdir import folder
from trainers.workdir.checkpoints import Checkpoints

__all__ = ["differences", "save"]


def save(loop: Loop[Run], path: Path) -> None:
    """Writes a whole game into a folder that `MixedNashGAN.load` and the commands read.

    Raises:
      InputError: for a folder that holds something else.
    """
    if path.exists() and not (path / folder.CONFIG).is_file():
        raise InputError(f"{path} is no saved game; it is not replaced. Give another path.")
    if (path / folder.METRICS).exists():
        raise InputError(f"{path} is the workdir of a run; it is not replaced.")
    make_writable(path.parent, "path")
    building = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        building.mkdir()
        text = settings.to_json(loop.run.config)
        write_atomically(building / folder.CONFIG, lambda p: p.write_text(text))
        checkpoints = Checkpoints(building / folder.CHECKPOINTS)
        checkpoints.save(loop.step, loop.tensors(), facts_of(loop))
        checkpoints.wait()
        checkpoints.close()
        if path.exists():
            old = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
            path.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        building.rename(path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def differences(workdir: Path, made: user_data.UserData, given: Given) -> Iterator[str]:
    """In what the run of a folder is another one beside its config, finished or not.

    Raises:
      InputError: if its data were arrays and are other ones now.
    """
    manifest = Checkpoints(workdir / folder.CHECKPOINTS).newest_manifest() or {}
    there = manifest.get("data", {}).get("fingerprint")
    kind = manifest.get("config", {}).get("data", {}).get("kind")  # none of a run of files
    if kind and there != made.fingerprint:
        text = f"{workdir} holds a run of other data (fingerprint {there}, now {made.fingerprint})"
        if kind == made.kind == "arrays":
            raise InputError(
                f"{text}. Give the same data, with the same validation_split, or a new workdir."
            )
        yield f"{text}, as far as can be told without reading all of them. Give the same data"
    for what in other_functions(manifest, {"functions": functions_of(given)}):
        yield (
            f"{what} is another function than that of the run in {workdir}: what is trained there "
            "stays of the one before, and only what is left is trained with this one"
        )
