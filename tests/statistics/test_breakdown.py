from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gazeeval.report.columns import pair_columns
from gazeeval.report.files import conform
from gazeeval.statistics.breakdown import PARTS, breakdown
from gazeeval.statistics.intervals import mean_interval


def rows(n: int = 200, method: str = "cutmix") -> pd.DataFrame:
    rng = np.random.default_rng(0)
    lam, lam_gaze, kept = rng.random(n), rng.random(n), rng.random((2, n))
    frame = pd.DataFrame(
        {
            "method": method,
            "source_id": [f"{i}" for i in rng.integers(0, 60, n)],
            "target_id": [f"{i}" for i in rng.integers(60, 120, n)],
            "source_label": rng.integers(0, 3, n),
            "lam": lam,
            "lam_gaze": lam_gaze,
            "delta": lam - lam_gaze,
            "inconsistency": np.abs(lam - lam_gaze),
            "gaze_kept_source": kept[0],
            "gaze_kept_target": kept[1],
            "status": "ok",
        }
    )
    return conform(frame, pair_columns())


def test_bias_and_noise_make_the_error() -> None:
    pairs = rows()
    table = breakdown(pairs)
    np.testing.assert_allclose(
        (table["bias"] ** 2 + table["noise"] ** 2).astype(float), (table["rmse"] ** 2).astype(float)
    )
    whole = table.iloc[0]
    delta = pairs["delta"].astype(float)
    interval = mean_interval(pairs["inconsistency"].astype(float), pairs["source_id"], pairs["target_id"])
    assert list(whole[["method", "by", "subset", "n"]]) == ["cutmix", "all", "all", 200]
    assert whole["bias"] == pytest.approx(delta.mean())
    assert whole["noise"] == pytest.approx(delta.std(ddof=0))
    assert (whole["inconsistency"], whole["se"]) == (interval.mean, interval.se)
    assert whole["correlation"] == pytest.approx(pairs["lam"].astype(float).corr(pairs["lam_gaze"].astype(float)))


def test_every_way_to_part_the_pairs_has_all_of_them() -> None:
    table = breakdown(rows(), ["wren", "NA"])
    assert tuple(table["by"].unique()) == PARTS
    assert set(table.groupby("by")["n"].sum()) == {200}
    for by, parts in table.groupby("by"):
        assert (parts["inconsistency"] * parts["n"]).sum() == pytest.approx(table["inconsistency"][0] * 200), by
    assert list(table["subset"][table["by"] == "class"]) == ["wren", "NA", "2"]
    assert list(table["n"][table["by"] == "visible_source"]) == [50, 50, 50, 50]


def test_parts_by_lam_are_tenths() -> None:
    lam = [0.0, 0.05, 0.1, 0.3, 0.3999, 0.7, 0.9, 1.0]
    parts = breakdown(rows(8).assign(lam=lam)).query("by == 'lam'").set_index("subset")
    assert parts["n"].to_dict() == {"0.0-0.1": 2, "0.1-0.2": 1, "0.3-0.4": 2, "0.7-0.8": 1, "0.9-1.0": 2}
    assert list(parts.loc["0.3-0.4", ["low", "high"]]) == [0.3, 0.3999]


def test_parts_by_visible_gaze_come_in_order_and_equal_values_stay_together() -> None:
    kept = [0.0, 0.0, 0.0, 0.0, 0.5, 0.6, 0.9, 1.0]
    parts = breakdown(rows(8).assign(gaze_kept_target=kept)).query("by == 'visible_target'")
    assert (parts["low"].iloc[1:].to_numpy() > parts["high"].iloc[:-1].to_numpy()).all()
    assert parts["n"].sum() == 8
    assert (parts["low"].iloc[0], parts["high"].iloc[0], parts["n"].iloc[0]) == (0, 0, 4)


def test_only_pairs_with_a_score_count() -> None:
    pairs = rows()
    some = pairs["pair_id"].index < 150
    pairs["status"] = pairs["status"].where(some, "not_applicable")
    pairs["delta"] = pairs["delta"].where(pairs.index != 3)
    assert breakdown(pairs)["n"][0] == 149
    none = breakdown(pairs.assign(status="no_gaze"))
    assert none.empty
    assert list(none) == list(breakdown(pairs))


def test_methods_do_not_mix() -> None:
    a, b = rows(), rows(120, "fmix")
    both = breakdown(pd.concat([b, a], ignore_index=True))
    assert list(both["method"].unique()) == ["fmix", "cutmix"]
    pd.testing.assert_frame_equal(both[both["method"] == "cutmix"].reset_index(drop=True), breakdown(a))


def test_there_is_no_correlation_of_what_does_not_vary_or_of_two_points() -> None:
    assert pd.isna(breakdown(rows().assign(lam=0.5))["correlation"][0])
    assert pd.isna(breakdown(rows(2))["correlation"][0])
    one = breakdown(rows(1)).iloc[0]
    assert (one["n"], one["noise"]) == (1, 0)
    assert pd.isna(one["se"])
