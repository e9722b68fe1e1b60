"""How many images go through a network at once: as many as asked for, fewer where the device has not the memory.

Rows do not depend on it beyond rounding, so a run that runs out of memory goes on with smaller passes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from gazeeval.errors import GazeEvalError

log = logging.getLogger("gazeeval")

T = TypeVar("T")


class Passes:
    """Cuts work on many images into passes of at most ``size``; None: all in one.

    ``size`` is halved when a pass runs out of the device's memory, and stays so for all that follows.
    """

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def map(self, work: Callable[[slice], T], count: int) -> list[T]:
        """What ``work`` gives for each pass over ``count`` images, in their order.

        Raises:
            GazeEvalError: the memory does not hold a pass of one image.
        """
        results: list[T] = []
        start = 0
        while start < count:
            part = slice(start, min(start + (self.size or count), count))
            try:
                results.append(work(part))
                start = part.stop
                continue
            except torch.OutOfMemoryError as error:
                why = str(error)
            self._halve(part.stop - start, why)  # not before the error is gone, which holds what the pass has made
        return results

    def _halve(self, tried: int, why: str) -> None:
        if tried == 1:
            raise GazeEvalError(
                f"out of memory: one image at a time is too much for the device ({why.partition('. ')[0]}). "
                "Pass a smaller --input-size, free the device, or use --device cpu."
            )
        self.size = tried // 2
        torch.cuda.empty_cache()  # does nothing without a GPU
        log.warning("warning: out of memory with %d images in a pass, going on with %d", tried, self.size)
