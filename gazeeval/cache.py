"""A bounded memory: what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Keeps values up to ``limit`` bytes in total, as ``size_of`` counts them. Safe to share between threads."""

    def __init__(self, limit: int, size_of: Callable[[V], int]) -> None:
        self._limit = limit
        self._size_of = size_of
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()
        self.nbytes = 0

    def get(self, key: K) -> V | None:
        """The value kept for ``key``, or None."""
        with self._lock:
            if key not in self._items:
                return None
            self._items.move_to_end(key)
            return self._items[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value; the ones used longest ago make room."""
        with self._lock:
            if key in self._items:
                self.nbytes -= self._size_of(self._items.pop(key))
            self._items[key] = value
            self.nbytes += self._size_of(value)
            while self.nbytes > self._limit and self._items:
                self.nbytes -= self._size_of(self._items.popitem(last=False)[1])

    def __len__(self) -> int:
        return len(self._items)
