"""One run with every watcher, the same without any, and again in two sessions."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.shared import shared_folder
from tests.trainers.conftest import tiny
from trainers.session import train, watchers
from trainers.system import cli
from trainers.workdir import folder as workdirs

GAP = {"every": 4, "num_steps": 3, "step_size": 1e-2, "num_samples": 64}
WATCHED = {f"duality_gap__{key}": value for key, value in GAP.items()}
WATCHED |= {"score_every": 3, "health_every": 2, "keep_best": "min:wasserstein2"}
WITHOUT_GAP = {**WATCHED, "duality_gap__every": 0}
FIRST_PART, END = 8, 10  # after a record that is not scored; before the end of the run


def watched_config(**more):
    """Of a run of 12 mini-batches; without `WATCHED` nobody looks at it."""
    every = {"keep_last": 1, "checkpoint_every": 100, "picture_every": 6, "health_every": 0}
    return tiny("mirror_gan", **{"num_batches": 12, "mixture__window": (0.5, 1.0), **every, **more})


def lines(workdir: Path):
    """The records of metrics.jsonl."""
    return [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def watched(without_publishing, quick_pictures, tmp_path_factory):
    """Workdirs of the runs. Do not change them.

    `on` and `off` are finished. `parts`, whose gaps nobody looks at, was stopped at `FIRST_PART`
    and at `END`: the slow tests resume gaps, too.
    """

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            # Off means that not even their objects are made.
            for owner, name in (
                (watchers, "Monitor"),
                (watchers, "Scores"),
                (watchers.health, "Health"),
            ):
                patch.setattr(owner, name, None)
            assert train.train(watched_config(), folder / "off") == 0
        assert train.train(watched_config(**WATCHED), folder / "on") == 0
        config, parts = watched_config(**WITHOUT_GAP), folder / "parts"
        assert train.train(config, parts, until=FIRST_PART) == cli.STOPPED
        (parts / "seconds").write_text(str(workdirs.records(parts)[-1]["seconds"]))
        assert train.train(config, parts, until=END) == cli.STOPPED

    folder = shared_folder(tmp_path_factory, "watched", make)
    return SimpleNamespace(**{name: folder / name for name in ("off", "on", "parts")})
