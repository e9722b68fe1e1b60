"""What other commands leave in a run folder, as a report shows it: the human ceiling, sensitivity, agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gazeeval.errors import DataError
from gazeeval.report.files import Results
from gazeeval.report.ranked import VIEWER, Estimate, Ranked, interval_text
from gazeeval.report.tables import REFERENCE

Cells = list[list[str]]
"""A header and rows of text."""


@dataclass(frozen=True)
class Ceiling:
    """How near one viewer's gaze comes to that of the others.

    Attributes:
        score: mean |lam_gaze of one viewer - lam_gaze of the others|.
        tables: what ceiling.csv has beyond it; none where there is no such file.
    """

    score: Estimate
    tables: Sequence[Cells] = ()


@dataclass(frozen=True)
class Range:
    """A method under several gaze recipes: its score under that of the run, the lowest, the highest, and its ranks."""

    name: str
    usual: float
    low: float
    high: float
    ranks: str


@dataclass(frozen=True)
class Sensitivity:
    """How far scores and ranking depend on the gaze recipe."""

    statement: str
    ranges: Sequence[Range]
    table: Cells


def ceiling(ranked: Ranked) -> Ceiling | None:
    """From the first ceiling.csv of the runs, else from their reference row; None where viewers are unknown."""
    found = (_read(run, "ceiling.csv", ("measure", "viewer"), ("estimate",)) for run in ranked.runs)
    table = next((table for table in found if table is not None), None)
    if table is None:
        entry = ranked.find(VIEWER)
        return Ceiling(entry.score) if entry is not None and entry.score.is_known else None
    of = {str(measure): part.set_index("viewers") for measure, part in table.groupby("measure")}
    alone = of["leave_one_out"]
    scores = [Estimate(*row) for row in alone[["estimate", "ci_low", "ci_high"]].itertuples(index=False)]
    names = [name if isinstance(name, str) else "mean" for name in alone["viewer"]]
    viewers = [[name, interval_text(score)] for name, score in zip(names, scores, strict=True)]
    tables = [[["viewer", "against the others, %"], *viewers]]
    if {"reliability", "noise"} <= of.keys():
        both = zip(of["reliability"]["estimate"].items(), of["noise"]["estimate"], strict=True)
        rows = [[f"{count:.0f}", f"{reliability:.3f}", f"{100 * noise:.1f}"] for (count, reliability), noise in both]
        tables.append([["viewers", "reliability of lam_gaze", "its noise, points (SD)"], *rows])
    return Ceiling(scores[-1], tables)


def sensitivity(run: Results) -> Sensitivity | None:
    """From sensitivity.csv; None where it is not there."""
    table = _read(run, "sensitivity.csv", ("recipe", "method"), ("estimate", "rank", "tau"))
    if table is None:
        return None
    parts = dict(iter(table.groupby("method", sort=False)))
    ranges = [_range(str(name), part) for name, part in parts.items()]
    ranges.sort(key=lambda one: (one.name.startswith(REFERENCE), one.usual))
    recipes = list(dict.fromkeys(table["recipe"]))
    scores = table.pivot_table(index="recipe", columns="method", values="estimate", sort=False)
    taus = table.groupby("recipe")["tau"].first()
    header = ["recipe", "Kendall's tau", *(one.name for one in ranges)]
    rows = [
        [recipe, _number(taus[recipe], ".2f"), *(_number(100 * scores[one.name][recipe], ".1f") for one in ranges)]
        for recipe in recipes
    ]
    return Sensitivity(_statement(recipes, taus, ranges), ranges, [header, *rows])


def agreement(run: Results) -> Cells | None:
    """From agreement_summary.csv: maps that methods rely on against gaze; None where it is not there."""
    table = _read(run, "agreement_summary.csv", ("map", "metric"), ("estimate", "ci_high", "n"))
    if table is None:
        return None
    metrics = list(dict.fromkeys(table["metric"]))
    rows = []
    for name, part in table.groupby("map", sort=False):
        of = part.set_index("metric")
        cells = [
            _number(of["estimate"][metric], ".3f") + _half(of["ci_high"][metric] - of["estimate"][metric])
            for metric in metrics
        ]
        rows.append([str(name), f"{part['n'].max():.0f}", *cells])
    return [["map", "images", *(_TITLES.get(metric, metric) for metric in metrics)], *rows]


_TITLES = {"nss": "NSS", "auc": "AUC", "sauc": "sAUC", "cc": "CC", "sim": "SIM", "kl": "KL, nats", "ig": "IG, bits"}


def _range(name: str, part: pd.DataFrame) -> Range:
    estimates, ranks = part["estimate"], part["rank"].dropna()
    lowest, highest = (f"{rank:.0f}" for rank in (ranks.min(), ranks.max())) if len(ranks) else ("-", "-")
    usual = float(estimates[part["recipe"].eq("base")].iloc[0])
    places = lowest if lowest == highest else f"{lowest} to {highest}"
    return Range(name, usual, float(estimates.min()), float(estimates.max()), places)


def _statement(recipes: Sequence[str], taus: pd.Series[float], ranges: Sequence[Range]) -> str:
    widest = max(ranges, key=lambda one: one.high - one.low)
    moves = f"the score of {widest.name} moves most, from {100 * widest.low:.1f} to {100 * widest.high:.1f} %"
    known = taus.dropna()
    if known.empty:  # a single method
        return f"{moves[0].upper()}{moves[1:]}."
    lowest = float(known.min())
    if lowest == 1:
        return f"The ranking is the same under all {len(recipes) - 1} other recipes; {moves}."
    where = next(recipe for recipe in recipes if known.get(recipe) == lowest)
    return f"Kendall's tau with the ranking of the run goes down to {lowest:.2f} ({where}); {moves}."


def _read(run: Results, name: str, words: Sequence[str], needed: Sequence[str]) -> pd.DataFrame | None:
    """A table of the run folder with ``words`` as text; None where it is not there.

    Raises:
        DataError: a file that is damaged, or lacks a column.
    """
    path = Path(run.folder) / name
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(words, "str"), keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise DataError(f"malformed table: {path}, got {error}. Write it again, or remove it") from None
    missing = {*words, *needed} - set(table)
    if missing or table.empty:
        raise DataError(
            f"malformed table: {path}, got no {', '.join(sorted(missing)) or 'row'}. Write it again, or remove it"
        )
    return table


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:z{form}}"


def _half(width: float) -> str:
    return "" if math.isnan(width) else f" ±{width:.3f}"
