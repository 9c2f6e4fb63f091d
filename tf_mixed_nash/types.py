"""The two nouns of the package: measures over parameters, and pairs of players.

A player's parameters are one vector z in R^d (theta for the generator, w for the
discriminator), as in the paper. Networks are views of such vectors
(`tf_mixed_nash.models.Network`), so that every formula reads as printed.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tf_mixed_nash.errors import InputError

__all__ = [
    "PLAYERS",
    "Measure",
    "Pair",
    "Particles",
    "Player",
    "atoms_of",
    "dirac",
    "other",
    "particles",
    "weights_of",
]

Player = Literal["theta", "w"]
PLAYERS: tuple[Player, Player] = ("theta", "w")

T = TypeVar("T")


class Pair(NamedTuple, Generic[T]):
    """One thing for each player.

    Attributes:
      theta: the generator's; it descends the payoff F(theta, w) (paper eq. 3).
      w: the discriminator's; it ascends F.

    Example:
      >>> Pair("generator", "discriminator").of("w")
      'discriminator'
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
      atoms: [m, d] float, the z_j; or a tuple of m vectors [d]. One of a tuple may be `Particles`,
        themselves a mixed strategy: a_j is then the mass of the whole.
      weights: [m] float, the a_j; or a tuple of m floats.

    Example:
      >>> Measure(tf.constant([[0.0], [1.0]]), tf.constant([0.25, 0.75])).num_atoms
      2
    """

    atoms: Any
    weights: Any

    @property
    def num_atoms(self) -> int:
        """m, which is static."""
        return len(self.atoms) if isinstance(self.atoms, tuple) else int(self.atoms.shape[0])

    def terms(self) -> list[tuple[Any, Any]]:
        """The pairs (a_j, z_j); of `Particles` one for each of theirs."""
        pairs = []
        for j in range(self.num_atoms):
            a, z = self.weights[j], self.atoms[j]
            if isinstance(z, Particles):
                each = zip(tf.unstack(a * tf.exp(z.log_weights)), tf.unstack(z.atoms), strict=True)
                pairs += list(each)
            else:
                pairs.append((a, z))
        return pairs


def dirac(z: tf.Tensor) -> Measure:
    """The measure delta(z): a pure strategy, and the paper's mean approximation (4.2)."""
    return Measure(atoms=(z,), weights=(1.0,))


class Particles(NamedTuple):
    """A mixed strategy  sum_i a_i delta(x_i)  as the state of a player.

    See `methods.measures` for networks, `prox.conic` for points of a small set. There a player's
    field, taken at particles, has the same form: the first variation of the payoff at the atoms
    [m], and its gradients there [m, d].

    Attributes:
      log_weights: [m] float, log a_i; -inf for an atom that is absent.
      atoms: [m, d] float, the x_i.
    """

    log_weights: Any
    atoms: Any


def particles(atoms: tf.Tensor, weights: Any = None) -> Particles:
    """The mixed strategy with these atoms.

    Args:
      atoms: [n', d], n' >= 1.
      weights: n' numbers >= 0 of sum 1, not a graph's tensor; equal ones by default.

    Raises:
      InputError: for atoms or weights of another form.
    """
    if atoms.shape.rank != 2 or not atoms.shape[0]:
        raise InputError(f"Particles are rows [n', d], n' >= 1; got shape {tuple(atoms.shape)}.")
    num: Any = atoms.shape[0]
    a = np.full([num], 1.0 / num) if weights is None else np.asarray(weights, np.float64)
    if a.shape != (num,):
        raise InputError(f"{num} particles have {num} weights, got shape {a.shape}.")
    # Rounding of n' numbers in float32 stays below 1e-6; a forgotten weight does not.
    if not np.all(a >= 0.0) or not abs(a.sum() - 1.0) <= 1e-6:
        raise InputError(f"Weights are at least 0 and sum to 1, got {a.tolist()}.")
    with np.errstate(divide="ignore"):
        log_weights = np.log(a / a.sum())
    return Particles(tf.constant(log_weights, atoms.dtype), atoms)


def atoms_of(z: Any) -> Any:
    """The atoms [n', d] of `Particles`; a point [d] itself."""
    return z.atoms if isinstance(z, Particles) else z


def weights_of(z: Any) -> Any:
    """The weights [n'] of `Particles`, of sum 1; None of a point [d]."""
    return tf.exp(z.log_weights) if isinstance(z, Particles) else None
