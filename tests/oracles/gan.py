"""ReLU perceptrons, GAN losses and penalties in NumPy, with their gradients by hand.

A network is a list of layers (W [in, out], b [out]); ReLU after all but the last. For an input
row x, with D_l the 0/1 mask of layer l (D_L = 1) and s_l = r_l D_l, r_L = 1:

    r_{l-1} = s_l W_l',     grad_x f(x) = r_0
"""

from __future__ import annotations

import itertools

import numpy as np


def unpack(z, widths):
    """The layers of the vector z (kernel, bias, kernel, bias, ...; what is left is unused)."""
    layers, position = [], 0
    for rows, columns in itertools.pairwise(widths):
        W = z[position : position + rows * columns].reshape(rows, columns)
        position += rows * columns
        layers.append((W, z[position : position + columns]))
        position += columns
    return layers


def pack(layers, length):
    """The inverse of `unpack`, with zeros up to `length`."""
    flat = np.concatenate([np.concatenate([W.ravel(), b]) for W, b in layers])
    return np.concatenate([flat, np.zeros(length - len(flat))])


def forward(layers, x):
    """(output [n, out], the input of every layer, the mask of every layer)."""
    inputs, masks = [], []
    for l, (W, b) in enumerate(layers):
        inputs.append(x)
        x = x @ W + b
        masks.append(x > 0 if l < len(layers) - 1 else np.ones_like(x))
        x = x * masks[-1]
    return x, inputs, masks


def backward(layers, inputs, masks, d_output):
    """(gradient of every layer, gradient of the input) of a loss with gradient d_output."""
    gradients, d = [], d_output
    for (W, _), x, mask in zip(layers[::-1], inputs[::-1], masks[::-1], strict=True):
        d = d * mask
        gradients.append((x.T @ d, d.sum(0)))
        d = d @ W.T
    return gradients[::-1], d


def input_gradient(layers, x):
    """(grad_x f [n, in], every s_l, every mask) of a network with one output."""
    _, _, masks = forward(layers, x)
    r, s = np.ones((len(x), 1)), []
    for (W, _), mask in zip(layers[::-1], masks[::-1], strict=True):
        s.append(r * mask)
        r = s[-1] @ W.T
    return r, s[::-1], masks


def input_gradient_backward(layers, s, masks, d):
    """Gradient of every layer of a loss whose gradient w.r.t. grad_x f is d [n, in]."""
    gradients = []
    for (W, b), s_l, mask in zip(layers, s, masks, strict=True):
        gradients.append((d.T @ s_l, np.zeros_like(b)))
        d = (d @ W) * mask
    return gradients


def length(v):
    """|v| of every row, smoothed at 0, where it has no gradient."""
    return np.sqrt(np.sum(v**2, axis=1) + 1e-12)


# Losses: (value, gradient w.r.t. the logits); sigma(x) = 1 / (1 + exp(-x)).


def _softplus(x):
    return np.logaddexp(0, x)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def discriminator_loss(objective, real, fake):
    n = len(real)
    if objective == "wgan":
        value, d_real, d_fake = fake - real, -np.ones_like(real), np.ones_like(fake)
    elif objective in ("minimax", "nonsaturating"):  # -log D(real) - log(1 - D(fake))
        value = _softplus(-real) + _softplus(fake)
        d_real, d_fake = _sigmoid(real) - 1, _sigmoid(fake)
    elif objective == "least_squares":
        value, d_real, d_fake = ((real - 1) ** 2 + fake**2) / 2, real - 1, fake
    elif objective == "hinge":
        value = np.maximum(1 - real, 0) + np.maximum(1 + fake, 0)
        d_real, d_fake = -1.0 * (real < 1), 1.0 * (fake > -1)
    elif objective == "relativistic":  # -log sigma(D(real) - D(fake)), pair by pair
        value = _softplus(fake - real)
        d_fake = _sigmoid(fake - real)
        d_real = -d_fake
    elif objective == "relativistic_hinge":
        value = np.maximum(1 - real + fake, 0)
        d_fake = 1.0 * (real - fake < 1)
        d_real = -d_fake
    elif objective == "relativistic_least_squares":
        value, d_real = (real - fake - 1) ** 2, 2 * (real - fake - 1)
        d_fake = -d_real
    elif objective == "cubic":  # a user's own; see tests/helpers.py
        value, d_real, d_fake = fake**3 - real * fake, -fake, 3 * fake**2 - real
    return value.mean(), d_real / n, d_fake / n


def generator_loss(objective, real, fake):
    n = len(fake)
    if objective in ("wgan", "hinge"):
        value, d_fake = -fake, -np.ones_like(fake)
    elif objective == "minimax":  # log(1 - D(fake))
        value, d_fake = -_softplus(fake), -_sigmoid(fake)
    elif objective == "nonsaturating":  # -log D(fake)
        value, d_fake = _softplus(-fake), _sigmoid(fake) - 1
    elif objective == "least_squares":
        value, d_fake = (fake - 1) ** 2 / 2, fake - 1
    elif objective == "relativistic":
        value, d_fake = _softplus(real - fake), _sigmoid(real - fake) * -1
    elif objective == "relativistic_hinge":
        value, d_fake = np.maximum(1 - fake + real, 0), -1.0 * (fake - real < 1)
    elif objective == "relativistic_least_squares":
        value, d_fake = (fake - real - 1) ** 2, 2 * (fake - real - 1)
    elif objective == "cubic":
        value, d_fake = real * fake - np.sin(fake), real - np.cos(fake)
    return value.mean(), d_fake / n


class Gan:
    """Losses of both players and their gradients, for given latents and mixing numbers.

    Args:
      generator: widths, such as (2, 8, 8, 2).
      discriminator: widths, of which the last is 1.
      objective: a name above.
      gradient_penalty: weight of E (|grad_x f(u real + (1-u) fake)| - 1)^2.
      r1: weight of E |grad_x f(real)|^2 / 2.
      r2: weight of E |grad_x f(fake)|^2 / 2.
    """

    def __init__(self, generator, discriminator, objective, gradient_penalty=0.0, r1=0.0, r2=0.0):
        self.generator, self.discriminator = generator, discriminator
        self.objective, self.gradient_penalty, self.r1 = objective, gradient_penalty, r1
        self.r2 = r2

    def samples(self, theta, latents):
        return forward(unpack(theta, self.generator), latents)[0]

    def logits(self, w, x):
        return forward(unpack(w, self.discriminator), x)[0]

    def loss(self, player, z, opponent, real, latents, u):
        """What `player` descends: sum_j a_j loss(z, z_j), with (a_j, z_j) in opponent."""
        return sum(a * self._loss(player, z, rival, real, latents, u) for a, rival in opponent)

    def field(self, player, z, opponent, real, latents, u):
        """The gradient of `loss` in z."""
        gradient = self._theta_gradient if player == "theta" else self._w_gradient
        return sum(a * gradient(z, rival, real, latents, u) for a, rival in opponent)

    def _loss(self, player, z, rival, real, latents, u):
        theta, w = (z, rival) if player == "theta" else (rival, z)
        fake = self.samples(theta, latents)
        logits = self.logits(w, real), self.logits(w, fake)
        if player == "theta":
            return generator_loss(self.objective, *logits)[0]
        f, between = unpack(w, self.discriminator), u * real + (1 - u) * fake
        norms = length(input_gradient(f, between)[0])
        squares = np.sum(input_gradient(f, real)[0] ** 2, axis=1)
        penalty = self.gradient_penalty * np.mean((norms - 1) ** 2) + self.r1 * squares.mean() / 2
        penalty += self.r2 * np.sum(input_gradient(f, fake)[0] ** 2, axis=1).mean() / 2
        return discriminator_loss(self.objective, *logits)[0] + penalty

    def _theta_gradient(self, theta, w, real, latents, u):
        g, f = unpack(theta, self.generator), unpack(w, self.discriminator)
        fake, *g_cache = forward(g, latents)
        fake_logits, *f_cache = forward(f, fake)
        _, d_fake = generator_loss(self.objective, self.logits(w, real), fake_logits)
        _, d_samples = backward(f, *f_cache, d_fake)
        gradients, _ = backward(g, *g_cache, d_samples)
        return pack(gradients, len(theta))

    def _w_gradient(self, w, theta, real, latents, u):
        f, fake = unpack(w, self.discriminator), self.samples(theta, latents)
        real_logits, *real_cache = forward(f, real)
        fake_logits, *fake_cache = forward(f, fake)
        _, d_real, d_fake = discriminator_loss(self.objective, real_logits, fake_logits)
        parts = [backward(f, *real_cache, d_real)[0], backward(f, *fake_cache, d_fake)[0]]

        v, s, masks = input_gradient(f, u * real + (1 - u) * fake)
        norm = length(v)[:, None]
        d_v = self.gradient_penalty * 2 * (norm - 1) * v / norm / len(real)
        parts.append(input_gradient_backward(f, s, masks, d_v))

        v, s, masks = input_gradient(f, real)
        parts.append(input_gradient_backward(f, s, masks, self.r1 * v / len(real)))

        v, s, masks = input_gradient(f, fake)
        parts.append(input_gradient_backward(f, s, masks, self.r2 * v / len(fake)))
        return sum(pack(gradients, len(w)) for gradients in parts)
