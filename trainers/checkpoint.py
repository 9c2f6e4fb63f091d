"""Lists a run's checkpoints, their sizes, and whether they are good.

    python -m trainers.checkpoint --workdir=DIR

Exit codes: 0 all are good, 2 bad input, or some are damaged.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.experiment.options import options_of
from trainers.experiment.settings import load_workdir_config
from trainers.system import cli
from trainers.workdir import best
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.folder import CHECKPOINTS


def main() -> int:
    """The command."""
    folder = Path(flags.FLAGS.workdir) / CHECKPOINTS
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist. Expected the --workdir of a trainers.run.")
    checkpoints, bad = Checkpoints(folder), 0
    kept_best = _best(folder.parent)
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
        parts = f"  ({shown})" if shown else ""
        kept = "  kept by keep_every" if saved.manifest["keep"] else ""
        kept += f"  the best by {kept_best[0]}" if kept_best and kept_best[1] == step else ""
        print(f"{step:>10,}  {saved.manifest['bytes'] / 1e6:8.1f} MB{parts}{kept}")
    for path in checkpoints.damaged:
        print(f"  set aside: {path.name}")
    if bad:
        return cli.fail(f"{bad} of {len(checkpoints.steps)} checkpoints are damaged.")
    return cli.DONE


def _best(workdir: Path) -> tuple[str, int] | None:
    """(what keep_best is, the mini-batch of the best checkpoint); None where there is none."""
    try:
        asked = options_of(load_workdir_config(workdir)).keep_best
        found = best.step_of(workdir, "best") if asked else None
    except InputError:  # of a config that cannot be read; the checkpoints can be
        return None
    return (asked, found) if found is not None else None


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run.")
    flags.mark_flag_as_required("workdir")
    cli.main(main)
