"""The capacity-limited game: affine generators against a critic in the ball of a kernel's RKHS.

    F(theta, w) = E f_w(x) - E f_w(A z + b),    z ~ N(0, I) in R^2,  f_w(x) = <w, phi(x)>,  |w| <= 1

phi are random Fourier features (Rahimi & Recht 2007) of k(x, y) = sum_h exp(-|x - y|^2 / 2 h^2), so
that the ball of w is the unit ball of an RKHS whose kernel is k but for the features' number, and
the best w against a measure of generators is the witness of its MMD. F is linear in w: a mixed
strategy of the critic is worth its mean, which is in the ball, so that one w plays them all. The
generators' side is not convex in theta = (b, A), and there mixed strategies count.

What is played is any algorithm of the registry, on the package's schemes, samplers, projections and
particles; many runs are one program with a leading axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy import stats
from scipy.stats import qmc

from tf_mixed_nash import rng
from tf_mixed_nash.across import across
from tf_mixed_nash.algorithms import Hyperparameters, build
from tf_mixed_nash.compile import fused, whole
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.schedules import make
from tf_mixed_nash.types import Measure, Pair, Particles

__all__ = ["DIM", "Answer", "Features", "KernelGame", "Plan", "Run", "features_of", "train"]

# theta = (b_1, b_2, A_11, A_12, A_21, A_22).
DIM = 6
# Of `scipy.stats.qmc`: the features are part of the game, the same for every run.
_FEATURES_SEED = 0


class Features(NamedTuple):
    """phi(x) = (c_i cos(omega_i . x), c_i sin(omega_i . x)), i = 1..D.

    Attributes:
      omega: float32 [2, D].
      scale: float32 [D], the c_i; their squares sum to k(x, x).
    """

    omega: np.ndarray
    scale: np.ndarray

    @property
    def dim(self) -> int:
        """Of w: 2 D."""
        return 2 * len(self.scale)


def features_of(widths: Sequence[float], numbers: Sequence[int]) -> Features:
    """Features whose products are k(x, y) in the mean, from scrambled Sobol points.

    Args:
      widths: the h of the kernel.
      numbers: of frequencies for each, powers of 2: N(0, I / h^2) is the spectrum of a width.
    """
    omega, scale = [], []
    for i, (h, num) in enumerate(zip(widths, numbers, strict=True)):
        uniform = qmc.Sobol(2, rng=_FEATURES_SEED + i).random(num)
        omega.append(stats.norm.ppf(np.clip(uniform, 1e-9, 1 - 1e-9)) / h)
        scale.append(np.full(num, num**-0.5))
    return Features(
        np.concatenate(omega).T.astype(np.float32), np.concatenate(scale).astype(np.float32)
    )


@fused
def _cosine_and_sine(phase):
    """Of angles float32, within 1e-5 of these, in half the time of TensorFlow's two."""
    half = phase * (0.5 / np.pi)
    half = np.pi * (half - tf.round(half))  # half of the angle, in [-pi/2, pi/2]
    x = half * half
    # Taylor's polynomials, off by less than 4e-6 there.
    s = half * (1 + x * (-1 / 6 + x * (1 / 120 + x * (-1 / 5040 + x / 362880))))
    c = 1 + x * (-1 / 2 + x * (1 / 24 + x * (-1 / 720 + x * (1 / 40320 - x / 3628800))))
    return 1.0 - 2.0 * s * s, 2.0 * s * c


class KernelGame:
    """The game above; see `games.Game`. Mini-batches are real data [n, 2], float32.

    A measure of n' generators draws n / n' samples of each in either player's turn, whatever n'
    ("thin", `games.gan.ParticleDraws`): a mini-batch is n real data and n latents, and costs what
    one generator's costs.

    Args:
      features: of the critic.
    """

    def __init__(self, features: Features):
        self.omega, self.scale = tf.constant(features.omega), tf.constant(features.scale)
        self.dim = features.dim

    def generated(self, theta: tf.Tensor, latents: tf.Tensor) -> tf.Tensor:
        """A_j z + b_j of generators theta [n', 6] at latents [n', n, 2]."""
        A = tf.reshape(theta[:, 2:], [-1, 2, 2])
        return tf.matmul(latents, A, transpose_b=True) + theta[:, None, :2]

    def project(self, player, z):
        """The unit ball of w; generators are free."""
        if player == "theta":
            return z
        return z / tf.maximum(tf.norm(z, axis=-1, keepdims=True), 1.0)

    def field(self, player, z, opponent: Measure, batch, key, shard: Shard = Shard()):  # noqa: B008
        """See `Game.field`. The loss of a generator is -E f_w(A z + b), the critic's is -F."""
        del shard
        if player == "theta":
            block = z if z.shape.rank == 2 else z[None]
            g, loss = self._of_generators(block, opponent, batch.shape[0], key)
            if z.shape.rank == 1:
                g, loss = g[0], loss[0]
        else:
            g = self._mean_feature_of(opponent, batch.shape[0], key) - self._mean_features(batch)
            loss = tf.reduce_sum(g * z)
        return g, {"loss": loss, "penalty": tf.zeros_like(loss)}

    def _of_generators(self, theta, opponent: Measure, num: int, key):
        """grad of -E f_w by hand: with x = A z + b, grad_b is E grad f, grad_A is E grad f z^T."""
        w: Any = sum(a * z for a, z in opponent.terms())
        latents = _latents(key, num, theta.shape[0])
        cosine, sine = self._waves(self.generated(theta, latents))
        of_cosine, of_sine = tf.split(w, 2)
        of_cosine, of_sine = of_cosine * self.scale, of_sine * self.scale
        f = tf.linalg.matvec(cosine, of_cosine) + tf.linalg.matvec(sine, of_sine)
        descent = tf.matmul(
            sine * of_cosine - cosine * of_sine, self.omega, transpose_b=True
        )  # -grad f [n', n, 2]
        size = float(num // theta.shape[0])
        of_A = tf.matmul(descent, latents, transpose_a=True) / size
        g = tf.concat([tf.reduce_mean(descent, 1), tf.reshape(of_A, [-1, 4])], axis=1)
        return g, -tf.reduce_mean(f, axis=1)

    def _mean_feature_of(self, nu: Measure, num: int, key):
        """E phi(A z + b) of a measure of generators."""
        total: Any = 0.0
        for a, z in zip(nu.weights, nu.atoms, strict=True):
            several = isinstance(z, Particles)
            theta = z.atoms if several else z[None]
            x = self.generated(theta, _latents(key, num, theta.shape[0]))
            weights = tf.exp(z.log_weights)[:, None] if several else 1.0
            cosine, sine = self._waves(x)
            parts = [tf.reduce_sum(weights * tf.reduce_mean(y, 1), 0) for y in (cosine, sine)]
            total += a * tf.concat([y * self.scale for y in parts], axis=0)
        return total

    def _mean_features(self, x):
        return tf.concat([tf.reduce_mean(y, 0) * self.scale for y in self._waves(x)], axis=0)

    def _waves(self, x):
        rows = tf.reshape(x, [-1, 2])
        waves = _cosine_and_sine(tf.matmul(rows, self.omega))
        return [tf.reshape(y, [*x.shape[:-1], self.omega.shape[1]]) for y in waves]


def _latents(key, num: int, atoms: int):
    """[n', n / n', 2], together those of one generator."""
    if num % atoms:
        raise InputError(f"A mini-batch of {num} cannot be split over {atoms} particles.")
    return tf.reshape(rng.normal(key, [num, 2], tf.float32), [atoms, num // atoms, 2])


class Plan(NamedTuple):
    """What a training is made of, but for step size and seed.

    Attributes:
      algorithm: a key of ALGORITHMS that has no chains.
      hyperparameters: of both players, attributes of `Hyperparameters`; step size, temperature and
        particles are not among them.
      num_particles: n' of the generators.
      weights: "uniform" or "learnt".
      num_batches: mini-batches.
      batch_size: n, a multiple of n'.
      schedule: of the step size and the temperature (`schedules.make`).
      critic: the critic's step size is so many times the generators'.
      window: the last fraction of the run, of which the snapshots are.
      num_snapshots: evenly spaced there.
    """

    algorithm: str
    hyperparameters: Mapping[str, Any]
    num_particles: int = 1
    weights: str = "uniform"
    num_batches: int = 5_000
    batch_size: int = 100
    schedule: str = "linear"
    critic: float = 1.0
    window: float = 0.25
    num_snapshots: int = 30


class Run(NamedTuple):
    """What differs between the runs of a plan.

    Attributes:
      step_size: gamma at the beginning, of both players.
      temperature: epsilon at the beginning; only of the Langevin algorithms.
      seed: of every draw.
    """

    step_size: float
    temperature: float
    seed: int


class Answer(NamedTuple):
    """What a run gives: a mixed strategy of generators.

    Attributes:
      theta: float64 [m, 6].
      weights: float64 [m], of sum 1.
    """

    theta: np.ndarray
    weights: np.ndarray


_EMA = 0.999  # per mini-batch
_NARROW = 0.1  # of A at the start, six sigma of the data


def train(
    plan: Plan,
    features: Features,
    sample: Callable[[tf.Tensor, int], tf.Tensor],
    runs: Sequence[Run],
) -> list[dict[str, Answer]]:
    """Plays the game many times at once.

    Args:
      plan: of all.
      features: of the critic.
      sample: (key int32[2], n) -> real data float32 [n, 2].
      runs: they have the axis of their own.

    Returns:
      The answers of each run: "last", "ema" and "mixture"; not finite where it diverged.
    """
    game = KernelGame(features)
    scheme = _scheme(plan, *tf.zeros([2, 1], tf.float64))
    per_step = int(scheme.num_batches(0))
    num_steps = plan.num_batches // per_step
    oracles = [Oracle(game, seed=run.seed) for run in runs]
    keys = tf.nest.map_structure(lambda *k: tf.stack(k), *[oracle.keys for oracle in oracles])
    of_data = tf.stack([rng.stream(run.seed, "capacity/data") for run in runs])
    given = tf.constant([[run.step_size, run.temperature] for run in runs], tf.float64)
    states = [scheme.init(_start(plan, run.seed), tf.zeros([game.dim])) for run in runs]
    state = tf.nest.map_structure(lambda *x: tf.stack(x), *states)
    average = tf.stack([scheme.output(s).theta for s in states])

    def one(row, t):
        state, average, keys, of_data, given = row
        scheme = _scheme(plan, given[0], given[1])
        oracle = oracles[0].with_keys(keys)
        oracle = oracle.with_batches(lambda m: sample(rng.fold_in(of_data, m), plan.batch_size))
        state, _ = scheme.step(oracle, state, t, t * per_step)
        keep = _EMA**per_step
        average = keep * average + (1.0 - keep) * scheme.output(state).theta
        return state, average

    def program(state, average, first, last):
        with whole():
            return advanced(state, average, first, last)

    advance = tf.function(program, autograph=False, jit_compile=True)

    def advanced(state, average, first, last):
        def body(t, state, average):
            rows = (state, average, keys, of_data, given)
            return (t + 1, *across(lambda row: one(row, t), rows))

        return tf.while_loop(lambda t, *_: t < last, body, (first, state, average))[1:]

    def measures(atoms, weights):
        """Of every run: Answer of atoms [R, (n',) 6]."""
        theta = np.asarray(atoms, np.float64).reshape(len(runs), -1, DIM)
        a = np.ones(theta.shape[:2]) if weights is None else np.asarray(weights, np.float64)
        return [Answer(*pair) for pair in zip(theta, a / a.sum(1, keepdims=True), strict=True)]

    def now(state):
        return measures(scheme.output(state).theta, _each_weights(scheme, state))

    begin = round((1.0 - plan.window) * num_steps)
    ends = np.linspace(begin, num_steps, plan.num_snapshots + 1).round().astype(int)
    kept, done = [], 0
    for end in ends:
        if end > done:
            first, last = (tf.constant(int(t), tf.int64) for t in (done, end))
            state, average = advance(state, average, first, last)
            done = int(end)
        kept.append(now(state))
    weights = _each_weights(scheme, state)
    averages = measures(average, weights)
    return [
        {
            "last": kept[-1][i],
            "ema": averages[i],
            "mixture": Answer(
                np.concatenate([snapshot[i].theta for snapshot in kept[1:]]),
                np.concatenate([snapshot[i].weights for snapshot in kept[1:]]) / (len(kept) - 1),
            ),
        }
        for i in range(len(runs))
    ]


def _each_weights(scheme, state):
    """[R, n'] of the generators; None of single ones."""
    z = state.theta.z
    return tf.exp(z.log_weights) if isinstance(z, Particles) else None


def _scheme(plan: Plan, gamma: tf.Tensor, epsilon: tf.Tensor):
    """The algorithm at a step size and a temperature that are tensors float64 []."""
    own = plan.hyperparameters
    num_steps = plan.num_batches // (2 if "prox" in plan.algorithm else 1)
    shape = make(plan.schedule, 1.0, num_steps)

    def times(value):
        return lambda t: value * tf.cast(shape(t), tf.float64)

    common = {"step_size": times(gamma), "temperature": times(epsilon)}
    of_w = {**common, "step_size": times(plan.critic * gamma)}
    w = Hyperparameters(**of_w, **own)
    theta = Hyperparameters(**common, **own, num_particles=plan.num_particles, weights=plan.weights)
    return build(plan.algorithm, Pair(theta, w))


def _start(plan: Plan, seed: int) -> tf.Tensor:
    """[6], or [n', 6] that begin with it: b ~ N(0, I), the data's own spread, A ~ N(0, 0.1^2)."""
    key = rng.stream(seed, "capacity/theta")
    shape = [DIM] if plan.num_particles == 1 else [plan.num_particles, DIM]
    return rng.normal(key, shape, tf.float32) * tf.constant([1.0] * 2 + [_NARROW] * 4)
