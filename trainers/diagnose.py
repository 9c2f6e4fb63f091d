"""Says what is wrong with a run: "is this mode collapse?", from any workdir, finished or not.

    python -m trainers.diagnose --workdir=DIR [--step=MINI_BATCH|best] [--json]
    python -m trainers.diagnose --workdir=DIR --records_only

It reads the run's records, and looks at its newest checkpoint as the health monitor does on the
way, on more samples (docs/diagnosis.md). Nothing in the workdir is changed.
Exit codes: 0 done, with findings or without, 2 bad input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.experiment import settings
from trainers.experiment.options import options_of
from trainers.system import cli
from trainers.system.quiet import import_tensorflow
from trainers.workdir import findings
from trainers.workdir.checkpoints import Checkpoints
from trainers.workdir.findings import Finding
from trainers.workdir.folder import CHECKPOINTS, read_card

_SAMPLES = 2_000
# What is shown of a look, in this order.
_SHOWN = (
    *("diversity", "kinds", "num_kinds", "duplicates", "distance", "memorised", "by_chance"),
    *("d_real", "d_fake", "d_spread", "separation"),
    *("pull/theta", "pull/w", "growth/theta", "growth/w"),
)


def diagnose(workdir: Path, step: str | None = None, records_only: bool = False) -> dict[str, Any]:
    """What is known of a run's health.

    Args:
      workdir: of trainers.run or of `MixedNashGAN.fit`.
      step: the mini-batch of the checkpoint that is looked at, "best", or None for the newest.
      records_only: looks at no checkpoint, and loads no TensorFlow.

    Returns:
      `workdir`, `step` and `num_batches`, `finished`, `findings` (name, player, evidence, since,
      helps), `measures` of the newest look, `looked_at` (the checkpoint's mini-batch, or None) and
      `notes`, why something could not be looked at.

    Raises:
      InputError: if it is no workdir, or holds neither records nor a checkpoint.
    """
    config = settings.load_workdir_config(workdir)
    num_batches, records = options_of(config).num_batches, findings.read(workdir)
    steps, notes = Checkpoints(workdir / CHECKPOINTS).steps, findings.damage(workdir)
    try:
        finished = read_card(workdir) is not None
    except InputError as error:
        finished = False
        notes.append(str(error).removesuffix("."))
    if not records and not steps:
        raise InputError(
            f"{workdir} has neither records nor a checkpoint yet. Let the run reach its first "
            "--config.log_every."
        )
    found, looks = findings.of_run(workdir, records, num_batches), findings.looks_of(records)
    measures, looked_at = (_measures(looks[-1]) if looks else {}), None
    if not records_only and not steps:
        notes.append("there is no checkpoint yet to look at")
    elif not records_only:
        fresh, looked_at, note = _look(workdir, step)
        notes += [note] if note else []
        if fresh:
            measures = _measures(fresh)
            now = findings.of_look(fresh)
            known = {f.key for f in found}
            found += [f for f in now if f.key not in known]
    if not looks and not measures:
        notes.append("nobody looked at it on the way (health_every=0, a short run or an old one)")
    return {
        "workdir": str(workdir),
        "step": max([r["step"] for r in records] + steps),
        "num_batches": num_batches,
        "finished": finished,
        "findings": [f.facts for f in found],
        "measures": measures,
        "looked_at": looked_at,
        "notes": notes,
    }


def _look(workdir: Path, step: str | None) -> tuple[dict[str, float], int | None, str]:
    """(a look at a checkpoint, its mini-batch, why there is none)."""
    import_tensorflow()
    from tf_mixed_nash.compile import deterministic
    from trainers.answers import reading
    from trainers.session.health import Health

    loop = reading.load_loop(workdir, step)
    watcher = Health(loop.run, rows=_SAMPLES)
    with deterministic():
        look = watcher.look(loop)
    found = {"step": loop.step, **look} if look else {}
    note = f"its checkpoint could not be looked at: {watcher.broken}" if watcher.broken else ""
    return found, loop.step, note


def _measures(look: Mapping[str, Any]) -> dict[str, float]:
    short = {k.removeprefix(findings.LOOK): v for k, v in look.items() if k != "step"}
    return {k: short[k] for k in _SHOWN if k in short}


def text(facts: Mapping[str, Any]) -> str:
    """For a terminal."""
    state = "finished" if facts["finished"] else "not finished"
    lines = [
        f"{facts['workdir']}: mini-batch {facts['step']:,} of {facts['num_batches']:,}, {state}"
    ]
    found: Sequence[Finding] = [
        Finding(**{k: f[k] for k in Finding._fields}) for f in facts["findings"]
    ]
    lines += findings.lines(found) or ["no finding   "]
    if facts["measures"]:
        at = facts["looked_at"]
        where = f"the checkpoint of mini-batch {at:,}" if at is not None else "the last look"
        shown = ", ".join(f"{k} {v:.3g}" for k, v in facts["measures"].items())
        lines.append(f"measures     of {where}: {shown}")
    lines += [f"note         {note}" for note in facts["notes"]]
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    """The command."""
    f = flags.FLAGS
    if f.records_only and f.step:
        raise InputError("--step is of a checkpoint, and --records_only looks at none. Drop one.")
    facts = diagnose(Path(f.workdir), f.step, f.records_only)
    print(json.dumps(facts, indent=1) if f.json else text(facts))
    return cli.DONE


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "A workdir of trainers.run or of MixedNashGAN.fit.")
    flags.DEFINE_string(
        "step", None, "The mini-batch of the checkpoint that is looked at, or best."
    )
    flags.DEFINE_bool("json", False, "Print JSON.")
    flags.DEFINE_bool("records_only", False, "Look at no checkpoint: in a second.")
    flags.mark_flag_as_required("workdir")
    cli.main(main, sys.argv)
