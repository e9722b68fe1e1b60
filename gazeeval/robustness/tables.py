"""What `gazeeval ceiling` and `gazeeval sensitivity` write and print; the printed text follows from the files alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from gazeeval.errors import UsageError
from gazeeval.report.columns import Column, Columns
from gazeeval.report.files import read_csv, write_csv
from gazeeval.report.tables import REFERENCE

MEASURES = {
    "leave_one_out": "mean |lam_gaze of one viewer - lam_gaze of all others|: the score of one more human",
    "one_against": "the same against that many of the others, over pairs whose images all viewers have looked at",
    "mean_r": "correlation of lam_gaze of two viewers, mean over all two",
    "reliability": "correlation of lam_gaze of that many viewers with that of as many new ones (Spearman-Brown)",
    "icc": "intraclass correlation of lam_gaze of one viewer, ICC(1,1), or of the mean of all, ICC(1,K)",
    "within_variance": "s^2 of one viewer's lam_gaze around that of infinitely many: its mean squared difference",
    "noise": "s / sqrt(viewers), standard deviation of lam_gaze around that of infinitely many viewers",
}
_RUN = (
    Column("run_id", "string", "", "fingerprint of everything that decides the rows"),
    Column("dataset", "string", "", "name of the data set"),
    Column("split", "string", "", "part of the data set"),
)
_INTERVAL = (
    Column("ci_low", "Float64", "", "lower end of its interval, where it is a mean over pairs"),
    Column("ci_high", "Float64", "", "upper end of its interval"),
    Column("ci_level", "Float64", "fraction", "probability that the interval claims"),
)
_RECIPE = Column("recipe", "string", "", "what differs from the recipe of the run; base: nothing")
FILES: dict[str, Columns] = {
    "ceiling.csv": (
        *_RUN[1:],
        Column("gaze", "string", "", "how gaze was read and drawn"),
        Column("measure", "string", "", "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items())),
        Column("viewer", "string", "", "the one viewer that it is about; empty: all of them"),
        Column("viewers", "Int64", "", "how many viewers' gaze it takes; empty: infinitely many, extrapolated"),
        Column("n", "Int64", "pairs", "pairs that the estimate comes from"),
        Column("estimate", "Float64", "", "the value"),
        *_INTERVAL,
        Column("unit", "string", "", "unit of the estimate and its interval"),
    ),
    "sensitivity.csv": (
        *_RUN,
        _RECIPE,
        Column("sigma", "string", "", "width of a fixation"),
        Column("weight", "string", "", "what a fixation counts"),
        Column("border", "string", "", "what happens to density beyond the border of the input"),
        Column("viewers", "string", "", "whose gaze: all, or the first so many"),
        Column(
            "carry_over",
            "string",
            "",
            "fixations that span a change of image; empty if the data set has no such choice",
        ),
        Column("repeats", "string", "", "images that one viewer saw twice, likewise"),
        Column("placement", "string", "", "how images lay in the display frame, likewise"),
        Column("normalise", "string", "", "what a map is divided by: its mass, its peak, or raw: nothing"),
        Column("method", "string", "", "canonical method spec"),
        Column("n", "Int64", "pairs", "pairs that the estimate comes from"),
        Column("estimate", "Float64", "fraction", "mean inconsistency"),
        *_INTERVAL,
        Column("rank", "Int64", "", "place among the methods, 1 = lowest; empty for reference rows"),
        Column("tau", "Float64", "1", "Kendall's rank correlation with the ranking of the base recipe"),
    ),
    "sensitivity_swaps.csv": (
        *_RUN,
        _RECIPE,
        Column("method_a", "string", "", "the better method under the base recipe"),
        Column("method_b", "string", "", "the better method under this recipe"),
        Column("usual_diff", "Float64", "fraction", "a - b under the base recipe"),
        Column("usual_low", "Float64", "fraction", "lower end of its paired interval; empty if their pairs differ"),
        Column("usual_high", "Float64", "fraction", "upper end of it"),
        Column("diff", "Float64", "fraction", "a - b under this recipe"),
        Column("ci_low", "Float64", "fraction", "lower end of its paired interval, likewise"),
        Column("ci_high", "Float64", "fraction", "upper end of it"),
        Column("clear", "boolean", "", "whether 0 is in neither interval"),
    ),
}

_SWAPS_SHOWN = 12


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write tables under their names in `FILES`, into a folder that may be new. Raises UsageError if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, table in tables.items():
            write_csv(table, folder / file, FILES[file])
    except OSError as error:
        raise UsageError(f"--out: {folder}, cannot be written: {error.strerror}. Name another folder.") from error


def read_table(file: str, folder: Path) -> pd.DataFrame:
    """One of `FILES` in a folder. Raises DataError."""
    return read_csv(folder / file, FILES[file])


def printed_ceiling(table: pd.DataFrame) -> str:
    """ceiling.csv for people, in percent."""
    of = {str(measure): part.set_index("viewers") for measure, part in table.groupby("measure")}
    alone, interval = of["leave_one_out"], _interval(table)
    rows = [[row.viewer or "mean", row.n, _score(row)] for row in alone.fillna({"viewer": ""}).itertuples()]
    parts = [_text(["viewer", "pairs", f"against the others {interval}"], rows)]
    if "noise" in of:
        parts += [_by_viewers(of, interval), _agreement(of)]
    else:
        parts.append("fewer than two pairs have images that all viewers have seen: nothing is said about their number")
    human = 100 * alone["estimate"].iloc[-1]
    parts.append(
        f"one more viewer scores {human:.1f} %, as near to the others as people are\ngaze:{table['gaze'].iloc[0]}"
    )
    return "\n\n".join(parts)


def _by_viewers(of: Mapping[str, pd.DataFrame], interval: str) -> str:
    """What the gaze of 1, 2, ... viewers is worth."""
    noise, against = of["noise"], of["one_against"]
    scores = dict(zip(against.index.astype(object), map(_score, against.itertuples()), strict=True))
    rows = [
        [viewers, f"{reliability:.3f}", f"{100 * sd:.1f}", scores.pop(viewers, "-")]
        for viewers, reliability, sd in zip(noise.index, of["reliability"]["estimate"], noise["estimate"], strict=True)
    ]
    rows += [["infinite", "1.000", "0.0", limit] for limit in scores.values()]
    title = f"one more against them {interval}"
    return _text(["viewers", "reliability of lam_gaze", "its noise, points (SD)", title], rows)


def _agreement(of: Mapping[str, pd.DataFrame]) -> str:
    icc, variance = of["icc"]["estimate"], of["within_variance"]["estimate"].iloc[0]
    return (
        f"pairs that all viewers have seen: {of['noise']['n'].iloc[0]}; correlation of two viewers "
        f"{of['mean_r']['estimate'].iloc[0]:.3f}; ICC {icc.iloc[0]:.3f} of one, {icc.iloc[-1]:.3f} of the mean of all; "
        f"s^2 {variance:.4f}"
    )


def printed_sensitivity(scores: pd.DataFrame, swaps: pd.DataFrame) -> str:
    """sensitivity.csv and sensitivity_swaps.csv for people, in percent."""
    parts = [_methods(scores), _recipes(scores, swaps), _swaps(swaps), statement(scores, swaps)]
    return "\n\n".join(filter(None, parts))


def statement(scores: pd.DataFrame, swaps: pd.DataFrame) -> str:
    """One sentence: whether the ranking hangs on the recipe, and how far a score does."""
    ranked = scores[scores["rank"].notna()]
    parts = {str(name): part for name, part in ranked.groupby("method", sort=False)}
    widest = max(parts, key=lambda name: np.ptp(parts[name]["estimate"].to_numpy(dtype=np.float64)))
    lowest, highest = _extremes(parts[widest])
    moves = f"the score of {widest} alone moves from {lowest} to {highest}"
    if len(parts) < 2:
        return f"{moves[0].upper()}{moves[1:]}."
    count, recipes = len(parts), scores["recipe"].nunique()
    if swaps.empty:
        return f"The ranking of the {count} methods is the same under all {recipes} recipes, while {moves}."
    swapped = swaps.groupby(["method_a", "method_b"])["clear"].any()
    clear = int(swapped.sum())
    worst = ranked.sort_values("tau").iloc[0]
    return (
        f"The ranking of the {count} methods {'hangs' if clear else 'hardly hangs'} on the recipe: {len(swapped)} of "
        f"{math.comb(count, 2)} pairs of methods swap under some of {recipes} recipes, {clear or 'none'} of them "
        f"clearly (Kendall's tau down to {worst['tau']:.2f}, {worst['recipe']}), and {moves}."
    )


def _methods(scores: pd.DataFrame) -> str:
    """Each method's score under the recipe of the run, its lowest and its highest, and its places."""
    rows = []
    for name, part in scores.groupby("method", sort=False):
        ranks = part["rank"]
        places = "-" if ranks.isna().all() else f"{ranks.min()}-{ranks.max()}"
        usual = _score(next(part.itertuples()))
        rows.append([name, usual, *_extremes(part), ranks.iloc[0], places])
    title = f"as run {_interval(scores)}"
    lines = _text(["method", title, "lowest", "highest", "rank", "ranks"], rows).splitlines()
    references = sum(str(row[0]).startswith(REFERENCE) for row in rows)
    if 0 < references < len(rows):
        lines.insert(len(lines) - references, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _recipes(scores: pd.DataFrame, swaps: pd.DataFrame) -> str:
    """Each recipe's mean score and what it does to the ranking."""
    ranked = scores[scores["rank"].notna()].groupby("recipe", sort=False)
    changed, clear = (part.groupby("recipe").size() for part in (swaps, swaps[swaps["clear"].fillna(False)]))
    rows = [
        [
            name,
            f"{100 * part['estimate'].mean():.1f}",
            _tau(part["tau"].iloc[0]),
            changed.get(name, 0),
            clear.get(name, 0),
        ]
        for name, part in ranked
    ]
    return _text(["recipe", "mean of the methods %", "Kendall's tau", "changed places", "clearly"], rows)


def _swaps(swaps: pd.DataFrame) -> str:
    """Who changes places with whom, clear cases first."""
    found = [
        (not part["clear"].any(), f"{a} is better than {b}, but not under {', '.join(part['recipe'])}")
        for (a, b), part in swaps.groupby(["method_a", "method_b"], sort=False)
    ]
    lines = [text + ("" if unclear else " (clearly)") for unclear, text in sorted(found)]
    more = len(lines) - _SWAPS_SHOWN
    return "\n".join([*lines[:_SWAPS_SHOWN], *([f"and {more} more, see sensitivity_swaps.csv"] if more > 0 else [])])


def _extremes(part: pd.DataFrame) -> tuple[str, str]:
    """The lowest and the highest score of a method, and under which recipe."""
    ordered = part.dropna(subset="estimate").sort_values("estimate", kind="stable").iloc[[0, -1]]
    percent = 100 * ordered["estimate"].to_numpy(dtype=np.float64)
    lowest, highest = (f"{value:.1f} % ({recipe})" for value, recipe in zip(percent, ordered["recipe"], strict=True))
    return lowest, highest


def _score(row: Any) -> str:
    """``7.3 [6.8, 7.8]`` in percent, the interval where there is one."""
    if pd.isna(row.estimate):
        return "-"
    score = f"{100 * row.estimate:.1f}"
    return score if pd.isna(row.ci_low) else f"{score} [{100 * row.ci_low:.1f}, {100 * row.ci_high:.1f}]"


def _tau(value: Any) -> str:
    return "-" if pd.isna(value) else f"{value:.2f}"


def _interval(table: pd.DataFrame) -> str:
    return f"% ({100 * table['ci_level'].max():g}% CI)"


def _text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [["-" if pd.isna(cell) else str(cell) for cell in row] for row in rows]  # type: ignore[call-overload]
    align = ("left", *("right",) * (len(header) - 1))
    return tabulate([header, *cells], tablefmt="plain", colalign=align, disable_numparse=True)
