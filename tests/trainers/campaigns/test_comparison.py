"""Comparisons with a trainer that only pretends: which runs, and what is written of them."""

import json

import numpy as np
import pytest

import configs
from tests.trainers.campaigns.session import FAKE
from trainers.campaigns import comparison, jobs
from trainers.campaigns.comparison import Comparison
from trainers.tasks.tables import Column

TITLES = {"adam": "Adam", "sgd": "SGD", "mirror_gan": "Mirror-GAN"}


class Task:
    """Of what a comparison asks its task; keeps the figures' panels."""

    name, is_image, columns = "gaussians8", False, {"wasserstein2": Column("W2", 3)}

    def __init__(self):
        self.drawn = {}

    def draw_panels(self, path, rows):
        self.drawn[path.name] = rows


@pytest.fixture
def made(tmp_path, monkeypatch):
    """SGD diverges, the others end: (folder, runs, comparison)."""
    monkeypatch.setenv("FAKE_SAMPLES", "1")
    monkeypatch.setattr(jobs, "_POLL_SECONDS", 0.02)
    config = configs.address("gaussians8", "tiny")
    runs = comparison.plan(tmp_path, config, list(TITLES), (3, 4), ["num_batches=2"])
    for key, job in runs.items():
        items = [*job.settings, "step_size=2"] if key[0] == "sgd" else job.settings
        runs[key] = job._replace(settings=items, trainer=FAKE)
    found = Comparison(list(runs.values()))
    assert jobs.run(found, side_by_side=3) == 0
    return tmp_path, runs, found


def test_seeds_come_one_after_the_other_each_with_all_algorithms(made):
    folder, runs, _ = made
    assert list(runs) == [(a, s) for s in (3, 4) for a in TITLES]
    job = runs["adam", 4]
    assert job.workdir == folder / "adam" / "seed4"
    assert list(job.settings[:3]) == ["algorithm=adam", "seed=4", "num_batches=2"]


def test_what_diverged_is_said_and_what_is_done_is_not_done_again(made, capsys):
    folder, runs, found = made
    assert [job.name for job in found.diverged] == ["sgd, seed 3", "sgd, seed 4"]
    assert found.missing == found.failed == []
    again = Comparison([job for job in runs.values() if job not in found.diverged])
    capsys.readouterr()
    assert jobs.run(again) == 0
    assert capsys.readouterr().out == ""
    assert (folder / "adam" / "seed3" / "sessions").read_text() == "0\n"


def test_the_table_is_of_all_seeds_and_the_figure_of_the_first(made):
    folder, runs, found = made
    task, times = Task(), {"adam": {"mean": 7.0, "standard_error": float("nan"), "count": 1}}
    text = comparison.write(folder, task, runs, found.diverged, TITLES, "\nNote.\n", times)
    assert (folder / "table.md").read_text() == text
    saved = json.loads((folder / "table.json").read_text())
    card = [
        json.loads((folder / "adam" / f"seed{s}" / "scorecard.json").read_text()) for s in (3, 4)
    ]
    values = [c["strategies"]["ema"]["wasserstein2"] for c in card]
    assert saved["rows"]["adam/ema"]["wasserstein2"]["mean"] == pytest.approx(np.mean(values))
    assert saved["rows"]["sgd/last"] == "diverged"
    lines = text.splitlines()
    assert lines[0] == "# gaussians8"
    assert lines[2] == "| algorithm | answer | W2 | ms / mini-batch |"
    spread = np.std(values, ddof=1) / np.sqrt(2)
    assert f"| Adam | ema | {np.mean(values):.3f} ± {spread:.3f} | 7.0 |" in lines
    assert "| SGD | ema | diverged |  |" in lines
    assert "| real data |  | 0.200 | - |" in lines
    assert lines[-5:] == ["Note.", "", "SGD, seed 3: diverged.", "", "SGD, seed 4: diverged."]
    (top, bottom) = task.drawn["figure_mixture.png"]
    assert [p[0] for p in top] == ["SGD (diverged)", "Mirror-GAN"]
    assert bottom[1] is None
    title, samples = bottom[0]
    assert title == "Adam"
    first = card[0]["strategies"]["mixture"]["wasserstein2"]
    np.testing.assert_allclose(samples, np.full((4, 2), first))


def test_a_further_average_has_its_row_and_its_figure(made):
    folder, runs, found = made
    for (name, _), job in runs.items():
        if name == "sgd":
            continue
        path = job.workdir / "scorecard.json"
        card = json.loads(path.read_text())
        card["strategies"]["ema_64"] = {"wasserstein2": 0.25}
        path.write_text(json.dumps(card))
        with np.load(job.workdir / comparison.FINAL) as saved:
            np.savez(job.workdir / comparison.FINAL, **saved, ema_64=np.full((4, 2), 0.25))
    task, answers = Task(), (*comparison.ANSWERS, "ema_64")
    text = comparison.write(folder, task, runs, found.diverged, TITLES, "", {}, answers)
    assert "| Adam | ema_64 | 0.250 ± 0.000 |" in text.splitlines()
    assert "| SGD | ema_64 | diverged |" in text
    assert len(task.drawn) == 4
    _, (_, samples) = task.drawn["figure_ema_64.png"][0]
    assert (samples == 0.25).all()
