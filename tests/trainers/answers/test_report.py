"""The report of a run, from files as a run leaves them: finished, going on, diverged."""

import json
import re
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.trainers.conftest import tiny
from tf_mixed_nash.errors import InputError
from trainers.answers import reading, report
from trainers.workdir.findings import HELP, Finding

CARD = {"num_samples": 500, "high_quality_3sigma": 0.5, "std_ratio": float("nan")}


@pytest.fixture
def workdir(tmp_path):
    config = tiny("mirror_gan", seed=7)
    (tmp_path / "config.json").write_text(json.dumps(config))
    records = [
        {
            "step": step,
            "loss/theta": 1.0 / step,
            "loss/w": -1.0,
            "field_norm/theta": 2.0,
            "score/last/wasserstein2": 3.0,
            "score/last/num_samples": 64,
        }
        for step in (1, 2)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (tmp_path / "samples").mkdir()
    for name in ("published.png", "step_00000001.png", "step_00000002.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "samples" / name)
    provenance = {
        "time": "2026-01-01",
        "command": ["run.py", "--workdir=x"],
        "versions": {"tensorflow": "2.21"},
        "code": {"commit": "abc", "dirty": True},
        "hardware": {"processor": "a <fast> one"},
        "user_files": {"mine.py": {"text": "x = 1 < 2"}},
    }
    (tmp_path / "provenance.json").write_text(json.dumps(provenance))
    return tmp_path


def finish(workdir, **more):
    answers = {name: {**CARD, **more} for name in ("last", "ema", "mixture")}
    card = {"strategies": answers, "real_data_ceiling": {**CARD, "high_quality_3sigma": 0.99}}
    (workdir / "scorecard.json").write_text(json.dumps(card))


def test_a_finished_run_has_every_part(workdir):
    finish(workdir, atoms=[{"weight": 0.25, "modes": [1]}])
    path = report.write(workdir)
    text = path.read_text()
    assert path == workdir / "report.html"
    for title in ("Samples", "Scores", "Curves", "Configuration", "Where it comes from"):
        assert f"<h2>{title}</h2>" in text
    assert "gaussians8 by mirror_gan, seed 7" in text
    assert ">finished<" in text
    assert re.search(r"high_quality_3sigma</td>(<td[^>]*>0.5</td>){3}<td[^>]*>0.99<", text)
    assert re.search(r"std_ratio</td>(<td[^>]*>-</td>){4}", text)  # NaN is no number
    assert "Each network of mixture" in text
    assert text.count("data:image/webp") == 4  # published, two steps, the curves
    assert "abc, with changes" in text
    assert "a &lt;fast&gt; one" in text
    assert "x = 1 &lt; 2" in text
    assert "run.py --workdir=x" in text


def test_a_run_that_goes_on_says_how_far_it_is(workdir):
    (workdir / "samples/published.png").unlink()
    text = report.render(workdir)
    assert "not finished: 2 of 2 mini-batches so far" in text
    assert "there is no scorecard yet" in text


def test_a_run_without_records_or_provenance_has_a_report(workdir):
    (workdir / "metrics.jsonl").unlink()
    (workdir / "provenance.json").unlink()
    text = report.render(workdir)
    assert "not yet two records" in text
    assert "provenance.json is not there" in text


def test_recoveries_and_a_divergence_are_shown(workdir):
    (workdir / "recoveries.json").write_text(json.dumps([{"step": 40, "players": ["w"]}]))
    Image.new("RGB", (4, 4)).save(workdir / "samples/diverged_00000060.png")
    text = report.render(workdir)
    assert "<h2>Recoveries</h2>" in text
    assert "Before it diverged at 60" in text


def look(workdir, *duplicates):
    """Adds records, from mini-batch 3 on, at which the monitor looked."""
    with (workdir / "metrics.jsonl").open("a") as file:
        for step, value in enumerate(duplicates, 3):
            file.write(json.dumps({"step": step, "health/duplicates": value}) + "\n")


def health_of(text):
    """The section's text; None without one."""
    found = re.search(r'<section id="health"><h2>Health</h2>(.*?)</section>', text, re.DOTALL)
    return found and found[1]


def test_findings_of_an_unfinished_run_are_those_of_its_records(workdir):
    look(workdir, 0.0, 0.5, 0.5, 0.75)
    text = health_of(report.render(workdir))
    assert re.search(r">duplicates</td><td>75% of the last iterate[^<]*</td><td[^>]*>4</td>", text)
    assert f">{HELP['duplicates']}</td>" in text
    assert "In 4 looks, the last at mini-batch 6; 3 in a row must agree." in text
    facts = {"step": 1200, "players": ["w"]}
    (workdir / "postmortem_1.json").write_text(json.dumps(facts))
    text = health_of(report.render(workdir))
    assert ">duplicates</td>" in text
    assert "left the finite numbers at mini-batch 1,200" in text
    assert ">1,200</td>" in text


def test_findings_of_a_finished_run_are_its_scorecards(workdir):
    look(workdir, 0.5, 0.5, 0.5)
    finish(workdir)
    card = json.loads((workdir / "scorecard.json").read_text())
    one = Finding("discriminator_dead", "w", "its answers differ by 1e-05 only", 1500)
    # Of another version, which advised otherwise.
    card["health"] = [{**one.facts, "helps": "patience"}]
    (workdir / "scorecard.json").write_text(json.dumps(card))
    text = health_of(report.render(workdir))
    assert re.search(
        r">discriminator_dead \(discriminator\)</td><td>its answers differ by 1e-05 only</td>"
        r"<td[^>]*>1,500</td><td[^>]*>patience<",
        text,
    )
    assert "duplicates" not in text
    card["health"] = []
    (workdir / "scorecard.json").write_text(json.dumps(card))
    assert "No finding in 3 looks" in health_of(report.render(workdir))
    (workdir / "postmortem_1.json").write_text(json.dumps({"step": 1200, "players": ["w"]}))
    text = health_of(report.render(workdir))
    assert "left the finite numbers at mini-batch 1,200" in text
    assert "No finding" not in text
    (workdir / "postmortem_1.json").unlink()
    (workdir / "metrics.jsonl").unlink()
    assert "No finding in looks that are recorded no more." in health_of(report.render(workdir))


def test_no_finding_is_said_where_it_was_looked_and_nothing_where_not(workdir):
    assert health_of(report.render(workdir)) is None
    finish(workdir)
    assert health_of(report.render(workdir)) is None
    (workdir / "scorecard.json").unlink()
    look(workdir, 0.5)
    text = health_of(report.render(workdir))
    assert "No finding in 1 look, the last at mini-batch 3; 3 in a row must agree." in text


def test_it_is_written_elsewhere_where_asked(workdir, tmp_path):
    path = report.write(workdir, tmp_path / "other.html")
    assert path.read_text().startswith("<!doctype html>")
    assert not (workdir / "report.html").exists()


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is not a workdir"):
        report.render(tmp_path)


def test_scores_are_those_of_the_answer_at_the_end(tmp_path):
    """Published from a workdir in Python: none before its end, none of an answer without any."""
    loop = SimpleNamespace(step=5, run=SimpleNamespace(num_batches=5, user_texts=dict))
    assert reading.scores_of(tmp_path, loop, "ema") == {}
    card = {"strategies": {"ema": {"hq": 0.5}}, "real_data_ceiling": {"hq": 1.0}}
    (tmp_path / "scorecard.json").write_text(json.dumps(card))
    known = {"scorecard": {"hq": 0.5}, "real_data_ceiling": {"hq": 1.0}}
    assert reading.scores_of(tmp_path, loop, "ema") == known
    assert reading.scores_of(tmp_path, loop, "mixture") == {}
    loop.step = 4
    assert reading.scores_of(tmp_path, loop, "ema") == {}
