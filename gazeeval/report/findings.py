"""What an HTML report makes of the numbers: which methods can be told apart, and what came out in short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from gazeeval.report.beside import Ceiling, Cells
from gazeeval.report.columns import FILES
from gazeeval.report.files import read_csv
from gazeeval.report.ranked import CENTRE, Estimate, Ranked, interval_text


@dataclass(frozen=True)
class Tested:
    """Methods against each other by one metric.

    Attributes:
        table: rows of comparisons.csv.
        shown: neighbours in the ranking, or all where there is one baseline.
        every: all rows.
    """

    metric: str
    table: pd.DataFrame
    shown: Cells
    every: Cells


def tested(ranked: Ranked) -> list[Tested]:
    """By the inconsistency and what else comparisons.csv of a single run has; none where there is but one method."""
    known = _recorded(ranked)
    tables = {"inconsistency": None, **known}
    found = []
    for metric, recorded in tables.items():
        table = ranked.methods.compare(metric, level=ranked.level) if recorded is None else recorded
        if len(table):
            found.append(_tested(ranked, metric, table))
    return found


def _recorded(ranked: Ranked) -> dict[str, pd.DataFrame]:
    path = ranked.runs[0].folder / "comparisons.csv"
    if len(ranked.runs) > 1 or not path.exists():
        return {}
    table = read_csv(path, FILES["comparisons.csv"])
    return {
        str(metric): part for metric, part in table.groupby("metric", sort=False) if metric in ranked.methods.metrics
    }


def _tested(ranked: Ranked, metric: str, table: pd.DataFrame) -> Tested:
    info = ranked.methods.metrics[metric]
    factor, unit = (100, "points") if info["unit"] == "fraction" else (1, info["unit"])
    header = [
        "a",
        "b",
        "pairs",
        f"a − b, {unit} ({100 * ranked.level:g}% CI)",
        "p",
        "a better %",
        "detectable",
        "verdict",
    ]
    cells = [_test(row, factor, 1 - ranked.level, bool(info["higher_is_better"])) for row in table.itertuples()]
    order = ranked.methods.ranking(metric)["method"].tolist()
    neighbours = {frozenset(pair) for pair in pairwise(order)}
    against_one = table["method_b"].nunique() == 1
    near = [row for row in cells if against_one or {row[0], row[1]} in neighbours]
    near.sort(key=lambda row: min(order.index(row[0]), order.index(row[1])))
    return Tested(metric, table, [header, *near], [header, *cells])


def _test(row: Any, factor: float, alpha: float, higher_is_better: bool) -> list[str]:
    """A row of comparisons.csv as text; missing numbers are ``-``."""

    def number(value: Any, form: str, scale: float = 1) -> str:
        return "-" if pd.isna(value) else f"{scale * value:{form}}"

    diff, low, high = (number(value, "+.1f", factor) for value in (row.diff, row.ci_low, row.ci_high))
    verdict = "not told apart"
    if not pd.isna(row.p_adjusted) and row.p_adjusted < alpha:
        verdict = f"{row.method_a if (row.diff > 0) == higher_is_better else row.method_b} is better"
    return [
        row.method_a,
        row.method_b,
        str(row.n),
        diff if low == "-" else f"{diff} [{low}, {high}]",
        probability(row.p_adjusted),
        number(row.share_a_better, ".0f", 100),
        number(row.mde, ".1f", factor),
        verdict,
    ]


def probability(p: Any) -> str:
    """``<0.001``, or two digits."""
    return "-" if pd.isna(p) else "<0.001" if p < 0.001 else f"{p:.2g}"


# In short


def in_short(ranked: Ranked, found: Sequence[Tested], human: Ceiling | None) -> list[str]:
    """What came out, one sentence each."""
    return [*_best(ranked, found), *_above_centre(ranked), *_human(human)]


def _best(ranked: Ranked, found: Sequence[Tested]) -> Iterator[str]:
    if not ranked.scored:
        yield "No method has a score."
        return
    best, *others = ranked.scored
    yield f"{best.name} is nearest to where people look: its labels are off by {_points(best.score)}."
    if not others:
        return
    p = next((_p(each.table, best.name, others[0].name) for each in found if each.metric == "inconsistency"), None)
    follows = f"{others[0].name} follows with {_points(others[0].score)}"
    if p is None or pd.isna(p):
        yield f"{follows}."
    elif p < 1 - ranked.level:
        yield f"{follows}; the difference is clear (p {_equals(p)})."
    else:
        yield f"{follows}; these pairs do not tell the two apart (p {_equals(p)})."


def _p(table: pd.DataFrame, a: str, b: str) -> float | None:
    both = table["method_a"].isin([a, b]) & table["method_b"].isin([a, b])
    return next(iter(table["p_adjusted"][both]), None)


def _equals(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"


def _above_centre(ranked: Ranked) -> Iterator[str]:
    entry = ranked.find(CENTRE)
    if entry is None or not entry.score.is_known or not ranked.scored:
        return
    count = sum(one.score.value < entry.score.value for one in ranked.scored)
    yield (
        f"Lower than {CENTRE} ({100 * entry.score.value:.1f} %), which knows nothing of the images but that people "
        f"look at the middle: {count} of {len(ranked.scored)} methods."
    )


def _human(human: Ceiling | None) -> Iterator[str]:
    if human is not None:
        yield f"One more viewer scores {interval_text(human.score)} %: as near to the others as people come."


def _points(score: Estimate) -> str:
    interval = f" ({100 * score.low:.1f} to {100 * score.high:.1f})" if score.has_interval else ""
    return f"{100 * score.value:.1f} points{interval}"
