"""The law of draws (`tf_mixed_nash.rng`) in NumPy: keys, words, and what is made of them."""

from __future__ import annotations

import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
KEYS = 0x6B657973


def threefry(key, x0, x1, rounds):
    """Threefry-2x32 (Salmon et al. 2011, table 2, section 3.3), group by group of four rounds."""
    k = [np.uint32(key[0]), np.uint32(key[1])]
    k.append(k[0] ^ k[1] ^ np.uint32(0x1BD11BDA))
    with np.errstate(over="ignore"):
        x = [np.asarray(x0, np.uint32) + k[0], np.asarray(x1, np.uint32) + k[1]]
        for r in range(rounds):
            n = np.uint32(_ROTATIONS[r // 4 % 2][r % 4])
            x[0] = x[0] + x[1]
            x[1] = (x[1] << n | x[1] >> (np.uint32(32) - n)) ^ x[0]
            if (r + 1) % 4 == 0:
                s = (r + 1) // 4
                x[0] = x[0] + k[s % 3]
                x[1] = x[1] + k[(s + 1) % 3] + np.uint32(s)
    return x


def fold_in(key, *counters):
    """int32 [2]."""
    words = np.asarray(key, np.int32).view(np.uint32)
    for c in counters:
        low, high = int(c) & 0xFFFFFFFF, int(c) >> 32
        words = np.array(threefry(words, low, high ^ KEYS, 20), np.uint32)
    return words.view(np.int32)


def words(key, num, at=0):
    """The two words of counters (0, at), ..., (num - 1, at)."""
    key = np.asarray(key, np.int32).view(np.uint32)
    return threefry(key, np.arange(num), np.full(num, at), 13)


def normal(key, num, at=0):
    """float64 [num]: Box and Muller's, of the uniform's 23 bits and the angle's 32."""
    x0, x1 = words(key, -(-num // 2), at)
    radius = np.sqrt(-2.0 * np.log(((x0 >> np.uint32(9)) + 0.5) / 2.0**23))
    angle = 2.0 * np.pi * (x1 / 2.0**32)
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.ravel()[:num]


def _of_64_bits(key, num, at):
    x0, x1 = words(key, num, at)
    return [(int(a) << 32) | int(b) for a, b in zip(x0, x1, strict=True)]


def uniform(key, num, at=0):
    """float64 [num], from 52 bits."""
    return np.array([((x >> 12) + 0.5) / 2.0**52 for x in _of_64_bits(key, num, at)])


def integer(key, num, end, at=0):
    """int64 [num] in [0, end)."""
    return np.array([x * end >> 64 for x in _of_64_bits(key, num, at)], np.int64)


def choice(key, num, weights, at=0):
    """int64 [num]."""
    edges = np.cumsum(np.asarray(weights, np.float64))
    index = np.searchsorted(edges, uniform(key, num, at) * edges[-1], side="right")
    return np.minimum(index, len(edges) - 1)
