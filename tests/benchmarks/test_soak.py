"""The soak and the attacks find what they are for."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks import attacks, serving, soak
from tf_mixed_nash.errors import InputError


@pytest.fixture
def quiet():
    """A soak of two versions, of which no request was sent yet."""
    made = soak.Soak(None, Path(), [Path("a"), Path("b")], Path("log"), 2, 10.0, 9.0)
    rows = {v: [np.full(2, v, np.float32).tobytes()] * 3 for v in (0, 1)}
    made.known = [{1: rows[0]}, {1: rows[1]}]
    made.memory = [(0.0, 100.0), (1.0, 101.0), (2.0, 101.0)]
    return made


def reply(*values):
    return json.dumps({"predictions": [[float(v)] * 2 for v in values]}).encode()


def test_replies_of_one_version_are_told_from_mixed_ones(quiet):
    quiet._check("rest", 1, reply(0, 0, 0))
    quiet._check("rest", 1, reply(1, 1, 1))
    quiet._check("rest", 1, reply(1, 1, 0))
    assert (dict(quiet.by_source), quiet.mixed) == ({0: 1, 1: 1}, 1)
    result = quiet.report()
    assert soak.failed(result, 0) == ["1 mixed"]


def test_what_must_not_be_is_named(quiet):
    good = quiet.report()
    assert soak.failed(good, 0) == []
    assert good["mib_growth"] == 0.0
    quiet.memory = [(0.0, 90.0), (1.0, 101.0), (2.0, 121.0)]
    assert quiet.report()["mib_growth"] == 20.0, "of the last third over the one before"
    bad = {
        "lost": ({"lost": 2}, 0, "2 lost"),
        "memory": ({"mib_growth": 9.0}, 0, "memory grew by 9.0 MiB"),
        "trouble": ({"troubles": {"log": 2}, "met": {"log": 1}}, 0, "a trouble was not met"),
        "version": ({"troubles": {"version": 1}, "met": {"version": 1}}, 0, "of a new version"),
        "end": ({}, -9, "the server ended with -9"),
    }
    for change, code, says in bad.values():
        (found,) = soak.failed({**good, **change}, code)
        assert says in found


def test_attacks_are_what_they_say():
    bomb = attacks._bomb(8 * 2**20)
    assert len(bomb) < 20_000
    assert len(zlib.decompressobj(31).decompress(bomb, 2**23 - 1)) == 2**23 - 1
    assert len(gzip.decompress(gzip.compress(attacks._LISTS))) > 15_000_000
    names = [attack.name for attack in attacks.attacks()]
    assert len(set(names)) == len(names)


def test_the_table_has_a_row_for_each_attack_and_both_sides(monkeypatch):
    chosen = [attacks.Attack("x", "what it is", lambda server: "")]
    counts = {"answers": {"413": 2}, "failed": 1, "p50_ms": 2.4, "p99_ms": 9.6, "worst_ms": 11.0,
              "cpu_s": 0.12}  # fmt: skip
    text = attacks.table(chosen, {"before": {"x": counts}, "after": {"x": counts}}, 2)
    cells = "2 of 413 | 2 / 10 / 11; 1 failed | 0.12"
    assert f"| what it is | {cells} | {cells} |" in text
    rows = [line for line in text.splitlines() if line]
    assert len({row.count("|") for row in rows}) == 1


def test_late_rows_are_counted_and_named():
    rows = {"a": {"p99_ms": 12.0}, "b": {"p99_ms": 155.2}, "pipe": {"answered": 3}}
    assert attacks.verdict({"before": {}, "after": rows}).endswith("1 of 2 rows; not: b (155 ms).")
    del rows["b"]
    assert attacks.verdict({"after": rows}).endswith("1 of 1 rows.")
    rows[attacks.NOTHING] = {"p99_ms": 130.0}
    assert attacks.verdict({"after": rows}).endswith("1 of 1 rows. Alone it has 130 ms.")


def test_a_soak_s_table_stands_between_its_marks(quiet, tmp_path):
    path, marks = tmp_path / "page.md", soak._MARKS
    with pytest.raises(InputError, match="no place for the table"):
        serving.find_marks(path, marks)
    path.write_text(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n")
    quiet.milliseconds, quiet.asked = [1.0, 3.0], 2
    result = {**quiet.report(), "log_lines": 5, "log_lost": 1}
    serving.replace_between(path, marks, soak.table(result, ["2 lost"], (0.5, 1.5)))
    text = path.read_text()
    assert text.startswith(f"before\n{marks[0]}\n| soak | |")
    assert text.endswith(f"{marks[1]}\nafter\n")
    assert {"| **lost** | **0** |", "| verdict | 2 lost |"} <= set(text.splitlines())
    assert "old" not in text
