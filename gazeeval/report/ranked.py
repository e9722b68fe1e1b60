"""The methods of finished runs in the order of their scores: what every form of a report shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from gazeeval.report.files import Results
from gazeeval.report.tables import signature
from gazeeval.statistics.compare import Methods

STATUSES = ("ok", "no_gaze", "not_applicable", "flat_map", "nonfinite", "failed")
CENTRE, VIEWER = "ref:centre", "ref:viewer"


class Estimate(NamedTuple):
    """A number of summary.csv with the ends of its interval; NaN where there is none."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def is_known(self) -> bool:
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)


@dataclass(frozen=True)
class Entry:
    """One method.

    Attributes:
        name: as it is shown: with ``@`` and the run where several runs have the method.
        run_id, method: as they stand in the files.
        is_reference: whether it is a reference row.
        rank: from 1, by inconsistency; None for reference rows and where there is no score.
        rows: its rows of inconsistency.csv.
        counts: status -> pairs, for the statuses that occur.
        estimates: metric -> its estimate over all pairs; only those that are known.
        classes: name of the source's class -> inconsistency.
    """

    name: str
    run_id: str
    method: str
    is_reference: bool
    rank: int | None
    rows: pd.DataFrame
    counts: Mapping[str, int]
    estimates: Mapping[str, Estimate]
    classes: Mapping[str, Estimate]

    @property
    def score(self) -> Estimate:
        """The inconsistency."""
        return self.estimates.get("inconsistency", Estimate())

    @property
    def is_constructed(self) -> bool:
        """Whether the inconsistency is 0 by construction, and so no result."""
        return "not_applicable" in self.counts and "ok" not in self.counts


@dataclass(frozen=True)
class Ranked:
    """The methods of runs that may be compared.

    Attributes:
        entries: ranked methods, then those without a score, then the reference rows.
        methods: the same for comparisons.
    """

    runs: Sequence[Results]
    methods: Methods
    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, runs: Sequence[Results]) -> Ranked:
        """Rank the methods of ``runs``.

        Raises:
            UsageError: no run, one run twice, or runs that do not measure the same on the same pairs.
        """
        methods = Methods.of(runs)
        summary = pd.concat([run.summary for run in runs])
        found = dict(iter(summary.groupby(["run_id", "method"])))
        entries = [_entry(name, rows, name in methods.references, found) for name, rows in methods.rows.items()]
        # a stable sort: methods without a score, NaN as infinity, stay in the order of the run
        entries.sort(key=lambda entry: entry.score.value if entry.score.is_known else math.inf)
        own = [entry for entry in entries if not entry.is_reference]
        ranked = [replace(entry, rank=place if entry.score.is_known else None) for place, entry in enumerate(own, 1)]
        return cls(runs, methods, (*ranked, *(entry for entry in entries if entry.is_reference)))

    @cached_property
    def scored(self) -> list[Entry]:
        """The methods that have a rank."""
        return [entry for entry in self.entries if entry.rank is not None]

    @cached_property
    def level(self) -> float:
        """Of the intervals; that of the first run where they differ."""
        return float(self.runs[0].manifest["config"]["ci"])

    @cached_property
    def signatures(self) -> list[str]:
        """What to quote beside a number, of each run; runs with the same one share it."""
        return list(dict.fromkeys(signature(run.manifest["signature"]) for run in self.runs))

    def find(self, name: str) -> Entry | None:
        """The entry that is shown as ``name``."""
        return next((entry for entry in self.entries if entry.name == name), None)


def run_names(runs: Sequence[Results]) -> list[str]:
    """A name for each run: its folder's, or the path to it where several folders have that name."""
    folders = [run.folder.resolve() for run in runs]
    names = [folder.name for folder in folders]
    return [str(folder) if names.count(folder.name) > 1 else folder.name for folder in folders]


def _entry(name: str, rows: pd.DataFrame, is_reference: bool, found: Mapping[Any, pd.DataFrame]) -> Entry:
    run_id, method = (str(rows[column].iloc[0]) for column in ("run_id", "method"))
    summary = found[run_id, method]
    of_classes = summary["metric"].eq("inconsistency") & summary["subset"].str.startswith("class=")
    times = rows["status"].value_counts()
    return Entry(
        name,
        run_id,
        method,
        is_reference,
        None,
        rows,
        {status: int(times[status]) for status in STATUSES if status in times},
        dict(_estimates(summary[summary["subset"].eq("all")], "metric")),
        {subset.removeprefix("class="): each for subset, each in _estimates(summary[of_classes], "subset")},
    )


def _estimates(summary: pd.DataFrame, key: str) -> Iterator[tuple[str, Estimate]]:
    columns = (summary[name].astype("float64").tolist() for name in ("estimate", "ci_low", "ci_high"))
    for name, *numbers in zip(summary[key], *columns, strict=True):
        if not math.isnan(numbers[0]):
            yield str(name), Estimate(*numbers)


# The table


class _Column(NamedTuple):
    """One column of the table; ``sign`` and ``digits`` as in format specs, details are for where there is room."""

    title: str
    metric: str
    is_share: bool = True
    is_detail: bool = False
    has_interval: bool = False
    sign: str = ""
    digits: str = ".1f"


_COLUMNS = (
    _Column("inconsistency %", "inconsistency", has_interval=True),
    _Column("pair inconsistency %", "pair_inconsistency", has_interval=True),
    _Column("label elsewhere %", "label_elsewhere"),
    _Column("median %", "inconsistency_median", is_detail=True),
    _Column("bias %", "delta", sign="+"),
    _Column("correlation", "lam_correlation", is_share=False, is_detail=True, digits=".2f"),
    _Column("top-1 any %", "hit1_any"),
    _Column("top-2 both %", "hit2_both"),
)
_MEANINGS = {
    "inconsistency %": "mean of |lam - lam_gaze| over pairs, lower is better",
    "pair inconsistency %": "of the two images with the largest label shares, in mixes of several",
    "label elsewhere %": "label share of all other images of a mix",
    "median %": "median of the inconsistency",
    "bias %": "mean of lam - lam_gaze: above 0 the label gives the source too much",
    "correlation": "of lam with lam_gaze",
    "top-1 any %": "the best class is one of the two labels",
    "top-2 both %": "the two best classes are exactly the two labels",
    "pairs": "those with a score",
    "left out": "pairs without a score",
}


def meanings(header: Sequence[str]) -> dict[str, str]:
    """Title, without its unit, -> meaning of those columns of a table that need words."""
    return {
        title.removesuffix(" %"): meaning
        for title, meaning in _MEANINGS.items()
        if any(name.startswith(title) for name in header)
    }


def ranked_table(ranked: Ranked, *, details: bool = False) -> list[list[str]]:
    """The methods as text, in percent: a header and one row per method.

    Columns without any number are left out. Missing is ``-``, and ``n/a`` what is 0 by construction.
    """
    known = {"inconsistency", *(metric for entry in ranked.entries for metric in entry.estimates)}
    columns = [column for column in _COLUMNS if column.metric in known and (details or not column.is_detail)]
    left_out = [sum(entry.counts.values()) - entry.counts.get("ok", 0) for entry in ranked.entries]
    interval = f" ({100 * ranked.level:g}% CI)"
    header = ["rank", "method", *(column.title + interval * column.has_interval for column in columns), "pairs"]
    rows = [
        [
            str(entry.rank or "-"),
            entry.name,
            *(_cell(entry, column) for column in columns),
            str(entry.counts.get("ok", 0)),
        ]
        for entry in ranked.entries
    ]
    if any(left_out):
        header.append("left out")
        rows = [[*row, str(count)] for row, count in zip(rows, left_out, strict=True)]
    return [header, *rows]


def _cell(entry: Entry, column: _Column) -> str:
    found = entry.estimates.get(column.metric, Estimate())
    if entry.is_constructed and column.metric in ("inconsistency", "inconsistency_median", "delta"):
        return "n/a"
    return interval_text(found if column.has_interval else Estimate(found.value), column)


def interval_text(found: Estimate, column: _Column = _COLUMNS[0]) -> str:
    """``12.3 [10.9, 13.7]``, the interval where there is one; ``-`` where nothing is known."""
    if not found.is_known:
        return "-"
    factor = 100 if column.is_share else 1
    value, low, high = (f"{factor * number:{column.sign}{column.digits}}" for number in found)
    return f"{value} [{low}, {high}]" if found.has_interval else value


def summary_pivot(ranked: Ranked) -> pd.DataFrame:
    """One row per method and everything that summary.csv has over all pairs beside each other, as fractions.

    Returns:
        columns ``rank, method, pairs``, one per status that occurs, and for every metric ``<metric>`` and, where there
        is an interval, ``<metric>_ci_low`` and ``<metric>_ci_high``.
    """
    statuses = [status for status in STATUSES if any(status in entry.counts for entry in ranked.entries)]
    metrics = dict.fromkeys(metric for entry in ranked.entries for metric in entry.estimates)
    rows = []
    for entry in ranked.entries:
        row: dict[str, Any] = {"rank": entry.rank, "method": entry.name, "pairs": sum(entry.counts.values())}
        row |= {status: entry.counts.get(status, 0) for status in statuses}
        for metric in metrics:
            value, low, high = entry.estimates.get(metric, Estimate())
            row |= {metric: value, f"{metric}_ci_low": low, f"{metric}_ci_high": high}
        rows.append(row)
    table = pd.DataFrame(rows).astype({"rank": "Int64"})
    without = [name for name in table if str(name).endswith(("_ci_low", "_ci_high")) and table[name].isna().all()]
    return table.drop(columns=without)
