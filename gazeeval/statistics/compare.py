"""The methods of finished runs against each other: which runs may be compared, which rows belong together, which test.

Everything comes from the tables per pair: no network, no image, no GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gazeeval.errors import UsageError, did_you_mean
from gazeeval.statistics.intervals import Floats, mean_interval
from gazeeval.statistics.paired import Comparison, compare_paired, compare_unpaired, holm

if TYPE_CHECKING:
    from gazeeval.report.files import Results

MUST_AGREE = ("data", "split", "pairs", "geometry", "gaze", "gaze_choices")
"""Parts of a run's identity (manifest.json) without which two runs do not measure the same thing on the same pairs."""

MAY_DIFFER = ("model", "attention_model", "amp", "seed", "version")
"""Parts that may be what is compared; a difference is noted."""

_COLUMNS = {
    **dict.fromkeys(("metric", "method_a", "method_b"), "string"),
    "n": "Int64",
    **dict.fromkeys(("diff", "ci_low", "ci_high", "p_value", "p_adjusted"), "Float64"),
    **dict.fromkeys(("test", "adjust"), "string"),
    "share_a_better": "Float64",
    "n_excluded": "Int64",
    **dict.fromkeys(("se", "cohen_dz", "rank_biserial", "mde"), "Float64"),
}
_PAIR = ("pair_id", "source_id", "target_id", "status")
_RANKING = {"rank": "Int64", "method": "string", "n": "Int64"} | dict.fromkeys(("mean", "ci_low", "ci_high"), "Float64")


class _Scores(NamedTuple):
    """One metric of one method: per pair its number, its two images and the value (NaN = missing)."""

    pair: NDArray[Any]
    source: NDArray[Any]
    target: NDArray[Any]
    value: Floats

    @classmethod
    def of(cls, rows: pd.DataFrame, metric: str) -> _Scores:
        # the inconsistency of a blend is 0 by construction (status not_applicable): a value, but not a result
        values = rows[metric].where(rows["status"].eq("ok")) if metric == "inconsistency" else rows[metric]
        source, target = (rows[name].to_numpy(dtype=object) for name in ("source_id", "target_id"))
        pair = rows["pair_id"].to_numpy(dtype=np.int64)
        return cls(pair, source, target, values.to_numpy(dtype=np.float64, na_value=np.nan))

    def on_pairs_of(self, other: _Scores) -> _Scores:
        """The same, with the arrays of ``other`` where they are equal: methods on the same pairs share them."""
        same = all(map(np.array_equal, self[:3], other[:3]))
        return other._replace(value=self.value) if same else self


@dataclass(frozen=True)
class Methods:
    """The methods of runs that may be compared.

    Attributes:
        rows: method -> its rows of inconsistency.csv. A name that several runs have is followed by ``@`` and the run.
        references: those of them that are reference rows; of runs that have the same, the first run's.
        metrics: name -> ``unit`` and ``higher_is_better`` of what all runs have and one end of which is better.
        notes: what differs between the runs, one sentence each.
    """

    rows: Mapping[str, pd.DataFrame]
    references: frozenset[str]
    metrics: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, runs: Sequence[Results], metrics: Collection[str] | None = None) -> Methods:
        """The methods of ``runs``, in their order, with what ``metrics`` of them need of their rows; None: all.

        Raises:
            UsageError: no run, one run twice, or runs that differ in one of `MUST_AGREE`; which are named.
        """
        labels = _labels(runs)
        notes: list[str] = []
        for run, label in zip(runs[1:], labels[1:], strict=True):
            _require_comparable(runs[0], run, (labels[0], label))
            notes += _differences(runs[0], run, (labels[0], label))
        common = _common_metrics(runs)
        columns = () if metrics is None else (*_PAIR, *(name for name in common if name in metrics))
        times = Counter(name for run in runs for name in run.manifest["methods"])
        rows: dict[str, pd.DataFrame] = {}
        references: dict[str, pd.DataFrame] = {}
        for run, label in zip(runs, labels, strict=True):
            tables = dict(run.by_method(*columns))
            named = {f"{name}@{label}" if times[name] > 1 else name: name for name in run.manifest["methods"]}
            rows |= {shown: tables[name] for shown, name in named.items()}
            references = {name: tables[name] for name in run.manifest["references"]} | references
        return cls(rows | references, frozenset(references), common, tuple(notes))

    def scores(self, metric: str) -> dict[str, _Scores]:
        """Method -> its values of ``metric``; methods without any are left out.

        Pairs count for the inconsistency if their status is ok, for other metrics wherever there is a value.

        Raises:
            UsageError: not a metric of all runs.
        """
        if metric not in self.metrics:
            known = ", ".join(self.metrics)
            raise UsageError(
                f"--metric: not in these runs, got {metric!r}{did_you_mean(metric, self.metrics)}. Use one of {known}."
            )
        scores: dict[str, _Scores] = {}
        for name, rows in self.rows.items():
            each = _Scores.of(rows, metric)
            if not np.isnan(each.value).all():
                scores[name] = each.on_pairs_of(next(iter(scores.values()), each))
        return scores

    def left_out(self, metric: str) -> list[str]:
        """One sentence for each method that has no value of ``metric``."""
        scores = self.scores(metric)
        missing = [name for name in self.rows if name not in scores and name not in self.references]
        constructed = {name for name in missing if self.rows[name]["status"].eq("not_applicable").all()}
        reasons = {name: "is 0 by construction" if name in constructed else "has no value" for name in missing}
        return [f"method {name}: left out, its {metric} {reasons[name]}" for name in missing]

    def ranking(self, metric: str, *, level: float = 0.95) -> pd.DataFrame:
        """Methods by their mean, best first, then the reference rows, which have no rank.

        Returns:
            columns ``rank, method, n, mean, ci_low, ci_high``, in the unit of the metric; dyadic intervals.

        Raises:
            UsageError: as `scores`.
        """
        rows = []
        for name, scores in self.scores(metric).items():
            interval = mean_interval(scores.value, scores.source, scores.target, level=level)
            rows.append((pd.NA, name, interval.n, interval.mean, interval.low, interval.high))
        table = pd.DataFrame(rows, columns=list(_RANKING)).astype(_RANKING)
        table = table.sort_values("mean", ascending=not self.metrics[metric]["higher_is_better"], kind="stable")
        is_reference = table["method"].isin(list(self.references))
        table = pd.concat([table[~is_reference], table[is_reference]], ignore_index=True)
        return table.assign(rank=pd.array([*range(1, 1 + sum(~is_reference)), *[pd.NA] * sum(is_reference)], "Int64"))

    def compare(self, metric: str, *, baseline: str | None = None, level: float = 0.95) -> pd.DataFrame:
        """Every method against every other, or all against ``baseline``: comparisons.csv for one metric.

        Reference rows take part as a baseline only. Two methods whose rows are about the same images are compared pair
        by pair, others unpaired. p-values are adjusted by Holm's method for all comparisons of the table.

        Raises:
            UsageError: as `scores`, or a baseline that is no method with values.
        """
        scores = self.scores(metric)
        names = [name for name in scores if name not in self.references]
        if baseline is None:
            against = list(combinations(names, 2))
        elif baseline in scores:
            against = [(name, baseline) for name in names if name != baseline]
        else:
            hint = "" if baseline in self.rows else did_you_mean(baseline, scores)
            raise UsageError(
                f"--baseline: no method with {metric}, got {baseline!r}{hint}. Use one of {', '.join(scores)}."
            )
        higher_is_better = bool(self.metrics[metric]["higher_is_better"])
        results = [_compare(scores[a], scores[b], level, higher_is_better) for a, b in against]
        adjusted = holm([result.p_value for result in results])
        rows = [
            {"metric": metric, "method_a": a, "method_b": b, "p_adjusted": p, "adjust": "holm", **asdict(result)}
            for (a, b), p, result in zip(against, adjusted, results, strict=True)
        ]
        return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def comparisons(
    runs: Results | Sequence[Results],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = ("inconsistency",),
    level: float = 0.95,
) -> pd.DataFrame:
    """comparisons.csv: the methods of one or several runs against each other, see :meth:`Methods.compare`.

    Args:
        runs: as `gazeeval.read_results` gives them.
        baseline: compare all with this method; default: every method with every other.
        metrics: columns of inconsistency.csv; p-values are adjusted within each.
        level: of the intervals and of the smallest detectable difference, in (0, 1).

    Returns:
        no row where fewer than two methods have a value.

    Raises:
        UsageError: runs that are not comparable, or no such metric or baseline.
    """
    methods = Methods.of(runs if isinstance(runs, Sequence) else [runs], metrics)
    tables = [methods.compare(metric, baseline=baseline, level=level) for metric in dict.fromkeys(metrics)]
    return pd.concat(tables, ignore_index=True)


def _compare(a: _Scores, b: _Scores, level: float, higher_is_better: bool) -> Comparison:
    if a.pair is b.on_pairs_of(a).pair:
        return compare_paired(a.value, b.value, a.source, a.target, level=level, higher_is_better=higher_is_better)
    return compare_unpaired((a.value, a.source, a.target), (b.value, b.source, b.target), level=level)


def _labels(runs: Sequence[Results]) -> list[str]:
    """A name for each run: its folder's, or the path to it where several folders have that name."""
    folders = [run.folder.resolve() for run in runs]
    if not runs or len(set(folders)) < len(folders):
        raise UsageError(f"compare: got {', '.join(str(run.folder) for run in runs) or 'no run'}. Give each run once.")
    times = Counter(folder.name for folder in folders)
    return [str(run.folder) if times[path.name] > 1 else path.name for run, path in zip(runs, folders, strict=True)]


def _require_comparable(first: Results, other: Results, labels: tuple[str, str]) -> None:
    changed = list(_changes(first, other, MUST_AGREE))
    if changed:
        raise UsageError(
            f"compare: {labels[0]} and {labels[1]} do not measure the same, got "
            f"{'; '.join(f'{field}: {one} and {another}' for field, one, another in changed)}. "
            "Run them on the same data and pairs (--pair-file) with the same gaze options."
        )


def _differences(first: Results, other: Results, labels: tuple[str, str]) -> Iterator[str]:
    for field, one, another in _changes(first, other, MAY_DIFFER):
        yield f"{field} differs: {one} in {labels[0]}, {another} in {labels[1]}"


def _changes(first: Results, other: Results, fields: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    identities = first.manifest["identity"], other.manifest["identity"]
    for field in fields:
        one, another = (identity.get(field) for identity in identities)
        if one != another:
            yield field, _shown(one), _shown(another)


def _shown(value: object) -> str:
    """A value of an identity in a message: hashes are cut, ``{"a": "b"}`` is a=b."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={each}" for key, each in value.items()) or "none"
    text = "none" if value is None else str(value)
    return text[:8] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _common_metrics(runs: Sequence[Results]) -> dict[str, Mapping[str, Any]]:
    found = [{metric["name"]: metric for metric in run.manifest["metrics"]} for run in runs]
    directed = {name: metric for name, metric in found[0].items() if metric["higher_is_better"] is not None}
    return {name: metric for name, metric in directed.items() if all(name in metrics for metrics in found)}
