"""Searches hyperparameters: many runs of one config, by Optuna, each a normal workdir.

    python -m trainers.sweep --config=configs/gaussians8_mp.py:pure --algorithm=adam \\
        --search=step_size=log:1e-5:1e-2 --num_trials=12 --output=runs/sweep
    python -m trainers.sweep --config=configs/gaussians25_md.py:pure \\
        --search=step_size=log:1e-5:1e-2 --search=temperature=grid:0,1e-6,1e-5 \\
        --search=num_inner_steps=int:1:10 --num_trials=30 \\
        --objective=max:mixture/high_quality_3sigma --output=runs/sweep25

The same command goes on, also after a kill; several at once, on many machines with
--storage=URL, work on one study. Writes OUTPUT/best.json, trials.json, and trials/NNNN.
Trials whose scores are worse than others' at the same mini-batch are stopped (--pruner).
Exit codes: 0 done, 2 bad input, 3 no trial has a value, 143 and 130 stopped by a signal, after a
checkpoint of every trial. docs/sweep.md tells more.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from tf_mixed_nash.errors import InputError
from trainers.campaigns.search.spec import PRUNERS, SAMPLERS, Spec, Trial
from trainers.system import cli
from trainers.system.processes import TRAINER
from trainers.system.quiet import import_tensorflow
from trainers.system.stopping import Stopped

__all__ = ["Spec", "Trial", "run"]


def run(spec: Spec, trainer: Sequence[str] = TRAINER) -> list[Trial]:
    """Runs the trials that are missing; writes best.json and trials.json.

    Args:
      spec: the sweep; with the same one it goes on where it was.
      trainer: the command of trainers.run.

    Returns:
      All trials of the study, by number.

    Raises:
      InputError: if something in the spec is not valid, the study is of another sweep, or a
        trainer ended with it (exit code 2).
      Stopped: on SIGTERM and SIGINT, after the trials have written their checkpoints.
    """
    import_tensorflow()
    try:
        from trainers.campaigns.search.trials import Sweep
    except ModuleNotFoundError as error:
        raise InputError(
            f"trainers.sweep needs {error.name}. Install it with pip install "
            "'tf_mixed_nash[sweep]' -c constraints.txt."
        ) from None
    with contextlib.closing(Sweep(spec, trainer)) as sweep:
        return sweep.run()


def main() -> int:
    """The command."""
    f = flags.FLAGS
    for name, example in (("config", "configs/NAME.py"), ("output", "runs/sweep")):
        if not f[name].value:
            raise InputError(f"Give --{name}, such as --{name}={example}.")
    values: dict[str, Any] = {name: f[name].value for name in Spec.__dataclass_fields__}
    try:
        trials = run(Spec(**values))
    except Stopped as stopped:
        print("Stopped; the same command goes on where this one was.")
        return stopped.code
    return cli.DONE if any(trial.value is not None for trial in trials) else cli.DIVERGED


def _define_flags() -> None:
    flags.DEFINE_string("config", None, "The experiment: configs/NAME.py[:tiny].")
    flags.DEFINE_string("output", None, "The sweep's folder.")
    flags.DEFINE_string("algorithm", None, "Instead of the config's.")
    flags.DEFINE_multi_string(
        "search", [], "KEY=log|linear|int|logint:LOW:HIGH or KEY=grid:VALUE,VALUE,...; repeat it."
    )
    flags.DEFINE_integer("num_trials", 20, "Trials in all, with those of earlier sessions.")
    flags.DEFINE_string("storage", None, "URL of Optuna's storage; by default OUTPUT/sweep.db.")
    flags.DEFINE_string("study", None, "Its name in the storage; by default CONFIG-ALGORITHM.")
    flags.DEFINE_string("sampler", "tpe", ", ".join(SAMPLERS) + ".")
    flags.DEFINE_string("pruner", "median", ", ".join(PRUNERS) + ".")
    flags.DEFINE_string(
        "objective",
        None,
        "min|max:ANSWER/METRIC; last, ema, mixture, ema_N, best. By default "
        "min:best/law_distance in the plane, energy_distance of data of your own, fid of images.",
    )
    flags.DEFINE_integer("jobs", 1, "Trials at once.")
    flags.DEFINE_integer("threads", 2, "Of each trial; 0: TensorFlow's choice.")
    flags.DEFINE_integer("seed", 0, "Of the sampler.")
    flags.DEFINE_integer(
        "together",
        0,
        "Trials of one program, without pruning (docs/many.md); 0: 16 on a GPU for a grid or a "
        "random search, else 1.",
    )
    flags.DEFINE_multi_string("set", [], "KEY=VALUE: a config key for all trials.")


if __name__ == "__main__":
    _define_flags()
    cli.main(main, sys.argv)
