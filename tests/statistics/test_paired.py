from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazeeval.statistics.paired import (
    cohen_dz,
    compare_paired,
    holm,
    minimal_detectable_effect,
    rank_biserial,
    wilcoxon_test,
)

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = [path for path in sorted(ORACLE.glob("statistics_*.npz")) if "reliability" not in path.stem]


def test_there_are_oracles() -> None:
    assert CASES


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_tests_and_effect_sizes_agree_with_the_oracle(case: Path) -> None:
    o = np.load(case)
    error = o["error"].astype(np.float64)
    diffs = [error[:, i] - error[:, j] for i, j in o["diff_pairs"]]
    statistic, p = np.transpose([wilcoxon_test(d) for d in diffs])
    np.testing.assert_allclose(statistic, o["wilcoxon_stat"], rtol=1e-5)
    np.testing.assert_allclose(p, o["wilcoxon_p"], rtol=1e-4)
    np.testing.assert_allclose(holm(p), o["holm_p"], rtol=1e-4)
    np.testing.assert_allclose([rank_biserial(d) for d in diffs], o["rank_biserial"], rtol=1e-5)
    np.testing.assert_allclose([cohen_dz(d) for d in diffs], o["cohen_dz"], rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_comparison_gathers_them(case: Path) -> None:
    o = np.load(case)
    error = o["error"].astype(np.float64)
    i, j = o["diff_pairs"][0]
    result = compare_paired(error[:, i], error[:, j], o["source"], o["target"])
    assert result.n == len(error)
    assert result.diff == pytest.approx(o["diff_mean"][0], rel=1e-5)
    assert result.rank_biserial == pytest.approx(o["rank_biserial"][0], rel=1e-5)
    assert result.cohen_dz == pytest.approx(o["cohen_dz"][0], rel=1e-5)
    assert result.share_a_better == (error[:, i] < error[:, j]).mean()
    assert result.mde == pytest.approx(2.8015852 * result.se)
    if "matching" in case.stem:
        assert result.test == "wilcoxon"
        assert result.p_value == pytest.approx(o["wilcoxon_p"][0], rel=1e-4)
    else:
        assert result.test == "dyadic t"
        assert (result.p_value < 0.05) == (result.ci_low > 0 or result.ci_high < 0)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, np.nan, 0.03, 0.5]), [0.04, 0.09, np.nan, 0.09, 0.5])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([]).shape == (0,)


def test_only_pairs_that_both_methods_have_are_compared() -> None:
    a, b = np.array([0.1, np.nan, 0.3, 0.5]), np.array([0.2, 0.2, np.nan, 0.1])
    result = compare_paired(a, b, np.arange(4), np.arange(4, 8))
    assert result.n == 2
    assert result.diff == pytest.approx(0.15)
    assert result.share_a_better == 0.5


def test_higher_may_be_better() -> None:
    a, b = np.tile([1.0, 1.0, 0.0, 1.0], 6), np.tile([0.0, 1.0, 1.0, 0.0], 6)
    source, target = np.arange(24), np.arange(24, 48)
    assert compare_paired(a, b, source, target, higher_is_better=True).share_a_better == 0.5
    assert compare_paired(a, b, source, target).share_a_better == 0.25


@pytest.mark.parametrize("target", [[4, 5, 6, 7], [1, 2, 3, 0]], ids=["matching", "shared"])
def test_methods_that_never_differ_are_no_different(target: list[int]) -> None:
    result = compare_paired(np.ones(4), np.ones(4), np.arange(4), target)
    assert (result.diff, result.p_value, result.share_a_better) == (0.0, 1.0, 0.0)
    assert np.isnan([result.cohen_dz, result.rank_biserial]).all()


def test_no_common_pair_gives_missing_numbers() -> None:
    result = compare_paired([np.nan], [1.0], [0], [1])
    assert result.n == 0
    assert np.isnan([result.diff, result.p_value, result.share_a_better, result.mde]).all()


def test_detectable_effect_shrinks_with_less_power() -> None:
    assert minimal_detectable_effect(1.0, power=0.5) == pytest.approx(1.959964)
