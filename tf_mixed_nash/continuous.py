"""Continuous games: a differentiable payoff F(x, y) on compact sets, x descends, y ascends.

The lifted payoff of measures nu over x and mu over y is bi-affine:

    F(nu, mu) = sum_ij a_i b_j F(x_i, y_j),    nu = sum_i a_i delta(x_i), mu = sum_j b_j delta(y_j)

Its derivatives are the functions x -> F(x, mu) and y -> F(nu, y) (paper section 2.2), which
`against` returns with their gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.sets import Box
from tf_mixed_nash.types import Measure, Player

__all__ = ["ContinuousGame"]


class ContinuousGame:
    """min over x in X, max over y in Y of F(x, y), and its lift to measures.

    Args:
      payoff: F: (x [d], y [e]) -> scalar, in TensorFlow operations.
      x_set: X, of dimension d.
      y_set: Y, of dimension e.
      dtype: of the points.
      name: for reports.

    Raises:
      InputError: for a payoff that is no function, fails, is not a real scalar of `dtype`,
        or is not finite at the centre or at 64 random pairs of the sets.
    """

    def __init__(
        self,
        payoff: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        x_set: Box,
        y_set: Box,
        dtype: tf.DType = tf.float64,
        name: str = "continuous game",
    ):
        self.payoff, self.x_set, self.y_set = payoff, x_set, y_set
        self.dtype, self.name = dtype, name
        self._check()

    def set_of(self, player: Player) -> Box:
        """X of "theta" (the minimiser), Y of "w" (the maximiser)."""
        return self.x_set if player == "theta" else self.y_set

    def matrix(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """F(x_i, y_j) for x [m, d] and y [n, e]: [m, n]."""
        m, n = tf.shape(x)[0], tf.shape(y)[0]
        pairs = (tf.repeat(x, n, axis=0), tf.tile(y, tf.stack([m, 1])))
        values = tf.vectorized_map(lambda pair: self.payoff(*pair), pairs)
        return tf.reshape(values, [m, n])

    def against(
        self, player: Player, z: tf.Tensor, opponent: Measure
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the opponent's measure makes of points of `player`.

        Args:
          player: "theta": z are points of X and the opponent a measure over Y; or "w".
          z: [m, d].
          opponent: atoms [n, e], weights [n].

        Returns:
          (F(z_i, mu) or F(nu, z_i): [m], its gradient in z_i: [m, d]). Signs are F's: the
          minimiser descends the gradient, the maximiser ascends it.

        Raises:
          InputError: if F has no gradient in z.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            if player == "theta":
                values = tf.linalg.matvec(self.matrix(z, opponent.atoms), opponent.weights)
            else:
                values = tf.linalg.matvec(
                    self.matrix(opponent.atoms, z), opponent.weights, transpose_a=True
                )
            total = tf.reduce_sum(values)
        gradient: Any = tape.gradient(total, z)
        if gradient is None:
            letter = "x" if player == "theta" else "y"
            raise InputError(
                f"The payoff of {self.name} is not differentiable in {letter}: TensorFlow finds "
                "no gradient (rounding, comparison and integer operations have none). Give a "
                "differentiable payoff, or solve the game on a grid (--method=grid_mirror_prox)."
            )
        return values, gradient

    def value(self, nu: Measure, mu: Measure) -> tf.Tensor:
        """F(nu, mu), a scalar."""
        left = tf.linalg.matvec(self.matrix(nu.atoms, mu.atoms), mu.weights)
        return tf.tensordot(nu.weights, left, 1)

    def _check(self) -> None:
        for what, given in (("x_set", self.x_set), ("y_set", self.y_set)):
            if not isinstance(given, Box):
                raise InputError(f"{what} of {self.name} must be a Box, got {given!r}.")
        if not callable(self.payoff):
            raise InputError(f"The payoff of {self.name} must be a function, got {self.payoff!r}.")
        centre = [
            tf.constant((s.lower + s.upper) / 2, self.dtype) for s in (self.x_set, self.y_set)
        ]
        try:
            at_centre = tf.convert_to_tensor(self.payoff(*centre))
        except Exception as error:
            raise InputError(
                f"The payoff of {self.name} failed at x={centre[0].numpy().tolist()}, "
                f"y={centre[1].numpy().tolist()}: {error}"
            ) from error
        if at_centre.shape.rank != 0 or at_centre.dtype != self.dtype:
            raise InputError(
                f"The payoff of {self.name} must return one number of {self.dtype.name} for "
                f"x [{self.x_set.dim}] and y [{self.y_set.dim}], got shape "
                f"{tuple(at_centre.shape)} of {at_centre.dtype.name}."
            )
        key = rng.stream(0, "continuous/check")
        x, y = (
            s.uniform(rng.fold_in(key, i), 64, self.dtype)
            for i, s in enumerate((self.x_set, self.y_set))
        )
        values = tf.vectorized_map(lambda pair: self.payoff(*pair), (x, y))
        finite = tf.math.is_finite(tf.concat([values, [at_centre]], axis=0)).numpy()
        if not finite.all():
            i = int((~finite).argmax()) % 64
            raise InputError(
                f"The payoff of {self.name} is not finite everywhere on its sets, for instance "
                f"near x={x[i].numpy().tolist()}, y={y[i].numpy().tolist()}. Bound it, or "
                "shrink the sets."
            )
