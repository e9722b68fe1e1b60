"""What the inconsistency is made of: bias and noise, over all pairs and over parts of them.

A label that is always 10 points too low and one that is 10 points off either way have the same mean error, but not the
same remedy. With delta = lam - lam_gaze: bias = mean(delta), noise = SD(delta), and RMSE^2 = bias^2 + noise^2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gazeeval.statistics.intervals import Floats, mean_interval

PARTS = ("all", "lam", "class", "visible_source", "visible_target")

_COLUMNS = {
    **dict.fromkeys(("method", "by", "subset"), "string"),
    **dict.fromkeys(("low", "high"), "Float64"),
    "n": "Int64",
    **dict.fromkeys(("inconsistency", "se", "bias", "noise", "rmse", "correlation"), "Float64"),
}
_TENTHS = np.arange(1, 10) / 10


def breakdown(pairs: pd.DataFrame, class_names: Sequence[str] = ()) -> pd.DataFrame:
    """Bias and noise of every method: over all pairs, by label, by class, and by how much gaze is visible.

    Args:
        pairs: rows with the columns of inconsistency.csv; those with status ok and a delta count.
        class_names: of the classes; the index stands in where there is none.

    Returns:
        One row per method and part that has a pair, methods in their order. Columns:

        - ``method``; ``by``: one of `PARTS`; ``subset``: ``all``, a tenth of lam as ``0.3-0.4`` (upper end excluded but
          for 1), the class of the source, or ``q1`` to ``q4``: the method's own quarters by ``gaze_kept_source`` or
          ``gaze_kept_target``, the share of the gaze that the mixed image shows, smallest first;
        - ``low``, ``high``: smallest and largest value of lam or of the visible share in the subset; else missing;
        - ``n`` pairs; ``inconsistency`` their mean, with its dyadic standard error ``se``;
        - ``bias``, ``noise``, ``rmse`` of delta (population SD); ``correlation``, Pearson's, of lam with lam_gaze,
          missing for fewer than three pairs or where one of them does not vary. Of a mix of more than two images these
          four are about the two with the largest labels, as delta is.
    """
    used = pairs[pairs["status"].eq("ok") & pairs["delta"].notna()]
    rows = [
        {"method": method, "by": by, "subset": subset, "low": low, "high": high, **_moments(part)}
        for method, of_method in used.groupby("method", sort=False)
        for by, subset, low, high, part in _parts(of_method, class_names)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def _parts(
    rows: pd.DataFrame, class_names: Sequence[str]
) -> Iterator[tuple[str, str, float | None, float | None, pd.DataFrame]]:
    yield "all", "all", None, None, rows
    lam = _floats(rows["lam"])
    yield from _cut("lam", rows, lam, _TENTHS, [f"{i / 10}-{(i + 1) / 10}" for i in range(10)])
    labels = rows["source_label"].to_numpy(dtype=np.int64)
    for label in np.unique(labels):
        name = class_names[label] if label < len(class_names) else str(label)
        yield "class", name, None, None, rows[labels == label]
    for side in ("source", "target"):
        visible = _floats(rows[f"gaze_kept_{side}"])
        quartiles = np.quantile(visible, [0.25, 0.5, 0.75])
        yield from _cut(f"visible_{side}", rows, visible, quartiles, ["q1", "q2", "q3", "q4"])


def _cut(
    by: str, rows: pd.DataFrame, values: Floats, edges: Floats, names: Sequence[str]
) -> Iterator[tuple[str, str, float, float, pd.DataFrame]]:
    part: NDArray[np.intp] = np.digitize(values, edges)
    for i, name in enumerate(names):
        inside = part == i
        if inside.any():
            yield by, name, float(values[inside].min()), float(values[inside].max()), rows[inside]


def _moments(rows: pd.DataFrame) -> dict[str, float]:
    delta, lam, lam_gaze = (_floats(rows[name]) for name in ("delta", "lam", "lam_gaze"))
    interval = mean_interval(_floats(rows["inconsistency"]), rows["source_id"], rows["target_id"])
    varies = len(rows) > 2 and np.ptp(lam) > 0 and np.ptp(lam_gaze) > 0
    return {
        "n": len(rows),
        "inconsistency": interval.mean,
        "se": interval.se,
        "bias": float(delta.mean()),
        "noise": float(delta.std()),
        "rmse": float(np.sqrt((delta**2).mean())),
        "correlation": float(np.corrcoef(lam, lam_gaze)[0, 1]) if varies else np.nan,
    }


def _floats(values: pd.Series[Any]) -> Floats:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)
