"""Random numbers that depend on nothing but (seed, stream, pair).

A counter-based generator (Philox4x32-10: Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011, section 3.3) turns the number of a pair into its random numbers, for all pairs at once. So a pair gets the same
draws whatever the batch, the worker, the device, or the other methods of the run.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SHARED_STREAMS = frozenset({"lam", "centre", "size"})

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10


def philox4x32(counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox4x32-10 of counters (4, m) under one key (2,): (4, m). All are 32-bit words held in uint64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        left, right = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (right >> _HALF) ^ c1 ^ k0, right & _LOW, (left >> _HALF) ^ c3 ^ k1, left & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return np.stack((c0, c1, c2, c3))


class PairRng:
    """Uniform numbers for given pairs (or groups, for mixers that draw once per group).

    Args:
        seed: of the run.
        method: name of the mixer. The streams ``lam``, ``centre`` and ``size`` leave it out, so that methods which draw
            the same thing get the same numbers.
        ids: (n,) numbers of the pairs in the run's pair list.
    """

    def __init__(self, seed: int, method: str, ids: NDArray[np.int64] | Sequence[int]) -> None:
        self.seed = seed
        self.method = method
        self.ids = np.asarray(ids, dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.ids)

    def uniform(self, stream: str, *shape: int) -> NDArray[np.float64]:
        """(n, *shape) float64 in [0, 1), multiples of 2**-53. Row i depends on seed, stream and pair i alone."""
        per_pair = math.prod(shape)
        blocks = -(-per_pair // 2)
        block = np.arange(blocks, dtype=np.uint64)
        counter = np.empty((4, len(self.ids), blocks), dtype=np.uint64)
        counter[0], counter[1] = block & _LOW, block >> _HALF
        counter[2], counter[3] = (self.ids & _LOW)[:, None], (self.ids >> _HALF)[:, None]
        words = philox4x32(counter.reshape(4, -1), self._key(stream))
        high, low = words[0::2] >> np.uint64(5), words[1::2] >> np.uint64(6)
        doubles = (high * np.float64(2**26) + low) * 2.0**-53
        return doubles.T.reshape(len(self.ids), 2 * blocks)[:, :per_pair].reshape(len(self.ids), *shape)

    def integers(self, stream: str, high: int, *shape: int) -> NDArray[np.int64]:
        """(n, *shape) int64, uniform on 0 .. high - 1."""
        return (self.uniform(stream, *shape) * high).astype(np.int64)

    def permutation(self, stream: str, length: int) -> NDArray[np.int64]:
        """(n, length) int64, a permutation of 0 .. length - 1 in each row: the ranking of uniforms."""
        return np.argsort(self.uniform(stream, length), axis=1, kind="stable")

    def _key(self, stream: str) -> NDArray[np.uint64]:
        owner = "" if stream in SHARED_STREAMS else self.method
        text = f"{self.seed}\x00{stream}\x00{owner}".encode()
        digest = hashlib.blake2b(text, digest_size=8).digest()
        return np.frombuffer(digest, dtype="<u4").astype(np.uint64)
