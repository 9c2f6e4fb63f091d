"""By which law a run was drawn (`tf_mixed_nash.rng.LAW`): a run cannot go on by another."""

from __future__ import annotations

from pathlib import Path

from tf_mixed_nash.errors import InputError
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.folder import CHECKPOINTS

__all__ = ["check"]


def check(workdir: Path, what: str, instead: str) -> None:
    """Refuses a workdir whose newest checkpoint was drawn by another law than this version's.

    Args:
      workdir: of the run; one without a checkpoint passes.
      what: would be done, such as "It cannot be resumed".
      instead: what can be done in this version.

    Raises:
      InputError: for another law.
    """
    from tf_mixed_nash import rng  # commands that only look load no TensorFlow

    manifest = Checkpoints(workdir / CHECKPOINTS).newest_manifest()
    if manifest is None:
        return
    law = manifest.get("rng", {}).get("draws", 1)  # versions before the second did not say
    if law == rng.LAW:
        return
    commit = manifest.get("code", {}).get("commit")
    which = f"commit {commit}" if commit else "its provenance.json says which"
    raise InputError(
        f"{workdir} was trained with other draws (law {law}; this version has law {rng.LAW}: other "
        f"latents, data and noise for the same seed). {what}. {instead}, or check out the version "
        f"that made it ({which}). Evaluating and publishing it work as before."
    )
