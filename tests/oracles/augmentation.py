"""DiffAugment's operations (Zhao et al. 2020) and ADA's feedback, image by image in NumPy."""

from __future__ import annotations

import numpy as np


def transformed(x, u, policy, p):
    """Images [n, h, w, c] after the operations, by the uniforms [n, 12] of each."""
    return np.stack([_one(image, row, policy, p) for image, row in zip(x, u, strict=True)])


def _one(x, u, policy, p):
    h, w, _ = x.shape
    for name in policy:
        if name == "color":
            if u[7] < p:
                x = x + (u[0] - 0.5)
            if u[8] < p:
                grey = x.mean(axis=2, keepdims=True)
                x = (x - grey) * (2 * u[1]) + grey
            if u[9] < p:
                mean = x.mean()
                x = (x - mean) * (u[2] + 0.5) + mean
        elif name == "translation" and u[10] < p:
            most = [int(n * 0.125 + 0.5) for n in (h, w)]
            down, right = (int(np.float32(u[3 + i]) * (2 * k + 1)) - k for i, k in enumerate(most))
            moved = np.zeros_like(x)
            for i in range(h):
                for j in range(w):
                    if 0 <= i - down < h and 0 <= j - right < w:
                        moved[i, j] = x[i - down, j - right]
            x = moved
        elif name == "cutout" and u[11] < p:
            box = [int(n * 0.5 + 0.5) for n in (h, w)]
            at = [
                int(np.float32(u[5 + i]) * (n + (1 - k % 2)))
                for i, (n, k) in enumerate(zip((h, w), box, strict=True))
            ]
            mask = np.ones([h, w, 1])
            for i in range(box[0]):
                for j in range(box[1]):
                    # Clipped to the image, as the authors do.
                    row = min(max(i + at[0] - box[0] // 2, 0), h - 1)
                    column = min(max(j + at[1] - box[1] // 2, 0), w - 1)
                    mask[row, column] = 0.0
            x = x * mask
    return x


def chance(p, signs, target, num_samples, speed, most):
    """ADA's probability after one look at the signs of D(real) (Karras et al. 2020, section 3)."""
    return float(np.clip(p + np.sign(np.mean(signs) - target) * num_samples / speed, 0.0, most))
