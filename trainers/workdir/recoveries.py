"""Rollbacks after a divergence: what was done, so that resuming does it again.

A run is a function of its config and of its recoveries: from the checkpoint of each on, the step
sizes are half of what they were and the weight noise has another key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_mixed_nash.errors import InputError
from trainers.experiment.options import Recovery
from trainers.system.files import write_json

__all__ = ["FILE", "append", "read"]

FILE = "recoveries.json"


def read(workdir: Path) -> list[Recovery]:
    """The recoveries of a workdir, in the order in which they happened.

    Raises:
      InputError: if the file is there and cannot be read.
    """
    path = workdir / FILE
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text())
        return [Recovery(**{k: entry[k] for k in Recovery._fields}) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}). The run needs it to go on as it "
            "was: restore it from a backup, or begin anew in another --workdir."
        ) from None


def append(
    workdir: Path, before: Sequence[Recovery], new: Recovery, facts: Mapping[str, Any]
) -> None:
    """Records one more.

    Args:
      workdir: of the run.
      before: those that were read.
      new: this one.
      facts: what else is worth knowing of it, for people.
    """
    path = workdir / FILE
    entries = json.loads(path.read_text()) if before else []
    number = len(entries) + 1
    write_json(
        path,
        [
            *entries,
            {
                **new._asdict(),
                "number": number,
                "step_size_factor": 0.5**number,
                "noise_key": number,
                **facts,
            },
        ],
    )
