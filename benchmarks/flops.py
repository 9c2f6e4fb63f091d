"""Floating-point operations that the gradients of one mini-batch of both players need.

Only matrix products and convolutions are counted, 2 for each multiply-add, and only those whose
results are used: a product that a framework makes in vain does not count for it.
"""

from __future__ import annotations

import itertools

from benchmarks.peers.common import PLAYERS, Work

__all__ = ["step_flops"]


def step_flops(work: Work) -> float:
    """The matrix arithmetic of `benchmarks.peers.common`'s step."""
    layers = {p: _mlp(work, p) if work.model == "mlp" else _dcgan(work, p) for p in PLAYERS}
    G, D = sum(layers["theta"]), sum(layers["w"])
    first_G, first_D, last_D = layers["theta"][0], layers["w"][0], layers["w"][-1]
    # Forward, back through D to the data, weights of G, and back through all but G's first layer.
    generator = G + 2 * D + G + (G - first_G)
    # The fakes; then real and fake data forward, weights, and back through all but the first.
    discriminator = G + 2 * (D + D + (D - first_D))
    if work.penalty:
        # Forward, back to the data; of that: weights, and forward through all but the last.
        discriminator += 2 * D + D + (D - last_D)
    return 2.0 * work.batch_size * (generator + discriminator)


def _mlp(work: Work, player: str) -> list[int]:
    """Multiply-adds of each layer for one row."""
    return [a * b for a, b in itertools.pairwise(work.mlp_sizes(player))]


def _dcgan(work: Work, player: str) -> list[int]:
    num = {32: 3, 64: 4}[work.size]
    widths = [work.width * 2**i for i in range(num)]
    maps = [work.size >> (i + 1) for i in range(num)]  # sides of the smaller map of each layer
    channels = [work.channels, *widths]
    convolutions = [
        16 * a * b * side * side
        for (a, b), side in zip(itertools.pairwise(channels), maps, strict=True)
    ]
    if player == "w":
        return [*convolutions, 16 * widths[-1]]
    return [work.latent_dim * 16 * widths[-1], *reversed(convolutions)]
