"""Scores of methods under a recipe, and what became of their ranking."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from gazeeval.report.tables import REFERENCE
from gazeeval.robustness.kept import KeptPairs
from gazeeval.statistics.intervals import Floats, Interval, IntervalMethod, mean_interval

Scores = Mapping[str, Floats]
"""Method -> (m,) inconsistency of its pairs, NaN = missing."""


@dataclass(frozen=True)
class Ranking:
    """Compares scores under some recipe with the ``usual`` ones, those of the run's own recipe.

    Attributes:
        methods: the pairs that the scores are about. Reference rows have scores but no rank.
        unpaired: methods with pairs of their own, which cannot be compared pair by pair.
        level, ci_method: of the intervals.
    """

    methods: Mapping[str, KeptPairs]
    unpaired: frozenset[str]
    usual: Scores
    level: float
    ci_method: IntervalMethod

    def scores(self, found: Scores) -> pd.DataFrame:
        """method, n, estimate, ci_low, ci_high, rank from the lowest, and Kendall's tau with the usual ranking."""
        rows = []
        for name, pairs in self.methods.items():
            mean = self._interval(found[name], pairs)
            rows.append({"method": name, "n": mean.n, "estimate": mean.mean, "ci_low": mean.low, "ci_high": mean.high})
        before, now = self._means(self.usual), self._means(found)
        tau = float(kendalltau(before, now).statistic) if len(now) > 1 else math.nan
        table = pd.DataFrame(rows)
        return table.assign(rank=table["method"].map(now.rank(method="min")), tau=tau, ci_level=self.level)

    def swaps(self, found: Scores) -> pd.DataFrame:
        """Every two methods that change places: method_a is usually the better one, here method_b is.

        ``usual_diff`` and ``diff`` are a - b, with intervals if both have the same pairs; ``clear``: 0 is in neither.
        """
        before, now = self._means(self.usual), self._means(found)
        rows = []
        for first, second in combinations(now.index, 2):
            a, b = (first, second) if before[first] < before[second] else (second, first)
            if before[a] < before[b] and now[a] > now[b]:
                usual, here = self._difference(self.usual, a, b), self._difference(found, a, b)
                row = {"method_a": a, "method_b": b, "usual_diff": before[a] - before[b], "diff": now[a] - now[b]}
                row |= {"usual_low": usual.low, "usual_high": usual.high, "ci_low": here.low, "ci_high": here.high}
                rows.append(row | {"clear": usual.high < 0 < here.low})
        return pd.DataFrame(rows)

    def _means(self, scores: Scores) -> pd.Series[float]:
        """Mean score of every method that is ranked and has one."""
        means = {name: float(pd.Series(scores[name]).mean()) for name in self.methods if not name.startswith(REFERENCE)}
        return pd.Series(means, dtype=np.float64)

    def _difference(self, scores: Scores, a: str, b: str) -> Interval:
        if self.unpaired & {a, b}:
            return Interval(0, 0, *[math.nan] * 4)
        of_a, of_b = (pd.Series(scores[name], index=self.methods[name].table["pair_id"]) for name in (a, b))
        return self._interval(scores[a] - of_b.reindex(of_a.index).to_numpy(), self.methods[a])

    def _interval(self, values: Floats, pairs: KeptPairs) -> Interval:
        return mean_interval(values, pairs.source, pairs.target, level=self.level, method=self.ci_method)
