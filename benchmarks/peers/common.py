"""What all peers do, without a framework: the work, and the protocol of their processes.

A peer is a process of its own (`python -m benchmarks.peers.NAME`), so that the thread pools
of the frameworks do not disturb each other, and so that PyTorch and JAX may live in another
environment (.venv-peers). It reads commands from stdin, one JSON object a line, and answers each
with one on stdout; between two commands it computes nothing.

    {"do": "build", "work": {...}}                      -> {"id": 0}
    {"do": "time", "id": 0, "steps": 20}                -> {"seconds": 0.5}
    {"do": "check", "id": 0, "inputs": FILE, "outputs": FILE}  -> {}
    {"do": "noise", "num": 1000000, "rounds": 10}       -> {"ways": {"randn": [seconds, ...]}}

A peer's `make(work)` returns a trainer with `advance(num_steps)`, which trains on draws of its
own, and `replay(weights, draws)`, which makes the same steps from given weights and draws and
returns the weights: the same compiled function in both.

The step, from the draws (real, latents_theta, latents_w, u, xi_theta, xi_w) of a mini-batch, with
theta and w the two networks before it:

    g_theta = grad_theta  E loss_G(D_w(G_theta(latents_theta)))
    g_w     = grad_w      E loss_D(D_w(real), D_w(G_theta(latents_w)))
                          + c E (|grad_x D_w(x)| - 1)^2,   x = u real + (1 - u) fake
    both players move at once by RMSProp, Adam, or one step of pSGLD, twice damped:
    z <- z + beta^2 (-gamma P g + sqrt(2 gamma eps P) xi),   P = 1 / (sqrt(V) + lambda)
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["ALGORITHMS", "DRAWS", "PLAYERS", "Work", "modes", "serve"]

ALGORITHMS = ("rmsprop", "adam", "mirror_gan")
PLAYERS = ("theta", "w")
DRAWS = ("real", "latents_theta", "latents_w", "u", "xi_theta", "xi_w")
SIGMA = 0.02 / 1.414  # of a mode of the 8 Gaussians


@dataclasses.dataclass(frozen=True)
class Work:
    """What is trained. The defaults are those of configs/gaussians8_md.py.

    Attributes:
      algorithm: one of ALGORITHMS; mirror_gan is pSGLD with K = 1.
      precision: float32, or bfloat16: matrix products in bfloat16, state in float32.
      batch_size: n.
      model: mlp (3 x `width`, WGAN) or dcgan (batch normalisation, non-saturating).
      size: pixels of a DCGAN's images, 32 or 64.
      channels: of the images.
      penalty: weight of the gradient penalty; 0: none.
      step_size, temperature, stability, rms_decay, decay_1, decay_2, damping: as in configs.
      compiled: of frameworks that offer both, the compiled form.
      graphs: of PyTorch on a GPU, the whole step as one CUDA graph.
    """

    algorithm: str = "mirror_gan"
    precision: str = "float32"
    batch_size: int = 256
    model: str = "mlp"
    width: int = 512
    latent_dim: int = 2
    size: int = 0
    channels: int = 0
    penalty: float = 0.1
    step_size: float = 1e-3
    temperature: float = 1e-6
    stability: float = 1e-3
    rms_decay: float = 0.99
    decay_1: float = 0.5
    decay_2: float = 0.9
    damping: float = 0.9
    compiled: bool = False
    graphs: bool = False

    def widths(self) -> list[int]:
        """The channels of a DCGAN's hidden maps, from the largest map to the smallest."""
        return [self.width * 2**i for i in range({32: 3, 64: 4}[self.size])]

    def weights(self, player: str) -> list[np.ndarray]:
        """First weights of a player, in the order and the layout of Keras's."""
        seed = PLAYERS.index(player)
        if self.model == "mlp":
            return he_normal(self.mlp_sizes(player), seed)
        rng = np.random.default_rng(seed)

        def normal(*shape):
            return rng.normal(0, 0.02, shape).astype(np.float32)

        def norm(channels):
            return [1 + normal(channels), np.zeros(channels, np.float32)]

        widths = self.widths()
        maps = list(itertools.pairwise([self.channels, *widths]))
        if player == "theta":
            leaves = [normal(self.latent_dim, 16 * widths[-1])]
            for small, large in reversed(maps):  # kernels [h, w, out, in]
                leaves += [*norm(large), normal(4, 4, small, large)]
            return [*leaves, np.zeros(self.channels, np.float32)]
        leaves = []
        for i, (few, many) in enumerate(maps):
            leaves += [normal(4, 4, few, many)]
            leaves += norm(many) if i else [np.zeros(many, np.float32)]
        return [*leaves, normal(16 * widths[-1], 1), np.zeros(1, np.float32)]

    def mlp_sizes(self, player: str) -> list[int]:
        """The widths of a player's layers, from its input to its output."""
        first, last = (self.latent_dim, 2) if player == "theta" else (2, 1)
        return [first, self.width, self.width, self.width, last]


def modes() -> np.ndarray:
    """The means of the 8 Gaussians: float32 [8, 2]."""
    angle = 2 * np.pi * np.arange(8) / 8
    return (2 / 1.414 * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)


def he_normal(sizes: list[int], seed: int) -> list[np.ndarray]:
    """Weights [in, out] and biases [out] of a multilayer perceptron, in turn: float32."""
    rng = np.random.default_rng(seed)
    leaves = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        kernel = rng.normal(0, (2 / fan_in) ** 0.5, (fan_in, fan_out))
        leaves += [kernel.astype(np.float32), np.zeros(fan_out, np.float32)]
    return leaves


def serve(make: Callable[[Work], Any], noise: Callable[[int], dict[str, Callable[[], Any]]]) -> int:
    """Answers commands until stdin ends; see the module."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    trainers: list[Any] = []
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = _answer(command, make, noise, trainers)
        except Exception as error:  # the other side decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


def _answer(command, make, noise, trainers) -> dict[str, Any]:
    what = command["do"]
    if what == "build":
        trainers.append(make(Work(**command["work"])))
        return {"id": len(trainers) - 1}
    if what == "time":
        started = time.perf_counter()
        trainers[command["id"]].advance(command["steps"])
        return {"seconds": time.perf_counter() - started}
    if what == "check":
        _check(trainers[command["id"]], command["inputs"], command["outputs"])
        return {}
    if what == "noise":
        return {"ways": _time_ways(noise(command["num"]), command["rounds"])}
    raise ValueError(f"unknown command {what!r}")


def _check(trainer, inputs: str, outputs: str) -> None:
    with np.load(inputs) as file:
        arrays = dict(file)
    weights = {p: _numbered(arrays, f"weights/{p}/") for p in PLAYERS}
    draws = []
    for i in range(int(arrays["steps"])):
        draw = {k: arrays[f"{i}/{k}"] for k in DRAWS if f"{i}/{k}" in arrays}
        for p in PLAYERS:
            draw[f"xi_{p}"] = _numbered(arrays, f"{i}/xi_{p}/")
        draws.append(draw)
    after = trainer.replay(weights, draws)
    np.savez(outputs, **{f"{p}/{j}": leaf for p in PLAYERS for j, leaf in enumerate(after[p])})


def _numbered(arrays, prefix: str) -> list[np.ndarray]:
    count = sum(name.startswith(prefix) for name in arrays)
    return [arrays[f"{prefix}{j}"] for j in range(count)]


def _time_ways(ways, rounds: int) -> dict[str, list[float]]:
    for draw in ways.values():
        draw()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, draw in ways.items():
            started = time.perf_counter()
            for _ in range(10):
                draw()
            seconds[name].append((time.perf_counter() - started) / 10)
    return seconds
