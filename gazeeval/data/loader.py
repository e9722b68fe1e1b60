"""Images of one group after the other, decoded ahead of time in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazeeval.cache import ByteCache
from gazeeval.data.dataset import Dataset
from gazeeval.data.geometry import Geometry
from gazeeval.errors import ImageError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class LoadedImages:
    """The images of one request.

    Attributes:
        rows: (n,) int64, rows of the data set that could be read.
        pixels: (n, h, w, 3) uint8, at the size of the network input.
        errors: row -> why it could not be read.
    """

    rows: NDArray[np.int64]
    pixels: Pixels
    errors: Mapping[int, ImageError]


class ImageLoader:
    """Reads images at the size of the network input.

    Threads suffice: Pillow decodes and resizes without the interpreter's lock. Images stay in a bounded cache, for they
        come
    back in every round of pairs.

    Args:
        workers: threads; 0 reads when asked.
        ahead: requests that are read in advance.
    """

    def __init__(
        self, dataset: Dataset, geometry: Geometry, *, workers: int = 2, ahead: int = 2, cache_bytes: int = 1 << 29
    ) -> None:
        self._dataset = dataset
        self._geometry = geometry
        self._workers = workers
        self._ahead = ahead
        self._cache: ByteCache[int, Pixels] = ByteCache(cache_bytes, lambda pixels: pixels.nbytes)

    def read(self, requests: Iterable[NDArray[np.int64]]) -> Iterator[LoadedImages]:
        """The images of each request (n,), in order."""
        if not self._workers:
            for rows in requests:
                yield _collect(rows, [self._attempt(int(row)) for row in rows])
            return
        with ThreadPoolExecutor(self._workers, thread_name_prefix="gazeeval-read") as pool:
            waiting: deque[tuple[NDArray[np.int64], list[Future[Pixels | ImageError]]]] = deque()
            for rows in requests:
                waiting.append((rows, [pool.submit(self._attempt, int(row)) for row in rows]))
                if len(waiting) > self._ahead:
                    yield _finish(*waiting.popleft())
            while waiting:
                yield _finish(*waiting.popleft())

    def _attempt(self, row: int) -> Pixels | ImageError:
        pixels = self._cache.get(row)
        if pixels is None:
            try:
                pixels = self._geometry.apply(self._dataset.read_image(row))
            except ImageError as error:
                return error
            self._cache.put(row, pixels)
        return pixels


def _finish(rows: NDArray[np.int64], futures: list[Future[Pixels | ImageError]]) -> LoadedImages:
    return _collect(rows, [future.result() for future in futures])


def _collect(rows: NDArray[np.int64], outcomes: list[Pixels | ImageError]) -> LoadedImages:
    read = [outcome for outcome in outcomes if not isinstance(outcome, ImageError)]
    fine = np.array([not isinstance(outcome, ImageError) for outcome in outcomes], dtype=bool)
    errors = {int(row): error for row, error in zip(rows, outcomes, strict=True) if isinstance(error, ImageError)}
    return LoadedImages(rows[fine], np.stack(read) if read else np.empty((0, 0, 0, 3), np.uint8), errors)
