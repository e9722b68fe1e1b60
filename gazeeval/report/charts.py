"""The geometry of the figures in an HTML report: positions and SVG paths. How they look is up to the templates.

Positions along an axis are percent of its length, paths are in a box of 100 by 100 with y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gazeeval.statistics.intervals import Floats

DOTS = 1000
"""Points of a scatter plot that are drawn one by one; more are counted in cells."""

_CELLS = 25  # of a counted scatter plot, along each side
_LEVELS = 6  # of their darkness


@dataclass(frozen=True)
class Axis:
    """A linear axis with ticks at round numbers.

    Attributes:
        low, high: its ends.
        ticks: ascending.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def around(cls, values: Iterable[float], *, most: int = 6) -> Axis:
        """From 0, or a round number below it, to one above ``values``, in about ``most`` steps; NaN does not count."""
        known = [0.0, *(value for value in values if not math.isnan(value))]
        low, high = min(known), max(known)
        step = _round_step((high - low or 1) / most)
        first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), 1)
        ticks = tuple(step * number for number in range(first, last + 1))
        return cls(ticks[0], ticks[-1], ticks)

    def at(self, value: float) -> float:
        """Where ``value`` is, in percent from the lower end; what lies beyond an end is at the end."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0), 1), 2)


def _round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def dots(x: Floats, y: Floats) -> str:
    """A path with a line of length 0 at every point (m,) of the unit square, drawn as a dot by a round line cap."""
    return "".join(f"M{100 * a:.4g} {100 - 100 * b:.4g}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def cells(x: Floats, y: Floats) -> list[tuple[float, str]]:
    """The points (m,) of the unit square counted in square cells: (opacity, path) of the cells of each level."""
    counts, _, _ = np.histogram2d(x, y, bins=_CELLS, range=((0, 1), (0, 1)))
    level = np.ceil(_LEVELS * np.sqrt(counts / max(counts.max(), 1))).astype(int)
    side = 100 / _CELLS
    return [
        (round(number / _LEVELS, 2), "".join(_square(a * side, 100 - (b + 1) * side, side) for a, b in found.tolist()))
        for number in range(1, _LEVELS + 1)
        if len(found := np.argwhere(level == number))
    ]


def _square(left: float, top: float, side: float) -> str:
    return f"M{left:g} {top:g}h{side:g}v{side:g}h-{side:g}z"


def steps(heights: Sequence[float] | NDArray[np.float64]) -> str:
    """The closed outline of a histogram whose bins of equal width have ``heights`` from 0 to 1."""
    width = 100 / len(heights)
    return "M0 100" + "".join(f"V{100 - 100 * height:.4g}h{width:.4g}" for height in heights) + "V100z"
