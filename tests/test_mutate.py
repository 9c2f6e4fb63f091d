"""Which tests a mutation is tried on, and what is remembered of it."""

import json

import pytest

from tests import mutate
from tests.mutations import MUTATIONS, Mutation

MUTATION = Mutation("code.py", "1 + x", "1 - x", ("tests/test_a.py", "tests/test_b.py"))
KILLER = "tests/test_b.py::test_it"


@pytest.mark.parametrize(
    ("killer", "results", "word", "tried"),
    [
        (KILLER, {(KILLER,): "failed"}, "killed", [(KILLER,)]),
        (KILLER, {(KILLER,): "passed"}, "SURVIVED", [(KILLER,), MUTATION.tests]),
        (KILLER, {(KILLER,): "cannot run"}, "SURVIVED", [(KILLER,), MUTATION.tests]),
        ("", {}, "SURVIVED", [MUTATION.tests]),
    ],
)
def test_the_test_that_killed_is_tried_first(killer, results, word, tried, monkeypatch, tmp_path):
    calls = []

    def run_tests(folder, tests):
        assert (folder / "code.py").read_text() == "y = 1 - x\n", "it is mutated"
        calls.append(tests)
        return results.get(tests, "passed"), "more"

    (tmp_path / "code.py").write_text("y = 1 + x\n")
    monkeypatch.setattr(mutate, "run_tests", run_tests)
    assert mutate.outcome(tmp_path, MUTATION, killer)[0] == word
    assert calls == tried
    assert (tmp_path / "code.py").read_text() == "y = 1 + x\n"


def test_what_is_remembered_outlives_the_others_and_no_mutation(tmp_path):
    path, (first, second) = tmp_path / "killers.json", MUTATIONS[:2]
    path.write_text(json.dumps({"gone.py": {"a -> b": KILLER}}))
    for mutation in (first, second):
        mutate.remember(mutation, KILLER, path)
    known = json.loads(path.read_text())
    assert known == {first.file: {mutate._name(m): KILLER for m in (first, second)}}


def test_every_mutation_is_of_one_line_that_is_there():
    assert mutate.stale() == []


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        (Mutation("Makefile", "no such line", "", ()), "is there 0 times"),
        (Mutation("Makefile", "$(STAMP)", "", ()), "times"),
        (Mutation("Makefile", "VENV   ?=", "", ("tests/lost.py",)), "tests/lost.py is not there"),
    ],
)
def test_one_that_no_longer_applies_is_said(mutation, said, monkeypatch, capsys):
    monkeypatch.setattr(mutate, "MUTATIONS", [mutation])
    monkeypatch.setattr("sys.argv", ["mutate", "--check"])
    assert mutate.main() == 1
    assert said in capsys.readouterr().out
