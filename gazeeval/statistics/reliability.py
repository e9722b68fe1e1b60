"""How well viewers agree: the human ceiling of lam_gaze.

Throughout, ``values`` is (n, K) float: n pairs (or images), each scored from the gaze of one viewer alone, for
K viewers. Rows with NaN are dropped; fewer than two viewers or two complete rows raise ValueError.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from gazeeval.statistics.intervals import Floats


def mean_r(values: ArrayLike) -> float:
    """Mean Pearson correlation over all pairs of viewers; NaN if a viewer's scores do not vary."""
    scores = _complete(values)
    centred = scores - scores.mean(axis=0)
    norms = np.sqrt((centred**2).sum(axis=0))
    if not norms.all():
        return math.nan
    r = (centred / norms).T @ (centred / norms)
    return float(r[np.triu_indices(len(r), 1)].mean())


def spearman_brown(r1: float, k: ArrayLike) -> Floats:
    """Reliability of the mean of k viewers, ``k r1 / (1 + (k - 1) r1)`` (Spearman 1910, Brown 1910)."""
    viewers = np.asarray(k, dtype=np.float64)
    return np.asarray(viewers * r1 / (1 + (viewers - 1) * r1))


def icc(values: ArrayLike) -> tuple[float, float]:
    """ICC(1,1) of one viewer and ICC(1,K) of the mean of K, one-way random effects (Shrout & Fleiss 1979).

    With the mean squares between (B) and within (W) rows: ``(B - W) / (B + (K - 1) W)`` and ``(B - W) / B``.
    NaN if all rows have the same mean.
    """
    scores = _complete(values)
    n, K = scores.shape
    means = scores.mean(axis=1)
    between = float(K * ((means - means.mean()) ** 2).sum() / (n - 1))
    within = within_var(scores)
    if between == 0:
        return math.nan, math.nan
    return (between - within) / (between + (K - 1) * within), (between - within) / between


def within_var(values: ArrayLike) -> float:
    """Variance s^2 of one viewer's score around the truth of its row; a K-viewer mean has s^2 / K."""
    scores = _complete(values)
    return float(scores.var(axis=1, ddof=1).mean())


def leave_one_out_mae(values: ArrayLike) -> Floats:
    """(K,) mean absolute difference between each viewer and the mean of the others, in the values' unit."""
    scores = _complete(values)
    others = (scores.sum(axis=1, keepdims=True) - scores) / (scores.shape[1] - 1)
    return np.asarray(np.abs(scores - others).mean(axis=0))


def _complete(values: ArrayLike) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"expected (n, viewers) with at least two viewers, got shape {scores.shape}")
    scores = scores[~np.isnan(scores).any(axis=1)]
    if len(scores) < 2:
        raise ValueError(f"expected at least two rows without NaN, got {len(scores)}")
    return scores
