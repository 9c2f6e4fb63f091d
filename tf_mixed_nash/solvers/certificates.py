"""Gaps of continuous games: best responses by multistart maximisation, and upper bounds.

    gap(nu, mu) = max_y F(nu, y) - min_x F(x, mu)        (Nikaido-Isoda; 0 at equilibria only)

Both problems are smooth and have d variables, but many local optima. Every start descends by
projected gradient steps with a step size of its own, all in one compiled call; the best are
polished by projected Newton steps, so that the optimum is exact to rounding where F is smooth.
A missed basin makes the gap too small, never too large: it is a lower bound on the true one, and
whoever takes the least of many takes the one whose basins were missed. `check` looks again, from
fresh starts and from every optimum that was seen. A gap is certified only by `upper_bound`, which
needs a Lipschitz constant of the payoff.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.games.continuous import ContinuousGame
from tf_mixed_nash.types import PLAYERS, Measure, Pair, Player, other

__all__ = ["BestResponse", "Certificate", "best_response", "certify", "check", "upper_bound"]

_NUM_POLISHED = 32
# A check has so many times the starts, of another seed, but at most so many in all.
_FRESH = 16
_MOST_FRESH = 4_096
_NEWTON_STEPS = 20


class BestResponse(NamedTuple):
    """What a player's best pure strategies against a measure are worth.

    Attributes:
      point: float64 [d], the best found.
      value: F there.
      optima: float64 [k, d], distinct local optima, the best first; optima[0] is `point`.
      values: float64 [k], F there.
      num_starts: how many starts there were.
    """

    point: np.ndarray
    value: float
    optima: np.ndarray
    values: np.ndarray
    num_starts: int


class Certificate(NamedTuple):
    """The duality gap of a pair of measures.

    Attributes:
      gap: max_y F(nu, y) - min_x F(x, mu), at least 0.
      theta: the minimiser's best response to mu.
      w: the maximiser's best response to nu.
      words: how they were found, for `Solution.certificate`.
    """

    gap: float
    theta: BestResponse
    w: BestResponse
    words: str


def certify(
    game: ContinuousGame,
    nu: Measure,
    mu: Measure,
    num_starts: int | None = None,
    num_steps: int = 60,
    seed: int = 0,
) -> Certificate:
    """The gap of (nu, mu), a lower bound that is tight if a start hit the best basins.

    Args:
      game: with a payoff that is differentiable in x and y.
      nu: measure of the minimiser: atoms [m, d], weights [m].
      mu: of the maximiser: atoms [n, e], weights [n].
      num_starts: Sobol and random points of each set, to which all atoms of the set are
        added; by default 128 for d = 1, doubled with every dimension up to 1,024.
      num_steps: projected gradient steps of every start.
      seed: of the random points.

    Raises:
      InputError: for a payoff that is not differentiable, or not finite where it matters;
        for empty measures and wrong shapes.
    """
    x = best_response(game, "theta", mu, nu.atoms, num_starts, num_steps, seed)
    y = best_response(game, "w", nu, mu.atoms, num_starts, num_steps, seed)
    starts = " and ".join(str(n) for n in sorted({x.num_starts, y.num_starts}))
    words = (
        f"multistart: {starts} starts (Sobol points, random points, all atoms), {num_steps} "
        f"projected gradient steps each, the best {_NUM_POLISHED} distinct ends polished by "
        "Newton steps; a lower bound on the true gap unless the best basins were hit"
    )
    return _certificate(x, y, words)


def _certificate(x: BestResponse, y: BestResponse, words: str) -> Certificate:
    return Certificate(max(y.value - x.value, 0.0), x, y, words)


def check(
    game: ContinuousGame,
    nu: Measure,
    mu: Measure,
    seen: Pair,
    num_starts: int | None = None,
    num_steps: int = 60,
    seed: int = 0,
) -> Certificate:
    """The gap of (nu, mu) once more, from 16 times as many starts that no search has used.

    Args:
      game: as of `certify`.
      nu: of the minimiser.
      mu: of the maximiser.
      seen: Pair of optima [k, d] that a search has met, further starts.
      num_starts: that the search used, see `certify`; of the check at most 4,096.
      num_steps: as of `certify`.
      seed: that the search used.
    """
    fresh = rng.python_seed(rng.stream(seed, "certificate/check"))
    found = []
    for player, opponent, own in zip(PLAYERS, (mu, nu), (nu, mu), strict=True):
        usual = _num_starts(game.set_of(player).dim, num_starts)
        starts = min(_FRESH * usual, max(_MOST_FRESH, usual))
        atoms = np.concatenate([own.atoms, *([seen.of(player)] if len(seen.of(player)) else [])])
        # Random ones: Sobol points would be those of the search again, and some between.
        found.append(
            best_response(game, player, opponent, atoms, starts, num_steps, fresh, sobol=False)
        )
    x, y = found
    words = (
        f"multistart, checked with {x.num_starts} and {y.num_starts} fresh starts (random points, "
        f"all atoms, every optimum that was seen), {num_steps} projected gradient steps each, the "
        f"best {_NUM_POLISHED} distinct ends polished by Newton steps; a lower bound on the true "
        "gap, and no certificate: basins may be missed"
    )
    return _certificate(x, y, words)


def upper_bound(
    game: ContinuousGame,
    nu: Measure,
    mu: Measure,
    lipschitz: Pair,
    tolerance: float = 0.0,
    max_points: int = 200_000,
) -> float:
    """What the gap of (nu, mu) is at most: a certificate, by branch and bound (Piyavskii 1972).

    F(x', mu) >= F(x, mu) - L |x' - x|, so that a cell with the centre x and the half diagonal r has
    nothing below F(x, mu) - L r. The cells that may hold the optimum are halved until none may
    hold one that is better by more than the tolerance, or the points are used up: the bound is
    then what the cells that are left leave open.

    Args:
      game: of any payoff.
      nu: of the minimiser.
      mu: of the maximiser.
      lipschitz: Pair of L: |F(x, y) - F(x', y)| <= L.theta |x - x'| in Euclid's norm for every y,
        and likewise of w. It is believed: a wrong one certifies nothing.
      tolerance: of each of the two bounds.
      max_points: at which F is evaluated, for each player.

    Returns:
      max_y F(nu, y) - min_x F(x, mu), or more.

    Raises:
      InputError: for a constant that is negative or not finite; for a payoff that is not finite.
    """
    for constant in lipschitz:
        if not 0.0 <= constant < np.inf:
            raise InputError(f"A Lipschitz constant must be finite and at least 0, got {constant}.")
    lowest = _least(game, "theta", mu, lipschitz.theta, tolerance, max_points)
    return -_least(game, "w", nu, lipschitz.w, tolerance, max_points) - lowest


def _least(game, player: Player, opponent, constant, tolerance, max_points) -> float:
    """A lower bound of the player's cost against a measure."""
    own, sign = game.set_of(player), _sign(player)
    opponent = _compact(game, other(player), opponent)
    centres = (own.lower + 0.5 * own.width)[None]
    halves = 0.5 * own.width[None]
    best, floor, left, parents = np.inf, np.inf, max_points, np.full(1, -np.inf)
    while len(centres) and left >= len(centres):
        left -= len(centres)
        if player == "theta":
            values = game.matrix(centres, opponent.atoms).numpy() @ opponent.weights
        else:
            values = opponent.weights @ game.matrix(opponent.atoms, centres).numpy()
        costs = sign * values
        if not np.isfinite(costs).all():
            raise _not_finite(game, player, centres, costs)
        best = min(best, float(costs.min()))
        bounds = costs - constant * np.linalg.norm(halves, axis=1)
        # Nothing in these is better than the best by more than the tolerance.
        open_ = bounds < best - tolerance
        floor = min(floor, float(bounds[~open_].min(initial=np.inf)))
        centres, halves, bounds = centres[open_], halves[open_], bounds[open_]
        axis = halves.argmax(axis=1)
        step = np.zeros_like(halves)
        rows = np.arange(len(halves))
        step[rows, axis] = 0.5 * halves[rows, axis]
        parents = bounds
        centres = np.concatenate([centres - step, centres + step])
        halves = np.tile(halves - step, (2, 1))
    if len(centres):  # the points are used up
        floor = min(floor, float(parents.min()))
    return floor


def _num_starts(dim: int, num_starts: int | None) -> int:
    return 64 * 2 ** min(dim, 4) if num_starts is None else num_starts


def best_response(
    game: ContinuousGame,
    player: Player,
    opponent: Measure,
    atoms: np.ndarray | None = None,
    num_starts: int | None = None,
    num_steps: int = 60,
    seed: int = 0,
    sobol: bool = True,
) -> BestResponse:
    """argmin_x F(x, mu) of "theta", argmax_y F(nu, y) of "w", by multistart.

    Args:
      game: with a payoff that is differentiable in the player's points.
      player: who responds.
      opponent: the measure to respond to: atoms [n, e], weights [n].
      atoms: further starts, [m, d].
      num_starts: see `certify`; three of four are Sobol points, the others random.
      num_steps: projected gradient steps of every start.
      seed: of the random points.
      sobol: False: all starts are random.

    Raises:
      InputError: see `certify`.
    """
    own = game.set_of(player)
    total = _num_starts(own.dim, num_starts)
    if total < 1:
        raise InputError(f"num_starts must be at least 1, got {total}.")
    opponent = _compact(game, other(player), opponent)
    key = rng.stream(seed, f"certificate/{player}")
    num_random = total // 4 if sobol else total
    starts = [own.sobol(total - num_random, game.dtype)] if sobol else []
    if num_random:
        starts.append(own.uniform(key, num_random, game.dtype))
    if atoms is not None:
        starts.append(tf.convert_to_tensor(atoms, game.dtype))
    starts = tf.concat(starts, axis=0)
    z, cost = _descent(game, player)(starts, *opponent, tf.constant(num_steps, tf.int32))
    z, cost = z.numpy().astype(np.float64), cost.numpy()
    if not np.isfinite(cost).all():
        raise _not_finite(game, player, starts.numpy(), cost)
    z = z[np.argsort(cost, kind="stable")]
    z, cost = _newton(game, player, z[_distinct(z, own, _NUM_POLISHED)], opponent)
    order = np.argsort(cost, kind="stable")
    z, cost = z[order], cost[order]
    first = _distinct(z, own, _NUM_POLISHED)
    sign = _sign(player)
    return BestResponse(z[0], sign * cost[0], z[first], sign * cost[first], len(starts))


def _not_finite(game: ContinuousGame, player: Player, points, costs) -> InputError:
    """Of the first of the points whose cost is not."""
    bad = points[int((~np.isfinite(costs)).argmax())].tolist()
    return InputError(
        f"The payoff of {game.name} is not finite against the solution, from "
        f"{'x' if player == 'theta' else 'y'}={bad}. Bound it, or shrink the sets."
    )


def _sign(player: Player) -> float:
    """F times this is descended."""
    return 1.0 if player == "theta" else -1.0


def _compact(game: ContinuousGame, player: Player, measure: Measure) -> Measure:
    """A measure of `player` without atoms of weight 0, in NumPy and the game's dtype."""
    atoms, weights = (part.numpy() for part in game.checked(player, measure))
    if not (weights != 0).any():
        raise InputError(f"A measure of {game.name} has no atom of positive weight.")
    return Measure(atoms[weights != 0], weights[weights != 0])


def _distinct(z: np.ndarray, own: Box, number: int, radius: float = 1e-2) -> list[int]:
    """The first `number` points that are not within `radius` widths of an earlier one."""
    kept: list[int] = []
    for i in range(len(z)):
        if len(kept) == number:
            break
        offsets = own.difference(z[i], z[kept]) / own.width
        if not kept or np.abs(offsets).max(axis=1).min() > radius:
            kept.append(i)
    return kept


@functools.lru_cache(maxsize=32)
def _descent(game: ContinuousGame, player: Player):
    """(starts [s, d], atoms [n, e], weights [n], steps) -> (points [s, d], costs [s]).

    A step that lowers the cost is taken and the next is twice as long; else it is halved.
    """
    own = game.set_of(player)
    sign = tf.constant(_sign(player), game.dtype)
    squared_width = tf.constant(own.width**2, game.dtype)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, own.dim], game.dtype),
            tf.TensorSpec([None, game.set_of(other(player)).dim], game.dtype),
            tf.TensorSpec([None], game.dtype),
            tf.TensorSpec([], tf.int32),
        ],
    )
    def descend(z, atoms, weights, num_steps):
        def field(z):
            values, gradient = game.against(player, z, Measure(atoms, weights))
            # Gradients in units of the box's width.
            return sign * values, sign * gradient * squared_width

        V, g = field(z)
        slope = tf.reduce_max(tf.norm(g / tf.sqrt(squared_width), axis=1))
        length = tf.fill(tf.shape(V), 0.1 / tf.maximum(slope, 1e-30))

        def body(k, z, V, g, length):
            trial = own.project(z - length[:, None] * g)
            trial_V, trial_g = field(trial)
            better = trial_V < V
            z, g = (tf.where(better[:, None], new, old) for new, old in ((trial, z), (trial_g, g)))
            length *= tf.where(better, tf.constant(2.0, V.dtype), tf.constant(0.5, V.dtype))
            return k + 1, z, tf.where(better, trial_V, V), g, length

        _, z, V, _, _ = tf.while_loop(
            lambda k, *_: k < num_steps, body, (tf.constant(0), z, V, g, length)
        )
        return z, V

    return descend


def _newton(
    game: ContinuousGame, player: Player, z: np.ndarray, opponent: Measure
) -> tuple[np.ndarray, np.ndarray]:
    """Projected Newton steps on the cost, safeguarded: z [k, d] -> (z [k, d], costs [k]).

    Coordinates at a bound that the gradient pushes outwards are held. The others take the
    Newton step of |H| (eigenvalues by modulus, so that it descends), halved until the cost
    falls.
    """
    own, sign = game.set_of(player), _sign(player)
    fractions = 0.5 ** np.arange(10)
    k, d, n = *z.shape, len(opponent.weights)

    def costs(points):
        values, _ = game.against(player, points.reshape(-1, d), opponent)
        return sign * values.numpy().reshape(points.shape[:-1])

    cost = costs(z)
    for _ in range(_NEWTON_STEPS):
        pairs = [np.repeat(z, n, axis=0), np.tile(opponent.atoms, (k, 1))]
        _, gradient, hessian = game.derivatives(*(pairs if player == "theta" else pairs[::-1]))
        mine = slice(0, d) if player == "theta" else slice(-d, None)
        weights = opponent.weights
        g = sign * np.einsum("j,kjd->kd", weights, gradient.numpy().reshape(k, n, -1)[:, :, mine])
        blocks = hessian.numpy()[:, mine, mine].reshape(k, n, d, d)
        H = sign * np.einsum("j,kjde->kde", weights, blocks)
        free = own.free(z, g)
        g = g * free * own.width  # in units of the width
        H = H * (free[:, :, None] & free[:, None, :]) * own.width[:, None] * own.width
        curvatures, axes = np.linalg.eigh(H)
        floor = 1e-9 * (np.abs(curvatures).max(initial=0.0) + np.abs(g).max(initial=0.0)) + 1e-300
        along = np.einsum("kde,kd->ke", axes, g) / np.maximum(np.abs(curvatures), floor)
        step = -np.einsum("kde,ke->kd", axes, along)
        # Not further than half the box, and in the units of the box.
        longest = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1.0, 0.5 / np.maximum(longest, 1e-300)) * own.width
        trials = own.clip(z + fractions[:, None, None] * step)
        trial_costs = costs(trials)
        best = trial_costs.argmin(axis=0)
        rows = np.arange(k)
        better = trial_costs[best, rows] < cost
        z = np.where(better[:, None], trials[best, rows], z)
        cost = np.where(better, trial_costs[best, rows], cost)
        if not better.any():
            break
    return z, cost
