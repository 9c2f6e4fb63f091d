"""Particle solvers of continuous games: mixed strategies as weighted atoms that move.

A player's state is `Particles` (log weights [m], atoms [m, d]); one prox step is
`prox.conic`; the schemes are those of the networks, unchanged:

    gda                  atoms only, one, no noise                   mirror_descent
    langevin             atoms only, with noise                      mirror_descent
    wfr                  atoms with noise, weights                   mirror_descent
    conic_mirror_descent atoms, weights                              mirror_descent
    conic_mirror_prox    atoms, weights                              mirror_prox

These converge locally at best. `solve(refine=True)`, the default of conic_mirror_prox, adds
what makes them global: see `_iterate`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError, unknown
from tf_mixed_nash.games.continuous import ContinuousGame
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.methods import schemes
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import conic
from tf_mixed_nash.methods.schedules import constant
from tf_mixed_nash.methods.schemes import Scheme
from tf_mixed_nash.solvers.certificates import Certificate, certify, check
from tf_mixed_nash.solvers.polish import equalise, merge, reweigh
from tf_mixed_nash.solvers.solution import Solution
from tf_mixed_nash.types import PLAYERS, Measure, Pair, Particles, Player

__all__ = [
    "METHODS",
    "Constants",
    "Method",
    "ParticleGame",
    "Steps",
    "default_steps",
    "sampled_constants",
    "solve",
]


class ParticleGame:
    """The lift of a continuous game to particles, as a `games.game.Game`.

    The opponent is a measure over `Particles`, whose mixture is played against: with
    weights (2, -1) it is the signed measure of Chambolle-Pock.

    Args:
      game: F on X x Y.
    """

    def __init__(self, game: ContinuousGame):
        self.game = game

    def field(self, player: Player, z, opponent, batch=None, key=None, shard=Shard()):  # noqa: B008
        """(Particles(V(z_i) [m], grad V(z_i) [m, d]), logs): V is F(., mu) of "theta", and
        -F(nu, .) of "w". "loss" is F's own value, with the player's sign."""
        mixture = Measure(
            tf.concat([p.atoms for p in opponent.atoms], axis=0),
            tf.concat(
                [
                    c * tf.exp(p.log_weights)
                    for c, p in zip(opponent.weights, opponent.atoms, strict=True)
                ],
                axis=0,
            ),
        )
        sign = 1.0 if player == "theta" else -1.0
        values, gradient = self.game.against(player, z.atoms, mixture)
        V = sign * values
        loss = tf.reduce_sum(tf.exp(z.log_weights) * V)
        return Particles(V, sign * gradient), {"loss": loss, "penalty": tf.zeros_like(loss)}

    def project(self, player: Player, z: tf.Tensor) -> tf.Tensor:
        """The nearest points of the player's set, for atoms [m, d]."""
        return self.game.set_of(player).project(z)


class Steps(NamedTuple):
    """Step sizes in the coordinates in which both sets are [0, 1]^d.

    Attributes:
      weight: eta, of the weights.
      position: gamma, of the atoms.
      temperature: eps, in units of the payoff.
    """

    weight: float
    position: float
    temperature: float


@dataclasses.dataclass(frozen=True)
class Method:
    """An entry of METHODS.

    Attributes:
      title: for tables.
      source: [C] from another paper, [D] derived.
      scheme: Pair[Prox] -> Scheme.
      weights: whether the weights move.
      noisy: whether there is a temperature.
      num_atoms: by default.
      refine: by default.
    """

    title: str
    source: str
    scheme: Callable[[Pair], Scheme]
    weights: bool = True
    noisy: bool = False
    num_atoms: int = 32
    refine: bool = False


METHODS: dict[str, Method] = {
    "conic_mirror_prox": Method(
        "Conic-particle Mirror-Prox",
        "[C] Wang & Chizat 2022; rounds, insertion and polish [D]",
        schemes.mirror_prox,
        refine=True,
    ),
    "conic_mirror_descent": Method(
        "Conic-particle descent-ascent", "[C] Wang & Chizat 2022", schemes.mirror_descent
    ),
    "wfr": Method(
        "Wasserstein-Fisher-Rao Langevin descent-ascent",
        "[C] Domingo-Enrich et al. 2020",
        schemes.mirror_descent,
        noisy=True,
    ),
    "langevin": Method(
        "Langevin descent-ascent",
        "[C] Domingo-Enrich et al. 2020",
        schemes.mirror_descent,
        weights=False,
        noisy=True,
    ),
    "gda": Method(
        "Gradient descent-ascent",
        "simultaneous, one atom each",
        schemes.mirror_descent,
        weights=False,
        num_atoms=1,
    ),
}


class Constants(NamedTuple):
    """Sampled Lipschitz constants of a payoff on unit boxes.

    Attributes:
      range: R, the largest difference of two values.
      gradient: G, the largest norm of the gradient in (x, y).
      curvature: L, the largest spectral norm of the Hessian in (x, y).
    """

    range: float
    gradient: float
    curvature: float


def sampled_constants(game: ContinuousGame, seed: int = 0) -> Constants:
    """R, G and L at 256 random pairs of points, a function of the seed."""
    key = rng.stream(seed, "particles/constants")
    x, y = (
        game.set_of(p).uniform(rng.fold_in(key, i), 256, game.dtype) for i, p in enumerate(PLAYERS)
    )
    F, gradient, hessian = (part.numpy().astype(np.float64) for part in game.derivatives(x, y))
    if not all(np.isfinite(part).all() for part in (F, gradient, hessian)):
        raise InputError(
            f"The derivatives of the payoff of {game.name} are not finite everywhere on its "
            "sets. Smooth it, or shrink the sets."
        )
    return Constants(
        range=max(float(np.ptp(F)), 1e-12 * max(1.0, float(np.abs(F).max()))),
        gradient=float(np.linalg.norm(gradient, axis=1).max()),
        curvature=float(np.abs(np.linalg.eigvalsh(hessian)).max()),
    )


def default_steps(constants: Constants, method: Method) -> Steps:
    """Step sizes from Lipschitz constants.

        eta = 1 / (2 R),   gamma = min(1 / (2 L), 1 / (4 eta G^2)),   eps = R / 1,000

    With them one step changes the field of a player by at most about half of its own
    change: in the weights (eta R), in the positions (gamma L) and across (sqrt(eta gamma) G),
    which is what the two-phase step needs (Nemirovski 2004), up to what was not sampled.

    Args:
      constants: R, G, L of a game on unit boxes.
      method: eta = 0 or eps = 0 where it has none.
    """
    R, G, L = constants
    eta = 0.5 / R
    gamma = min(0.5 / max(L, 1e-12 * R), 0.25 / max(eta * G**2, 1e-12 * R))
    return Steps(eta if method.weights else 0.0, gamma, 1e-3 * R if method.noisy else 0.0)


def solve(
    game: ContinuousGame,
    method: str = "conic_mirror_prox",
    num_atoms: int | None = None,
    num_steps: int = 2000,
    seed: int = 0,
    tolerance: float | None = None,
    weight_step: float | None = None,
    position_step: float | None = None,
    temperature: float | None = None,
    refine: bool | None = None,
    num_rounds: int = 10,
    num_starts: int | None = None,
) -> Solution:
    """An approximate mixed Nash equilibrium and its gap, checked with fresh starts.

    Args:
      game: F, X, Y; differentiable in both.
      method: a key of METHODS.
      num_atoms: m, of each player; the most a solution can have. Default: see METHODS.
      num_steps: outer steps altogether, at most.
      seed: of the first atoms, the noise and the certificate's random starts.
      tolerance: stop at this gap, as the search sees it. Default: a millionth of the range of F at
        256 random pairs.
      weight_step: eta, in 1 / units of F. Default: `default_steps`.
      position_step: gamma, in widths^2 / units of F. Default: `default_steps`.
      temperature: eps, in units of F. Default: `default_steps`.
      refine: between rounds, merge, polish and insert best responses (see `_iterate`);
        default: of conic_mirror_prox only. Else the method runs as published.
      num_rounds: of the refinement, one every num_steps / num_rounds steps.
      num_starts: of the certificate, see `certificates.certify`.

    Returns:
      A Solution. history, at steps 0, 1, 2, ... in a geometric series and at the end of
      every round: "step", "gap" of the last iterate (no averages), and "best", the lowest
      gap of an answer up to then. With refine the answer is that best one, else the last
      iterate. details: the step sizes, whether refined, seconds.

    Raises:
      InputError: for an unknown method, numbers out of range, and payoffs that are not
        differentiable or become infinite on the way.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    chosen = METHODS[method]
    num_atoms = chosen.num_atoms if num_atoms is None else num_atoms
    counts = {"num_atoms": num_atoms, "num_steps": num_steps, "num_rounds": num_rounds}
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}.")
    given = (weight_step, position_step, temperature)
    names = ("weight_step", "position_step", "temperature")
    for name, value in zip(("tolerance", *names), (tolerance, *given), strict=True):
        if value is not None and not 0 <= value < np.inf:
            raise InputError(f"{name} must be finite and at least 0, got {value}.")
    started = time.perf_counter()
    unit = game.on_unit_boxes()
    constants = sampled_constants(unit, seed)
    steps = default_steps(constants, chosen)
    steps = Steps(*(s if g is None else g for s, g in zip(steps, given, strict=True)))
    run = _Run(unit, chosen, steps, num_atoms, seed, num_starts)
    refine = chosen.refine if refine is None else refine
    if tolerance is None:
        tolerance = 1e-6 * constants.range
    answer, history = _iterate(run, num_steps, num_rounds if refine else 0, tolerance)
    # The search took the least of its lower bounds: what its starts missed is looked for again.
    checked = run.checked(answer)
    nu, mu = (
        Measure(box.lower + unit.atoms * box.width, unit.weights)
        for box, unit in zip((game.x_set, game.y_set), answer.measures, strict=True)
    )
    return Solution(
        nu=nu,
        mu=mu,
        value=float(game.value(nu, mu)),
        gap=max(checked.gap, answer.certificate.gap),
        certificate=checked.words,
        method=method,
        history={k: np.array([row[k] for row in history]) for k in history[0]},
        details={
            **dict(zip(names, steps, strict=True)),
            "refined": refine,
            "gap_of_the_search": answer.certificate.gap,
            "seconds": time.perf_counter() - started,
        },
    )


class _Answer(NamedTuple):
    measures: Pair
    certificate: Certificate


class _Run:
    """The compiled dynamics of one game on unit boxes, with buffers of fixed size."""

    def __init__(self, game, method: Method, steps: Steps, num_atoms: int, seed: int, num_starts):
        self.game, self.seed, self.num_starts = game, seed, num_starts
        self.num_atoms = num_atoms
        self._seen = Pair(list[np.ndarray](), list[np.ndarray]())
        prox = conic(*(constant(s) for s in steps))
        self.scheme = method.scheme(Pair(prox, prox))
        self.oracle = Oracle(ParticleGame(game), seed=seed)
        self._advance = tf.function(self._steps, autograph=False)

    def start(self) -> Pair:
        """Uniform weights on uniform points."""
        key, dtype = rng.stream(self.seed, "particles/start"), self.game.dtype
        log_weights = tf.fill([self.num_atoms], -tf.math.log(tf.cast(self.num_atoms, dtype)))
        theta, w = (
            self.game.set_of(p).uniform(rng.fold_in(key, i), self.num_atoms, dtype)
            for i, p in enumerate(PLAYERS)
        )
        return Pair(Particles(log_weights, theta), Particles(log_weights, w))

    def particles(self, measures: Pair) -> Pair:
        """Measures of at most num_atoms atoms in the buffers; the rest is absent."""

        def fill(measure: Measure) -> Particles:
            missing = self.num_atoms - len(measure.weights)
            atoms = np.concatenate([measure.atoms, np.tile(measure.atoms[:1], (missing, 1))])
            with np.errstate(divide="ignore"):
                log_weights = np.log(np.append(measure.weights, np.zeros(missing)))
            return Particles(*(tf.constant(part, self.game.dtype) for part in (log_weights, atoms)))

        return Pair(*map(fill, measures))

    def advance(self, state: Pair, t: int, num: int) -> Pair:
        """The state after outer steps t, ..., t + num - 1."""
        state, finite = self._advance(state, *(tf.constant(k, tf.int64) for k in (t, t + num)))
        if not finite:
            raise InputError(
                f"The payoff of {self.game.name} or its gradient became infinite or NaN during "
                f"the outer steps {t} to {t + num}. Bound it, shrink the sets, or lower the "
                "step sizes."
            )
        return state

    def _steps(self, state, begin, end):
        def body(t, state, finite):
            state, logs = self.scheme.step(self.oracle, state, t, t * self.scheme.num_batches(t))
            return t + 1, state, finite & logs.theta["finite"] & logs.w["finite"]

        _, state, finite = tf.while_loop(
            lambda t, *_: t < end, body, (begin, state, tf.constant(True))
        )
        return state, finite

    def measures(self, state: Pair) -> Pair:
        """The iterate that the scheme returns, without absent atoms."""

        def measure(z: Particles) -> Measure:
            weights = np.exp(z.log_weights.numpy().astype(np.float64))
            kept = weights > 0
            return Measure(
                z.atoms.numpy().astype(np.float64)[kept], weights[kept] / weights[kept].sum()
            )

        return Pair(*map(measure, self.scheme.output(state)))

    def certified(self, measures: Pair) -> _Answer:
        """With its gap."""
        found = certify(self.game, *measures, num_starts=self.num_starts, seed=self.seed)
        for player in PLAYERS:
            self._seen.of(player).append(getattr(found, player).optima[:_KEPT_OPTIMA])
        return _Answer(measures, found)

    def checked(self, answer: _Answer) -> Certificate:
        """Its gap from fresh starts and every optimum that was seen."""
        seen = Pair(*(np.concatenate(self._seen.of(p)) for p in PLAYERS))
        starts = {"num_starts": self.num_starts, "seed": self.seed}
        return check(self.game, *answer.measures, seen, **starts)


# Of every certificate of a search, for the check at its end.
_KEPT_OPTIMA = 8


# Of the history, on top of the ends of rounds.
_NUM_RECORDS = 12


def _iterate(
    run: _Run, num_steps: int, num_rounds: int, tolerance: float
) -> tuple[_Answer, list[dict]]:
    """The method as published, or with rounds of refinement [D]:

    1. dynamics: a round of outer steps from the current particles (local convergence).
    2. polish: candidates from the particles, as they are and with the weights of their
       finite game's exact equilibrium, merged at several radii and made exact by Newton
       (`polish`).
    3. certificate: the candidate of the lowest gap is kept if it beats the best so far.
    4. insertion: the local optima of the certificate that beat the value become atoms of
       the next round (column generation; double oracle, McMahan et al. 2003, for continuous
       games Adam et al. 2021), which makes the search global.
    """
    ends = set(np.linspace(0, num_steps, num_rounds + 1).round().astype(int)[1:].tolist())
    records = np.geomspace(1, num_steps, _NUM_RECORDS).round().astype(int).tolist()
    state, history, t = run.scheme.init(*run.start()), [], 0
    best = answer = None
    for record in sorted({0, *ends, *records}):
        state = run.advance(state, t, record - t) if record > t else state
        t = record
        last = run.certified(run.measures(state))
        answers = [last] if best is None else [best, last]
        if t in ends or (num_rounds and last.certificate.gap <= tolerance):
            answers += _polished(run, last)
        previous, best = best, min(answers, key=_rank(tolerance))
        history.append({"step": t, "gap": last.certificate.gap, "best": best.certificate.gap})
        answer = best if num_rounds else last
        if answer.certificate.gap <= tolerance:
            break
        if t in ends and t < num_steps:
            # From where it is, if the round did not help: the best would lead to the same again.
            state = run.scheme.init(
                *run.particles(_with_insertions(run, last if best is previous else best))
            )
    assert answer is not None
    return answer, history


def _rank(tolerance: float):
    """Lower gaps first; below the tolerance, fewer atoms first."""

    def key(answer: _Answer):
        gap = answer.certificate.gap
        return max(gap, tolerance), _size(answer.measures), gap

    return key


def _size(measures: Pair) -> int:
    """How many atoms both have."""
    return sum(len(m.weights) for m in measures)


# What the polish tries, from careful to rough: (merging radius in widths, weight threshold).
_NUM_CERTIFIED = 2
_SUPPORTS = ((1e-3, 1e-4), (1e-2, 1e-3), (5e-2, 1e-2), (0.2, 2e-2))


def _polished(run: _Run, last: _Answer) -> list[_Answer]:
    """The candidates, of which the most promising are certified."""
    known = Pair(
        *(
            np.concatenate([last.measures.of(p).atoms, response.optima])
            for p, response in zip(PLAYERS, last.certificate[1:3], strict=True)
        )
    )

    def promise(measures: Pair) -> float:
        """The gap against the points that are known already: a lower bound, at little cost."""
        nu, mu = measures
        x, y = (np.concatenate([known.of(p), measures.of(p).atoms]) for p in PLAYERS)
        ascent = nu.weights @ run.game.matrix(nu.atoms, y).numpy()
        descent = run.game.matrix(x, mu.atoms).numpy() @ mu.weights
        return float(ascent.max() - descent.min())

    def merged(measures: Pair, radius: float, threshold: float) -> Pair:
        return Pair(
            *(merge(run.game.set_of(p), measures.of(p), radius, threshold) for p in PLAYERS)
        )

    candidates, seen = [], set()
    for source in (last.measures, Pair(*reweigh(run.game, *(m.atoms for m in last.measures)))):
        for radius, threshold in _SUPPORTS:
            rough = merged(source, radius, threshold)
            signature = tuple(np.round(part, 6).tobytes() for m in rough for part in m)
            if signature not in seen:
                seen.add(signature)
                # Newton may bring atoms together.
                candidates.append(
                    merged(Pair(*equalise(run.game, rough.theta, rough.w)), 1e-6, 1e-9)
                )
    candidates.sort(key=lambda m: (max(promise(m), 1e-12), _size(m)))
    return [run.certified(m) for m in candidates[:_NUM_CERTIFIED]]


def _with_insertions(run: _Run, answer: _Answer, share: float = 0.2) -> Pair:
    """The answer and the best responses to it, which get `share` of the weight together."""
    value = float(run.game.value(*answer.measures))
    measures = {}
    for player in PLAYERS:
        response = getattr(answer.certificate, player)
        sign = 1.0 if player == "theta" else -1.0
        gains = sign * (value - response.values)
        # At most half of the buffer, and only what is worth a tenth of the best.
        new = response.optima[gains > max(0.1 * gains[0], 0.0)][: max(run.num_atoms // 2, 1)]
        old = answer.measures.of(player)
        kept = np.argsort(-old.weights, kind="stable")[: run.num_atoms - len(new)]
        if not len(new) or not len(kept):
            measures[player] = old
            continue
        weights = old.weights[kept] / old.weights[kept].sum()
        measures[player] = Measure(
            np.concatenate([old.atoms[kept], new]),
            np.concatenate([(1 - share) * weights, np.full(len(new), share / len(new))]),
        )
    return Pair(measures["theta"], measures["w"])
