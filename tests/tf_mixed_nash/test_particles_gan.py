"""Players that are measures: every algorithm of the registry with several atoms."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests import helpers
from tests.helpers import BATCH, CASE_IDS, CASES, DISCRIMINATOR, GENERATOR, assert_close, index
from tests.oracles import gan, particles_gan
from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import ALGORITHMS, Hyperparameters, build
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.gan import ParticleDraws
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schedules import constant
from tf_mixed_nash.types import Pair, Particles, particles

NUM = Pair(3, 2)  # generators and critics
PENALTIES = {"gradient_penalty": 0.7, "r1": 0.3}
ETA, DELTA = Pair(0.3, 0.2), Pair(0.05, 0.1)
# One of each scheme is always run, the rest by the slow tests.
FIRST = ("adam", "alt_extra_adam", "past_extra_adam", "mirror_prox_gan", "chambolle_pock")
PARTICLE_CASES = [
    pytest.param(
        *case,
        id=id_,
        marks=[] if case[0] in FIRST and "alternated" not in case[1] else pytest.mark.slow,
    )
    for case, id_ in zip(CASES, CASE_IDS, strict=True)
    if not ALGORITHMS[case[0]].chains
]
each_algorithm = pytest.mark.parametrize(("name", "options"), PARTICLE_CASES)


def small_gan(objective="nonsaturating", batch="split", latents="own"):
    game = helpers.small_gan(objective, **PENALTIES)
    game.draws = ParticleDraws(batch, latents)
    return game


def start(game, num=NUM) -> Pair:
    """num different atoms of each player, [n', d]."""
    points = [helpers.gan_start(game, seed) for seed in range(max(num))]
    rows = Pair(*(tf.stack([x.of(p) for x in points[: num.of(p)]]) for p in ("theta", "w")))
    return Pair(*(z if len(z) > 1 else z[0] for z in rows))


def with_particles(h: Pair, num=NUM, **changes) -> Pair:
    return Pair(
        *(
            dataclasses.replace(
                h.of(p),
                num_particles=num.of(p),
                weight_step=constant(ETA.of(p)),
                weight_floor=DELTA.of(p),
                **changes,
            )
            for p in ("theta", "w")
        )
    )


def small_steps(**changes) -> Pair:
    h = Hyperparameters(step_size=constant(1e-2), stability=1e-3, temperature=constant(0.0))
    return with_particles(Pair(h, h), **changes)


def run(scheme, oracle, first: Pair, num_steps: int, compiled=False):
    """[(output, weights)] after every step, and the last logs."""
    step = tf.function(scheme.step, autograph=False) if compiled else scheme.step
    state, m, seen, logs = scheme.init(*first), 0, [], None
    for t in range(num_steps):
        state, logs = step(oracle, state, index(t), index(m))
        m += int(scheme.num_batches(t))
        seen.append((scheme.output(state), scheme.weights(state)))
    return seen, logs


# The transcription.


def problem_of(game, oracle, objective, batch):
    """The documented draws, as arrays."""
    real = helpers.real_batches().numpy()

    def key(player, m):
        return rng.fold_in(rng.stream(0, f"field/{player}"), m)

    def latents(player, m, num):
        first, _ = helpers.gan_draws(game, player, m)
        shape = [BATCH, num - 1, helpers.LATENT_DIM]
        others = rng.normal(key(player, m), shape, tf.float64, at=2)
        return np.concatenate([first[None], np.swapaxes(others, 0, 1)])

    def noise(player, m, num):
        dim = {"theta": game.generator, "w": game.discriminator}[player].dim
        return oracle.noise(player, tf.zeros([num, dim], tf.float64), m).numpy()

    return SimpleNamespace(
        gan=gan.Gan(GENERATOR, DISCRIMINATOR, objective, PENALTIES["gradient_penalty"]),
        r1=PENALTIES["r1"],
        real=lambda m: real[m % 64],
        latents=latents,
        u=lambda player, m: helpers.gan_draws(game, player, m)[1],
        noise=noise,
        split=batch != "full",
        thin=batch == "thin",
    )


@pytest.mark.parametrize(
    ("name", "weights", "batch"),
    [(name, "learnt", "split") for name in particles_gan.ALGORITHMS]
    + [("rmsprop", "learnt", "full"), ("mirror_prox_gan", "uniform", "full")]
    + [("sgd", "learnt", "thin")],
)
def test_a_run_is_that_of_the_transcription(name, weights, batch):
    """Three generators against two critics; K_t grows, V persists, weights have a floor."""
    game = small_gan(batch=batch)
    oracle, first = helpers.gan_oracle(game), start(game)
    ours, theirs = helpers.hyperparameters(growing=True, preconditioned=True)
    scheme = build(name, with_particles(ours, weights=weights))
    actual, _ = run(scheme, oracle, first, 4, compiled=True)

    rule = {
        p: particles_gan.Weights(ETA.of(p) * (weights == "learnt"), DELTA.of(p))
        for p in ("theta", "w")
    }
    desired = particles_gan.trajectory(
        name,
        problem_of(game, oracle, "nonsaturating", batch),
        theirs,
        rule,
        {p: z.numpy() for p, z in first._asdict().items()},
        4,
    )
    for (output, a), expected in zip(actual, desired, strict=True):
        for player in ("theta", "w"):
            assert_close(output.of(player), expected[player][0])
            assert_close(a.of(player), expected[player][1])
    equal = np.abs(desired[-1]["theta"][1] - 1 / 3)
    assert (np.max(equal) > 1e-3) == (weights == "learnt")


# One atom.


@each_algorithm
def test_one_particle_is_the_point(name, options):
    """[d], the same bits, whatever the particles' hyperparameters; no weights."""
    game = helpers.small_gan(dtype="float32", gradient_penalty=0.1)
    oracle, first = helpers.gan_oracle(game, dtype="float32"), helpers.gan_start(game)
    h = Hyperparameters(step_size=constant(1e-2), temperature=constant(1e-4), stability=1e-3)
    several = with_particles(Pair(h, h), num=Pair(1, 1), weights="learnt")
    plain, _ = helpers.run(build(name, Pair(h, h), **options), oracle, first, 2, compiled=False)
    scheme = build(name, several, **options)
    twin, state = helpers.run(scheme, oracle, first, 2, compiled=False)
    for player in ("theta", "w"):
        assert twin[-1][player].shape == first.of(player).shape
        np.testing.assert_array_equal(plain[-1][player], twin[-1][player])
    assert scheme.weights(state) == Pair(None, None)


@each_algorithm
@pytest.mark.parametrize("several", ["theta", "w"])
def test_a_block_of_equal_atoms_is_the_point(name, options, several):
    """Equal atoms with equal latents and no noise stay equal; together they are the single network
    of today, whose opponent cannot tell them apart: uniform or learnt, whoever is several."""
    game = small_gan("wgan", "full", "shared")
    oracle, point = helpers.gan_oracle(game), helpers.gan_start(game)
    num = Pair(3, 1) if several == "theta" else Pair(1, 3)
    first = point._replace(**{several: tf.stack([point.of(several)] * 3)})
    h = small_steps(num=num, weights="learnt")
    (*_, (output, a)), logs = run(build(name, h, **options), oracle, first, 3)
    single = small_steps(num=Pair(1, 1))
    (*_, (expected, _)), expected_logs = run(build(name, single, **options), oracle, point, 3)
    for player in ("theta", "w"):
        rows = output.of(player) if player == several else output.of(player)[None]
        for row in rows:
            assert_close(row, expected.of(player), 1e-9)
        for key in ("loss", "penalty", "field_norm"):
            assert_close(logs.of(player)[key], expected_logs.of(player)[key], 1e-8)
    assert_close(a.of(several), [1 / 3] * 3)
    assert a.of("w" if several == "theta" else "theta") is None


def test_it_is_algorithm_4_without_a_past():
    """`sample_md` with a window of 1, K = 1 and the exact play, chain by chain, is RMSProp with
    particles, where every atom has the whole mini-batch and the same latents."""
    game = small_gan("cubic", "full", "shared")
    oracle, first = helpers.gan_oracle(game), start(game)
    same = {"step_size": constant(1e-2), "stability": 1e-3, "rms_decay": 0.9}
    chains = Pair(
        *(
            Hyperparameters(
                num_chains=n, history="window", history_capacity=1, history_batch=0, **same
            )
            for n in NUM
        )
    )
    atoms = Pair(*(Hyperparameters(num_particles=n, **same) for n in NUM))
    (*_, (output, _)), _ = run(build("rmsprop", atoms), oracle, first, 3)
    _, state = helpers.run(build("sample_md", chains), oracle, first, 3)
    for p in ("theta", "w"):
        assert_close(output.of(p), state.of(p).z)


@each_algorithm
def test_permuting_the_atoms_permutes_the_run(name, options):
    game = small_gan("wgan", "full", "shared")
    oracle, first = helpers.gan_oracle(game), start(game)
    order = Pair([2, 0, 1], [1, 0])
    permuted = Pair(*(tf.gather(first.of(p), order.of(p)) for p in ("theta", "w")))
    scheme = build(name, small_steps(weights="learnt"), **options)
    (*_, (output, a)), _ = run(scheme, oracle, first, 3)
    (*_, (other, b)), _ = run(scheme, oracle, permuted, 3)
    for p in ("theta", "w"):
        assert_close(tf.gather(output.of(p), order.of(p)), other.of(p), 1e-9)
        assert_close(tf.gather(a.of(p), order.of(p)), b.of(p), 1e-9)
        assert np.ptp(a.of(p)) > 1e-4
        assert np.max(np.abs(output.of(p)[0] - output.of(p)[1])) > 1e-3


@each_algorithm
def test_a_compiled_step_keeps_its_contract(name, options):
    """One trace; stable structure; logs are scalars; every atom moves, by noise of its own."""
    game = helpers.small_gan(dtype="float32", gradient_penalty=0.1)
    oracle = helpers.gan_oracle(game, dtype="float32")
    h = Hyperparameters(
        step_size=constant(1e-2), temperature=constant(1e-4), stability=1e-3, weights="learnt",
    )  # fmt: skip
    scheme = build(name, with_particles(Pair(h, h)), 2, **options)
    step = tf.function(lambda s, t, m: scheme.step(oracle, s, t, m), autograph=False)
    first = start(game)
    before = state = scheme.init(*first)
    m = 0
    for t in range(2):
        state, logs = step(state, index(t), index(m))
        m += int(scheme.num_batches(t))
        tf.nest.assert_same_structure(before, state)
        for player in ("theta", "w"):
            assert set(logs.of(player)) == {"loss", "penalty", "field_norm", "finite"}
            assert all(x.shape == [] for x in logs.of(player).values())
            assert logs.of(player)["finite"]
    assert step.experimental_get_tracing_count() == 1
    output, a = scheme.output(state), scheme.weights(state)
    for player in ("theta", "w"):
        moved = output.of(player) - first.of(player)
        assert output.of(player).shape == first.of(player).shape
        assert np.all(np.max(np.abs(moved), axis=1) > 1e-3)
        assert np.max(np.abs(moved[0] - moved[1])) > 1e-4
        assert_close(np.sum(a.of(player)), 1.0, 1e-6)


# Weights and rebirth.


class TwoPlaces:
    """V(z) = z for theta in R, which descends it; w does not matter."""

    def field(self, player, z, opponent, batch=None, key=None):
        if player == "theta":
            return tf.ones_like(z), {"loss": z[:, 0], "penalty": tf.zeros_like(z[:, 0])}
        return tf.zeros_like(z), {"loss": tf.zeros([]), "penalty": tf.zeros([])}

    def project(self, player, z):
        return z


def light_atom(below, noise=0.0):
    h = Hyperparameters(
        step_size=constant(0.0), decay_1=0.5, num_particles=3, weights="learnt",
        weight_step=constant(1.0), weight_floor=0.0, rebirth_below=below, rebirth_noise=noise,
    )  # fmt: skip
    scheme = build("adam", Pair(h, Hyperparameters(step_size=constant(0.0))))
    state = scheme.init(helpers.f64([[0.0], [0.5], [3.0]]), helpers.f64([0.0]))
    # Moments that tell the atoms apart.
    sampler = state.theta.sampler._replace(first_moment=helpers.f64([[1.0], [2.0], [3.0]]))
    state = state._replace(theta=state.theta._replace(sampler=sampler))
    state, logs = scheme.step(Oracle(TwoPlaces()), state, index(0), index(0))
    return scheme, state, logs


def test_a_light_atom_becomes_a_copy_of_the_heaviest():
    """a ~ (1, e^-0.5, e^-3): the third, 0.030, is below 0.1; the first two share nothing."""
    scheme, state, logs = light_atom(below=0.1)
    expected = np.array([0.5, np.exp(-0.5), 0.5])
    assert_close(scheme.weights(state).theta, expected / expected.sum(), 1e-12)
    np.testing.assert_array_equal(logs.theta["parents"], [0, 1, 0])
    assert "parents" not in logs.w
    np.testing.assert_array_equal(scheme.output(state).theta[:, 0], [0.0, 0.5, 0.0])
    # Its moments are the parent's: 0.5 * (1, 2, 1) + 0.5.
    np.testing.assert_array_equal(state.theta.sampler.first_moment[:, 0], [1.0, 1.5, 1.0])
    assert int(state.theta.sampler.count) == 1


def test_only_the_copy_moves():
    scheme, state, _ = light_atom(below=0.1, noise=0.25)
    z = scheme.output(state).theta[:, 0].numpy()
    np.testing.assert_array_equal(z[:2], [0.0, 0.5])
    assert 0.0 < abs(z[2]) < 6 * 0.25


def test_nobody_is_reborn_above_the_threshold():
    scheme, state, logs = light_atom(below=0.01)
    expected = np.exp([0.0, -0.5, -3.0])
    assert_close(scheme.weights(state).theta, expected / expected.sum(), 1e-12)
    np.testing.assert_array_equal(logs.theta["parents"], [0, 1, 2])


@pytest.mark.parametrize("name", ["sgd", "past_extra_adam"])
def test_weights_that_are_lost_are_told_where_atoms_and_V_are_not(name):
    """eta V is beyond the largest number; and a V that is infinite."""
    h = Hyperparameters(
        step_size=constant(0.0), num_particles=2, weights="learnt", weight_step=constant(1e308),
    )  # fmt: skip
    scheme = build(name, Pair(h, Hyperparameters(step_size=constant(0.0))))
    for places, finite in (((-0.5, 0.0), True), ((-9.0, 0.0), False), ((np.inf, 0.0), False)):
        state = scheme.init(helpers.f64([[x] for x in places]), helpers.f64([0.0]))
        _, logs = scheme.step(Oracle(TwoPlaces()), state, index(0), index(0))
        assert (bool(logs.theta["finite"]), bool(logs.w["finite"])) == (finite, True)


@pytest.mark.parametrize("name", ["mirror_prox_gan", "past_extra_adam", "chambolle_pock"])
def test_rebirth_takes_all_of_the_state_along(name):
    """Compiled, on a GAN; the copy is its parent in every point and every moment but for noise."""
    game = helpers.small_gan()
    h = Hyperparameters(step_size=constant(1e-2), stability=1e-3)
    h = with_particles(Pair(h, h), weights="learnt", rebirth_below=0.32, rebirth_noise=0.0)
    scheme = build(name, h)
    oracle = helpers.gan_oracle(game)
    step = tf.function(lambda s, t, m: scheme.step(oracle, s, t, m), autograph=False)
    state = scheme.init(*start(game))
    for t in range(6):
        state, logs = step(state, index(t), index(2 * t))
        parents = logs.theta["parents"].numpy()
        if len(set(parents)) < 3:
            break
    else:
        pytest.fail("nobody was reborn")
    child = int(np.argmax(parents != np.arange(3)))
    rows = [x for x in tf.nest.flatten(state.theta) if x.shape.rank]
    assert len(rows) >= 4
    for x in rows:
        np.testing.assert_array_equal(x[child], x[parents[child]])


# Bad input.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hyperparameters(num_particles=0), "at least 1, got 0"),
        (lambda: Hyperparameters(weights="equal"), "uniform, learnt"),
        (lambda: Hyperparameters(weight_floor=1.0), r"in \[0, 1\), got 1.0"),
        (lambda: Hyperparameters(rebirth_noise=-1.0), "got -1.0"),
        (lambda: Hyperparameters(num_particles=4, rebirth_below=0.3), "the equal one, 0.25"),
        (lambda: Hyperparameters(num_particles=4, rebirth_below=0.01), "leaves, 0.025"),
        (lambda: ParticleDraws("half").check(), "split, full, thin"),
        (lambda: ParticleDraws(latents="none").check(), "own, shared"),
        (lambda: build("sample_md", small_steps()), "Set num_chains=3 and num_particles=1"),
        (lambda: build("sample_mp", small_steps()), "sample_mp keeps samples"),
    ],
)
def test_bad_hyperparameters_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("shape", "message"),
    [((4, 256), r"theta starts at 3 particles.*\(4, 256\)"), ((256,), r"got shape \(256,\)")],
)
def test_a_start_of_another_form_is_refused(shape, message):
    scheme = build("sgd", small_steps())
    with pytest.raises(InputError, match=message):
        scheme.init(tf.zeros(shape), tf.zeros([2, 256]))


def test_a_start_has_the_weights_that_it_brings():
    scheme = build("sgd", small_steps())
    state = scheme.init(particles(tf.zeros([3, 256]), [0.5, 0.5, 0.0]), tf.zeros([2, 256]))
    np.testing.assert_array_equal(scheme.weights(state).theta, [0.5, 0.5, 0.0])
    assert isinstance(state.theta.z, Particles)


def test_a_mini_batch_that_cannot_be_split_is_refused():
    game = small_gan()
    four = start(game, Pair(4, 1))
    scheme = build("sgd", small_steps(num=Pair(4, 1)))
    with pytest.raises(InputError, match=r"mini-batch of 6 .* over 4 particles .*batch=full"):
        scheme.step(helpers.gan_oracle(game), scheme.init(*four), index(0), index(0))
