"""The figures of an HTML report, as numbers and paths: one function per figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gazeeval.report.beside import Cells
from gazeeval.report.charts import DOTS, cells, dots, steps
from gazeeval.report.ranked import Entry, Ranked
from gazeeval.statistics.intervals import Floats

FEW = 10
"""Pairs below which a mean is drawn faintly."""

CLASSES = 24
"""Classes that are shown: of more, the hardest half of that many and the easiest."""

_TENTHS = np.arange(1, 10) / 10
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Scatter:
    """lam (across) and lam_gaze (up) of the pairs of a method: paths with their opacity."""

    entry: Entry
    shapes: Sequence[tuple[float, str]]
    is_dots: bool


@dataclass(frozen=True)
class Spread:
    """The distribution of lam - lam_gaze of a method: its outline over [-1, 1], its mean and some quantiles."""

    entry: Entry
    outline: str
    mean: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True)
class Tenth:
    """The pairs of a method with lam in one tenth of [0, 1]: their number, and the mean of lam - lam_gaze."""

    n: int
    bias: float


@dataclass(frozen=True)
class ClassBar:
    """A class of the source: the mean of the methods' scores, and (method, score) of each."""

    name: str
    mean: float
    scores: Sequence[tuple[str, float]]


def scatters(ranked: Ranked) -> list[Scatter]:
    """One per method that has a rank; all with dots, or all with cells where one has too many pairs."""
    points = [_labels_and_gaze(entry) for entry in ranked.scored]
    is_dots = all(len(x) <= DOTS for x, _ in points)
    return [
        Scatter(entry, [(1.0, dots(x, y))] if is_dots else cells(x, y), is_dots)
        for entry, (x, y) in zip(ranked.scored, points, strict=True)
    ]


def _labels_and_gaze(entry: Entry) -> tuple[Floats, Floats]:
    used = _scored(entry).dropna(subset=["lam", "lam_gaze"])  # of several images the two largest may show no gaze
    return _floats(used["lam"]), _floats(used["lam_gaze"])


def spreads(ranked: Ranked, bins: int = 50) -> list[Spread]:
    """One per method and reference row with a score; all have one scale, on which lonely spikes are cut."""
    deltas = [(entry, _floats(_scored(entry)["delta"].dropna())) for entry in ranked.entries if entry.score.is_known]
    found = [
        (entry, delta, np.histogram(delta, bins, (-1, 1))[0] / len(delta)) for entry, delta in deltas if len(delta)
    ]
    top = 2 * float(np.median([shares.max() for _, _, shares in found])) if found else 1.0
    return [
        Spread(
            entry,
            steps(np.minimum(shares / top, 1)),
            float(delta.mean()),
            tuple(np.quantile(delta, _QUANTILES).tolist()),
        )
        for entry, delta, shares in found
    ]


def spread_table(found: Sequence[Spread]) -> Cells:
    """The numbers of `spreads`, in points."""
    header = ["method", "mean", *("median" if share == 0.5 else f"{100 * share:g} %" for share in _QUANTILES)]
    rows = [[one.entry.name, *(f"{100 * value:+.1f}" for value in (one.mean, *one.quantiles))] for one in found]
    return [header, *rows]


def tenths(ranked: Ranked) -> list[tuple[Entry, list[Tenth | None]]]:
    """The bias by tenths of lam of each method that has a rank; None where there is no pair."""
    found = []
    for entry in ranked.scored:
        used = _scored(entry).dropna(subset=["lam", "delta"])
        delta, tenth = _floats(used["delta"]), np.digitize(_floats(used["lam"]), _TENTHS)
        parts = (delta[tenth == number] for number in range(10))
        found.append((entry, [Tenth(len(part), float(part.mean())) if len(part) else None for part in parts]))
    return found


def tenths_table(found: Sequence[tuple[Entry, Sequence[Tenth | None]]]) -> Cells:
    """The numbers of `tenths`, in points with the pairs behind them."""
    header = ["method", *(f"{number / 10:.1f}-{(number + 1) / 10:.1f}" for number in range(10))]
    texts = ([f"{100 * one.bias:+.1f} ({one.n})" if one else "-" for one in bars] for _, bars in found)
    return [header, *([entry.name, *row] for (entry, _), row in zip(found, texts, strict=True))]


def class_bars(ranked: Ranked) -> list[ClassBar]:
    """All classes, that with the largest mean over the methods first; none where there is a single class."""
    names = dict.fromkeys(name for entry in ranked.scored for name in entry.classes)
    bars = []
    for name in names:
        scores = [(entry.name, entry.classes[name].value) for entry in ranked.scored if name in entry.classes]
        bars.append(ClassBar(name, float(np.mean([score for _, score in scores])), scores))
    bars.sort(key=lambda bar: -bar.mean)
    return bars if len(bars) > 1 else []


def shown_classes(bars: Sequence[ClassBar]) -> list[ClassBar]:
    """All of ``bars`` (ordered), or the first and the last of too many."""
    half = CLASSES // 2
    return [*bars] if len(bars) <= CLASSES else [*bars[:half], *bars[-half:]]


def class_table(ranked: Ranked, bars: Sequence[ClassBar]) -> Cells:
    """The numbers of ``bars``, in percent."""
    names = [entry.name for entry in ranked.scored]
    rows = []
    for bar in bars:
        scores = dict(bar.scores)
        texts = (f"{100 * scores[name]:.1f}" if name in scores else "-" for name in names)
        rows.append([bar.name, f"{100 * bar.mean:.1f}", *texts])
    return [["class of the source", "mean", *names], *rows]


def _scored(entry: Entry) -> pd.DataFrame:
    return entry.rows[entry.rows["status"].eq("ok")]


def _floats(values: pd.Series[Any]) -> Floats:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)
