"""Mixed Nash equilibria of GANs (Hsieh, Liu & Cevher, ICML 2019) in TensorFlow.

Start at `tf_mixed_nash.algorithms`. The names below are loaded when they are first used, so that
importing the package does not load TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from tf_mixed_nash.algorithms import ALGORITHMS, Algorithm
    from tf_mixed_nash.errors import InputError
    from tf_mixed_nash.games.boxes import Box
    from tf_mixed_nash.games.continuous import ArrayGame, ContinuousGame
    from tf_mixed_nash.games.functions import FunctionGame
    from tf_mixed_nash.games.gan import GanGame, Regularizers
    from tf_mixed_nash.games.matrix import MatrixGame
    from tf_mixed_nash.games.objectives import OBJECTIVES
    from tf_mixed_nash.mixed_nash_gan import MixedNashGAN
    from tf_mixed_nash.models import Network, dcgan_discriminator, dcgan_generator, mlp
    from tf_mixed_nash.optimizers import Langevin
    from tf_mixed_nash.solvers.solution import Solution
    from tf_mixed_nash.solvers.solve import methods_of, solve
    from tf_mixed_nash.strategies.mixed import MixedStrategy
    from tf_mixed_nash.types import Measure, Pair

__version__ = "0.2.0"

__all__ = [
    "ALGORITHMS", "OBJECTIVES", "Algorithm", "ArrayGame", "Box", "ContinuousGame", "FunctionGame",
    "GanGame", "InputError", "Langevin", "MatrixGame", "Measure", "MixedNashGAN", "MixedStrategy",
    "Network", "Pair", "Regularizers", "Solution", "dcgan_discriminator", "dcgan_generator",
    "methods_of", "mlp", "solve",
]  # fmt: skip

_MODULES = {
    "algorithms": ("ALGORITHMS", "Algorithm"),
    "errors": ("InputError",),
    "games.boxes": ("Box",),
    "games.continuous": ("ArrayGame", "ContinuousGame"),
    "games.functions": ("FunctionGame",),
    "games.gan": ("GanGame", "Regularizers"),
    "games.matrix": ("MatrixGame",),
    "games.objectives": ("OBJECTIVES",),
    "mixed_nash_gan": ("MixedNashGAN",),
    "models": ("Network", "dcgan_discriminator", "dcgan_generator", "mlp"),
    "optimizers": ("Langevin",),
    "solvers.solution": ("Solution",),
    "solvers.solve": ("methods_of", "solve"),
    "strategies.mixed": ("MixedStrategy",),
    "types": ("Measure", "Pair"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
