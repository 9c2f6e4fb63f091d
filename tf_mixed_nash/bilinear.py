"""Finite bi-affine games (paper section 2.1), solved exactly by entropic mirror methods.

    min_{p in Delta_m} max_{q in Delta_n}  F(p, q) = <q, a> - <q, A p>          [P eq. 1]

A is `payoff` [n, m], a is `offset` [n]. The minimiser's mixture p is the player "theta", the
maximiser's q the player "w". A point of a player is its log-weights z, p = softmax(z), so that
`prox.entropic` is the mirror-descent step of eq. 2 and the schemes run unchanged. Mixtures in
arguments and results are weights; log-weights appear in `field` and in the schemes' states.

Letters: eta the mirror step; D the divergence from the start to the furthest strategy (log m
for a uniform start); G half the range of a player's derivative; L the smaller G, a Lipschitz
constant of the derivatives up to shifts; sigma the noise of a stochastic derivative.
"""

from __future__ import annotations

import functools
import math
import operator
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng, schemes
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games import Shard
from tf_mixed_nash.oracle import Oracle
from tf_mixed_nash.prox import entropic
from tf_mixed_nash.schemes import Scheme
from tf_mixed_nash.solution import Solution
from tf_mixed_nash.types import Measure, Pair, Player

__all__ = [
    "METHODS",
    "BiAffine",
    "MatrixGame",
    "StepSizes",
    "record_points",
    "solve",
    "theory_step_sizes",
]


class BiAffine:
    """The derivatives of eq. 1 for given tensors, unchecked. A `Game`: see `games.py`.

    Args:
      payoff: A [n, m].
      offset: a [n].
      num_sampled: k: estimate A p and A^T q from k pure strategies drawn from the opponent's
        mixture, which is unbiased; None: the exact product.
      noise_std: of Gaussian noise added to every entry of a derivative.
    """

    def __init__(
        self,
        payoff: tf.Tensor,
        offset: tf.Tensor,
        num_sampled: int | None = None,
        noise_std: float = 0.0,
    ):
        self.payoff, self.offset = payoff, offset
        self.num_sampled, self.noise_std = num_sampled, noise_std

    def derivative(self, player: Player, opponent: tf.Tensor) -> tf.Tensor:
        """The derivative of F in the player's mixture, against the opponent's weights.

        Args:
          player: "theta": opponent is q [n] and the derivative -A^T q [m]; "w": opponent is
            p [m] and the derivative a - A p [n].
          opponent: weights, of the payoff's dtype.
        """
        if player == "theta":
            return -tf.linalg.matvec(self.payoff, opponent, transpose_a=True)
        return self.offset - tf.linalg.matvec(self.payoff, opponent)

    def field(
        self,
        player: Player,
        z: tf.Tensor,
        opponent: Measure,
        batch: Any = None,
        key: Any = None,
        shard: Shard = Shard(),  # noqa: B008 - immutable
    ) -> tuple[Any, dict[str, tf.Tensor]]:
        """See `Game.field`: z [d] and the opponent's atoms are log-weights.

        "theta" descends -A^T q, "w" descends -(a - A p); both are linear in the measure, with
        q = sum_j a_j softmax(z_j). batch and shard are not used, and key only where the
        derivative is stochastic.
        """
        terms = [(opponent.weights[j], opponent.atoms[j]) for j in range(opponent.num_atoms)]
        total = functools.reduce(operator.add, [a for a, _ in terms])
        if self.num_sampled is None:
            # One product whatever the number of atoms.
            mixture = functools.reduce(operator.add, [a * tf.nn.softmax(o) for a, o in terms])
            product = tf.linalg.matvec(self.payoff, mixture, transpose_a=player == "theta")
        else:
            # The atoms share their uniforms: a signed measure has the difference's variance.
            key_of_sample = rng.fold_in(key, 0)
            products = [a * self._sampled_product(player, o, key_of_sample) for a, o in terms]
            product = functools.reduce(operator.add, products)
        g = -product if player == "theta" else product - total * self.offset
        if self.noise_std:
            num = tf.compat.dimension_value(z.shape[0])
            g += self.noise_std * rng.normal(rng.fold_in(key, 1), num, z.dtype)
        # Nobody pays for the loss where nobody reads it: the graph drops it.
        loss = tf.tensordot(tf.nn.softmax(z), g, 1)
        return g, {"loss": loss, "penalty": tf.zeros([], z.dtype)}

    def project(self, player, z):
        """The identity: log-weights are free."""
        return z

    def _sampled_product(self, player, log_weights, key):
        """The mean of A's rows (theta) or columns (w) at k strategies drawn from the opponent."""
        cumulative = tf.cumsum(tf.nn.softmax(log_weights))
        shape: Any = [self.num_sampled]
        u = tf.random.stateless_uniform(shape, key, dtype=log_weights.dtype, alg="philox")
        last = tf.shape(cumulative)[0] - 1
        drawn = tf.minimum(tf.searchsorted(cumulative, u * cumulative[-1], side="right"), last)
        axis = 0 if player == "theta" else 1
        return tf.reduce_mean(tf.gather(self.payoff, drawn, axis=axis), axis=axis)


class MatrixGame(BiAffine):
    """min_p max_q <q, a> - <q, A p> with checked payoffs (paper eq. 1).

    Args:
      payoff: A [n, m], finite: n strategies of the maximiser, m of the minimiser. An array,
        nested lists or a tensor.
      offset: a [n], or None for zeros.
      dtype: tf.float64 or tf.float32.
      name: for reports.
      row_labels: names of the n strategies of the maximiser.
      column_labels: names of the m strategies of the minimiser.

    Raises:
      InputError: for a payoff that is not a finite matrix with a strategy a side, an offset
        or labels that do not fit it, or another dtype.
    """

    def __init__(
        self,
        payoff: Any,
        offset: Any = None,
        dtype: tf.DType | str = tf.float64,
        name: str = "matrix game",
        row_labels: Sequence[str] | None = None,
        column_labels: Sequence[str] | None = None,
    ):
        dtype = tf.as_dtype(dtype)
        if dtype not in (tf.float64, tf.float32):
            raise InputError(f"The dtype of {name} must be float64 or float32, got {dtype.name}.")
        A = _tensor(payoff, dtype, f"The payoff of {name}")
        if A.shape.rank != 2:
            raise InputError(
                f"The payoff of {name} must be a matrix [n, m] (n strategies of the maximiser, "
                f"m of the minimiser), got shape {tuple(A.shape)}."
            )
        n, m = A.shape
        if n == 0 or m == 0:
            raise InputError(
                f"Each player of {name} needs at least one strategy, got a payoff of shape "
                f"({n}, {m})."
            )
        a = (
            tf.zeros([n], dtype)
            if offset is None
            else _tensor(offset, dtype, f"The offset of {name}")
        )
        if a.shape.as_list() != [n]:
            raise InputError(
                f"The offset of {name} must have one number per row of the payoff, shape "
                f"({n},), got shape {tuple(a.shape)}."
            )
        _check_finite(A, f"The payoff of {name}")
        _check_finite(a, f"The offset of {name}")
        for what, labels, num in (("row", row_labels, n), ("column", column_labels, m)):
            if labels is not None and len(labels) != num:
                raise InputError(f"{name} needs {num} {what} labels, got {len(labels)}.")
        super().__init__(A, a)
        self.dtype, self.name = dtype, name
        self.row_labels, self.column_labels = row_labels, column_labels

    @classmethod
    def from_table(
        cls,
        table: Any,
        dtype: tf.DType | str = tf.float64,
        name: str = "matrix game",
        row_labels: Sequence[str] | None = None,
        column_labels: Sequence[str] | None = None,
    ) -> MatrixGame:
        """The game of a payoff table: F(x_i, y_j) = table[i, j], rows minimise, columns maximise.

        Rock-paper-scissors and the like are written so. A is minus the table's transpose.

        Args:
          table: M [m, n], finite.
          dtype: see the class.
          name: see the class.
          row_labels: of the m rows of the table, the minimiser's.
          column_labels: of the n columns of the table, the maximiser's.

        Raises:
          InputError: as the class does; an entry is then named by its place in the table.
        """
        M = _tensor(table, tf.as_dtype(dtype), f"The payoff table of {name}")
        if M.shape.rank != 2:
            raise InputError(
                f"The payoff table of {name} must be a matrix, got shape {tuple(M.shape)}."
            )
        _check_finite(M, f"The payoff table of {name}")
        return cls(-tf.transpose(M), None, dtype, name, column_labels, row_labels)

    @property
    def num_strategies(self) -> Pair[int]:
        """Pair(theta=m, w=n)."""
        n, m = self.payoff.shape.as_list()
        return Pair(m, n)

    def value(self, p: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
        """F(p, q) = <q, a - A p>, a scalar, for weights p [m] and q [n]."""
        return tf.tensordot(self._weights(q), self.derivative("w", self._weights(p)), 1)

    def best_responses(self, p: tf.Tensor, q: tf.Tensor) -> tuple[Pair, Pair]:
        """The best pure strategies against q and p, and their payoffs.

        Args:
          p: weights [m].
          q: weights [n].

        Returns:
          (Pair(argmin_i F(e_i, q), argmax_j F(p, e_j)) of int64 scalars,
          Pair(min_i F(e_i, q), max_j F(p, e_j))).
        """
        p, q = self._weights(p), self._weights(q)
        against_q = self.derivative("theta", q) + tf.tensordot(q, self.offset, 1)
        against_p = self.derivative("w", p)
        return (
            Pair(tf.argmin(against_q), tf.argmax(against_p)),
            Pair(tf.reduce_min(against_q), tf.reduce_max(against_p)),
        )

    def gap(self, p: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
        """max_j F(p, e_j) - min_i F(e_i, q) >= 0, exact: (p, q) is a gap-NE. Scalar."""
        _, payoffs = self.best_responses(p, q)
        return payoffs.w - payoffs.theta

    def half_ranges(self) -> Pair[float]:
        """G of each player: half the range of its derivative's entries, the worst over opponents.

        Shifts of A and a that leave the game as it is leave both numbers as they are. [D]
        """
        theta = _half_range(self.payoff, axis=1)
        # The maximiser's derivative is a - A p, a mixture of the columns of a 1^T - A.
        net = self.payoff - self.offset[:, None] if np.any(self.offset.numpy()) else self.payoff
        return Pair(theta, _half_range(net, axis=0))

    def lipschitz(self) -> float:
        """L: |<q - q', A (p - p')>| <= L |q - q'|_1 |p - p'|_1. [D]

        Differences of mixtures do not see u 1^T + 1 v^T, so that A may be shifted row by row
        or column by column to halve its range; never more than half the range of A.
        """
        return min(self.half_ranges())

    def _weights(self, x) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(x), self.dtype)


def _tensor(x, dtype, what) -> tf.Tensor:
    try:
        x = x if tf.is_tensor(x) else np.asarray(x, dtype.as_numpy_dtype)
        return tf.cast(tf.convert_to_tensor(x), dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be an array of numbers: {error}") from None


def _check_finite(x: tf.Tensor, what: str) -> None:
    if bool(tf.reduce_all(tf.math.is_finite(x))):
        return
    bad = ~np.isfinite(x.numpy())
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    raise InputError(
        f"{what} must be finite; entry {list(first)} is {x.numpy()[first]} ({int(bad.sum())} bad "
        "in all). Indices count from 0."
    )


def _half_range(x: tf.Tensor, axis: int) -> float:
    widths = tf.reduce_max(x, axis) - tf.reduce_min(x, axis)
    return float(tf.reduce_max(widths)) / 2.0


# Step sizes.


class StepSizes(NamedTuple):
    """What theory says about a run.

    Attributes:
      eta: the step size of each player; at t = 1 if `anytime`.
      anytime: eta_t = eta / sqrt(t), t = 1, 2, ..., and averages weighted by eta_t; otherwise
        constant, and uniform averages.
      bound: T -> a bound on the gap of the averages after T steps with these step sizes (on its
        expectation for stochastic payoffs); None where no theorem is at hand.
    """

    eta: Pair[float]
    anytime: bool
    bound: Callable[[int], float] | None


def _sums(num_steps: int, anytime: bool) -> tuple[float, float]:
    """sum_t c_t and sum_t c_t^2 over T steps, for eta_t = eta c_t."""
    if not anytime:
        return float(num_steps), float(num_steps)
    t = np.arange(1, num_steps + 1, dtype=np.float64)
    return float(np.sum(t**-0.5)), float(np.sum(1.0 / t))


def theory_step_sizes(
    method: str,
    num_steps: int,
    half_ranges: Pair[float],
    divergences: Pair[float],
    variances: Pair[float] = Pair(0.0, 0.0),  # noqa: B008 - immutable
    anytime: bool = False,
    eta: Pair[float] | None = None,
) -> StepSizes:
    """Step sizes for which the gap of the averages is bounded, and the bound.

    With D, G, L of the module's docstring and sigma^2 = `variances`, a sum over the players:

    Mirror descent, regret of exponential weights (Bubeck, lecture notes, 2011; Nemirovski et
    al. 2009):  gap <= sum D / (eta T) + eta G^2 / 2;  eta = sqrt(2 D / T) / G.
    With noise:  E gap <= sum 2 D / (eta T) + eta (G^2 + 3/2 sigma^2). [D: |g + xi|^2 <=
    2 G^2 + 2 |xi|^2, and a ghost iterate for max_z sum <xi, z_t - z>.]

    Mirror-Prox (Nemirovski 2004), if eta_theta eta_w L^2 <= 1:  gap <= sum D / (eta T);
    eta_theta / eta_w = sqrt(D_theta / D_w), hence 2 L sqrt(D_theta D_w) / T. Chambolle-Pock
    has the same (2016, theorem 1, Bregman distances). With noise (Juditsky, Nemirovski &
    Tauvel 2011), if eta_theta eta_w L^2 <= 1/3:  E gap <= sum 2 D / (eta T) + 7/2 eta sigma^2.

    `anytime`: eta_t = eta / sqrt(t) without a horizon; T becomes sum_t t^-1/2 and the term in
    eta is multiplied by sum_t 1/t / sum_t t^-1/2. The logarithm is the price.

    Args:
      method: a key of METHODS.
      num_steps: T, the horizon.
      half_ranges: G.
      divergences: D.
      variances: sigma^2, bounds on E |noise|_inf^2 of each player's derivative.
      anytime: see above.
      eta: step sizes to use instead; the bound is for them.
    """
    G, D, sigma2 = half_ranges, divergences, variances
    L, noisy, descent = min(G), max(variances) > 0, METHODS[method].descent
    if descent:
        quadratic = [
            g * g + 1.5 * s if noisy else g * g / 2 for g, s in zip(G, sigma2, strict=True)
        ]
    else:
        quadratic = [3.5 * s for s in sigma2]
    starts = [2 * d if noisy else d for d in D]

    if eta is None:
        horizon = 1.0 if anytime else float(num_steps)
        best = [
            math.sqrt(d / (horizon * c)) if c > 0 else math.inf
            for d, c in zip(starts, quadratic, strict=True)
        ]
        if descent:
            eta = Pair(*(e if math.isfinite(e) else 1.0 for e in best))
        else:
            # A player with one strategy has D = 0; any ratio is then as good.
            ratio = math.sqrt(max(D.theta, math.log(2)) / max(D.w, math.log(2)))
            largest = 1.0 / (L * (math.sqrt(3) if noisy else 1.0)) if L > 0 else 1.0
            eta = Pair(min(largest * ratio, best[0]), min(largest / ratio, best[1]))

    # A hair's breadth for rounding: eta may be the very largest.
    stable = (eta.theta * L) * (eta.w * L) <= (1 / 3 if noisy else 1.0) * (1 + 1e-9)
    proven = METHODS[method].proven and min(eta) >= 0 and (descent or stable)
    if method == "chambolle_pock" and noisy:
        proven = False

    def bound(T: int) -> float:
        first, second = _sums(T, anytime)
        terms = [
            (d / e if d else 0.0) / first + e * c * second / first
            for d, e, c in zip(starts, eta, quadratic, strict=True)
            if e > 0 or d > 0
        ]
        return float(sum(terms))

    usable = proven and all(e > 0 or d == 0 for d, e in zip(D, eta, strict=True))
    return StepSizes(eta, anytime, bound if usable else None)


def _noise_variances(game: MatrixGame, G, num_sampled, noise_std) -> Pair[float]:
    """Bounds on E |noise|_inf^2: maxima of sub-Gaussian variables of variance proxy s^2. [D]

    The mean of k draws from a range of 2 G has s^2 = G^2 / k (Hoeffding), Gaussian noise its
    variance; and E max_i xi_i^2 <= 2 s^2 (1 + log(2 d)) over d entries.
    """

    def of(player: Player) -> float:
        proxy = noise_std**2 + (G.of(player) ** 2 / num_sampled if num_sampled else 0.0)
        return 2.0 * proxy * (1.0 + math.log(2 * game.num_strategies.of(player)))

    return Pair(of("theta"), of("w"))


# The driver.


class Method(NamedTuple):
    """A scheme of exact prox steps.

    Attributes:
      scheme: Pair of prox steps -> Scheme.
      average_before: average the iterates at which a step starts, p_1, ..., p_T with p_1 the
        start, as regret bounds do; otherwise the scheme's outputs.
      descent: whether the theory is mirror descent's.
      proven: whether `theory_step_sizes` knows a bound.
    """

    scheme: Callable[[Pair], Scheme]
    average_before: bool = False
    descent: bool = False
    proven: bool = True


METHODS: dict[str, Method] = {
    "mirror_descent": Method(schemes.mirror_descent, average_before=True, descent=True),
    "mirror_prox": Method(schemes.mirror_prox),
    "chambolle_pock": Method(schemes.chambolle_pock),
    "alternated_mirror_descent": Method(
        functools.partial(schemes.mirror_descent, alternated=True), descent=True, proven=False
    ),
    "alternated_mirror_prox": Method(
        functools.partial(schemes.mirror_prox, alternated=True), proven=False
    ),
}


class _Carry(NamedTuple):
    """What a run carries: t steps done, the scheme's state, sums of weighted iterates."""

    t: tf.Tensor
    state: Any
    sums: Pair
    total: tf.Tensor
    finite: tf.Tensor


@functools.lru_cache(maxsize=32)
def _compiled(method: str, anytime: bool, num_sampled: int | None, noise_std: float, seed: int):
    """(begin, advance) of a method; one trace per shape and dtype, whatever the game."""
    average_before = METHODS[method].average_before

    def scheme_of(eta):
        def schedule(player):
            if not anytime:
                return lambda t: eta.of(player)
            return lambda t: eta.of(player) / tf.sqrt(tf.cast(t + 1, tf.float64))

        return METHODS[method].scheme(Pair(entropic(schedule("theta")), entropic(schedule("w"))))

    def begin(eta, z: Pair) -> _Carry:
        sums = Pair(*(tf.zeros_like(x, tf.float64) for x in z))
        zero = tf.zeros([], tf.float64)
        state = scheme_of(eta).init(*z)
        return _Carry(tf.zeros([], tf.int64), state, sums, zero, tf.constant(True))

    # The payoff is an argument: neither a constant of the graph nor part of its identity.
    @tf.function(autograph=False)
    def advance(payoff, offset, eta, carry: _Carry, end) -> _Carry:
        """Steps up to number `end`."""
        oracle = Oracle(BiAffine(payoff, offset, num_sampled, noise_std), seed=seed)
        scheme = scheme_of(eta)

        def body(t, state, sums, total, finite):
            m = t * scheme.num_batches(t)
            new, logs = scheme.step(oracle, state, t, m)
            output = scheme.output(state if average_before else new)
            c = 1.0 / tf.sqrt(tf.cast(t + 1, tf.float64)) if anytime else 1.0
            sums = Pair(
                *(
                    s + c * tf.cast(tf.nn.softmax(z), tf.float64)
                    for s, z in zip(sums, output, strict=True)
                )
            )
            finite &= logs.theta["finite"] & logs.w["finite"]
            return _Carry(t + 1, new, sums, total + c, finite)

        return _Carry(
            *tf.while_loop(lambda t, *_: t < end, body, tuple(carry), parallel_iterations=1)
        )

    def last(eta, carry: _Carry) -> Pair:
        return scheme_of(eta).output(carry.state)

    return begin, advance, last


def record_points(num_steps: int, per_decade: int = 10) -> np.ndarray:
    """Steps 1 ... num_steps in geometric progression: int64, strictly increasing.

    Args:
      num_steps: at least 1; the last point.
      per_decade: how many per factor of ten, at least 1.
    """
    num = max(2, 1 + math.ceil(per_decade * math.log10(max(num_steps, 2))))
    return np.unique(np.rint(np.geomspace(1, num_steps, num)).astype(np.int64))


def solve(
    game: MatrixGame,
    method: str = "mirror_prox",
    num_steps: int = 10_000,
    step_size: float | Pair[float] | None = None,
    anytime: bool = False,
    tolerance: float | None = None,
    start: Pair | None = None,
    records_per_decade: int = 10,
    num_sampled: int | None = None,
    noise_std: float = 0.0,
    seed: int = 0,
) -> Solution:
    """Runs an entropic mirror method in log space and certifies its ergodic averages.

    Args:
      game: the game.
      method: a key of METHODS; all are compositions of `schemes` and `prox.entropic`.
      num_steps: T, at least 1. Compiled code does not depend on it.
      step_size: eta > 0, one or Pair(theta, w); None: see `theory_step_sizes`. Mirror descent's
        default is the constant for the horizon num_steps.
      anytime: eta_t = eta / sqrt(t) and averages weighted by eta_t.
      tolerance: stop at the first record whose gap is at most this.
      start: initial weights, Pair([m], [n]), positive; None: uniform.
      records_per_decade: density of the log-spaced steps at which the gap is computed.
      num_sampled: k: stochastic derivatives from k sampled strategies (see `BiAffine`).
      noise_std: Gaussian noise on the derivatives.
      seed: of the stochastic derivatives.

    Returns:
      Solution of the averages (Mirror-Prox: of the intermediates). Atoms are indices [m, 1].
      history: "step", "gap" and "value" of the averages, "last_gap" of the last iterate.
      details: "step_size" (theta, w), "anytime", "bound" on the gap (its expectation if
      stochastic; None without a theorem), "last" (log-weights of the last iterate), "seconds"
      (with compilation), "converged" (None without a tolerance).

    Raises:
      InputError: for an unknown method, numbers out of range, a start that does not fit, or
        iterates that stopped being finite.
    """
    _check_settings(method, num_steps, tolerance, num_sampled, noise_std, records_per_decade)
    began = time.perf_counter()
    p0 = _start(game, start)
    D = Pair(*(float(-np.log(x.min())) for x in p0))
    G = game.half_ranges()
    stochastic = num_sampled is not None or noise_std > 0
    variances = _noise_variances(game, G, num_sampled, noise_std) if stochastic else Pair(0.0, 0.0)
    theory = theory_step_sizes(method, num_steps, G, D, variances, anytime, _eta(step_size))
    eta = Pair(*(tf.constant(e, tf.float64) for e in theory.eta))
    begin, advance, last = _compiled(
        method, anytime, num_sampled, float(noise_std), seed if stochastic else 0
    )
    carry = begin(eta, Pair(*(tf.constant(np.log(x), game.dtype) for x in p0)))
    rows, converged, averages, before = [], None if tolerance is None else False, p0, 0
    for step in record_points(num_steps, records_per_decade):
        carry = advance(game.payoff, game.offset, eta, carry, tf.constant(int(step), tf.int64))
        averages = Pair(*(s.numpy() / s.numpy().sum() for s in carry.sums))
        if not bool(carry.finite) or not all(np.isfinite(x).all() for x in averages):
            raise InputError(
                f"{method} on {game.name} stopped being finite between steps {before} and {step}, "
                f"with step sizes {theory.eta.theta:.3g} and {theory.eta.w:.3g}. Choose a smaller "
                "step_size, or None for theory's."
            )
        iterate = last(eta, carry)
        gap = float(game.gap(*averages))
        last_gap = float(game.gap(*(tf.nn.softmax(z) for z in iterate)))
        rows.append((int(step), gap, float(game.value(*averages)), last_gap))
        before = int(step)
        if tolerance is not None and gap <= tolerance:
            converged = True
            break
    step, gap, value, last_gap = (np.array(column) for column in zip(*rows, strict=True))
    return Solution(
        nu=_measure(averages.theta),
        mu=_measure(averages.w),
        value=float(value[-1]),
        gap=max(float(gap[-1]), 0.0),
        certificate="exact",
        method=method,
        history={"step": step, "gap": gap, "value": value, "last_gap": last_gap},
        details={
            "step_size": tuple(theory.eta),
            "anytime": anytime,
            "bound": theory.bound(before) if theory.bound else None,
            "last": Pair(*(z.numpy() for z in last(eta, carry))),
            "seconds": time.perf_counter() - began,
            "converged": converged,
        },
    )


def _measure(weights: np.ndarray) -> Measure:
    return Measure(np.arange(len(weights), dtype=np.float64)[:, None], weights)


def _eta(step_size) -> Pair[float] | None:
    if step_size is None:
        return None
    both = step_size if isinstance(step_size, tuple) else (step_size, step_size)
    if len(both) != 2 or not all(math.isfinite(e) and e > 0 for e in both):
        raise InputError(
            f"step_size must be a positive number, or one per player, got {step_size!r}."
        )
    return Pair(*(float(e) for e in both))


def _start(game: MatrixGame, start: Pair | None) -> Pair:
    """Checked initial weights, float64, normalised."""
    if start is None:
        return Pair(*(np.full(num, 1.0 / num) for num in game.num_strategies))
    weights = [np.asarray(x, np.float64) for x in start]
    for x, num, player in zip(weights, game.num_strategies, ("theta", "w"), strict=True):
        if x.shape != (num,) or not np.isfinite(x).all() or not (x > 0).all():
            raise InputError(
                f"start of {player} must be {num} positive weights (a strategy of weight 0 would "
                f"never be played), got shape {x.shape} with minimum "
                f"{x.min() if x.size else None}."
            )
    return Pair(*(x / x.sum() for x in weights))


def _check_settings(method, num_steps, tolerance, num_sampled, noise_std, per_decade) -> None:
    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}. Choose one of: {', '.join(METHODS)}.")
    for what, number in (("num_steps", num_steps), ("records_per_decade", per_decade)):
        if int(number) != number or number < 1:
            raise InputError(f"{what} must be a whole number, at least 1, got {number!r}.")
    if tolerance is not None and not tolerance >= 0:
        raise InputError(f"tolerance must be at least 0, got {tolerance!r}.")
    if num_sampled is not None and (int(num_sampled) != num_sampled or num_sampled < 1):
        raise InputError(f"num_sampled must be at least 1, or None, got {num_sampled!r}.")
    if not (math.isfinite(noise_std) and noise_std >= 0):
        raise InputError(f"noise_std must be at least 0 and finite, got {noise_std!r}.")
