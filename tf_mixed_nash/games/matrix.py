"""Finite bi-affine games (paper section 2.1).

    min_{p in Delta_m} max_{q in Delta_n}  F(p, q) = <q, a> - <q, A p>          [P eq. 1]

A is `payoff` [n, m], a is `offset` [n]. The minimiser's mixture p is the player "theta", the
maximiser's q the player "w". A point of a player is its log-weights z, p = softmax(z), so that
`prox.entropic` is the mirror-descent step of eq. 2 and the schemes run unchanged. Mixtures in
arguments and results are weights; log-weights appear in `field` and in the schemes' states.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.game import Shard
from tf_mixed_nash.types import Pair, Player

__all__ = ["BiAffine", "MatrixGame"]


class BiAffine:
    """The derivatives of eq. 1 for given tensors, unchecked. A `Game`: see `games.game`.

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

    def field(self, player, z, opponent, batch=None, key: Any = None, shard=Shard()):  # noqa: B008
        """See `Game.field`: z [d] and the opponent's atoms are log-weights.

        "theta" descends -A^T q, "w" descends -(a - A p); both are linear in the measure, with
        q = sum_j a_j softmax(z_j). batch and shard are not used, and key only where the
        derivative is stochastic.
        """
        terms = opponent.terms()
        total = functools.reduce(operator.add, [a for a, _ in terms])
        if self.num_sampled is None:
            # One product whatever the number of atoms.
            mixture = functools.reduce(operator.add, [a * tf.nn.softmax(o) for a, o in terms])
            product = tf.linalg.matvec(self.payoff, mixture, transpose_a=player == "theta")
        else:
            # The atoms share their uniforms: a signed measure has the difference's variance.
            products = [a * self._sampled_product(player, o, key) for a, o in terms]
            product = functools.reduce(operator.add, products)
        g = -product if player == "theta" else product - total * self.offset
        if self.noise_std:
            num = tf.compat.dimension_value(z.shape[0])
            g += self.noise_std * rng.normal(key, num, z.dtype, at=1)
        # Nobody pays for the loss where nobody reads it: the graph drops it.
        loss = tf.tensordot(tf.nn.softmax(z), g, 1)
        return g, {"loss": loss, "penalty": tf.zeros([], z.dtype)}

    def project(self, player, z):
        """The identity: log-weights are free."""
        return z

    def _sampled_product(self, player, log_weights, key):
        """The mean of A's rows (theta) or columns (w) at k strategies drawn from the opponent."""
        num: Any = self.num_sampled
        drawn = rng.choice(key, num, tf.nn.softmax(log_weights), at=0)
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

    Example, rock, paper, scissors:
      >>> game = MatrixGame.from_table([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
      >>> float(game.gap([1 / 3] * 3, [1 / 3] * 3))
      0.0
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
        if not tf.is_tensor(x):
            if np.iscomplexobj(x):
                raise TypeError("they are complex")
            x = np.asarray(x, dtype.as_numpy_dtype)
        return tf.cast(tf.convert_to_tensor(x), dtype)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be an array of numbers: {error}") from None


def _check_finite(x: tf.Tensor, what: str) -> None:
    if bool(tf.reduce_all(tf.math.is_finite(x))):
        values = np.abs(x.numpy())
        least, largest = np.finfo(values.dtype).tiny, float(values.max(initial=0.0))
        if 0 < largest < least:
            raise InputError(
                f"The largest number of {what} is {largest:.3g}, and below {least:.3g} computers "
                "take numbers for 0. Multiply the payoffs by a power of two."
            )
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
