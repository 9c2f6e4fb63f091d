"""Continuous games whose mixed equilibria are known in closed form, with proofs.

payoff(x, y, xp) is written once for NumPy and for TensorFlow: xp is the module, and x and y
are indexed by coordinate first, so that in NumPy x[k] may be an array of any shape. The
minimiser plays x, the maximiser y. Two facts carry the proofs:

  (S) a pair (nu, mu) is an equilibrium iff nu lives on argmin F(., mu) and mu on
      argmax F(nu, .).
  (I) equilibria of zero-sum games are interchangeable: if (nu', mu') is another one, so are
      (nu', mu) and (nu, mu'). Hence nu' lives on argmin F(., mu), and mu on argmax F(nu', .).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Game(NamedTuple):
    """A game and its equilibrium.

    payoff: (x, y, xp) -> F. lower, upper, periodic: of x, then of y, one list per player.
    x, a, y, b: atoms [m, d] and weights of the equilibrium. unique: whether it is the only one.
    """

    payoff: Callable[[Any, Any, Any], Any]
    lower: tuple[list[float], list[float]]
    upper: tuple[list[float], list[float]]
    x: np.ndarray
    a: np.ndarray
    y: np.ndarray
    b: np.ndarray
    value: float
    unique: bool = True
    periodic: bool = False

    def matrix(self, x, y):
        """F(x_i, y_j) in NumPy."""
        x, y = np.asarray(x).T[:, :, None], np.asarray(y).T[:, None, :]
        return self.payoff(x, y, np) + np.zeros((x.shape[1], y.shape[2]))

    def grid(self, player: int, num: int):
        """num points per coordinate, bounds included: [num^d, d]."""
        bounds = zip(self.lower[player], self.upper[player], strict=True)
        axes = [np.linspace(low, high, num) for low, high in bounds]
        return np.array(list(itertools.product(*axes)))

    def gap(self, x, a, y, b, num: int = 2001):
        """max_y F(nu, y) - min_x F(x, mu) over grids and the atoms, without any optimiser."""
        own = [
            np.concatenate([self.grid(player, num), atoms]) for player, atoms in enumerate((x, y))
        ]
        return np.max(a @ self.matrix(x, own[1])) - np.min(self.matrix(own[0], y) @ b)

    def errors(self, x, a, y, b) -> tuple[float, float]:
        """(largest distance between an atom and the nearest of the equilibrium's, either way;
        largest error of the weight around an atom of the equilibrium)."""
        distance = error = 0.0
        for atoms, weights, known, masses in ((x, a, self.x, self.a), (y, b, self.y, self.b)):
            offsets = np.linalg.norm(atoms[:, None] - known[None], axis=2)
            distance = max(distance, offsets.min(axis=1).max(), offsets.min(axis=0).max())
            near = np.bincount(offsets.argmin(axis=1), weights, minlength=len(masses))
            error = max(error, np.abs(near - masses).max())
        return distance, error


def _square(lower=-1.0, upper=1.0, dim=1):
    return ([lower] * dim, [lower] * dim), ([upper] * dim, [upper] * dim)


def _atoms(*points):
    return np.array(points, float).reshape(len(points), -1)


def pursuit():
    """F = (x - y)^2 on [-1, 1]: x = 0; y = +-1, each with weight 1/2; value 1.

    F(0, y) = y^2 is largest at +-1 only. Against mu, E(x - y)^2 = x^2 + 1 is least at 0. By
    (I) mu' lives on {-1, 1}, and 0 minimises x^2 - 2 x E'y + 1 iff E'y = 0: unique.
    """
    return Game(
        lambda x, y, xp: (x[0] - y[0]) ** 2,
        *_square(),
        x=_atoms(0),
        a=np.ones(1),
        y=_atoms(-1, 1),
        b=np.full(2, 0.5),
        value=1.0,
    )


def tilted_pursuit(c=0.8):
    """F = (x - y)^2 + c y: x = c/2; y = -1 and 1 with weights (1 -+ c/2) / 2; value 1 + c^2/4.

    F(c/2, y) = y^2 + c^2/4 is largest at +-1 only. Against mu, x - y has its least second
    moment at x = E y = c/2. Unique as above. F(nu, mu) = 1 + c^2/4.
    """
    return Game(
        lambda x, y, xp: (x[0] - y[0]) ** 2 + c * y[0],
        *_square(),
        x=_atoms(c / 2),
        a=np.ones(1),
        y=_atoms(-1, 1),
        b=np.array([1 - c / 2, 1 + c / 2]) / 2,
        value=1 + c**2 / 4,
    )


def parrilo():
    """[C] Parrilo 2006, "Polynomial games and sum of squares optimization", with x as minimiser:
    F = -(5xy - 2x^2 - 2xy^2 - y): x = 0.2; y = 1 and -1 with weights 0.78, 0.22; value 0.48.

    F(0.2, y) = 0.08 + 0.4 y^2 is largest at +-1 only. There F(x, mu) = 2x^2 + 2x - 5x E y + E y
    with E y = 0.56 is 2x^2 - 0.8 x + 0.56: least at 0.2. Unique as above.
    """
    return Game(
        lambda x, y, xp: 2 * x[0] ** 2 + 2 * x[0] * y[0] ** 2 + y[0] - 5 * x[0] * y[0],
        *_square(),
        x=_atoms(0.2),
        a=np.ones(1),
        y=_atoms(-1, 1),
        b=np.array([0.22, 0.78]),
        value=0.48,
    )


def double_wells(p=0.2, q=-0.3, r=0.6, s=0.5):
    """Two atoms on both sides, none at a bound, with unequal weights [D].

        F = 4 (x^2 - r^2)^2 - 4 (y^2 - s^2)^2 + (x - p)(y - q)      on [-1, 1]^2

    nu on +-r with mean p (weights (1 +- p/r)/2 = 2/3, 1/3), mu on +-s with mean q (weights
    (1 +- q/s)/2 = 1/5, 4/5). F(nu, y) = -4 (y^2 - s^2)^2 is largest at +-s only; F(x, mu) =
    4 (x^2 - r^2)^2 is least at +-r only; value 0. By (I) nu' lives on +-r, and +-s are both
    best against it iff 2s (E'x - p) = 0: E'x = p, which fixes the weights. Likewise mu'.
    """
    return Game(
        lambda x, y, xp: (
            4 * (x[0] ** 2 - r**2) ** 2 - 4 * (y[0] ** 2 - s**2) ** 2 + (x[0] - p) * (y[0] - q)
        ),
        *_square(),
        x=_atoms(-r, r),
        a=np.array([1 - p / r, 1 + p / r]) / 2,
        y=_atoms(-s, s),
        b=np.array([1 - q / s, 1 + q / s]) / 2,
        value=0.0,
    )


def plane_wells():
    """Two atoms a side in the plane [D].

        F = w(x) - w(Jy) + <x - p, C (y - q)>,   w(x) = 4 (x_1^2 - 0.25)^2 + 2 (x_2 - x_1/2)^2

    on [-1, 1]^4, where J swaps the coordinates. w is 0 at +-(0.5, 0.25) only; p and q are the
    means of nu and mu: weights (0.4, 0.6) on -+(0.5, 0.25), (0.7, 0.3) on -+(0.25, 0.5). As in
    `double_wells` F(nu, .) = -w(J.) and F(., mu) = w; value 0. Unique as there, because
    <x_1 - x_2, C (y_1 - y_2)> = 4 <(0.5, 0.25), C (0.25, 0.5)> = 2.0625 is not 0.
    """
    u, v = np.array([0.5, 0.25]), np.array([0.25, 0.5])
    a, b = np.array([0.4, 0.6]), np.array([0.7, 0.3])
    p, q = (a[1] - a[0]) * u, (b[1] - b[0]) * v
    C = [[1.0, 0.5], [-0.5, 2.0]]

    def well(z0, z1):
        return 4 * (z0**2 - 0.25) ** 2 + 2 * (z1 - z0 / 2) ** 2

    def payoff(x, y, xp):
        coupling = sum(C[i][j] * (x[i] - p[i]) * (y[j] - q[j]) for i in range(2) for j in range(2))
        return well(x[0], x[1]) - well(y[1], y[0]) + coupling

    return Game(payoff, *_square(dim=2), x=_atoms(-u, u), a=a, y=_atoms(-v, v), b=b, value=0.0)


def ripples(s=0.35, t=-0.45):
    """A pure saddle inside, of a payoff with a dozen local minima and maxima [D].

        F = g(x - s) - g(y - t) + 2 (x - s)(y - t),   g(z) = z^2 + 0.3 sin^2(5 pi z)

    g(z) > 0 but for z = 0, so that F(., t) = g(. - s) is least at s only and F(s, .) largest at
    t only: (S), and by (I) unique. Descent-ascent stops at the wrong stationary points.
    """

    def g(z, xp):
        return z**2 + 0.3 * xp.sin(5 * np.pi * z) ** 2

    return Game(
        lambda x, y, xp: g(x[0] - s, xp) - g(y[0] - t, xp) + 2 * (x[0] - s) * (y[0] - t),
        *_square(),
        x=_atoms(s),
        a=np.ones(1),
        y=_atoms(t),
        b=np.ones(1),
        value=0.0,
    )


def rotation(s=0.3, t=-0.2, c=0.02):
    """F = (x - s)(y - t) + c ((x - s)^2 - (y - t)^2) on [-1, 1]^2, strongly convex-concave: the
    pure saddle (s, t) is unique among mixed strategies, too; value 0.

    Simultaneous descent-ascent multiplies the distance by sqrt((1 - 2 c gamma)^2 + gamma^2),
    which exceeds 1 for gamma > 4 c / (1 + 4 c^2) = 0.08: it spirals out to the bounds.
    """
    return Game(
        lambda x, y, xp: (x[0] - s) * (y[0] - t) + c * ((x[0] - s) ** 2 - (y[0] - t) ** 2),
        *_square(),
        x=_atoms(s),
        a=np.ones(1),
        y=_atoms(t),
        b=np.ones(1),
        value=0.0,
    )


def bilinear():
    """F = x y on [-1, 1]^2: the equilibria are the pairs of measures with mean 0; value 0.

    F(nu, y) = y E x is 0 for all y iff E x = 0. Not unique; (0, 0) is one.
    """
    return Game(
        lambda x, y, xp: x[0] * y[0],
        *_square(),
        x=_atoms(0),
        a=np.ones(1),
        y=_atoms(0),
        b=np.ones(1),
        value=0.0,
        unique=False,
    )


def dirac_gan():
    """[C] Mescheder et al. 2018: F = f(x y) + f(0), f(t) = -log(1 + exp(-t)), on [-2, 2]^2.

    x is the generator's point, y the discriminator's slope, the data are at 0. mu = delta(0)
    makes F = 2 f(0) for all x; against any nu of mean 0, F(nu, y) is concave in y with
    derivative f'(0) E x = 0 at y = 0, hence largest there. nu is not unique.
    """

    def f(t, xp):
        log = np.log if xp is np else xp.math.log
        return -log(1 + xp.exp(-t))  # |t| <= 4: no overflow

    return Game(
        lambda x, y, xp: f(x[0] * y[0], xp) - np.log(2.0),
        *_square(-2.0, 2.0),
        x=_atoms(0),
        a=np.ones(1),
        y=_atoms(0),
        b=np.ones(1),
        value=-2 * np.log(2.0),
        unique=False,
    )


def circle():
    """Matching pennies on the circle: F = cos(x - y), x, y in [0, 2 pi); value 0.

    E cos(x - y) = 0 for all y iff E exp(ix) = 0: any such pair is an equilibrium, for instance
    two opposite points with weights 1/2.
    """
    return Game(
        lambda x, y, xp: xp.cos(x[0] - y[0]),
        *_square(0.0, 2 * np.pi),
        x=_atoms(0, np.pi),
        a=np.full(2, 0.5),
        y=_atoms(1, 1 + np.pi),
        b=np.full(2, 0.5),
        value=0.0,
        unique=False,
        periodic=True,
    )


GAMES = {
    make.__name__: make()
    for make in (
        pursuit,
        tilted_pursuit,
        parrilo,
        double_wells,
        plane_wells,
        ripples,
        rotation,
        bilinear,
        dirac_gan,
        circle,
    )
}
