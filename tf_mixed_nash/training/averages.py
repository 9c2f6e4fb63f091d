"""Several moving averages of the generator at once: half-lives in samples, and their names.

The first average of a run is "ema", by its decay per mini-batch. Further ones are told by their
half-lives in samples, real data that the critic has seen: after so many of them what came before
has half the weight. So they mean the same at every batch size, and under every algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["decays", "names"]


def names(half_lives: Sequence[int]) -> tuple[str, ...]:
    """The answers of a run with these half-lives, beside its others: "ema_10000", ...

    Args:
      half_lives: in samples, whole numbers of at least 1, no two alike.
    """
    return tuple(f"ema_{half_life}" for half_life in half_lives)


def decays(half_lives: Sequence[int], batch_size: int) -> dict[str, float]:
    """The decay per mini-batch of each, 2^(-B / h), by name.

    Args:
      half_lives: h, see `names`.
      batch_size: B.
    """
    found = (0.5 ** (batch_size / half_life) for half_life in half_lives)
    return dict(zip(names(half_lives), found, strict=True))
