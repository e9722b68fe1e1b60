from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gazeeval.report.columns import FILES, pair_columns
from gazeeval.report.files import conform
from gazeeval.report.tables import MetricInfo, counts, group_table, printed_table, signature, summary_table
from gazeeval.statistics.intervals import mean_interval

METRICS = (
    MetricInfo("inconsistency", higher_is_better=False),
    MetricInfo("delta"),
    MetricInfo("hit1_any", higher_is_better=True),
    MetricInfo("hit2_both", higher_is_better=True),
)


def test_summary_has_its_columns_and_says_where_rows_come_from() -> None:
    table = summary_table(_pairs("cutmix", n=60), metrics=METRICS)
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        column.name: column.dtype for column in FILES["summary.csv"]
    }
    assert set(table["run_id"]) == {"r1"}
    assert list(table["metric"].unique()) == [
        *("inconsistency", "delta", "hit1_any", "hit2_both"),
        *("inconsistency_median", "inconsistency_rmse", "lam_correlation"),
    ]


def test_means_come_with_the_dyadic_interval() -> None:
    pairs = _pairs("cutmix", n=200)
    row = _row(summary_table(pairs, metrics=METRICS, level=0.9), "inconsistency")
    interval = mean_interval(pairs["inconsistency"].astype(float), pairs["source_id"], pairs["target_id"], level=0.9)
    assert row["n"] == 200
    np.testing.assert_allclose(
        row[["estimate", "se", "ci_low", "ci_high"]].astype(float),
        [interval.mean, interval.se, interval.low, interval.high],
    )
    assert list(row[["ci_level", "ci_method", "ci_unit", "unit"]]) == [0.9, "dyadic", "image", "fraction"]
    assert not row["higher_is_better"]


def test_other_intervals_on_request() -> None:
    pairs = _pairs("cutmix", n=100)
    rows = {
        method: _row(summary_table(pairs, metrics=METRICS, ci_method=method), "delta")
        for method in ("dyadic", "iid", "pigeonhole")
    }
    assert [row["ci_unit"] for row in rows.values()] == ["image", "pair", "image"]
    assert len({row["se"] for row in rows.values()}) == 3
    assert pd.isna(rows["iid"]["higher_is_better"])


def test_statistics_without_an_interval() -> None:
    pairs = _pairs("cutmix", n=99)
    table = summary_table(pairs, metrics=METRICS)
    e, lam, lam_gaze = (pairs[name].to_numpy(dtype=float) for name in ("inconsistency", "lam", "lam_gaze"))
    expected = {
        "inconsistency_median": np.median(e),
        "inconsistency_rmse": np.sqrt((e**2).mean()),
        "lam_correlation": np.corrcoef(lam, lam_gaze)[0, 1],
    }
    for metric, value in expected.items():
        row = _row(table, metric)
        assert row["estimate"] == pytest.approx(value)
        assert row[["se", "ci_low", "ci_high", "ci_level", "ci_method", "ci_unit"]].isna().all()
    constant = summary_table(pairs.assign(lam=0.5), metrics=METRICS)
    assert pd.isna(_row(constant, "lam_correlation")["estimate"])


def test_correlation_leaves_out_pairs_whose_gaze_share_is_unknown() -> None:
    """A mix of several images may have a score though its two largest show no gaze."""
    pairs = _pairs("comixup", n=50)
    known = summary_table(pairs[:40], metrics=METRICS)
    pairs.loc[40:, ["lam_gaze", "delta"]] = pd.NA
    table = summary_table(pairs, metrics=METRICS)
    assert list(_row(table, "lam_correlation")[["n", "estimate"]]) == [40, _row(known, "lam_correlation")["estimate"]]
    assert [_row(table, metric)["n"] for metric in ("inconsistency", "inconsistency_rmse", "delta")] == [50, 50, 40]


def test_pair_scores_of_methods_that_mix_several_images() -> None:
    several = _pairs("comixup", n=60).assign(x_pair_inconsistency=0.25, x_label_elsewhere=0.5, x_other=1.0)
    several.loc[:9, "x_pair_inconsistency"] = np.nan  # one image only
    several.loc[10:14, "status"] = "no_gaze"
    several.loc[15:16, "status"] = "nonfinite"
    pairs = pd.concat([_pairs("cutmix", n=60), several])
    table = summary_table(pairs, metrics=METRICS)
    assert not set(table.loc[table["method"] == "cutmix", "metric"]) & {"pair_inconsistency", "label_elsewhere"}
    assert not table["metric"].str.contains("other").any()
    for metric, n, estimate, better in (
        ("pair_inconsistency", 43, 0.25, "False"),
        ("label_elsewhere", 58, 0.5, "<NA>"),
    ):
        row = _row(table, metric)
        assert list(row[["n", "n_failed", "estimate", "unit"]]) == [n, 2, estimate, "fraction"]
        assert str(row["higher_is_better"]) == better
    interval = mean_interval(*(several[name][17:] for name in ("inconsistency", "source_id", "target_id")))
    varied = several.assign(x_pair_inconsistency=several["inconsistency"].where(several["pair_id"] > 16))
    row = _row(summary_table(varied, metrics=METRICS), "pair_inconsistency")
    assert list(row[["estimate", "ci_low"]]) == pytest.approx([interval.mean, interval.low])


def test_subsets() -> None:
    pairs = _pairs("cutmix", n=90)
    table = summary_table(pairs, metrics=METRICS, class_names=["NA", "wren"])
    subsets = [*("all", "same_class", "different_class"), *("class=NA", "class=wren", "class=2")]
    for metric, expected in (
        ("inconsistency", subsets),
        ("hit1_any", subsets[:3]),
        ("inconsistency_rmse", subsets[:3]),
    ):
        assert list(table.loc[table["metric"] == metric, "subset"]) == expected
    same = pairs[pairs["source_label"] == pairs["target_label"]]
    assert _row(table, "delta", "same_class")["estimate"] == pytest.approx(same["delta"].mean())
    wren = pairs[pairs["source_label"] == 1]
    row = _row(table, "inconsistency", "class=wren")
    assert row["n"] == len(wren)
    assert row["estimate"] == pytest.approx(wren["inconsistency"].mean())
    apart = pairs[pairs["source_label"] != pairs["target_label"]]
    assert "same_class" not in set(summary_table(apart, metrics=METRICS)["subset"])


def test_pairs_that_do_not_count_are_not_averaged() -> None:
    pairs = _pairs("cutmix", n=60)
    status = ["ok"] * 50 + ["no_gaze"] * 4 + ["failed", "nonfinite", "flat_map"] * 2
    pairs = pairs.assign(status=pd.array(status, dtype="string"))
    table = summary_table(pairs, metrics=METRICS)
    row = _row(table, "inconsistency")
    assert (row["n"], row["n_failed"]) == (50, 6)
    assert row["estimate"] == pytest.approx(pairs["inconsistency"][:50].mean())
    hits = _row(table, "hit1_any")
    assert hits["n"] == 54
    assert hits["estimate"] == pytest.approx(pairs["hit1_any"][:54].astype(float).mean())
    assert counts(pairs).loc["cutmix"].to_dict() == {"pairs": 60, "failed": 6, "no_gaze": 4, "not_applicable": 0}


def test_a_score_that_is_0_by_construction_is_no_estimate() -> None:
    pairs = _pairs("mixup", n=40).assign(inconsistency=0.0, delta=0.0, status="not_applicable")
    table = summary_table(pairs, metrics=METRICS)
    for metric in ("inconsistency", "delta", "inconsistency_median", "inconsistency_rmse", "lam_correlation"):
        row = _row(table, metric)
        assert row["n"] == 0
        assert row[["estimate", "se", "ci_low"]].isna().all()
    assert _row(table, "hit1_any")["n"] == 40
    assert not table["subset"].str.startswith("class=").any()


def test_a_class_whose_pairs_all_failed_is_told() -> None:
    pairs = _pairs("cutmix", n=60)
    pairs.loc[pairs["source_label"] == 2, "status"] = "failed"
    row = _row(summary_table(pairs, metrics=METRICS), "inconsistency", "class=2")
    assert row["n"] == 0
    assert row["n_failed"] == (pairs["source_label"] == 2).sum() > 0


def test_a_run_without_a_model_has_empty_accuracy() -> None:
    pairs = _pairs("cutmix", n=40).drop(columns="hit1_any")
    row = _row(summary_table(conform(pairs, pair_columns()), metrics=METRICS), "hit1_any")
    assert row["n"] == 0
    assert pd.isna(row["estimate"])


def test_groups() -> None:
    pairs = pd.concat([_pairs(method, n=70) for method in ("saliencymix", "cutmix")], ignore_index=True)
    pairs.loc[[0, 1], "status"] = ["failed", "no_gaze"]
    table = group_table(pairs)
    assert [column.name for column in FILES["groups.csv"]] == list(table.columns)
    assert list(table["method"]) == ["saliencymix"] * 3 + ["cutmix"] * 3
    assert list(table["first_pair"]) == [0, 32, 64] * 2
    assert list(table["n"]) == [32, 32, 6] * 2
    assert list(table["n_failed"]) == [1, 0, 0, 0, 0, 0]
    e = pairs["inconsistency"][2:32].astype(float)
    first = table.iloc[0]
    expected = [e.mean(), e.median(), e.quantile(0.9), e.max(), (e > 0.1).mean()]
    names = ["mean_inconsistency", "median_inconsistency", "p90_inconsistency", "max_inconsistency", "share_above_0_1"]
    np.testing.assert_allclose(first[names].astype(float), np.array(expected, dtype=float))
    for name in ("delta", "lam", "lam_gaze"):
        assert first[f"mean_{name}"] == pytest.approx(pairs[name][2:32].mean())
    assert first["hit1_any"] == pytest.approx(pairs["hit1_any"][1:32].astype(float).mean())


def test_a_group_without_gaze_is_empty_and_not_0() -> None:
    first = group_table(_pairs("mixup", n=10).assign(status="not_applicable")).iloc[0]
    names = ["mean_inconsistency", "p90_inconsistency", "max_inconsistency", "mean_lam", "share_above_0_1"]
    assert first[names].isna().all()
    assert not pd.isna(first["hit1_any"])


def test_printed_table() -> None:
    mixup = _pairs("mixup", n=64).assign(status="not_applicable")
    half = _pairs("ref:constant", n=64).drop(columns=["hit1_any", "hit2_both"])
    pairs = conform(pd.concat([half, _pairs("cutmix:alpha=0.2", n=64), mixup]), pair_columns())
    summary = summary_table(pairs, metrics=METRICS)
    lines = printed_table(summary, counts(pairs), signature({"data": "demo", "v": "0.1.0"})).splitlines()
    score, low, high = (
        100 * _row(summary, "inconsistency", method="cutmix:alpha=0.2")[["estimate", "ci_low", "ci_high"]]
    )
    bias, hit1, hit2 = (
        100 * _row(summary, metric, method="cutmix:alpha=0.2")["estimate"]
        for metric in ("delta", "hit1_any", "hit2_both")
    )
    assert lines[0].split("  ")[0] == "method"
    assert lines[0].endswith("pairs  failed  inconsistency % (95% CI)  bias %  top-1 any %  top-2 both %")
    assert lines[1].split() == [
        *("cutmix:alpha=0.2", "64", "0", f"{score:.1f}", f"[{low:.1f},", f"{high:.1f}]"),
        *(f"{bias:+.1f}", f"{hit1:.1f}", f"{hit2:.1f}"),
    ]
    assert lines[2].split()[:5] == ["mixup", "64", "0", "n/a", "n/a"]
    assert set(lines[3]) == {"-"}
    assert lines[4].startswith("ref:constant")
    assert lines[4].endswith("-             -")
    assert lines[5].startswith("n/a: ")
    assert lines[6].startswith("lower is better; lambda = share of the source image")
    assert lines[7] == "data:demo|v:0.1.0"


def test_pairs_without_gaze_get_a_column_only_where_there_are_some() -> None:
    pairs = _pairs("cutmix", n=64)
    pairs.loc[[0, 1], "status"] = "no_gaze"
    printed = printed_table(summary_table(pairs, metrics=METRICS), counts(pairs), "s").splitlines()
    assert "failed  no gaze  inconsistency" in printed[0]
    assert printed[1].split()[:4] == ["cutmix", "64", "0", "2"]
    assert len(printed) == 4


def test_pair_scores_get_columns_only_where_there_are_some() -> None:
    several = _pairs("comixup", n=64).assign(x_pair_inconsistency=0.25, x_label_elsewhere=0.0625)
    pairs = pd.concat([_pairs("cutmix", n=64), several])
    printed = printed_table(summary_table(pairs, metrics=METRICS), counts(pairs), "s").splitlines()
    assert "(95% CI)  pair inconsistency %  label elsewhere %  bias %" in printed[0]
    assert printed[1].split()[6:8] == ["-", "-"]
    assert printed[2].split()[6:10] == ["25.0", "[25.0,", "25.0]", "6.2"]
    assert printed[3].startswith("mixes of several images: inconsistency = 1/2 sum |label share - gaze share|")
    assert len(printed) == 7


def test_a_run_where_everything_failed_still_prints() -> None:
    pairs = _pairs("cutmix", n=8).assign(status="failed")
    printed = printed_table(summary_table(pairs, metrics=METRICS), counts(pairs), "s").splitlines()
    assert printed[0].split("  ")[-4:] == ["inconsistency %", "bias %", "top-1 any %", "top-2 both %"]
    assert printed[1].split() == ["cutmix", "8", "8", "-", "-", "-", "-"]


def test_signature() -> None:
    parts = {"data": "cub-gha", "gaze": "sigma=9px,weight=duration", "model": "a|b", "v": "0.1.0"}
    assert signature(parts) == "data:cub-gha|gaze:sigma=9px,weight=duration|model:a/b|v:0.1.0"


def _pairs(method: str, n: int) -> pd.DataFrame:
    """Pairs of 60 images and three classes, some pairs of one class."""
    rng = np.random.default_rng(n)
    source = rng.integers(0, 60, n)
    target = (source + rng.integers(1, 60, n)) % 60
    lam, lam_gaze = rng.random((2, n))
    frame = pd.DataFrame(
        {
            "run_id": "r1",
            "dataset": "demo",
            "split": "all",
            "method": method,
            "pair_id": np.arange(n),
            "group_id": np.arange(n) // 32,
            "source_id": [f"{i:06d}" for i in source],
            "target_id": [f"{i:06d}" for i in target],
            "source_label": source % 3,
            "target_label": target % 3,
            "lam": lam,
            "lam_gaze": lam_gaze,
            "delta": lam - lam_gaze,
            "inconsistency": np.abs(lam - lam_gaze),
            "hit1_any": rng.random(n) < 0.7,
            "hit2_both": rng.random(n) < 0.4,
            "status": "ok",
        }
    )
    return conform(frame, pair_columns())


def _row(table: pd.DataFrame, metric: str, subset: str = "all", method: str | None = None) -> pd.Series:
    wanted = table["metric"].eq(metric) & table["subset"].eq(subset)
    rows = table[wanted if method is None else wanted & table["method"].eq(method)]
    assert len(rows) == 1
    return rows.iloc[0]
