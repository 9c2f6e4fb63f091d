"""The duality gap of a game by K-step best responses (Grnarova et al. 2019, 2021) [C].

For a pair of strategies, pure or mixed, with measures nu over theta and mu over w,

    DG(nu, mu) = F(nu, w_K) - F(theta_K, mu)

    w_K      K ascent steps on w -> F(nu, w) from a copy of w
    theta_K  K descent steps on theta -> F(theta, mu) from a copy of theta

The exact gap, sup_w F(nu, w) - inf_theta F(theta, mu) >= 0, is 0 only at an equilibrium. With
K steps DG is a lower bound on it, up to sampling error: w_K is some w and theta_K some theta.
It can therefore be negative where K steps are too few or too long; it is reported as it is.
The responses train on mini-batches of their own and F is evaluated on other data with other,
fixed latents.

The payoff of a GAN is F = minus the discriminator's loss, for both players. With `wgan` and
`minimax` that is the game that is trained; with `nonsaturating`, `least_squares` and `hinge`
the generator trains on another loss, and the gap is that of the zero-sum game. The best
response of w is trained with the game's regularisers (gradient penalty, R1, clipping), without
which a WGAN's critic could grow for ever. The F that is reported holds none of them by default:
of a WGAN it then has no finite supremum (a last layer ten times as large makes F ten times as
large), and the gap says how far K steps came. With `regularized` F is minus the discriminator's
loss with its penalties, for both players: the payoff of the game that is trained, whose supremum is
finite, and the gap is that game's. Compare gaps of responses of the same strength alone: against a
measure of more than `max_atoms` atoms a step sees some of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.game import Game
from tf_mixed_nash.games.gan import GanGame
from tf_mixed_nash.games.objectives import Losses, Objective, wgan
from tf_mixed_nash.methods.oracle import Oracle
from tf_mixed_nash.methods.prox import one_step
from tf_mixed_nash.types import Measure, Pair, Player

__all__ = ["DualityGap", "Gap", "gan_duality_gap", "zero_sum"]


class Gap(NamedTuple):
    """A K-step duality gap; float64 scalars.

    Attributes:
      gap: ascended - descended.
      ascended: F(nu, w_K).
      descended: F(theta_K, mu).
      start: Pair: theta is F(theta_0, mu) and w is F(nu, w_0), before the K steps.
    """

    gap: tf.Tensor
    ascended: tf.Tensor
    descended: tf.Tensor
    start: Pair


def zero_sum(objective: Objective) -> Objective:
    """The objective whose generator minimises minus the discriminator's loss [D].

    `wgan` is returned as it is: the two differ by E f_w(real), which theta does not enter.
    """
    if objective is wgan:
        return objective

    def negated(real, fake):
        loss = objective(real, fake).discriminator
        return Losses(discriminator=loss, generator=-loss)

    return negated


class DualityGap:
    """Measures K-step duality gaps of one game; compiled, one trace for each number of atoms.

    Args:
      game: whose fields the best responses follow; both players' of one zero-sum payoff.
      payoff: (theta [d], w [e]) -> F(theta, w), a scalar on the held-out data.
      samplers: Pair of `Sampler`; each best response starts it anew.
      num_steps: K >= 0; with 0 the gap is F(nu, w) - F(theta, mu).
      batch_at: m -> the mini-batch number m of the best responses, m = 0..K-1; None for games
        without data.
      seed: of the latents and atoms that the best responses draw. Equal calls give equal bits.
      max_atoms: a response to a measure of more atoms plays at every step against so many of
        them, drawn by their weights. The field is linear in the measure, so that it stays
        unbiased, and a step does not cost more the more atoms there are. Weights must be
        non-negative.

    Raises:
      InputError: for num_steps < 0 or max_atoms < 1.
    """

    def __init__(
        self,
        game: Game,
        payoff: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        samplers: Pair,
        num_steps: int,
        batch_at: Callable[[Any], Any] | None = None,
        seed: int = 0,
        max_atoms: int = 4,
    ):
        for name, value, least in (("num_steps", num_steps, 0), ("max_atoms", max_atoms, 1)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} must be an integer of at least {least}, got {value!r}.")
        self._payoff, self._num_steps, self._max_atoms = payoff, num_steps, max_atoms
        self._oracle = Oracle(game, batch_at, seed)
        self._proxes = Pair(*(one_step(sampler) for sampler in samplers))
        self._atom_keys = Pair(*(rng.stream(seed, f"atoms/{p}") for p in ("theta", "w")))
        self._measure = tf.function(self._gap, autograph=False)

    def __call__(self, nu: Measure, mu: Measure, start: Pair | None = None) -> Gap:
        """The gap of (nu, mu).

        Args:
          nu: over theta; atoms a tensor [m, d], weights [m], non-negative and of sum 1.
          mu: over w; atoms [n, e], weights [n].
          start: the points (theta [d], w [e]) whose copies move; by default the last atoms.

        Raises:
          InputError: if a measure is not such a pair of tensors.
        """
        for name, measure in (("nu", nu), ("mu", mu)):
            atoms, weights = (tf.convert_to_tensor(x) for x in measure)
            if atoms.shape.rank != 2 or weights.shape != atoms.shape[:1]:
                raise InputError(
                    f"{name} must have atoms [m, d] and weights [m], got shapes {atoms.shape} "
                    f"and {weights.shape}. A pure strategy z is Measure(z[None], [1.0])."
                )
        theta, w = start or Pair(nu.atoms[-1], mu.atoms[-1])
        return self._measure(_tensors(nu, theta.dtype), _tensors(mu, w.dtype), Pair(theta, w))

    def _gap(self, nu, mu, start):
        w_K = self._respond("w", start.w, nu)
        theta_K = self._respond("theta", start.theta, mu)

        def against_nu(w):
            return _mean(lambda theta: self._payoff(theta, w), nu)

        def against_mu(theta):
            return _mean(lambda w: self._payoff(theta, w), mu)

        ascended, descended = against_nu(w_K), against_mu(theta_K)
        before = Pair(against_mu(start.theta), against_nu(start.w))
        return Gap(ascended - descended, ascended, descended, before)

    def _respond(self, player: Player, z, opponent):
        """K steps of the player's sampler from z against the opponent's measure."""
        prox, key = self._proxes.of(player), self._atom_keys.of(player)

        def body(k, z, state):
            seen = self._atoms_at(opponent, key, k)
            asked = self._oracle.with_outer_step(k)
            move = prox.step(asked, player, z, z, seen, state, k, k)
            return k + 1, move.z, move.state

        K = tf.constant(self._num_steps, tf.int64)
        start = (tf.zeros([], tf.int64), z, prox.init(z))
        return tf.while_loop(lambda k, *_: k < K, body, start)[1]

    def _atoms_at(self, measure, key, k):
        """The measure, or `max_atoms` equally weighted draws from it, those of step k."""
        count = self._max_atoms
        if measure.num_atoms <= count:
            return measure
        index = rng.choice(key, count, measure.weights, at=k)
        equal = tf.fill([count], tf.ones([], measure.weights.dtype) / count)
        return Measure(tf.gather(measure.atoms, index), equal)


def gan_duality_gap(
    game: GanGame,
    samplers: Pair,
    num_steps: int,
    batch_at: Callable[[Any], tf.Tensor],
    real: tf.Tensor,
    seed: int = 0,
    max_atoms: int = 4,
    regularized: bool = False,
) -> DualityGap:
    """The duality gap of a GAN, on its zero-sum payoff (see the module).

    Args:
      game: as it is trained.
      samplers: see `DualityGap`.
      num_steps: K.
      batch_at: m -> real mini-batch number m, which the best responses train on.
      real: [n, ...], on which F is evaluated; not among those mini-batches. Of a conditional
        game its classes are those of the generated data, too.
      seed: of all latents: those of F are a stream of their own.
      max_atoms: see `DualityGap`.
      regularized: F has the game's penalties. Both responses follow the fields of the game as it
        is trained; theta's knows no penalty, and is some theta, as any is.
    """
    payoff_game = GanGame(
        game.generator,
        game.discriminator,
        game.latent_dim,
        zero_sum(game.objective),
        game.regularizers,
        game.num_classes,
        latent_law=game.latent_law,
        packing=game.packing,
    )
    latents = game.latents(rng.stream(seed, "evaluation"), len(real), real.dtype)
    inputs = game.conditioned(latents, real)

    def payoff(theta, w):
        fake = game.labelled(game.generator(theta, inputs), inputs)
        f = lambda x: game.discriminator(w, game.packed(x))  # noqa: E731
        loss = game.objective(f(real), f(fake)).discriminator
        if regularized:
            loss += game.penalty(w, real, fake, rng.stream(seed, "penalty"))
        return -loss

    return DualityGap(payoff_game, payoff, samplers, num_steps, batch_at, seed, max_atoms)


def _mean(function, measure):
    """sum_j a_j function(z_j), float64."""
    values = tf.map_fn(
        lambda z: tf.cast(function(z), tf.float64), measure.atoms, fn_output_signature=tf.float64
    )
    return tf.reduce_sum(tf.cast(measure.weights, tf.float64) * values)


def _tensors(measure, dtype):
    return Measure(*(tf.cast(tf.convert_to_tensor(x), dtype) for x in measure))
