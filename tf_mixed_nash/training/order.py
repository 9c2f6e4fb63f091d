"""Which records a mini-batch holds: a function of (seed, index) alone.

Every epoch is a permutation of the records, computed entry by entry (a Feistel network with
cycle walking), so that the order has no state: nothing is shuffled in memory, and resuming
at mini-batch 10^6 costs what mini-batch 0 costs.
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["coin", "coin_at", "permutation", "records", "records_at"]

_ROUNDS = 6  # 4 give a strong pseudo-random permutation (Luby & Rackoff 1988); 2 for good measure


def _key(seed: int, *words: object) -> int:
    text = repr((int(seed), *words)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: uint64 -> uint64, a bijection that scatters bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permutation(index: np.ndarray, num: int, key: int) -> np.ndarray:
    """The images of `index` under permutation number `key` of {0, ..., num - 1}.

    Args:
      index: int64 [k], in [0, num).
      num: how many records there are, at least 1.
      key: an integer in [0, 2**64).

    Returns:
      int64 [k].
    """
    half = max((max(num - 1, 1).bit_length() + 1) // 2, 1)
    low = np.uint64((1 << half) - 1)
    keys = _mix(
        np.uint64(key) + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    )

    def walk(x):
        left, right = x >> np.uint64(half), x & low
        for k in keys:
            left, right = right, left ^ (_mix(right ^ k) & low)
        return (left << np.uint64(half)) | right

    x = walk(np.asarray(index).astype(np.uint64))
    # The network permutes a power of four; records outside are walked until they are inside.
    while (outside := x >= np.uint64(num)).any():
        x[outside] = walk(x[outside])
    return x.astype(np.int64)


def records(seed: int, batch: int, batch_size: int, num: int) -> np.ndarray:
    """The records of mini-batch number `batch`: int64 [batch_size].

    Record positions run on from batch to batch and from epoch to epoch; each epoch has its
    own permutation, in which every record occurs once.
    """
    return records_at(seed, batch * batch_size + np.arange(batch_size, dtype=np.int64), num)


def records_at(seed: int, position: np.ndarray, num: int) -> np.ndarray:
    """The records at positions int64 [k] of the order of `records`: int64 [k]."""
    epochs = position // num
    result = np.empty(len(position), np.int64)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        result[mine] = permutation(position[mine] % num, num, _key(seed, "epoch", int(epoch)))
    return result


def coin(seed: int, batch: int, batch_size: int) -> np.ndarray:
    """A fair coin for every row of a mini-batch, such as for flips: bool [batch_size]."""
    return coin_at(seed, batch * batch_size + np.arange(batch_size, dtype=np.int64))


def coin_at(seed: int, position: np.ndarray) -> np.ndarray:
    """The coins at positions int64 [k] of the order of `records`: bool [k]."""
    bits = _mix(position.astype(np.uint64))
    return (_mix(bits ^ np.uint64(_key(seed, "coin"))) >> np.uint64(63)).astype(bool)
