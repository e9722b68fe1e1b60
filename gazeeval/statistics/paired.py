"""Two methods, on the same pairs or each on its own: difference, test, effect sizes, smallest effect to be found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata, wilcoxon
from scipy.stats import t as student

from gazeeval.statistics.intervals import FEW_IMAGES, Floats, dyadic_se_of_sum, mean_interval


@dataclass(frozen=True)
class Comparison:
    """Method a against method b; differences are a - b in the unit of the values, what cannot be had is NaN.

    Attributes:
        n: pairs that both have a value for; unpaired: pairs of the one that has fewer.
        n_excluded: pairs left out because a value is missing.
        diff, se, ci_low, ci_high: difference of the means with its dyadic standard error and interval.
        p_value: two-sided, of ``test``; correct it with :func:`holm` when there are several comparisons.
        test: ``wilcoxon`` where no image recurs, else ``dyadic t`` (ranks assume independent pairs).
        share_a_better: share of the pairs in which a is strictly better; NaN unpaired, as the effect sizes.
        cohen_dz, rank_biserial: effect sizes.
        mde: smallest true difference found with 80 % power at this level.
    """

    n: int
    n_excluded: int
    diff: float
    se: float
    ci_low: float
    ci_high: float
    p_value: float
    test: Literal["wilcoxon", "dyadic t", "dyadic t, unpaired"]
    share_a_better: float
    cohen_dz: float
    rank_biserial: float
    mde: float


def compare_paired(
    a: ArrayLike,
    b: ArrayLike,
    source: ArrayLike,
    target: ArrayLike,
    *,
    level: float = 0.95,
    higher_is_better: bool = False,
) -> Comparison:
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
    return Comparison(
        n=interval.n,
        n_excluded=len(both) - interval.n,
        diff=interval.mean,
        se=interval.se,
        ci_low=interval.low,
        ci_high=interval.high,
        p_value=p_value,
        test="wilcoxon" if independent else "dyadic t",
        share_a_better=float(wins.mean()) if len(d) else math.nan,
        cohen_dz=cohen_dz(d),
        rank_biserial=rank_biserial(d),
        mde=minimal_detectable_effect(interval.se, level=level),
    )


def compare_unpaired(
    a: tuple[ArrayLike, ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike, ArrayLike],
    *,
    level: float = 0.95,
) -> Comparison:
    """Compare the means of two methods that each have pairs of their own, made of the same images or of others.

    The difference is a sum over the rows of both, to whose error a row of a adds (value - mean_a) / n_a and a row of b
    -(value - mean_b) / n_b; rows that share an image, also one of a and one of b, go together
    (:func:`~gazeeval.statistics.intervals.dyadic_se_of_sum`). t with (images - 1) degrees of freedom; with fewer than
    50 images the standard error is not below that of independent rows.

    Args:
        a, b: values (m,) float, NaN = missing, with the ids of their sources and targets (m,).
        level: of the interval and of the smallest detectable effect.
    """
    (x, x_source, x_target), (y, y_source, y_target) = _known(*a), _known(*b)
    n = min(len(x), len(y))
    codes, ids = pd.factorize(np.concatenate([x_source, y_source, x_target, y_target]))
    diff = float(x.mean() - y.mean()) if n else math.nan
    se, freedom = math.nan, len(ids) - 1
    if n > 1:
        parts = np.concatenate([(x - x.mean()) / len(x), (y.mean() - y) / len(y)])
        se = float(dyadic_se_of_sum(parts[:, None], *np.split(codes.astype(np.int64), 2))[0])
        if len(ids) < FEW_IMAGES:
            se = max(se, float(np.sqrt((parts**2).sum())))
    reach = float(student.ppf((1 + level) / 2, freedom)) * se
    return Comparison(
        n=n,
        n_excluded=np.size(a[0]) + np.size(b[0]) - len(x) - len(y),
        diff=diff,
        se=se,
        ci_low=diff - reach,
        ci_high=diff + reach,
        p_value=_t_test(diff, se, freedom),
        test="dyadic t, unpaired",
        share_a_better=math.nan,
        cohen_dz=math.nan,
        rank_biserial=math.nan,
        mde=minimal_detectable_effect(se, level=level),
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


def _known(values: ArrayLike, source: ArrayLike, target: ArrayLike) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """The rows that have a value."""
    numbers = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(numbers)
    return numbers[known], np.asarray(source)[known], np.asarray(target)[known]


def _t_test(mean: float, se: float, freedom: int) -> float:
    """Two-sided p of mean = 0. No spread at all supports a test only where there is no difference either."""
    if not se > 0:
        return 1.0 if mean == 0 else math.nan
    return float(2 * student.sf(abs(mean) / se, freedom))
