"""Lists a run's checkpoints, their sizes, and whether they are good.

    python -m trainers.checkpoint --workdir=DIR

Exit codes: 0 all are good, 2 bad input, or some are damaged.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.folder import CHECKPOINTS


def main() -> int:
    """The command."""
    folder = Path(flags.FLAGS.workdir) / CHECKPOINTS
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist. Expected the --workdir of a trainers.run.")
    checkpoints, bad = Checkpoints(folder), 0
    for step in checkpoints.steps:
        try:
            saved = checkpoints.saved(step)
        except InputError as error:
            bad += 1
            print(f"{step:>10,}  DAMAGED: {error}")
            continue
        if not saved.manifest:
            print(f"{step:>10,}  of an earlier version, without checksums")
            continue
        sizes = sorted(saved.manifest["sizes"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{k} {v / 1e6:.1f}" for k, v in sizes if v > 5e4)
        kept = "  kept by keep_every" if saved.manifest["keep"] else ""
        print(f"{step:>10,}  {saved.manifest['bytes'] / 1e6:8.1f} MB  ({shown}){kept}")
    for path in checkpoints.damaged:
        print(f"  set aside: {path.name}")
    if bad:
        return cli.fail(f"{bad} of {len(checkpoints.steps)} checkpoints are damaged.")
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run.")
    flags.mark_flag_as_required("workdir")
    cli.main(main)
