"""A film of a run: pictures over it, and a run that is none the other for it."""

import numpy as np
import pytest
from PIL import Image

from tests.trainers.conftest import tiny
from trainers.session import train

pytestmark = pytest.mark.usefixtures("without_publishing", "quick_samplers")


def run(workdir, film, until=None):
    config = tiny("mirror_gan", num_batches=12, log_every=4, film=film, checkpoint_every=4)
    return train.train(config, workdir, until)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, without_publishing, quick_samplers):
    workdir = tmp_path_factory.mktemp("filmed") / "run"
    assert run(workdir, film=True) == 0
    return workdir


def frames_of(workdir):
    with Image.open(workdir / "samples/film.gif") as film:
        found = []
        for i in range(film.n_frames):
            film.seek(i)
            found.append(np.asarray(film.convert("RGB")))
        return found


def test_a_film_has_a_picture_for_each_record_of_a_short_run(filmed, capsys):
    names = sorted(p.name for p in (filmed / "samples/film").glob("*.png"))
    assert names == [f"step_{step:08d}.png" for step in (4, 8, 12)]
    frames = frames_of(filmed)
    assert len(frames) == 3
    assert min(frames[0].shape[:2]) >= 512
    assert (frames[0] != frames[2]).any()


@pytest.mark.slow
def test_a_film_changes_nothing_and_goes_on_after_a_stop(filmed, tmp_path):
    assert run(tmp_path / "plain", film=False) == 0
    metrics = [(w / "metrics.jsonl").read_bytes() for w in (filmed, tmp_path / "plain")]
    assert metrics[0] == metrics[1]
    assert not (tmp_path / "plain/samples/film").exists()
    assert '"film"' not in (tmp_path / "plain/config.json").read_text()
    assert run(tmp_path / "stopped", film=True, until=6) != 0
    assert run(tmp_path / "stopped", film=True) == 0
    for ours, theirs in zip(frames_of(filmed), frames_of(tmp_path / "stopped"), strict=True):
        assert np.array_equal(ours, theirs)
