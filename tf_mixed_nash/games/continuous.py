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
from tf_mixed_nash.types import Measure, Pair, Player, other

__all__ = ["ArrayGame", "ContinuousGame", "GridGame", "NotDifferentiableError"]

# Cells of a set, where Python is called for each pair of points; tensors take ten times as long.
_FEW_CELLS = {"numbers": 200, "tensors": 40}
# Where a set is looked at beside its centre: no factor is 0 there by symmetry.
_GENERIC = 0.381966


class NotDifferentiableError(InputError):
    """A payoff has no gradient."""


class ContinuousGame:
    """min over x in X, max over y in Y of F(x, y), and its lift to measures.

    Args:
      payoff: F: (x [d], y [e]) -> scalar, in TensorFlow operations. One of other operations
        (Python's `if`, NumPy, math) is called for each pair of points, and has no gradient.
      x_set: X, of dimension d.
      y_set: Y, of dimension e.
      dtype: of the points.
      name: for reports.

    Attributes:
      pointwise: "" for a payoff of TensorFlow operations alone; else what it is called with,
        "numbers" (NumPy's) or "tensors".
      largest: of |F| there.

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
        self.pointwise, self._why_pointwise = "", ""
        self._check()

    @property
    def few_points(self) -> Pair[int]:
        """Points of a grid along each coordinate where Python is called for each pair of cells."""
        cells = _FEW_CELLS[self.pointwise or "numbers"]
        per_axis = (int(cells ** (1 / s.dim) + 1e-9) for s in (self.x_set, self.y_set))
        return Pair(*(min(100, max(2, n)) for n in per_axis))

    @functools.cached_property
    def not_differentiable(self) -> str:
        """Why solvers that follow gradients cannot solve the game; "" if they can."""
        if self.pointwise:
            return self._why_pointwise
        key = rng.stream(0, "continuous/differentiable")
        x, y = (
            s.uniform(rng.fold_in(key, i), 16, self.dtype)
            for i, s in enumerate((self.x_set, self.y_set))
        )
        both: tuple[tuple[Player, tf.Tensor, tf.Tensor], ...] = (("theta", x, y), ("w", y, x))
        for player, z, theirs in both:
            letter = "x" if player == "theta" else "y"
            try:
                values, gradient = self.against(player, z, Measure(theirs[:1], tf.ones(1, z.dtype)))
            except NotDifferentiableError:
                return f"TensorFlow finds no gradient of its payoff in {letter}"
            if not np.any(gradient.numpy()) and np.ptp(values.numpy()):
                return f"its payoff varies in {letter}, and its gradient in {letter} is 0"
        return ""

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
        if self.pointwise:
            m, n = len(x), len(y)
            each = self._each(np.repeat(x, n, axis=0), np.tile(y, (m, 1)))
            return tf.constant(each.reshape(m, n), self.dtype)
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
        if self.pointwise:
            raise NotDifferentiableError(
                f"{self.name} cannot be solved by gradients: {self._why_pointwise}. Solve it on a "
                "grid (--method=grid_mirror_prox)."
            )
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
            raise NotDifferentiableError(
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
            at_centre = self.payoff(*centre)
            if _is_number(at_centre):  # NumPy's or Python's: no operation of TensorFlow's
                at_centre = self._by_points(at_centre)
            at_centre = tf.convert_to_tensor(at_centre)
        except InputError:
            raise
        except Exception as error:
            try:
                # What tensors cannot do, NumPy's arrays may.
                at_centre = tf.convert_to_tensor(self._by_points(None))
            except Exception:
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
        values = None
        if not self.pointwise:
            try:
                values = self._compiled.pairs(x, y)
                again = self._compiled.pairs(x, y)
                if not np.allclose(again, values, 1e-5, equal_nan=True):
                    raise self._no_function()
            except InputError:
                raise
            except Exception:  # Python's `if`, float(x), NumPy: each fails in its own way
                self._by_points(at_centre.numpy())
        if values is None:
            values = tf.constant(self._each(x.numpy(), y.numpy()), self.dtype)
        values = tf.concat([values, [at_centre]], axis=0)
        self.largest = float(tf.reduce_max(tf.abs(values)))
        finite = tf.math.is_finite(values).numpy()
        if not finite.all():
            i = int((~finite).argmax())
            x, y = tf.concat([x, centre[:1]], 0), tf.concat([y, centre[1:]], 0)
            raise InputError(
                f"The payoff of {self.name} is not finite everywhere on its sets, for instance "
                f"near x={x[i].numpy().tolist()}, y={y[i].numpy().tolist()}. Bound it, or "
                "shrink the sets."
            )

    def _by_points(self, at_centre: Any) -> np.ndarray:
        """Calls the payoff for each pair from now on; F at the centre, known to be `at_centre`."""
        self._why_pointwise = (
            "its payoff is not made of TensorFlow's operations alone (Python's `if`, NumPy and "
            "math are not), so that it has no gradient"
        )
        x, y = (self._at(s, 0.5) for s in (self.x_set, self.y_set))
        self.pointwise = "numbers"
        try:
            found = self._each(x, y)[0]
            same = at_centre is None or bool(np.isclose(found, at_centre, 1e-5, equal_nan=True))
        except InputError:
            if at_centre is None:
                raise
            same = False
        if not same:  # it knows tensors only, though not only their operations
            self.pointwise = "tensors"
            found = self._each(x, y)[0]
            same = bool(np.isclose(found, at_centre or 0.0, 1e-5, equal_nan=True))
        if not same or not np.isclose(self._each(x, y)[0], found, 1e-5, equal_nan=True):
            raise self._no_function()
        # Where nothing is 0: a factor of 0 hides what is random.
        x, y = (self._at(s, _GENERIC) for s in (self.x_set, self.y_set))
        first, again = (self._each(x, y)[0] for _ in range(2))
        if not np.isclose(first, again, 1e-5, equal_nan=True):
            raise self._no_function()
        return np.asarray(found, self.dtype.as_numpy_dtype)

    @staticmethod
    def _at(box: Box, part: float) -> np.ndarray:
        """The point of a set so far from its lower to its upper corner, [1, dim]."""
        return (box.lower + part * (box.upper - box.lower))[None]

    def _no_function(self) -> InputError:
        return InputError(
            f"The payoff of {self.name} is no function: it gave other values for the same x "
            "and y. Draw its random numbers once, outside it."
        )

    def _each(self, x, y) -> np.ndarray:
        """F(x_i, y_i), called for each i: float64 [p]."""
        rows = zip(np.asarray(x, np.float64), np.asarray(y, np.float64), strict=True)
        values = np.empty(len(x))
        for i, (a, b) in enumerate(rows):
            try:
                if self.pointwise == "tensors":
                    found = self.payoff(tf.constant(a, self.dtype), tf.constant(b, self.dtype))
                else:
                    # Whole copies: a payoff may write into what it is given.
                    found = self.payoff(a.copy(), b.copy())  # pyright: ignore[reportArgumentType]
                values[i] = self._number(found)
            except InputError:
                raise
            except Exception as error:
                raise InputError(
                    f"The payoff of {self.name} failed at x={a.tolist()}, y={b.tolist()}: {error}"
                ) from error
        return values

    def _number(self, found: Any) -> float:
        value = np.asarray(found)
        if value.shape != () or value.dtype.kind not in "biuf":
            raise InputError(
                f"The payoff of {self.name} must return one number of {self.dtype.name} for "
                f"x [{self.x_set.dim}] and y [{self.y_set.dim}], got shape {value.shape} of "
                f"{value.dtype}."
            )
        return float(value)


def _is_number(found: Any) -> bool:
    return isinstance(found, (bool, int, float, np.generic)) or (
        isinstance(found, np.ndarray) and found.shape == ()
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
          InputError: if the payoff fails, or returns another shape.
        """
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        try:
            values = np.asarray(self.payoff(x, y), np.float64)
        except Exception as error:
            raise InputError(
                f"The payoff of {self.name} failed for x {x.shape} and y {y.shape}: {error}"
            ) from error
        if values.shape != (len(x), len(y)):
            raise InputError(
                f"The payoff of {self.name} must return F(x_i, y_j) for all pairs, shape "
                f"({len(x)}, {len(y)}) for x {x.shape} and y {y.shape}, got {values.shape}."
            )
        return tf.constant(values)


# What can be put on a grid: sets, a dtype, a name, and `matrix`.
GridGame = ContinuousGame | ArrayGame
