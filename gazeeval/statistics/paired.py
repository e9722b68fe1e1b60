"""Two methods on the same pairs: difference, test, effect sizes, smallest effect that the design can see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata, wilcoxon
from scipy.stats import t as student

from gazeeval.statistics.intervals import Floats, mean_interval


@dataclass(frozen=True)
class PairedComparison:
    """Method a against method b on ``n`` shared pairs; differences are a - b in the unit of the values.

    Attributes:
        diff, se, ci_low, ci_high: mean difference with its dyadic standard error and interval.
        p_value: two-sided, of ``test``; correct it with :func:`holm` when there are several comparisons.
        test: ``wilcoxon`` where no image recurs, else ``dyadic t`` (ranks assume independent pairs).
        share_a_better: share of the pairs in which a is strictly better.
        rank_biserial, cohen_dz: effect sizes.
        mde: smallest true difference found with 80 % power at this level.
    """

    n: int
    diff: float
    se: float
    ci_low: float
    ci_high: float
    p_value: float
    test: Literal["wilcoxon", "dyadic t"]
    share_a_better: float
    rank_biserial: float
    cohen_dz: float
    mde: float


def compare_paired(
    a: ArrayLike,
    b: ArrayLike,
    source: ArrayLike,
    target: ArrayLike,
    *,
    level: float = 0.95,
    higher_is_better: bool = False,
) -> PairedComparison:
    """Compare two methods on the pairs that both have a value for.

    Args:
        a, b: (m,) float, one value per pair and method, NaN = missing.
        source, target: (m,) ids of the images of each pair.
        level: of the interval and of the smallest detectable effect.
        higher_is_better: which sign of a - b counts as a win of a.
    """
    both = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    interval = mean_interval(both, source, target, level=level)
    d = both[~np.isnan(both)]
    independent = interval.images == 2 * interval.n
    p_value = wilcoxon_test(d)[1] if independent else _t_test(interval.mean, interval.se, interval.images - 1)
    wins = d > 0 if higher_is_better else d < 0
    return PairedComparison(
        n=interval.n,
        diff=interval.mean,
        se=interval.se,
        ci_low=interval.low,
        ci_high=interval.high,
        p_value=p_value,
        test="wilcoxon" if independent else "dyadic t",
        share_a_better=float(wins.mean()) if len(d) else math.nan,
        rank_biserial=rank_biserial(d),
        cohen_dz=cohen_dz(d),
        mde=minimal_detectable_effect(interval.se, level=level),
    )


def wilcoxon_test(differences: ArrayLike) -> tuple[float, float]:
    """Statistic and two-sided p of the signed-rank test on (m,) independent differences; zeros are dropped.

    Nothing but zeros is p = 1, no difference at all NaN.
    """
    d = np.asarray(differences, dtype=np.float64)
    if not d.any():
        return (0.0, 1.0) if len(d) else (math.nan, math.nan)
    result = wilcoxon(d)
    return float(result.statistic), float(result.pvalue)


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjustment of (k,) p-values; NaN stays NaN and is not counted as a test.

    Ascending p are multiplied by k, k - 1, ..., made monotone and cut at 1 (Holm 1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def rank_biserial(differences: ArrayLike) -> float:
    """Matched-pairs rank-biserial r = (R+ - R-) / (R+ + R-) in [-1, 1]; NaN if every difference is 0."""
    d = np.asarray(differences, dtype=np.float64)
    d = d[d != 0]
    if len(d) == 0:
        return math.nan
    ranks = rankdata(np.abs(d))
    return float((np.sign(d) * ranks).sum() / ranks.sum())


def cohen_dz(differences: ArrayLike) -> float:
    """Mean over SD (ddof 1) of (m,) differences; NaN for fewer than two, or where they do not vary."""
    d = np.asarray(differences, dtype=np.float64)
    if len(d) < 2 or np.ptp(d) == 0:
        return math.nan
    return float(d.mean() / d.std(ddof=1))


def minimal_detectable_effect(se: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """``(z_{(1+level)/2} + z_power) * se``: 2.8 standard errors by default, in the unit of ``se``."""
    return float((norm.ppf((1 + level) / 2) + norm.ppf(power)) * se)


def _t_test(mean: float, se: float, freedom: int) -> float:
    """Two-sided p of mean = 0. No spread at all supports a test only where there is no difference either."""
    if not se > 0:
        return 1.0 if mean == 0 else math.nan
    return float(2 * student.sf(abs(mean) / se, freedom))
