"""Who is timed in turn, and what a table says of those who were not ready."""

import json

import pytest

from benchmarks import turns
from benchmarks.peers.client import PeerError
from benchmarks.peers.common import Work
from benchmarks.peers.ours_peer import OPTIONS
from tf_mixed_nash.errors import InputError


def test_options_of_ours_go_to_its_process(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--mine=1")
    one = turns.parse("ours,compile=whole,population=4,deterministic=false,xla=--a=b", Work())
    assert one.peer == "ours"
    assert json.loads(one.environment[OPTIONS]) == {
        "set": ["compile=whole"],
        "population": 4,
        "deterministic": False,
    }
    assert one.environment["XLA_FLAGS"] == "--mine=1 --a=b", "the user's flags stay"
    assert turns.parse("jax", Work()).environment == {}


@pytest.mark.parametrize(
    ("text", "said"), [("theano", "ours, pytorch"), ("jax,compile=whole", "options are of ours")]
)
def test_nobody_and_options_of_a_peer_are_bad_input(text, said):
    with pytest.raises(InputError, match=said):
        turns.parse(text, Work())


class Fake:
    """A peer whose steps take what its name says, in milliseconds."""

    alive = 0

    def __init__(self, name, environment):
        Fake.alive += 1
        self.name = name

    def build(self, work):
        if self.name == "broken":
            raise PeerError("broken: no such kernel\nand more")
        return 7

    def seconds(self, trainer, steps):
        assert trainer == 7
        return float(self.name) * steps / 1e3

    def kill(self):
        Fake.alive -= 1


def test_times_are_per_step_and_the_failed_are_left_out(monkeypatch):
    monkeypatch.setattr(turns, "Peer", Fake)
    contestants = [turns.Contestant(f"the {x}", x, {}, Work()) for x in ("2", "broken", "5")]
    ms, first, failed = turns.times(contestants, 3, 10, 30.0)
    assert ms == {"the 2": pytest.approx([2.0] * 3), "the 5": pytest.approx([5.0] * 3)}
    assert set(first) == set(ms)
    assert failed == {"the broken": "broken: no such kernel"}
    assert Fake.alive == 0, "no process stays"
    rows = [
        {"label": "the 2", "ms": {"median": 2.0, "quartile_1": 2.0, "quartile_3": 2.5},
         "ratio": 1.0, "first_steps": 3.25},
        {"label": "the broken", "failed": "no such kernel"},
    ]  # fmt: skip
    head, ours, broken = turns.table(rows).splitlines()
    assert "ratio" in head
    assert ours.split() == ["the", "2", "2.000", "(2.000-2.500)", "1.000", "3.2"]
    assert broken.endswith("left out: no such kernel")
