"""From the per-pair table to its summary, its groups and the table that is printed; no model, no GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from gazeeval.report.columns import FILES
from gazeeval.report.files import conform
from gazeeval.statistics.intervals import Floats, IntervalMethod, mean_interval

FAILED = ("failed", "nonfinite", "flat_map")
REFERENCE = "ref:"  # how the names of reference rows begin

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class MetricInfo:
    """A column of inconsistency.csv to summarise; ``higher_is_better`` is None where neither end is good.

    ``own`` are columns that only some mixers report, with ``x_`` before the name.
    """

    name: str
    unit: str = "fraction"
    higher_is_better: bool | None = None
    own: bool = False

    @property
    def column(self) -> str:
        return f"x_{self.name}" if self.own else self.name


# count pairs with status ok only, and are also given per class
GAZE_METRICS = ("inconsistency", "delta", "pair_inconsistency")
_OF_SEVERAL = (  # images in a mix
    MetricInfo("pair_inconsistency", higher_is_better=False, own=True),
    MetricInfo("label_elsewhere", own=True),
)
TABLE_COLUMNS = (
    *("run_id", "dataset", "split", "method", "pair_id", "group_id", "source_id", "target_id", "source_label"),
    *("target_label", "status", "lam", "lam_gaze", *(metric.column for metric in _OF_SEVERAL)),
)
"""What summary and groups are made of, beside the metrics."""

_STATISTICS = (
    MetricInfo("inconsistency_median", "fraction", False),
    MetricInfo("inconsistency_rmse", "fraction", False),
    MetricInfo("lam_correlation", "1", True),
)


def counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Pairs of each method by outcome: columns ``pairs, failed, no_gaze, not_applicable``, one row per method in order.

    ``failed`` counts the statuses failed, nonfinite and flat_map.
    """
    status = frame["status"]
    flags = {
        "pairs": status.notna(),
        "failed": status.isin(FAILED),
        "no_gaze": status.eq("no_gaze"),
        "not_applicable": status.eq("not_applicable"),
    }
    return pd.DataFrame(flags).astype("int64").groupby(frame["method"], sort=False, observed=True).sum()


def summary_table(
    frame: pd.DataFrame,
    *,
    metrics: Sequence[MetricInfo],
    level: float = 0.95,
    ci_method: IntervalMethod = "dyadic",
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """summary.csv: every metric of every method over all pairs and over subsets of them.

    A mean comes with the interval of :func:`gazeeval.statistics.intervals.mean_interval`; median and RMSE of the
    inconsistency and the correlation of lam with lam_gaze come without. Gaze metrics use the pairs with status ok,
    the others every pair that did not fail and has a value. Pairs of one class and of two are told apart where both
    occur; the classes of the source only for gaze metrics. A subset without any pair has no row. Beside ``metrics``, a
    method that mixes more than two images has ``pair_inconsistency`` and ``label_elsewhere``, its columns of those
    names with ``x_``.

    Args:
        frame: rows with the columns and dtypes of inconsistency.csv.
        metrics: columns to summarise.
        level, ci_method, seed: of the intervals.
        class_names: for ``class=<name>``; the index stands in where there is none.
    """
    rows = []
    for _, part in frame.groupby("method", sort=False, observed=True):
        head = part.iloc[0][["run_id", "dataset", "split", "method"]].to_dict()
        method = _Method.of(part, class_names)
        rows += [head | row for row in method.summary(metrics, level, ci_method, seed)]
    return conform(pd.DataFrame(rows), FILES["summary.csv"])


@dataclass(frozen=True)
class _Method:
    """The rows of one method as arrays: numbered images, who failed, who counts for gaze, rows of each subset."""

    frame: pd.DataFrame
    source: Rows
    target: Rows
    failed: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    subsets: Mapping[str, Rows]
    classes: Mapping[str, Rows]

    @classmethod
    def of(cls, frame: pd.DataFrame, class_names: Sequence[str]) -> _Method:
        ids = pd.concat([frame["source_id"], frame["target_id"]])
        source, target = np.split(pd.factorize(ids)[0].astype(np.int64), 2)
        labels = frame["source_label"].to_numpy(dtype=np.int64)
        same = labels == frame["target_label"].to_numpy(dtype=np.int64)
        subsets = {"all": np.arange(len(frame))}
        if same.any() and not same.all():
            subsets |= {"same_class": np.flatnonzero(same), "different_class": np.flatnonzero(~same)}
        present, starts = np.unique(np.sort(labels), return_index=True)
        of_class = np.split(np.argsort(labels, kind="stable"), starts[1:])
        names = [class_names[label] if label < len(class_names) else str(label) for label in present]
        return cls(
            frame,
            source,
            target,
            failed=frame["status"].isin(FAILED).to_numpy(dtype=np.bool_),
            ok=frame["status"].eq("ok").to_numpy(dtype=np.bool_),
            subsets=subsets,
            classes={f"class={name}": rows for name, rows in zip(names, of_class, strict=True)},
        )

    def summary(
        self, metrics: Sequence[MetricInfo], level: float, ci_method: IntervalMethod, seed: int
    ) -> Iterator[dict[str, Any]]:
        own = [m for m in _OF_SEVERAL if m.column in self.frame and self.frame[m.column].notna().any()]
        for metric in (*metrics, *own):
            gaze = metric.name in GAZE_METRICS
            values = np.where(self.ok if gaze else ~self.failed, _floats(self.frame[metric.column]), np.nan)
            for subset, rows in {**self.subsets, **(self.classes if gaze else {})}.items():
                interval = mean_interval(
                    values[rows], self.source[rows], self.target[rows], level=level, method=ci_method, seed=seed
                )
                row = self._row(metric, subset, rows, interval.n, interval.mean)
                if not np.isnan(interval.se):
                    row |= {
                        "se": interval.se,
                        "ci_low": interval.low,
                        "ci_high": interval.high,
                        "ci_level": level,
                        "ci_method": ci_method,
                        "ci_unit": "pair" if ci_method == "iid" else "image",
                    }
                if subset == "all" or row["n"] or row["n_failed"]:
                    yield row
        if any(metric.name == "inconsistency" for metric in metrics):
            yield from self._statistics()

    def _statistics(self) -> Iterator[dict[str, Any]]:
        values, lam, lam_gaze = (_floats(self.frame[name]) for name in ("inconsistency", "lam", "lam_gaze"))
        used = self.ok & ~np.isnan(values)
        for subset, rows in self.subsets.items():
            kept = rows[used[rows]]
            e, both = values[kept], kept[~np.isnan(lam_gaze[kept])]  # the two largest of several may show no gaze
            median, rmse = (np.median(e), np.sqrt(np.mean(e**2))) if len(e) else (np.nan, np.nan)
            estimates = ((median, len(e)), (rmse, len(e)), (_correlation(lam[both], lam_gaze[both]), len(both)))
            for metric, (estimate, n) in zip(_STATISTICS, estimates, strict=True):
                yield self._row(metric, subset, rows, n, float(estimate))

    def _row(self, metric: MetricInfo, subset: str, rows: Rows, n: int, estimate: float) -> dict[str, Any]:
        return {
            "metric": metric.name,
            "subset": subset,
            "n": n,
            "n_failed": int(self.failed[rows].sum()),
            "estimate": estimate,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
        }


def group_table(frame: pd.DataFrame) -> pd.DataFrame:
    """groups.csv: one row per method and group of ``frame``, in its order; see :mod:`gazeeval.report.columns`.

    Args:
        frame: rows with the columns and dtypes of inconsistency.csv.
    """
    ok, failed = frame["status"].eq("ok"), frame["status"].isin(FAILED)
    gaze = {name: _floats(frame[name].where(ok)) for name in ("inconsistency", "delta", "lam", "lam_gaze")}
    hits = {name: _floats(frame[name].where(~failed)) for name in ("hit1_any", "hit2_both")}
    above = np.where(np.isnan(gaze["inconsistency"]), np.nan, gaze["inconsistency"] > 0.1)
    keys = ["run_id", "method", "group_id"]
    values = frame[[*keys, "pair_id"]].assign(failed=failed.astype("int64"), above=above, **gaze, **hits)
    groups = values.groupby(keys, sort=False, observed=True)
    table = groups.agg(
        first_pair=("pair_id", "min"),
        n=("pair_id", "size"),
        n_failed=("failed", "sum"),
        mean_inconsistency=("inconsistency", "mean"),
        median_inconsistency=("inconsistency", "median"),
        max_inconsistency=("inconsistency", "max"),
        mean_delta=("delta", "mean"),
        mean_lam=("lam", "mean"),
        mean_lam_gaze=("lam_gaze", "mean"),
        share_above_0_1=("above", "mean"),
        hit1_any=("hit1_any", "mean"),
        hit2_both=("hit2_both", "mean"),
    )
    table["p90_inconsistency"] = groups["inconsistency"].quantile(0.9)
    return conform(table.reset_index(), FILES["groups.csv"])


def signature(parts: Mapping[str, str]) -> str:
    """``data:cub-gha|pairs:1a2b|...|v:0.1.0``: what a number must be quoted with; a ``|`` in a value becomes ``/``."""
    return "|".join(f"{name}:{value.replace('|', '/')}" for name, value in parts.items())


def printed_table(summary: pd.DataFrame, tally: pd.DataFrame, signature: str) -> str:
    """The closing table of a run, in percent, reference rows under a line, with the signature below.

    Columns that only some runs need are shown only where a method has something in them.

    Args:
        summary: of :func:`summary_table`.
        tally: of :func:`counts`.
        signature: of :func:`signature`.
    """
    estimates = summary[summary["subset"].eq("all")].set_index(["method", "metric"])
    level = summary["ci_level"].max()
    interval = "" if pd.isna(level) else f" ({100 * level:g}% CI)"
    methods = sorted(tally.index, key=lambda method: str(method).startswith(REFERENCE))
    cells = {str(method): _cells(estimates.loc[method], tally.loc[method], interval) for method in methods}
    empty = {name for name in _IF_ANY if all(row[name] in ("0", "-") for row in cells.values())}
    headers = [name for name in next(iter(cells.values())) if name not in empty]
    rows = [["method", *headers], *([method, *(row[name] for name in headers)] for method, row in cells.items())]
    align = ("left", *("right",) * len(headers))
    lines = tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True).splitlines()
    references = sum(method.startswith(REFERENCE) for method in cells)
    if 0 < references < len(cells):
        lines.insert(len(lines) - references, "-" * max(map(len, lines)))
    if tally["not_applicable"].any():
        lines.append("n/a: one constant mask or mixed features, the inconsistency is 0 by construction")
    if not empty.issuperset(_SEVERAL):
        lines += [
            "mixes of several images: inconsistency = 1/2 sum |label share - gaze share|; pair inconsistency and bias:",
            "of the two images with the largest label shares; label elsewhere: label share of all other images",
        ]
    lines += ["lower is better; lambda = share of the source image; quote the signature with a number:", signature]
    return "\n".join(lines)


_SEVERAL = ("pair inconsistency %", "label elsewhere %")
_IF_ANY = ("no gaze", *_SEVERAL)


def _cells(estimates: pd.DataFrame, tally: pd.Series[Any], interval: str) -> dict[str, str]:
    """Header -> text of everything but the name in the row of one method; ``estimates`` is indexed by metric."""
    missing = "n/a" if tally["not_applicable"] else "-"

    def percent(metric: str, missing: str = "-", sign: str = "") -> str:
        value = estimates["estimate"].get(metric, pd.NA)
        return missing if pd.isna(value) else f"{100 * value:{sign}.1f}"

    def with_interval(metric: str, missing: str = "-") -> str:
        low, high = (estimates[end].get(metric, pd.NA) for end in ("ci_low", "ci_high"))
        score = percent(metric, missing)
        return score if pd.isna(low) else f"{score} [{100 * low:.1f}, {100 * high:.1f}]"

    return {
        "pairs": str(tally["pairs"]),
        "failed": str(tally["failed"]),
        "no gaze": str(tally["no_gaze"]),
        f"inconsistency %{interval}": with_interval("inconsistency", missing),
        "pair inconsistency %": with_interval("pair_inconsistency"),
        "label elsewhere %": percent("label_elsewhere"),
        "bias %": percent("delta", missing, "+"),
        "top-1 any %": percent("hit1_any"),
        "top-2 both %": percent("hit2_both"),
    }


def _floats(values: pd.Series[Any]) -> Floats:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation, NaN where one of them does not vary."""
    if len(a) == 0 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
