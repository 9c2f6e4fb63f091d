"""Trains many runs of one configuration as one program: seeds, step sizes, temperatures.

    python -m trainers.many --config=configs/gaussians8_mp.py:pure --each=seed=0,1,2,3 \\
        --workdir=runs/seeds
    python -m trainers.many --config=configs/gaussians25_md.py:pure --each=seed=0,1 \\
        --each=step_size=1e-4,3e-4 --set=num_batches=5000 --workdir=runs/steps

Every combination is a run, an ordinary workdir of its own: WORKDIR/seed0_step_size1e-4. The same
command goes on with all that are not finished, trainers.run with one of them alone. Each is the run
that it would be alone, but for rounding; one that diverges does not stop the others. docs/many.md
tells more. compare, sweep and reproduce do it by themselves where it is faster.
Exit codes: 0 done, 1 some runs failed, 2 bad input, 3 some diverged, 143 and 130 stopped by SIGTERM
and SIGINT, after a checkpoint of every run.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.system import cli
from trainers.system.files import write_json
from trainers.system.quiet import import_tensorflow

__all__ = ["main"]


def main() -> int:
    """The command."""
    f = flags.FLAGS
    jobs = _of_file(f.runs) if f.runs else list(_of_flags(f))
    tf: Any = import_tensorflow()
    # Every run has samplers of its own, which TensorFlow takes for one that is traced too often.
    tf.get_logger().setLevel("ERROR")
    from trainers.experiment import settings
    from trainers.session.together import Member, train_together

    members = []
    for address, items, workdir in jobs:
        config = cli.load_config(address)
        settings.override(config, items)
        members.append(Member(settings.resolve(config), Path(workdir)))
    code, outcomes = train_together(members)
    for member, outcome in zip(members, outcomes, strict=True):
        print(f"{member.workdir}: {outcome.how}")
    if f.outcomes:
        write_json(Path(f.outcomes), [outcome._asdict() for outcome in outcomes])
    return code


def _of_flags(f) -> Iterator[tuple[str, list[str], Path]]:
    """(config, its items, workdir) of every combination."""
    if not f.config:
        raise InputError(f"Give an experiment with --config. There are: {cli.experiments()}.")
    if not f.workdir:
        raise InputError("Say where the runs go, with --workdir=DIR.")
    if not f.each:
        raise InputError("Say in what the runs differ, with --each=KEY=VALUE,VALUE,...")
    choices = [list(_choices(text)) for text in f.each]
    keys = [pairs[0][0] for pairs in choices]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"--each={twice[0]}=... is given twice. Give one for each key.")
    for combination in itertools.product(*choices):
        items = [f"{key}={value}" for key, value in combination]
        name = "_".join(f"{key}{value}" for key, value in combination)
        yield f.config, [*f.set, *items], Path(f.workdir) / name


def _choices(text: str) -> Iterator[tuple[str, str]]:
    key, equals, values = text.partition("=")
    found = values.split(",")
    if not key or not equals or "" in found or "/" in values:
        raise InputError(f"--each={text} is not of the form KEY=VALUE,VALUE,...")
    if len(set(found)) < len(found):
        raise InputError(f"--each={text}: a value comes twice.")
    return ((key, value) for value in found)


def _of_file(path: str) -> Sequence[tuple[str, list[str], Path]]:
    """What a campaign wrote: `config`, `settings`, `workdir` of each run."""
    try:
        runs: Any = json.loads(Path(path).read_text())
        return [(run["config"], list(run["settings"]), Path(run["workdir"])) for run in runs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--runs={path} is no list of runs ({error!r}). Each has config, settings and workdir."
        ) from None


if __name__ == "__main__":
    flags.DEFINE_string("config", None, "The experiment: configs/NAME.py[:VARIANT].")
    flags.DEFINE_multi_string(
        "each", [], "KEY=VALUE,VALUE,...: in what the runs differ; repeat it."
    )
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key for all runs.")
    flags.DEFINE_string("workdir", None, "Where the runs go, a folder for each.")
    flags.DEFINE_string("runs", None, "Instead of all these: a JSON file, a list of runs.")
    flags.DEFINE_string("outcomes", None, "A JSON file for how each ended.")
    cli.main(main, sys.argv)
