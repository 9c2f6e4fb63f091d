"""What several test modules share: small games in TensorFlow, each with its NumPy problem."""

from __future__ import annotations

import functools
import math
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from tests.oracles import draws, gan, payoff
from tests.oracles.samplers import Hyper
from tf_mixed_nash import rng
from tf_mixed_nash.algorithms import ALGORITHMS, Hyperparameters
from tf_mixed_nash.games.functions import FunctionGame
from tf_mixed_nash.games.gan import GanGame, Regularizers
from tf_mixed_nash.games.objectives import OBJECTIVES, Losses
from tf_mixed_nash.methods import schedules
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.models import mlp
from tf_mixed_nash.types import Pair

# Float64 trajectories of a few dozen operations: rounding is below 1e-13, and the games
# amplify it by far less than 1e3.
TOLERANCE = 1e-10

# Every registry entry, and Chambolle-Pock's other extrapolation.
CASES = [(name, {}) for name in ALGORITHMS] + [
    ("chambolle_pock", {"extrapolate": "parameters", "kappa": 0.5}),
    ("sgd", {"alternated": True}),
    ("adam", {"alternated": True}),
]
CASE_IDS = ["-".join([name, *(str(v) for v in options.values())]) for name, options in CASES]


def assert_close(actual, desired, tolerance=TOLERANCE):
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance)


def f64(x) -> tf.Tensor:
    return tf.constant(x, tf.float64)


def index(i: int) -> tf.Tensor:
    """t or m as the compiled steps take them."""
    return tf.constant(i, tf.int64)


def run(scheme, oracle, start: Pair, num_steps: int, compiled: bool = True):
    """(the outputs after each outer step as {"theta", "w"} of arrays, the last state)."""
    step = tf.function(scheme.step, autograph=False) if compiled else scheme.step
    state, m, outputs = scheme.init(*start), 0, []
    for t in range(num_steps):
        state, _ = step(oracle, state, index(t), index(m))
        m += int(scheme.num_batches(t))
        outputs.append({p: z.numpy() for p, z in scheme.output(state)._asdict().items()})
    return outputs, state


# Hyperparameters in both languages; the two players differ in every one.


def hyperparameters(growing: bool, preconditioned: bool) -> tuple[Pair, dict[str, Hyper]]:
    """(ours, the NumPy oracle's): decaying gamma_t and eps_t; K_t growing, or 1 against 3."""
    ours = Pair(
        theta=Hyperparameters(
            step_size=schedules.exponential(0.05, 0.1),
            temperature=schedules.exponential(0.02, 0.2),
            num_inner_steps=schedules.growing_inner_steps(4, 0.6) if growing else lambda t: 1,
            damping=0.9,
            preconditioner="rms" if preconditioned else "none",
            rms_decay=0.9,
            stability=1e-3,
            decay_1=0.5,
            decay_2=0.9,
        ),
        w=Hyperparameters(
            step_size=schedules.linear(0.08, 10),
            temperature=schedules.cosine(0.01, 12),
            num_inner_steps=schedules.growing_inner_steps(5, 0.5) if growing else lambda t: 3,
            damping=0.8,
            preconditioner="rms" if preconditioned else "none",
            rms_decay=0.95,
            stability=2e-3,
            decay_1=0.3,
            decay_2=0.8,
        ),
    )
    theirs = {
        "theta": Hyper(
            gamma=lambda t: 0.05 * 0.9**t,
            eps=lambda t: 0.02 * 0.8**t,
            K=lambda t: min(4, math.floor(1.6**t)) if growing else 1,
            beta=0.9,
            preconditioned=preconditioned,
            a=0.9,
            lam=1e-3,
            decay_1=0.5,
            decay_2=0.9,
        ),
        "w": Hyper(
            gamma=lambda t: 0.08 * (1 - t / 10),
            eps=lambda t: 0.005 * (1 + math.cos(math.pi * t / 12)),
            K=lambda t: min(5, math.floor(1.5**t)) if growing else 3,
            beta=0.8,
            preconditioned=preconditioned,
            a=0.95,
            lam=2e-3,
            decay_1=0.3,
            decay_2=0.8,
        ),
    }
    return ours, theirs


# A non-linear game whose gradients depend on the mini-batch, with w in a box.

SLOPE = {"theta": np.array([0.5, -1.0, 0.3]), "w": np.array([0.2, 0.4, -0.7, 1.0])}


def payoff_in_tf(theta, w):
    """`tests.oracles.payoff.value`."""
    return (
        tf.reduce_sum(tf.tanh(theta) * tf.linalg.matvec(f64(payoff.A), w))
        + tf.reduce_sum(tf.sin(theta) * tf.linalg.matvec(f64(payoff.B), tf.cos(w)))
        + 0.05 * tf.reduce_sum(theta**4)
        - 0.3 * tf.reduce_sum(tf.math.log(tf.cosh(w)))
    )


class StochasticGame(FunctionGame):
    """F + sin(m) (<c, theta> + <e, w>) on mini-batch m, so that a wrong index shows."""

    def __init__(self, box=math.inf):
        super().__init__(payoff_in_tf)
        self.box = box

    def field(self, player, z, opponent, batch=None, key=None):
        def linear(theta, w):
            return tf.reduce_sum(SLOPE["theta"] * theta) + tf.reduce_sum(SLOPE["w"] * w)

        game = FunctionGame(lambda theta, w: self.payoff(theta, w) + batch * linear(theta, w))
        return game.field(player, z, opponent)

    def project(self, player, z):
        return tf.clip_by_value(z, -self.box, self.box) if player == "w" else z

    @staticmethod
    def batch_at(m):
        return tf.sin(tf.cast(m, tf.float64))


def payoff_start() -> Pair:
    return Pair(f64(payoff.THETA), f64(payoff.W))


class HistoryDraws:
    """The documented draws of the sample-based algorithms, as arrays (`tests.oracles.sampled`)."""

    def __init__(self, oracle: Oracle):
        self.oracle = oracle

    def _key(self, player, m):
        return self.oracle.history_key(player, m).numpy()

    def index(self, player, m, counter, num, end):
        return draws.integer(self._key(player, m), num, end, at=counter)

    def coin(self, player, m, num):
        return draws.uniform(self._key(player, m), num, at=1)[:, None]

    def slot(self, player, m, count):
        return int(draws.integer(draws.fold_in(self._key(player, m), 3), 1, count + 1)[0])

    def row(self, player, m, num):
        return int(draws.integer(self._key(player, m), 1, num, at=4)[0])


def compiled_noise(oracle: Oracle):
    """`oracle.noise` of float64: (player, n, m) -> [n]. Eager draws take milliseconds each."""

    @functools.cache
    def draw(player, num):
        z = tf.zeros([num], tf.float64)
        return tf.function(lambda m: oracle.noise(player, z, m), autograph=False)

    return lambda player, num, m: draw(player, num)(index(m)).numpy()


def chain_noise(oracle: Oracle, start: Pair):
    """(player, m, n) -> [n, d]: one draw of n d numbers, row after row."""
    noise = compiled_noise(oracle)

    def noises(player, m, num):
        dim = start.of(player).shape[-1]
        return noise(player, num * dim, m).reshape(num, dim)

    return noises


def payoff_problem(oracle: Oracle, box: float):
    """StochasticGame for `tests.oracles.algorithms`; the noise is the oracle's."""
    start, noise = payoff_start(), compiled_noise(oracle)

    def field(player, z, opponent, m):
        sign = 1 if player == "theta" else -1
        linear = sum(a for a, _ in opponent) * sign * np.sin(m) * SLOPE[player]
        return payoff.descent(player, z, opponent) + linear

    return SimpleNamespace(
        field=field,
        noise=lambda player, m: noise(player, start.of(player).shape[-1], m),
        noises=chain_noise(oracle, start),
        draws=HistoryDraws(oracle),
        project=lambda player, z: np.clip(z, -box, box) if player == "w" else z,
    )


# Small GANs.

LATENT_DIM, BATCH = 3, 6
GENERATOR, DISCRIMINATOR = (LATENT_DIM, 8, 8, 2), (2, 8, 8, 1)


def cubic(real, fake):
    """A user's objective, in which the generator's loss reads the real logits too."""
    return Losses(
        discriminator=tf.reduce_mean(fake**3 - real * fake),
        generator=tf.reduce_mean(real * fake - tf.sin(fake)),
    )


def small_gan(objective="wgan", dtype="float64", **regularizers) -> GanGame:
    return GanGame(
        mlp(LATENT_DIM, 2, (8, 8), seed=1, dtype=dtype),
        mlp(2, 1, (8, 8), seed=11, dtype=dtype),
        LATENT_DIM,
        {**OBJECTIVES, "cubic": cubic}[objective],
        Regularizers(**regularizers),
    )


def gan_start(game: GanGame, seed: int = 0) -> Pair:
    """The initialisation, moved a little: biases and unused entries are not 0."""
    random = np.random.default_rng(seed)
    networks = Pair(game.generator, game.discriminator)
    return Pair(
        *(
            network.initial() + tf.cast(0.1 * random.normal(size=network.dim), z.dtype)
            for network in networks
            for z in [network.initial()]
        )
    )


def real_batches(dtype="float64") -> tf.Tensor:
    """64 mini-batches of points of the plane: [64, n, 2]."""
    points = np.random.default_rng(5).normal([1.0, -0.5], size=(64, BATCH, 2))
    return tf.constant(points, dtype)


def gan_oracle(game: GanGame, seed: int = 0, dtype="float64", **kwargs) -> Oracle:
    batches = real_batches(dtype)
    return Oracle(game, lambda m: tf.gather(batches, m % 64), seed, **kwargs)


def gan_draws(game: GanGame, player, m: int, seed: int = 0):
    """(latents, mixing numbers) of the documented key rule, as arrays."""
    return tuple(x.numpy() for x in _gan_draws(game, player, seed)(index(m)))


@functools.cache
def _gan_draws(game: GanGame, player, seed: int):
    stream = rng.stream(seed, f"field/{player}")

    def draw(m):
        key = rng.fold_in(stream, m)
        return game.latents(key, BATCH, tf.float64), rng.uniform(key, [BATCH, 1], tf.float64, at=1)

    return tf.function(draw, autograph=False)


def gan_problem(game: GanGame, oracle: Oracle, objective, **penalties):
    """A small GAN for `tests.oracles.algorithms`; draws and noise are the oracle's."""
    numpy_gan = gan.Gan(GENERATOR, DISCRIMINATOR, objective, **penalties)
    batches, start, noise = real_batches().numpy(), gan_start(game), compiled_noise(oracle)
    clip = game.regularizers.weight_clip or math.inf

    def field(player, z, opponent, m):
        latents, u = gan_draws(game, player, m)
        return numpy_gan.field(player, z, opponent, batches[m % 64], latents, u)

    return SimpleNamespace(
        field=field,
        noise=lambda player, m: noise(player, start.of(player).shape[-1], m),
        noises=chain_noise(oracle, start),
        draws=HistoryDraws(oracle),
        project=lambda player, z: np.clip(z, -clip, clip) if player == "w" else z,
    )
