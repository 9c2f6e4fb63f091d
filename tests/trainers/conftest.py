"""Tiny configs and runs for the trainer's tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import common
from trainers import settings

ROOT = Path(__file__).parents[2]


def tiny(algorithm="mirror_prox_gan", **overrides):
    """The resolved `:tiny` config of an algorithm; dotted keys as a__b."""
    config = common.planar("gaussians8", algorithm, "tiny")
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    return settings.resolve(config)


def command(module, *arguments, timeout=120, cwd=ROOT):
    """Runs `python -m module arguments`; stdout and stderr as text."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run: (workdir, completed process of the command that made it)."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    done = command(
        "trainers.run",
        "--config=configs/gaussians8_mp.py:tiny",
        "--config.num_batches=12",
        f"--workdir={workdir}",
    )
    assert done.returncode == 0, done.stderr
    return workdir, done
