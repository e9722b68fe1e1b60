from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from results import with_pairs

from gazeeval.errors import UsageError
from gazeeval.report.columns import FILES, pair_columns
from gazeeval.report.files import Results, conform
from gazeeval.report.tables import MetricInfo, summary_table
from gazeeval.statistics.compare import Methods, comparisons
from gazeeval.statistics.paired import compare_paired, holm

METRICS = [
    {"name": "inconsistency", "unit": "fraction", "higher_is_better": False},
    {"name": "delta", "unit": "fraction", "higher_is_better": None},
    {"name": "hit1_any", "unit": "fraction", "higher_is_better": True},
]
IDENTITY = {
    **{"version": "0.1.0", "data": "5a" * 32, "split": "test", "pairs": "d0" * 32, "geometry": "Resize 256", "seed": 0},
    **{"gaze": "sigma=1deg", "gaze_choices": {"repeats": "concat"}, "model": "01" * 32, "attention_model": None},
}


def method(name: str, n: int = 60, mean: float = 0.2, **columns: Any) -> pd.DataFrame:
    """Rows of a method on a matching of 2n images; the scores depend on the name alone."""
    rng = np.random.default_rng(list(name.encode()))
    pair = np.arange(n)
    frame = pd.DataFrame(
        {
            "method": name,
            "pair_id": pair,
            "source_id": [f"{i:05d}" for i in pair],
            "target_id": [f"{i:05d}" for i in pair + n],
            "source_label": 0,
            "target_label": 1,
            "inconsistency": np.abs(rng.normal(mean, 0.1, n)),
            "hit1_any": rng.random(n) < 0.7,
            "status": "ok",
        }
    )
    return conform(frame.assign(**columns), pair_columns())


def a_run(*tables: pd.DataFrame, folder: str = "run", references: tuple[str, ...] = (), **identity: Any) -> Results:
    names = [str(table["method"].iloc[0]) for table in tables]
    manifest = {
        "identity": IDENTITY | identity,
        "methods": {name: {} for name in names if name not in references},
        "references": list(references),
        "metrics": METRICS,
    }
    empty = pd.DataFrame()
    return with_pairs(Results(Path(folder), manifest, empty, empty, empty), pd.concat(tables, ignore_index=True))


def test_every_method_meets_every_other() -> None:
    a, b, c = method("cutmix"), method("fmix", mean=0.21), method("snapmix", mean=0.4)
    table = comparisons(a_run(a, b, c))
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        column.name: column.dtype for column in FILES["comparisons.csv"]
    }
    assert list(zip(table["method_a"], table["method_b"], strict=True)) == [
        ("cutmix", "fmix"),
        ("cutmix", "snapmix"),
        ("fmix", "snapmix"),
    ]
    expected = compare_paired(a["inconsistency"], b["inconsistency"], a["source_id"], a["target_id"])
    first = table.iloc[0]
    for name in ("n", "diff", "se", "ci_low", "ci_high", "p_value", "test", "share_a_better", "cohen_dz", "mde"):
        assert first[name] == getattr(expected, name), name
    np.testing.assert_allclose(table["p_adjusted"], holm(table["p_value"]))
    assert table["p_adjusted"][0] > 0.05 > table["p_adjusted"][1], "the third method differs from both"
    assert set(table["adjust"]) == {"holm"}


def test_all_against_a_baseline() -> None:
    run = a_run(*(method(name) for name in ("cutmix", "fmix", "snapmix", "ref:centre")), references=("ref:centre",))
    table = comparisons(run, baseline="fmix")
    assert list(table["method_a"]) == ["cutmix", "snapmix"]
    assert set(table["method_b"]) == {"fmix"}
    np.testing.assert_allclose(table["p_adjusted"], holm(table["p_value"]))
    assert len(comparisons(run)) == 3, "a reference row is compared as a baseline only"
    assert list(comparisons(run, baseline="ref:centre")["method_a"]) == ["cutmix", "fmix", "snapmix"]


def test_a_comparison_does_not_depend_on_the_other_methods() -> None:
    some = [method("cutmix"), method("fmix")]
    alone, among = comparisons(a_run(*some)), comparisons(a_run(*some, method("snapmix")))
    pd.testing.assert_frame_equal(alone.drop(columns="p_adjusted"), among.head(1).drop(columns="p_adjusted"))


def test_several_metrics_are_adjusted_apart() -> None:
    run = a_run(method("cutmix"), method("fmix"), method("snapmix"))
    both = comparisons(run, metrics=["hit1_any", "inconsistency", "hit1_any"])
    assert list(both["metric"]) == ["hit1_any"] * 3 + ["inconsistency"] * 3
    pd.testing.assert_frame_equal(both.tail(3).reset_index(drop=True), comparisons(run))
    hits = run.pairs.pivot(index="pair_id", columns="method", values="hit1_any").astype(float)
    assert both["diff"][0] == pytest.approx((hits["cutmix"] - hits["fmix"]).mean())
    assert both["share_a_better"][0] == (hits["cutmix"] > hits["fmix"]).mean()


def test_pairs_of_its_own_are_compared_unpaired() -> None:
    cutmix, own = method("cutmix"), method("comixup")
    own = own.assign(target_id=np.roll(own["target_id"], 1))
    table = comparisons(a_run(cutmix, method("fmix"), own))
    assert list(table["test"]) == ["wilcoxon", "dyadic t, unpaired", "dyadic t, unpaired"]
    assert table["diff"][1] == pytest.approx(cutmix["inconsistency"].mean() - own["inconsistency"].mean())
    assert table["share_a_better"].isna().tolist() == [False, True, True]


def test_pairs_that_share_images_are_tested_with_the_dyadic_error() -> None:
    cycle = np.roll(method("x")["source_id"], 1)
    table = comparisons(a_run(method("cutmix", target_id=cycle), method("fmix", target_id=cycle)))
    assert table["test"][0] == "dyadic t"


def test_undefined_pairs_are_left_out_and_counted() -> None:
    status = ["no_gaze", "failed", "ok"] * 20
    scores = np.where(np.array(status) == "ok", 0.3, np.nan)
    table = comparisons(a_run(method("cutmix"), method("fmix", status=status, inconsistency=scores)))
    assert (table["n"][0], table["n_excluded"][0]) == (20, 40)


def test_what_is_zero_by_construction_is_no_result() -> None:
    mixup = method("mixup", status="not_applicable", inconsistency=0.0)
    methods = Methods.of([a_run(method("cutmix"), mixup, method("fmix"))])
    assert methods.left_out("inconsistency") == ["method mixup: left out, its inconsistency is 0 by construction"]
    assert set(methods.scores("inconsistency")) == {"cutmix", "fmix"}
    assert methods.left_out("hit1_any") == []
    assert len(methods.compare("hit1_any")) == 3
    without_model = Methods.of([a_run(method("cutmix", hit1_any=pd.NA), method("fmix"))])
    assert without_model.left_out("hit1_any") == ["method cutmix: left out, its hit1_any has no value"]


def test_one_method_has_nothing_to_be_compared_with() -> None:
    table = comparisons(a_run(method("cutmix")))
    assert table.empty
    assert list(table) == [column.name for column in FILES["comparisons.csv"]]


def test_ranking() -> None:
    centre = method("ref:centre", mean=0.01)
    tables = [method("cutmix", mean=0.4), method("fmix", mean=0.1), method("snapmix", mean=0.2), centre]
    run = a_run(*tables, references=("ref:centre",))
    ranking = Methods.of([run]).ranking("inconsistency")
    assert list(ranking["method"]) == ["fmix", "snapmix", "cutmix", "ref:centre"]
    assert list(ranking["rank"].astype(object)) == [1, 2, 3, pd.NA]
    by_hits = Methods.of([run]).ranking("hit1_any")
    assert by_hits["mean"][:3].is_monotonic_decreasing
    summary = summary_table(run.pairs, metrics=[MetricInfo("inconsistency"), MetricInfo("hit1_any")])
    summary = summary[summary["subset"] == "all"].set_index(["metric", "method"])
    for metric, table in (("inconsistency", ranking), ("hit1_any", by_hits)):
        told = summary.loc[metric].loc[list(table["method"]), ["n", "estimate", "ci_low", "ci_high"]]
        np.testing.assert_allclose(table[["n", "mean", "ci_low", "ci_high"]].astype(float), told.astype(float))


def test_runs_apart_are_compared_pair_by_pair() -> None:
    first = a_run(method("cutmix"), method("fmix"), folder="runs/first")
    second = a_run(method("fmix", mean=0.3), method("snapmix"), folder="runs/second", model="02" * 32, seed=1)
    methods = Methods.of([first, second])
    assert list(methods.rows) == ["cutmix", "fmix@first", "fmix@second", "snapmix"]
    assert methods.notes == (
        "model differs: 01010101 in first, 02020202 in second",
        "seed differs: 0 in first, 1 in second",
    )
    table = comparisons([first, second])
    assert len(table) == 6
    assert set(table["test"]) == {"wilcoxon"}


def test_reference_rows_of_several_runs_are_those_of_the_first() -> None:
    runs = [
        a_run(method("cutmix"), method("ref:area", mean=mean), folder=folder, references=("ref:area",))
        for folder, mean in (("a", 0.1), ("b", 0.5))
    ]
    methods = Methods.of(runs)
    assert list(methods.rows) == ["cutmix@a", "cutmix@b", "ref:area"]
    assert methods.rows["ref:area"]["inconsistency"].mean() < 0.3


def test_runs_in_folders_of_one_name_are_told_by_their_paths() -> None:
    methods = Methods.of([a_run(method("cutmix"), folder=folder) for folder in ("x/run", "y/run", "z")])
    assert list(methods.rows) == ["cutmix@x/run", "cutmix@y/run", "cutmix@z"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data", "ff" * 32, "data: 5a5a5a5a and ffffffff"),
        ("split", "train", "split: test and train"),
        ("pairs", "ee" * 32, "pairs: d0d0d0d0 and eeeeeeee"),
        ("geometry", "stretch 224x224", "geometry: Resize 256 and stretch 224x224"),
        ("gaze", "sigma=9px", "gaze: sigma=1deg and sigma=9px"),
        ("gaze_choices", {"repeats": "first"}, "gaze_choices: repeats=concat and repeats=first"),
    ],
)
def test_runs_that_do_not_measure_the_same_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"a and b do not measure the same, got {message}\\. Run them on"):
        comparisons([a_run(method("cutmix"), folder="a"), a_run(method("fmix"), folder="b", **{field: value})])


def test_every_difference_is_named() -> None:
    with pytest.raises(UsageError, match="split: test and train; gaze: sigma=1deg and none"):
        Methods.of([a_run(method("cutmix"), folder="a"), a_run(method("fmix"), folder="b", split="train", gaze=None)])


@pytest.mark.parametrize("runs", [[], [a_run(method("cutmix"))] * 2], ids=["none", "twice"])
def test_each_run_is_given_once(runs: list[Results]) -> None:
    with pytest.raises(UsageError, match="Give each run once"):
        Methods.of(runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["hit1_all"]}, r"--metric: not in these runs, got 'hit1_all' \(did you mean 'hit1_any'\?\)"),
        ({"metrics": ["delta"]}, "--metric: not in these runs, got 'delta'. Use one of inconsistency, hit1_any."),
        ({"baseline": "cutmx"}, r"--baseline: no method with inconsistency, got 'cutmx' \(did you mean 'cutmix'\?\)"),
        ({"baseline": "mixup"}, "got 'mixup'. Use one of cutmix, fmix."),
    ],
)
def test_what_cannot_be_compared_is_refused(options: dict[str, Any], message: str) -> None:
    mixup = method("mixup", status="not_applicable", inconsistency=0.0)
    with pytest.raises(UsageError, match=message):
        comparisons(a_run(method("cutmix"), method("fmix"), mixup), **options)


def test_a_metric_must_be_in_all_runs() -> None:
    first, second = (a_run(method(name), folder=name) for name in ("cutmix", "fmix"))
    second = with_pairs(second, second.pairs, manifest={**second.manifest, "metrics": METRICS[:1]})
    assert list(Methods.of([first, second]).metrics) == ["inconsistency"]
