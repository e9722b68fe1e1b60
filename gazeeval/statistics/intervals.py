"""Standard errors and intervals of a mean over pairs of images that may share images.

An image that serves in several pairs ties their values together, so the textbook standard error is too
small. The default is the dyadic cluster-robust one: Aronow, Samii & Assenova (2015), "Cluster-robust variance
estimation for dyadic data", and Cameron & Miller (2014). The pigeonhole bootstrap (Owen 2007; Owen & Eckles
2012) is the conservative option.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import t as student

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
IntervalMethod = Literal["dyadic", "iid", "pigeonhole"]

FEW_IMAGES = 50  # below it the dyadic variance is itself too noisy to be trusted when it is the smaller one
_RESAMPLES_AT_ONCE = 100  # bounds the memory of the bootstrap; part of its random stream


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` pairs of ``images`` distinct images, its standard error and its two-sided interval.

    All in the unit of the values; NaN where it cannot be had (one pair has a mean and no interval).
    """

    n: int
    images: int
    mean: float
    se: float
    low: float
    high: float


def mean_interval(
    values: ArrayLike,
    source: ArrayLike,
    target: ArrayLike,
    *,
    level: float = 0.95,
    method: IntervalMethod = "dyadic",
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of one value per pair with an interval that knows which images the pairs share.

    ``dyadic``: Student t with (images - 1) degrees of freedom around the mean; with fewer than 50 images the
    standard error is the larger of the dyadic and the iid one. ``iid``: t with (n - 1), right only where no
    image recurs. ``pigeonhole``: percentiles of ``resamples`` bootstrap means drawn from ``seed``; too wide
    where pairs per image are few. The interval is not cut at the ends of the values' range.

    Args:
        values: (m,) float; NaN values are dropped with their pairs.
        source, target: (m,) ids of the two images of each pair, any type that compares.
        level: probability that the interval claims, in (0, 1).

    Raises:
        ValueError: ``level`` outside (0, 1), an unknown ``method``, or lengths that differ.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if method not in get_args(IntervalMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(IntervalMethod))}, got {method!r}")
    column, sources, targets, images = _complete(values, source, target)
    n = len(column)
    if n < 2:
        return Interval(n, images, float(column[0, 0]) if n else math.nan, math.nan, math.nan, math.nan)
    mean = float(column.mean())
    if method == "pigeonhole":
        means = np.concatenate(list(_pigeonhole(column[:, 0], sources, targets, resamples, seed)))
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2]) if len(means) else (np.nan, np.nan)
        se = means.std() if len(means) else np.nan
        return Interval(n, images, mean, float(se), float(low), float(high))
    se, freedom = float(iid_se(column)[0]), n - 1
    if method == "dyadic":
        dyadic, freedom = float(_dyadic(column, sources, targets)[0]), images - 1
        se = max(se, dyadic) if images < FEW_IMAGES else dyadic
    reach = float(student.ppf((1 + level) / 2, freedom)) * se
    return Interval(n, images, mean, se, mean - reach, mean + reach)


def dyadic_se(values: ArrayLike, source: ArrayLike, target: ArrayLike) -> Floats:
    """Dyadic cluster-robust standard error of the mean (Aronow, Samii & Assenova 2015), in O(m).

    ``Var(mean) = 1/m^2 * sum of d_p d_q`` over the ordered pairs (p, q) that share an image, p = q included,
    with ``d = value - mean``. Summing per image counts what shares both images twice, so: sum over images of
    the squared sum of d, minus the same over distinct unordered dyads, negative results set to 0.

    Args:
        values: (m,) or (m, k) float, k quantities on the same pairs; a row with NaN is dropped.
        source, target: (m,) ids of the images.

    Returns:
        () or (k,) float64, in the unit of the values; NaN without a pair.
    """
    se = _dyadic(*_complete(values, source, target)[:3])
    return se if np.ndim(values) > 1 else se[0]


def iid_se(values: ArrayLike) -> Floats:
    """Population SD over sqrt(m) along the first axis, for values (m, ...) without NaN; NaN where m is 0."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return np.full(array.shape[1:], np.nan)
    return np.asarray(array.std(axis=0) / math.sqrt(len(array)))


def _complete(values: ArrayLike, source: ArrayLike, target: ArrayLike) -> tuple[Floats, Ints, Ints, int]:
    """Rows without NaN as (m, k), their images numbered 0, 1, ..., and how many images those are."""
    columns = np.asarray(values, dtype=np.float64)
    columns = columns if columns.ndim > 1 else columns[:, None]
    sources, targets = np.asarray(source), np.asarray(target)
    if not len(columns) == len(sources) == len(targets):
        raise ValueError(f"{len(columns)} values for {len(sources)} sources and {len(targets)} targets")
    known = ~np.isnan(columns).any(axis=1)
    codes, ids = pd.factorize(np.concatenate([sources[known], targets[known]]))
    m = int(known.sum())
    return columns[known], codes[:m].astype(np.int64), codes[m:].astype(np.int64), len(ids)


def dyadic_se_of_sum(parts: Floats, sources: Ints, targets: Ints) -> Floats:
    """Standard error of ``parts.sum(axis=0)`` where parts of rows that share an image go together.

    The root of the sum of ``d_p d_q`` over the ordered pairs (p, q) of rows that share an image, p = q included; a
    negative sum is set to 0. What each row adds to the error of an estimate is its part: (value - mean) / m for a mean.

    Args:
        parts: (m, k) float64, k quantities on the same rows.
        sources, targets: (m,) int64, the images of each row, numbered from 0.
    """
    images = int(max(sources.max(initial=-1), targets.max(initial=-1))) + 1
    smaller, larger = np.minimum(sources, targets), np.maximum(sources, targets)
    dyads, distinct = pd.factorize(smaller * images + larger)
    twice = parts * (sources != targets)[:, None]  # an image paired with itself is one image, not two
    per_image = _sums(sources, parts, images) + _sums(targets, twice, images)
    per_dyad = _sums(dyads, twice, len(distinct))
    variance = (per_image**2).sum(axis=0) - (per_dyad**2).sum(axis=0)
    return np.asarray(np.sqrt(np.maximum(variance, 0)))


def _dyadic(columns: Floats, sources: Ints, targets: Ints) -> Floats:
    m = len(columns)
    if m == 0:
        return np.full(columns.shape[1], np.nan)
    return dyadic_se_of_sum((columns - columns.mean(axis=0)) / m, sources, targets)


def _sums(codes: NDArray[np.integer], columns: Floats, size: int) -> Floats:
    return np.stack([np.bincount(codes, column, minlength=size) for column in columns.T], axis=1)


def _pigeonhole(values: Floats, sources: Ints, targets: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """Bootstrap means in blocks: sources and targets drawn apart, a pair weighs the product of counts."""
    rows, row_ids = pd.factorize(sources)
    columns, column_ids = pd.factorize(targets)
    R, C = len(row_ids), len(column_ids)
    total = sparse.csr_array((values, (rows, columns)), shape=(R, C))
    pairs = sparse.csr_array((np.ones_like(values), (rows, columns)), shape=(R, C))
    rng = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        block = min(_RESAMPLES_AT_ONCE, resamples - start)
        source_counts = rng.multinomial(R, np.full(R, 1 / R), size=block).astype(np.float64)
        target_counts = rng.multinomial(C, np.full(C, 1 / C), size=block)
        weight = (np.asarray(source_counts @ pairs) * target_counts).sum(axis=1)
        weighted = (np.asarray(source_counts @ total) * target_counts).sum(axis=1)
        yield weighted[weight > 0] / weight[weight > 0]
