"""PyTorch, eager, compiled or as CUDA graphs, MLP and DCGAN. See `common`.

Eager: modules, autograd.grad with create_graph for the penalty, `torch.optim` for RMSProp and
Adam, pSGLD in place under no_grad; bfloat16 by autocast. Compiled: the two gradients as one
function of the parameters by `torch.func`, under `torch.compile` (whose autograd cannot
differentiate twice), and the update as another. CUDA graphs: the eager step, its draws and its
update included, captured once and replayed. On a GPU if PyTorch has one, with TensorFloat-32 as
TensorFlow and JAX have it there.
"""

from __future__ import annotations

import contextlib
import itertools
import sys

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad

from benchmarks.peers import common
from benchmarks.peers.common import Work

_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_RECORDS = 512  # random images
_WARM_UP = 3  # steps before a capture, as PyTorch's documentation has it


def _mlp(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class _Maps(nn.Module):
    """[n, base * base * channels], in the order of Keras, to channels-last maps."""

    def __init__(self, base: int, channels: int):
        super().__init__()
        self.shape = (-1, base, base, channels)

    def forward(self, x):
        return x.view(self.shape).permute(0, 3, 1, 2)


class _Flat(nn.Module):
    """Channels-last maps to [n, h * w * c], in the order of Keras."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def _dcgan(work: Work, player: str) -> nn.Sequential:
    widths = work.widths()

    def norm(channels):
        return nn.BatchNorm2d(channels, eps=1e-5, track_running_stats=False)

    layers: list[nn.Module] = []
    if player == "theta":
        widths.reverse()
        layers += [nn.Linear(work.latent_dim, 16 * widths[0], bias=False), _Maps(4, widths[0])]
        layers += [norm(widths[0]), nn.ReLU()]
        for a, b in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), norm(b), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[-1], work.channels, 4, 2, 1), nn.Tanh()]
    else:
        for i, (a, b) in enumerate(zip([work.channels, *widths[:-1]], widths, strict=True)):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=i == 0)]
            layers += [norm(b)] if i else []
            layers += [nn.LeakyReLU(0.2)]
        layers += [_Flat(), nn.Linear(16 * widths[-1], 1)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # pyright: ignore


def _from_keras(leaf: np.ndarray) -> torch.Tensor:
    """[in, out] to [out, in]; [h, w, a, b] to [b, a, h, w]; a copy."""
    axes = {2: (1, 0), 4: (3, 2, 0, 1)}.get(leaf.ndim)
    return torch.from_numpy(np.array(leaf.transpose(axes) if axes else leaf, np.float32)).to(
        _DEVICE
    )


def _to_keras(parameter: torch.Tensor) -> np.ndarray:
    leaf = parameter.detach().cpu().numpy()
    axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(leaf.ndim)
    return leaf.transpose(axes) if axes else leaf


class Langevin(torch.optim.Optimizer):
    """pSGLD with one inner step, both dampings included; `xi` replaces its own draws."""

    def __init__(self, parameters, work: Work):
        super().__init__(parameters, {})
        self._work, self.xi = work, None

    @torch.no_grad()
    def step(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Moves every parameter by its gradient."""
        work, damping = self._work, self._work.damping**2
        for i, p in enumerate(self.param_groups[0]["params"]):
            state = self.state[p]
            if not state:
                state["V"] = torch.zeros_like(p)
            V = state["V"]
            V.mul_(work.rms_decay).addcmul_(p.grad, p.grad, value=1 - work.rms_decay)
            P = V.sqrt().add_(work.stability).reciprocal_()
            xi = torch.randn_like(p) if self.xi is None else self.xi[i]
            p.addcmul_(P, p.grad, value=-damping * work.step_size)
            spread = P.mul_(2 * work.step_size * work.temperature).sqrt_()
            p.addcmul_(spread, xi, value=damping)


def _optimizer(work: Work, net: nn.Module):
    parameters = list(net.parameters())
    if work.algorithm == "mirror_gan":
        return Langevin(parameters, work)
    if work.algorithm == "adam":
        return torch.optim.Adam(
            parameters,
            work.step_size,
            (work.decay_1, work.decay_2),
            work.stability,
            fused=True,
            capturable=work.graphs,
        )
    return torch.optim.RMSprop(
        parameters,
        work.step_size,
        work.rms_decay,
        work.stability,
        foreach=True,
        capturable=work.graphs,
    )


def _losses(work: Work):
    """(generator's of the fakes' logits, discriminator's of real and fake)."""
    if work.model == "mlp":
        return (lambda fake: -fake.mean()), (lambda real, fake: fake.mean() - real.mean())
    plus = nn.functional.softplus
    return (
        lambda fake: plus(-fake).mean(),
        lambda real, fake: plus(-real).mean() + plus(fake).mean(),
    )


class Trainer:
    """See `common`."""

    def __init__(self, work: Work):
        torch.manual_seed(0)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        self._work = work
        make = (lambda p: _mlp(work.mlp_sizes(p))) if work.model == "mlp" else None
        self._nets = {p: (make(p) if make else _dcgan(work, p)).to(_DEVICE) for p in common.PLAYERS}
        for p in common.PLAYERS:
            self._load(p, work.weights(p))
        self._modes = torch.from_numpy(common.modes()).to(_DEVICE)
        self._images = None
        if work.model == "dcgan":
            shape = (_RECORDS, work.channels, work.size, work.size)
            images = torch.rand(shape, device=_DEVICE).mul_(2).sub_(1)
            self._images = images.to(memory_format=torch.channels_last)
        self._restart()
        self._gradients = self._compiled() if work.compiled else self._eager
        self._graph = None

    def _restart(self):
        self._optimizers = {p: _optimizer(self._work, net) for p, net in self._nets.items()}

    def _load(self, player, leaves):
        with torch.no_grad():
            for p, leaf in zip(self._nets[player].parameters(), leaves, strict=True):
                p.copy_(_from_keras(leaf))

    def _autocast(self):
        if self._work.precision == "float32":
            return contextlib.nullcontext()
        # A graph may not use what autocast has kept of another step.
        return torch.autocast(_DEVICE, torch.bfloat16, cache_enabled=not self._work.graphs)

    def _eager(self, draws):
        """Sets the gradients of both players at their weights."""
        work, G, D = self._work, self._nets["theta"], self._nets["w"]
        generator_loss, discriminator_loss = _losses(work)
        theta, w = list(G.parameters()), list(D.parameters())
        with self._autocast():
            loss = generator_loss(D(G(draws["latents_theta"])).float())
        g_theta = torch.autograd.grad(loss, theta)
        with self._autocast():
            with torch.no_grad():
                fake = G(draws["latents_w"]).float()
            real = draws["real"]
            if work.model == "mlp":
                logits = D(torch.cat([real, fake])).float()
                loss = discriminator_loss(*logits.chunk(2))
            else:
                loss = discriminator_loss(D(real).float(), D(fake).float())
            if work.penalty:
                between = (draws["u"] * real + (1 - draws["u"]) * fake).requires_grad_()
                (g,) = torch.autograd.grad(D(between).float().sum(), between, create_graph=True)
                norm = (g.square().sum(1) + 1e-12).sqrt()
                loss = loss + work.penalty * (norm - 1).square().mean()
        g_w = torch.autograd.grad(loss, w)
        for p, g in zip([*theta, *w], [*g_theta, *g_w], strict=True):
            p.grad = g

    def _compiled(self):
        work, G, D = self._work, self._nets["theta"], self._nets["w"]
        generator_loss, discriminator_loss = _losses(work)

        def g_of(theta, x):
            return functional_call(G, theta, (x,)).float()

        def f_of(w, x):
            return functional_call(D, w, (x,)).float()

        def loss_theta(theta, w, draws):
            return generator_loss(f_of(w, g_of(theta, draws["latents_theta"])))

        def loss_w(w, fake, draws):
            real = draws["real"]
            if work.model == "mlp":
                loss = discriminator_loss(*f_of(w, torch.cat([real, fake])).chunk(2))
            else:
                loss = discriminator_loss(f_of(w, real), f_of(w, fake))
            if work.penalty:
                between = draws["u"] * real + (1 - draws["u"]) * fake
                g = grad(lambda x: f_of(w, x).sum())(between)
                norm = (g.square().sum(1) + 1e-12).sqrt()
                loss = loss + work.penalty * (norm - 1).square().mean()
            return loss

        def both(theta, w, draws):
            with self._autocast():
                g_theta = grad(loss_theta)(theta, w, draws)
                fake = g_of(theta, draws["latents_w"])
                return g_theta, grad(loss_w)(w, fake, draws)

        compiled = torch.compile(both)

        def gradients(draws):
            theta, w = (
                {k: v.detach() for k, v in net.named_parameters()} for net in self._nets.values()
            )
            with torch.no_grad():
                fields = compiled(theta, w, draws)
            for net, field in zip(self._nets.values(), fields, strict=True):
                for name, p in net.named_parameters():
                    p.grad = field[name]

        return gradients

    def _draws(self):
        work, n = self._work, self._work.batch_size
        if self._images is None:
            index = torch.randint(8, (n,), device=_DEVICE)
            real = self._modes[index] + common.SIGMA * torch.randn(n, 2, device=_DEVICE)
        else:
            real = self._images[torch.randint(_RECORDS, (n,), device=_DEVICE)]
        return {
            "real": real,
            "latents_theta": torch.randn(n, work.latent_dim, device=_DEVICE),
            "latents_w": torch.randn(n, work.latent_dim, device=_DEVICE),
            "u": torch.rand(n, 1, device=_DEVICE),
        }

    def _step(self, draws):
        self._gradients(draws)
        for optimizer in self._optimizers.values():
            optimizer.step()

    def _captured(self):
        """The step with its draws as a CUDA graph, after a warm-up on a stream of its own."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                self._step(self._draws())
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step(self._draws())
        return graph

    def advance(self, num_steps: int) -> None:
        """Trains."""
        if self._work.graphs:
            self._graph = self._graph or self._captured()
            for _ in range(num_steps):
                self._graph.replay()
        else:
            for _ in range(num_steps):
                self._step(self._draws())
        if _DEVICE == "cuda":
            torch.cuda.synchronize()

    def replay(self, weights, draws):
        """See `common`."""
        for p in common.PLAYERS:
            self._load(p, weights[p])
        self._restart()
        for each in draws:
            for p in common.PLAYERS:
                optimizer = self._optimizers[p]
                if isinstance(optimizer, Langevin):
                    optimizer.xi = [_from_keras(x) for x in each[f"xi_{p}"]]
            tensors = {
                k: torch.from_numpy(x).to(_DEVICE)
                for k, x in each.items()
                if not k.startswith("xi_")
            }
            if self._images is not None:
                real = tensors["real"].permute(0, 3, 1, 2)
                tensors["real"] = real.contiguous(memory_format=torch.channels_last)
            self._step(tensors)
        return {p: [_to_keras(x) for x in self._nets[p].parameters()] for p in common.PLAYERS}


def noise(num: int):
    """Ways to draw `num` standard normals."""

    def draw():
        torch.randn(num, device=_DEVICE)
        if _DEVICE == "cuda":
            torch.cuda.synchronize()

    return {"torch.randn": draw}


if __name__ == "__main__":
    sys.exit(common.serve(Trainer, noise))
