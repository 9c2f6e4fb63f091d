"""Games for `python -m trainers.solve --game=configs/games.py:NAME --out=DIR`.

Each function returns a game; x (rows, theta, nu) minimises and y (columns, w, mu) maximises.
Copy one to write your own: a `MatrixGame`, a `ContinuousGame`, or a plain table of payoffs.
"""

import itertools
import math

import numpy as np
import tensorflow as tf

from tf_mixed_nash import Box, ContinuousGame, MatrixGame


def rock_paper_scissors():
    """Value 0; both play (1/3, 1/3, 1/3). Entry (i, j) is what row i loses to column j."""
    moves = ("rock", "paper", "scissors")
    table = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    return MatrixGame.from_table(
        table, name="rock-paper-scissors", row_labels=moves, column_labels=moves
    )


def weighted_rock_paper_scissors():
    """Rock wins 1, paper 2, scissors 3. Value 0; both play (1/2, 1/6, 1/3).

    The loss of x is antisymmetric, [[0, 2, -1], [-2, 0, 3], [1, -3, 0]], and its kernel is
    spanned by (3, 1, 2): weights that make the opponent indifferent.
    """
    moves = ("rock", "paper", "scissors")
    table = np.array([[0, 2, -1], [-2, 0, 3], [1, -3, 0]])
    return MatrixGame.from_table(
        table, name="weighted rock-paper-scissors", row_labels=moves, column_labels=moves
    )


def colonel_blotto(soldiers: int = 6, battlefields: int = 3):
    """Two colonels spread their soldiers over battlefields; the larger force takes each.

    The payoff to y is (battlefields won - battlefields lost) / battlefields. The game is
    symmetric, so its value is 0; equilibria are mixed and not unique.
    """
    spreads = [
        s for s in itertools.product(range(soldiers + 1), repeat=battlefields) if sum(s) == soldiers
    ]
    forces = np.array(spreads)
    table = np.sign(forces[None] - forces[:, None]).sum(axis=2) / battlefields
    labels = ["-".join(map(str, s)) for s in spreads]
    return MatrixGame.from_table(
        table, name="Colonel Blotto", row_labels=labels, column_labels=labels
    )


def matching_pennies_on_the_circle():
    """F(x, y) = cos(x - y): y wants to meet x, who runs away. Value 0.

    (nu, mu) is an equilibrium if and only if neither has a first Fourier coefficient: the
    uniform laws, or any two opposite points with weights 1/2.
    """
    circle = Box(0.0, 2.0 * math.pi, periodic=True)
    return ContinuousGame(
        lambda x, y: tf.cos(x[0] - y[0]), circle, circle, name="matching pennies on the circle"
    )


def polynomial():
    """F(x, y) = (x - y)^2 on [-1, 1]^2: y runs away from x. Value 1.

    x plays 0. y plays -1 and 1 with weights 1/2: F(x, mu) = x^2 + 1 is least at 0, and
    F(0, y) = y^2 is largest at the ends.
    """
    interval = Box(-1.0, 1.0)
    return ContinuousGame(
        lambda x, y: (x[0] - y[0]) ** 2, interval, interval, name="polynomial game"
    )


def dirac_gan():
    """F(theta, w) = -w theta, the WGAN of the generator delta(theta), f_w(x) = w x, real delta(0).

    The only pure equilibrium is (0, 0); simultaneous gradient descent-ascent spirals away
    from it (Mescheder et al. 2018). Value 0.
    """
    interval = Box(-1.0, 1.0)
    return ContinuousGame(lambda x, y: -y[0] * x[0], interval, interval, name="Dirac-GAN")
