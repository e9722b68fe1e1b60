"""From the samples of an eye tracker to fixations: I-VT and I-DT (Salvucci & Goldberg, ETRA 2000).

Card ``gaze-heatmaps``, section 1. Positions x, y (n,) are in any isotropic unit (degrees where the geometry is known,
else pixels), times t_ms (n,) in ms, increasing; a sample whose position is not a number (a blink) belongs to no
fixation and ends the one before. Events are sample indices: the fixation runs from ``first`` to ``last``, inclusive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Index = NDArray[np.int64]


class Events(NamedTuple):
    """``first``, ``last`` (e,) int64: rows of the first and last sample of each fixation."""

    first: Index
    last: Index


Detector = Callable[[Floats, Floats, Floats], Events]
"""x, y, t_ms of one recording -> its fixations."""


def velocity(x: Floats, y: Floats, t_ms: Floats) -> NDArray[np.float64]:
    """(n,) speed in units per second, |p[i+1] - p[i-1]| / (t[i+1] - t[i-1]), one-sided at the ends; NaN if unknown."""
    before = np.maximum(np.arange(len(t_ms)) - 1, 0)
    after = np.minimum(np.arange(len(t_ms)) + 1, len(t_ms) - 1)
    x, y, seconds = (np.asarray(v, np.float64)[after] - np.asarray(v, np.float64)[before] for v in (x, y, t_ms / 1e3))
    with np.errstate(divide="ignore", invalid="ignore"):  # a single sample has no speed
        return np.hypot(x, y) / seconds


def ivt(x: Floats, y: Floats, t_ms: Floats, threshold: float, min_duration_ms: float) -> Events:
    """Maximal runs of samples slower than ``threshold`` (units per second) that last at least ``min_duration_ms``."""
    slow = np.concatenate([[False], velocity(x, y, t_ms) < threshold, [False]])
    first, end = np.flatnonzero(slow[1:] & ~slow[:-1]), np.flatnonzero(slow[:-1] & ~slow[1:])
    long = t_ms[end - 1] - t_ms[first] >= min_duration_ms
    return Events(first[long], end[long] - 1)


def idt(x: Floats, y: Floats, t_ms: Floats, threshold: float, min_duration_ms: float) -> Events:
    """Windows of ``min_duration_ms`` or more whose dispersion (range of x + range of y) is at most ``threshold``.

    A window starts at the first sample that is left and grows as long as it can; where it is too wide from the start,
    its first sample is dropped.
    """
    shortest = np.searchsorted(t_ms, t_ms + min_duration_ms)  # the first sample that makes a window long enough
    events, start, count = [], 0, len(t_ms)
    while start < count and shortest[start] < count:
        end = start + _close_together(x[start:], y[start:], threshold, 2 * int(shortest[start] - start + 1))
        if end > shortest[start]:
            events.append((start, end - 1))
            start = end
        else:
            start += 1
    first, last = np.array(events, dtype=np.int64).reshape(-1, 2).T
    return Events(first, last)


def _close_together(x: Floats, y: Floats, threshold: float, look: int) -> int:
    """How many of the first samples are not dispersed by more than ``threshold``; looks at ``look``, then at more."""
    spread = _range_so_far(x[:look]) + _range_so_far(y[:look])
    too_wide = ~(spread <= threshold)  # a missing sample, NaN, too
    if too_wide.any():
        return int(np.argmax(too_wide))
    return len(x) if look >= len(x) else _close_together(x, y, threshold, 2 * look)


def _range_so_far(values: Floats) -> Floats:
    return np.maximum.accumulate(values) - np.minimum.accumulate(values)


def detect(find: Detector, recording: Index, x: Floats, y: Floats, t_ms: Floats, max_gap_ms: float) -> Events:
    """The fixations of many recordings (``recording`` (n,), rows sorted by it and by time), found one by one.

    A recording is cut where no sample came for longer than ``max_gap_ms``: nobody knows where the eye was meanwhile.
    """
    cut = np.flatnonzero((np.diff(recording) != 0) | (np.diff(t_ms) > max_gap_ms)) + 1
    starts = np.concatenate([[0], cut])
    found = [
        find(x[start:stop], y[start:stop], t_ms[start:stop])
        for start, stop in zip(starts, np.append(cut, len(x)), strict=True)
    ]
    first, last = (
        np.concatenate([start + events[side] for start, events in zip(starts, found, strict=True)]) for side in (0, 1)
    )
    return Events(first, last)


def summarise(events: Events, x: Floats, y: Floats, t_ms: Floats) -> NDArray[np.float64]:
    """(e, 3): mean x, mean y and duration, t[last] - t[first] in ms."""
    bounds = np.stack((events.first, events.last + 1), axis=1).ravel()
    count = events.last - events.first + 1

    def mean(values: Floats) -> NDArray[np.float64]:
        if not len(count):
            return np.empty(0)
        sums: NDArray[np.float64] = np.add.reduceat(np.append(values, 0.0), bounds)[::2]
        return sums / count

    return np.stack((mean(x), mean(y), t_ms[events.last] - t_ms[events.first]), axis=1)
