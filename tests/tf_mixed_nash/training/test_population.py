"""Runs of a population against the same runs alone: the whole state of a checkpoint, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tests.trainers.conftest import state_of, tiny
from tests.ways import _distance
from tf_mixed_nash.across import across
from tf_mixed_nash.algorithms import ALGORITHMS
from tf_mixed_nash.compile import fused
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.training.loop import Loop
from tf_mixed_nash.training.population import Population, of_runs
from tf_mixed_nash.types import PLAYERS
from trainers.experiment import population
from trainers.experiment.build import build

BATCHES = 50


def configs(algorithm, **more):
    """Of two runs: other seeds, step sizes, temperatures; 50 mini-batches, with snapshots."""
    same = {"precision": "float64", "num_batches": BATCHES, "batch_size": 4}
    same |= {"model__hidden_units": (4, 4), "mixture__window": (0.5, 1.0), "compile": "parts"}
    temperature = {"temperature": 1e-4} if ALGORITHMS[algorithm].langevin else {}
    other = {key: 5.0 * value for key, value in temperature.items()}
    return [
        tiny(algorithm, **{**same, **own, **more})
        for own in (
            {"seed": 3, **temperature},
            {"seed": 4, "generator__step_size": 2e-3, **other},
        )
    ]


def made(given):
    """(their population, the loops in it)."""
    runs = [build(config) for config in given]
    population.check(runs)
    loops = [Loop(run) for run in runs]
    return Population(loops, population.template(runs)), loops


def distances(given):
    """How far each run of a population ends from itself alone; a third one of them diverges."""
    alone = [Loop(build(config)) for config in given]
    for loop in alone:
        assert loop.advance(BATCHES) is None
    together, (lost, *loops) = made([{**given[0], "seed": 9}, *given])
    assert together.advance(20) == [None] * 3
    spoilt = next(v for name, v in lost.variables.items() if name.startswith("scheme/w"))
    spoilt.assign(spoilt * np.nan)
    before = together.step  # outer steps may be of several mini-batches
    found = together.advance(before + 1)
    assert found[1:] == [None, None]
    assert found[0] is not None
    assert found[0].step == before
    assert found[0].players == PLAYERS  # against a point that is lost nobody stays
    together.leave(lost)
    assert together.advance(BATCHES) == [None] * 3
    assert lost.step == loops[0].step >= BATCHES, "its place in the program stays"
    ends = [state_of(loop) for loop in loops]
    assert _distance({"ema": ends[0]["ema"]}, ends[1]) > 1e-2
    far = [_distance(state_of(a), end) for a, end in zip(alone, ends, strict=True)]
    for mine, other in zip(loops, alone, strict=True):
        assert mine.logs() == pytest.approx(other.logs(), rel=1e-9)
    return far


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_of_a_population_is_the_run_alone(algorithm):
    if ALGORITHMS[algorithm].chains:
        with pytest.raises(InputError, match="remembers the players' past"):
            made(configs(algorithm))
        return
    assert max(distances(configs(algorithm))) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"compile": "whole"},
        {"num_inner_steps": 3, "inner_steps_rate": 0.3, "step_size_schedule": "linear"},
        {"num_particles": 2, "generator__weights": "learnt"},
        {"game__r1": 1.0, "game__r2": 1.0, "game__packing": 2},
        {"discriminator_steps": 2, "accumulate": 2, "step_size_schedule": "cosine(warmup=0.1)"},
    ],
    ids=["whole", "growing", "particles", "penalties", "steps"],
)
def test_with_all_that_a_config_may_say(more):
    assert max(distances(configs("mirror_gan", **more))) < 1e-10


def test_runs_that_cannot_be_one_population():
    first = configs("rmsprop")[0]
    others = {
        "have the same batch_size, got 4 and 8": {"batch_size": 8},
        "penalties are of every n-th outer step, n = 2": {"game__penalty_every": 2},
        "rebirth_below": {
            "num_particles": 2, "weights": "learnt", "rebirth_below": 0.2, "weight_floor": 0.1,
        },
    }  # fmt: skip
    for said, more in others.items():
        with pytest.raises(InputError, match=said):
            population.check([build(first), build(configs("rmsprop", **more)[1])])
    loops = [Loop(build(config)) for config in configs("rmsprop")]
    loops[0].variables["m"].assign(2)
    with pytest.raises(InputError, match="these stand at 2, 0"):
        Population(loops, loops[0].run)


def test_equal_schedules_are_one():
    one = lambda t: t  # noqa: E731
    assert of_runs([one, one]) is one


def test_across_keeps_what_is_compiled_and_has_norms():
    double = fused(lambda x: 2.0 * x)
    rows = tf.reshape(tf.range(6.0), [3, 2])

    @tf.function(autograph=False)
    def made(rows):
        return across(lambda x: double(x) + tf.math.reduce_euclidean_norm(x), rows)

    expected = [2 * x + np.linalg.norm(x) for x in rows.numpy()]
    np.testing.assert_allclose(made(rows), expected, rtol=1e-6)
    graph = made.get_concrete_function(rows).graph
    # Those of one row, which nobody reads, are still in the graph.
    calls = [op for op in graph.get_operations() if "PartitionedCall" in op.type]
    of_rows = [op for op in calls if op.outputs[0].shape.as_list() == [3, 2]]
    functions = [graph._get_function(op.get_attr("f").name.encode()) for op in of_rows]
    assert functions
    assert all(f.cached_definition.attr["_XlaMustCompile"].b for f in functions)
