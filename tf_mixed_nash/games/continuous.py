"""Continuous games: a differentiable payoff F(x, y) on compact sets, x descends, y ascends.

The lifted payoff of measures nu over x and mu over y is bi-affine:

    F(nu, mu) = sum_ij a_i b_j F(x_i, y_j),    nu = sum_i a_i delta(x_i), mu = sum_j b_j delta(y_j)

Its derivatives are the functions x -> F(x, mu) and y -> F(nu, y) (paper section 2.2), which
`against` returns with their gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.games.boxes import Box
from tf_mixed_nash.types import Measure, Player, other

__all__ = ["ArrayGame", "ContinuousGame", "GridGame"]


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

    Example:
      >>> one = Box(-1.0, 1.0)
      >>> game = ContinuousGame(lambda x, y: tf.reduce_sum(x * y), one, one)
      >>> game.matrix([[0.5]], [[1.0], [-1.0]]).numpy().tolist()
      [[0.5, -0.5]]
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

    def on_unit_boxes(self) -> ContinuousGame:
        """The same game in coordinates in which both sets are [0, 1]^d."""

        def payoff(u, v):
            return self.payoff(self.x_set.scaled(u), self.y_set.scaled(v))

        x_set, y_set = (
            Box([0.0] * s.dim, 1.0, s.periodic.tolist()) for s in (self.x_set, self.y_set)
        )
        return ContinuousGame(payoff, x_set, y_set, self.dtype, self.name)

    def matrix(self, x: Any, y: Any) -> tf.Tensor:
        """F(x_i, y_j) for x [m, d] and y [n, e]: [m, n].

        Raises:
          InputError: for points of another dimension.
        """
        x, y = self._points("theta", x), self._points("w", y)
        return self._compiled.matrix(x, y) if tf.executing_eagerly() else self._matrix(x, y)

    def against(self, player: Player, z: Any, opponent: Measure) -> tuple[tf.Tensor, tf.Tensor]:
        """What the opponent's measure makes of points of `player`.

        Args:
          player: "theta": z are points of X and the opponent a measure over Y; or "w".
          z: [m, d].
          opponent: atoms [n, e], weights [n].

        Returns:
          (F(z_i, mu) or F(nu, z_i): [m], its gradient in z_i: [m, d]). Signs are F's: the
          minimiser descends the gradient, the maximiser ascends it.

        Raises:
          InputError: if F has no gradient in z, or for points of another dimension.
        """
        z = self._points(player, z)
        atoms, weights = self.checked(other(player), opponent)
        if tf.executing_eagerly():
            return self._compiled.against[player](z, atoms, weights)
        return self._against(player, z, atoms, weights)

    def value(self, nu: Measure, mu: Measure) -> tf.Tensor:
        """F(nu, mu), a scalar."""
        (x, a), (y, b) = self.checked("theta", nu), self.checked("w", mu)
        return tf.tensordot(a, tf.linalg.matvec(self.matrix(x, y), b), 1)

    def derivatives(self, x: Any, y: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """F and its derivatives in z = (x, y) at the pairs (x_i, y_i), x [p, d], y [p, e].

        Returns:
          (F [p], gradient [p, d + e], Hessian [p, d + e, d + e]); 0 where F has no
          derivative in a coordinate.
        """
        return self._compiled.derivatives(self._points("theta", x), self._points("w", y))

    # Eager calls go through functions that are traced once, for any number of points.
    @functools.cached_property
    def _compiled(self) -> SimpleNamespace:
        def points(player: Player):
            return tf.TensorSpec([None, self.set_of(player).dim], self.dtype)

        def compiled(function, *signature):
            return tf.function(function, input_signature=signature, autograph=False)

        weights, x, y = tf.TensorSpec([None], self.dtype), points("theta"), points("w")
        return SimpleNamespace(
            matrix=compiled(self._matrix, x, y),
            pairs=compiled(self._pairs, x, y),
            derivatives=compiled(self._derivatives, x, y),
            against={
                "theta": compiled(functools.partial(self._against, "theta"), x, y, weights),
                "w": compiled(functools.partial(self._against, "w"), y, x, weights),
            },
        )

    def _pairs(self, x, y):
        return tf.vectorized_map(lambda pair: self.payoff(*pair), (x, y))

    def _matrix(self, x, y):
        m, n = tf.shape(x)[0], tf.shape(y)[0]
        values = self._pairs(tf.repeat(x, n, axis=0), tf.tile(y, tf.stack([m, 1])))
        return tf.reshape(values, [m, n])

    def _against(self, player: Player, z, atoms, weights):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            if player == "theta":
                values = tf.linalg.matvec(self._matrix(z, atoms), weights)
            else:
                values = tf.linalg.matvec(self._matrix(atoms, z), weights, transpose_a=True)
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

    def _derivatives(self, x, y):
        d, e = self.x_set.dim, self.y_set.dim
        zero = tf.UnconnectedGradients.ZERO
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as outer:
            z = tf.concat([x, y], axis=1)
            outer.watch(z)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(z)
                values = self._pairs(z[:, :d], z[:, d:])
            gradient = inner.gradient(values, z, unconnected_gradients=zero)
            columns = tf.unstack(gradient, num=d + e, axis=1)
        rows = [outer.gradient(c, z, unconnected_gradients=zero) for c in columns]
        return values, gradient, tf.stack(rows, axis=1)

    def _points(self, player: Player, z) -> tf.Tensor:
        z, dim = tf.convert_to_tensor(z, self.dtype), self.set_of(player).dim
        if z.shape.rank != 2 or z.shape[1] != dim:
            raise InputError(
                f"Points of {'x' if player == 'theta' else 'y'} in {self.name} must be of shape "
                f"[number, {dim}], got {tuple(z.shape)}."
            )
        return z

    def checked(self, player: Player, measure: Measure) -> tuple[tf.Tensor, tf.Tensor]:
        """(atoms [m, d], weights [m]) of a measure of `player`, as tensors of the game's dtype.

        Raises:
          InputError: for shapes that do not fit the game or each other.
        """
        atoms = self._points(player, measure.atoms)
        weights = tf.convert_to_tensor(measure.weights, self.dtype)
        if weights.shape.rank != 1 or not weights.shape.is_compatible_with(atoms.shape[:1]):
            raise InputError(
                f"A measure in {self.name} must have one weight for each of its "
                f"{atoms.shape[0]} atoms, got weights of shape {tuple(weights.shape)}."
            )
        return atoms, weights

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
        values = self._compiled.pairs(x, y)
        finite = tf.math.is_finite(tf.concat([values, [at_centre]], axis=0)).numpy()
        if not finite.all():
            i = int((~finite).argmax())
            x, y = tf.concat([x, centre[:1]], 0), tf.concat([y, centre[1:]], 0)
            raise InputError(
                f"The payoff of {self.name} is not finite everywhere on its sets, for instance "
                f"near x={x[i].numpy().tolist()}, y={y[i].numpy().tolist()}. Bound it, or "
                "shrink the sets."
            )


class ArrayGame:
    """A game of a vectorised payoff, which need not be differentiable nor TensorFlow.

    Args:
      payoff: (x [m, d], y [n, e]), float64 arrays -> F(x_i, y_j), an array [m, n].
      x_set: X, whose player minimises.
      y_set: Y, whose player maximises.
      name: for reports.

    Example:
      >>> game = ArrayGame(lambda x, y: np.abs(x - y.T), Box(0.0, 1.0), Box(0.0, 1.0))
      >>> game.matrix([[0.0], [1.0]], [[0.25]]).numpy().tolist()
      [[0.25], [0.75]]
    """

    def __init__(
        self,
        payoff: Callable[[np.ndarray, np.ndarray], np.ndarray],
        x_set: Box,
        y_set: Box,
        name: str = "game",
    ):
        self.payoff, self.x_set, self.y_set, self.name = payoff, x_set, y_set, name
        self.dtype = tf.float64

    def matrix(self, x, y) -> tf.Tensor:
        """F(x_i, y_j), float64 [m, n].

        Raises:
          InputError: if the payoff returns another shape.
        """
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        values = np.asarray(self.payoff(x, y), np.float64)
        if values.shape != (len(x), len(y)):
            raise InputError(
                f"The payoff of {self.name} must return F(x_i, y_j) for all pairs, shape "
                f"({len(x)}, {len(y)}) for x {x.shape} and y {y.shape}, got {values.shape}."
            )
        return tf.constant(values)


# What can be put on a grid: sets, a dtype, a name, and `matrix`.
GridGame = ContinuousGame | ArrayGame
