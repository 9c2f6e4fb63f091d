"""The two nouns of the package: measures over parameters, and pairs of players.

A player's parameters are one vector z in R^d (theta for the generator, w for the
discriminator), as in the paper. Networks are views of such vectors
(`tf_mixed_nash.models.Network`), so that every formula reads as printed.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar

import tensorflow as tf

__all__ = ["PLAYERS", "Measure", "Pair", "Particles", "Player", "dirac", "other"]

Player = Literal["theta", "w"]
PLAYERS: tuple[Player, Player] = ("theta", "w")

T = TypeVar("T")


class Pair(NamedTuple, Generic[T]):
    """One thing for each player.

    Attributes:
      theta: the generator's; it descends the payoff F(theta, w) (paper eq. 3).
      w: the discriminator's; it ascends F.
    """

    theta: Any
    w: Any

    def of(self, player: Player) -> Any:
        """The thing of `player`, which is "theta" or "w"."""
        return self.theta if player == "theta" else self.w


def other(player: Player) -> Player:
    """The opponent of `player`."""
    return "w" if player == "theta" else "theta"


class Measure(NamedTuple):
    """A finite measure  sum_j a_j delta(z_j)  over the parameters of one player.

    A mixed strategy has weights that are non-negative and sum to 1. Signed measures are
    allowed: Chambolle-Pock plays against 2 nu_t - nu_{t-1}, which is weights (2, -1).

    Attributes:
      atoms: [m, d] float, the z_j; or a tuple of m vectors [d].
      weights: [m] float, the a_j; or a tuple of m floats.
    """

    atoms: Any
    weights: Any

    @property
    def num_atoms(self) -> int:
        """m, which is static."""
        return len(self.atoms) if isinstance(self.atoms, tuple) else int(self.atoms.shape[0])

    def terms(self) -> list[tuple[Any, Any]]:
        """The pairs (a_j, z_j)."""
        return [(self.weights[j], self.atoms[j]) for j in range(self.num_atoms)]


def dirac(z: tf.Tensor) -> Measure:
    """The measure delta(z): a pure strategy, and the paper's mean approximation (4.2)."""
    return Measure(atoms=(z,), weights=(1.0,))


class Particles(NamedTuple):
    """A mixed strategy  sum_i a_i delta(x_i)  as the state of a player: see `prox.conic`.

    A player's field, taken at particles, has the same form: the first variation of the
    payoff at the atoms [m], and its gradients there [m, d].

    Attributes:
      log_weights: [m] float, log a_i; -inf for an atom that is absent.
      atoms: [m, d] float, the x_i.
    """

    log_weights: Any
    atoms: Any
