"""Trains one generator: an algorithm, a data set, a workdir.

    python -m trainers.run --config=configs/gaussians8_mp.py --workdir=runs/gaussians8_mp
    python -m trainers.run --config=configs/gaussians25_md.py:pure --config.algorithm=adam \\
        --config.step_size=1e-4 --workdir=runs/adam
    python -m trainers.run --config=configs/gaussians8_mp.py:tiny      two steps, in seconds
    python -m trainers.run --list           everything that can be named, and every key

The same command on the same workdir resumes. Every key of configs/common.py is a flag.
Exit codes: 0 done, 2 bad input (or a place that cannot be written), 3 diverged, 143 and 130
stopped by SIGTERM and SIGINT after a checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags
from ml_collections import config_flags

from tf_mixed_nash.errors import InputError
from trainers.experiment.sizes import likely_one_program
from trainers.system import cli, discovery, threads
from trainers.system.quiet import import_tensorflow
from trainers.tasks.kinds import program_of

if TYPE_CHECKING:
    from trainers.experiment.options import Options

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment: configs/NAME.py[:tiny].")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where everything is written (runs/...).")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Print the resolved config and the model sizes, and stop."
)
_LIST = flags.DEFINE_bool(
    "list", False, "Print all algorithms, data sets, objectives, experiments and keys, and stop."
)


def main() -> int:
    """The command."""
    if _LIST.value:
        config = _CONFIG.value or cli.load_config("gaussians8_mp")
        print(discovery.everything(cli.flatten(config)))
        return cli.DONE
    if _CONFIG.value is None:
        raise InputError(f"Give an experiment with --config. There are: {cli.experiments()}.")
    if not likely_one_program(_CONFIG.value):
        threads.for_training()
    import_tensorflow(*program_of(_CONFIG.value))
    from trainers.experiment import settings
    from trainers.experiment.options import options_of
    from trainers.experiment.unread import unread
    from trainers.session import train
    from trainers.session.session import warn
    from trainers.system import devices

    name = _CONFIG.value.strategy
    config = settings.resolve(_CONFIG.value, devices.num_replicas(name))
    for note in unread(config, config_flags.get_override_values(flags.FLAGS["config"])):
        warn(note)
    if _DRY_RUN.value:
        print(train.describe(config))
        return cli.DONE
    return train.train(config, Path(_WORKDIR.value or _default_workdir(options_of(config))))


def _default_workdir(options: Options) -> str:
    return f"runs/{options.dataset}-{options.algorithm}-seed{options.seed}"


if __name__ == "__main__":
    cli.main(main, sys.argv, discovery.help_text)
