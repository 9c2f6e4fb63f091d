"""What every algorithm of the registry promises, on a small WGAN-GP in float32."""

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import CASE_IDS, CASES, index
from tf_mixed_nash.algorithms import ALGORITHMS, Hyperparameters, build
from tf_mixed_nash.methods import schedules
from tf_mixed_nash.methods.schedules import constant
from tf_mixed_nash.types import Pair

NUM_STEPS = 3

# K_t = 1, 2, 4 for theta and 1, 3, 3 for w, so that each is the longest once.
HYPERPARAMETERS = Pair(
    *(
        Hyperparameters(
            step_size=constant(1e-2),
            temperature=schedules.exponential(1e-4, 0.1),
            num_inner_steps=schedules.growing_inner_steps(maximum, rate),
        )
        for maximum, rate in [(4, 1.0), (3, 2.0)]
    )
)
GAME = helpers.small_gan(dtype="float32", gradient_penalty=0.1)
START = helpers.gan_start(GAME)

each_algorithm = pytest.mark.parametrize(("name", "options"), CASES, ids=CASE_IDS)
# Compiling all takes minutes; one of each scheme is always compiled, the rest by the slow tests.
FIRST = ("adam", "extra_adam", "past_extra_adam", "mirror_prox_gan", "chambolle_pock", "sample_md")
each_scheme_first = pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param(*case, id=id_, marks=[] if id_ in FIRST else pytest.mark.slow)
        for case, id_ in zip(CASES, CASE_IDS, strict=True)
    ],
)


def make(name, options, seed=0, **kwargs):
    scheme = build(name, HYPERPARAMETERS, **options)
    return scheme, helpers.gan_oracle(GAME, seed, dtype="float32", **kwargs)


def description(state):
    return [(x.dtype, tuple(x.shape)) for x in tf.nest.flatten(state)]


@each_scheme_first
def test_a_compiled_step_keeps_its_contract(name, options):
    """One trace; stable structure, types and shapes; finite; both players move; logs; and the
    same bits from a second build of the same seed, others from another seed."""
    scheme, oracle = make(name, options)
    step = tf.function(lambda s, t, m: scheme.step(oracle, s, t, m), autograph=False)
    first = state = scheme.init(*START)
    m = 0
    for t in range(NUM_STEPS):
        state, logs = step(state, index(t), index(m))
        m += int(scheme.num_batches(index(t)))
        tf.nest.assert_same_structure(first, state)
        assert description(first) == description(state)
        for player in ("theta", "w"):
            assert set(logs.of(player)) == {"loss", "penalty", "field_norm", "finite"}
            assert all(x.shape == [] for x in logs.of(player).values())
            assert logs.of(player)["finite"]
            assert logs.of(player)["field_norm"] > 0
        # Of a signed measure, 2 nu_t - nu_{t-1}, it is the difference of two.
        assert logs.w["penalty"] > 0 or name == "chambolle_pock"
        assert logs.theta["penalty"] == 0
    assert step.experimental_get_tracing_count() == 1
    assert all(np.all(np.isfinite(x)) for x in tf.nest.flatten(state))
    output = scheme.output(state)
    for player in ("theta", "w"):
        moved = np.abs(output.of(player) - START.of(player))
        assert np.max(moved) > 1e-3
        assert output.of(player).dtype == tf.float32

    for seed, equal in [(0, True), (1, False)]:
        twin, _ = helpers.run(*make(name, options, seed), START, NUM_STEPS)
        for player in ("theta", "w"):
            assert np.array_equal(twin[-1][player], output.of(player)) == equal


class MiniBatches:
    """Which mini-batches were read, by index."""

    def __init__(self):
        self.seen, self.data = set(), helpers.real_batches("float32")

    def at(self, m):
        self.seen.add(int(m))
        return self.data[int(m) % 64]


@each_scheme_first
@pytest.mark.parametrize("discriminator_steps", [1, 2])
def test_num_batches_counts_the_mini_batches_that_are_read(name, options, discriminator_steps):
    """Step t reads exactly m, m + 1, ..., m + num_batches(t) - 1, and noise of those only."""
    scheme = build(name, HYPERPARAMETERS, discriminator_steps, **options)
    read, noise = MiniBatches(), set()
    oracle = helpers.Oracle(GAME, read.at)
    draw = oracle.noise

    def noted(player, z, m):
        noise.add(int(m))
        return draw(player, z, m)

    oracle.noise = noted
    state, m = scheme.init(*START), 0
    for t in range(NUM_STEPS):
        read.seen.clear()
        noise.clear()
        state, _ = scheme.step(oracle, state, index(t), index(m))
        num = int(scheme.num_batches(t))
        assert read.seen == set(range(m, m + num))
        assert noise == (read.seen if ALGORITHMS[name].langevin else set())
        m += num


def longest(t):
    return [1, 3, 4][t]


EXPECTED = {
    **dict.fromkeys(["sgd", "rmsprop", "adam", "optimistic_adam", "past_extra_adam"], lambda t: 1),
    **dict.fromkeys(["extra_adam", "alt_extra_adam"], lambda t: 2),
    **dict.fromkeys(["mirror_gan", "alt_mirror_gan", "chambolle_pock", "sample_md"], longest),
    **dict.fromkeys(
        ["mirror_prox_gan", "alt_mirror_prox_gan", "sample_mp"], lambda t: 2 * longest(t)
    ),
}


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("discriminator_steps", [1, 5])
def test_cost_of_an_outer_step(name, discriminator_steps):
    """K_t mini-batches, Mirror-Prox 2 K_t; times the discriminator's steps."""
    scheme = build(name, HYPERPARAMETERS, discriminator_steps)
    costs = [int(scheme.num_batches(t)) for t in range(NUM_STEPS)]
    assert costs == [discriminator_steps * EXPECTED[name](t) for t in range(NUM_STEPS)]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_registry_entries_are_described(name):
    entry = ALGORITHMS[name]
    assert entry.title
    assert entry.source
    samples = ("mirror_gan", "mirror_prox_gan", "sample_md", "sample_mp", "chambolle_pock")
    assert entry.langevin == name.endswith(samples)


def test_clipped_discriminators_stay_in_their_box():
    """From a start outside the box."""
    game = helpers.small_gan(dtype="float32", weight_clip=0.05)
    start = helpers.gan_start(game)
    scheme = build("rmsprop", HYPERPARAMETERS)
    outputs, _ = helpers.run(scheme, helpers.gan_oracle(game, dtype="float32"), start, 2)
    assert np.max(np.abs(start.w)) > 0.05
    assert all(np.max(np.abs(s["w"])) <= np.float32(0.05) for s in outputs)
    assert np.max(np.abs(outputs[-1]["theta"])) > 0.05
