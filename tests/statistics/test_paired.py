from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from gazeeval.statistics.intervals import Floats, Ints, dyadic_se, iid_se
from gazeeval.statistics.paired import (
    cohen_dz,
    compare_paired,
    compare_unpaired,
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
    assert (result.n, result.n_excluded) == (2, 2)
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


def test_on_zeros_and_ones_the_test_is_mcnemars() -> None:
    a, b = np.repeat([[1, 0], [0, 1], [1, 1], [0, 0]], [60, 35, 200, 100], axis=0).T
    result = compare_paired(a, b, np.arange(395), np.arange(395, 790), higher_is_better=True)
    assert result.test == "wilcoxon"
    assert result.p_value == pytest.approx(chi2.sf((60 - 35) ** 2 / (60 + 35), 1), rel=1e-6)


Sample = tuple[Floats, Ints, Ints]  # values, sources, targets


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_unpaired_is_paired_where_the_pairs_are_the_same(case: Path) -> None:
    """Two rows on the same images share both: their parts meet in every sum, whatever the order of the rows."""
    o = np.load(case)
    error = o["error"].astype(np.float64)
    i, j = o["diff_pairs"][0]
    order = np.random.default_rng(0).permutation(len(error))
    result = compare_unpaired(
        (error[:, i], o["source"], o["target"]), (error[order, j], o["target"][order], o["source"][order])
    )
    assert (result.n, result.test) == (len(error), "dyadic t, unpaired")
    assert result.diff == pytest.approx(o["diff_mean"][0], rel=1e-5)
    if len(np.union1d(o["source"], o["target"])) >= 50:
        assert result.se == pytest.approx(o["diff_se_dyadic"][0], rel=1e-5)
    assert result.ci_low < result.diff < result.ci_high
    assert np.isnan([result.share_a_better, result.cohen_dz, result.rank_biserial]).all()


Rows = list[tuple[float, int, int]]
ROWS = st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 60), st.integers(0, 60)), min_size=30, max_size=40)


@settings(max_examples=30, deadline=None)
@given(ROWS, ROWS)
def test_unpaired_error_is_the_double_loop_of_its_definition(one: Rows, other: Rows) -> None:
    a, b = (_columns(rows) for rows in (one, other))
    parts = np.concatenate([(a[0] - a[0].mean()) / len(a[0]), (b[0].mean() - b[0]) / len(b[0])])
    images = [{s, t} for _, source, target in (a, b) for s, t in zip(source, target, strict=True)]
    variance = sum(parts[p] * parts[q] for p, q in product(range(len(parts)), repeat=2) if images[p] & images[q])
    expected = np.sqrt(max(variance, 0))
    if len(set().union(*images)) < 50:
        expected = max(expected, np.hypot(iid_se(a[0]), iid_se(b[0])))
    assert compare_unpaired(a, b).se == pytest.approx(expected, abs=1e-7)


def _columns(rows: Rows) -> Sample:
    values, sources, targets = map(np.array, zip(*rows, strict=True))
    return values, sources, targets


def test_unpaired_methods_without_images_in_common_are_two_samples() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(1, 2, size=70)
    ids = np.arange(1000)
    result = compare_unpaired((a, ids[:40], ids[100:140]), (b, ids[200:270], ids[300:370]))
    assert result.n == 40
    assert result.se == pytest.approx(np.hypot(iid_se(a), iid_se(b)))


def test_unpaired_values_that_are_missing_are_counted() -> None:
    ids = np.array(["a", "b", "c", "d"])
    result = compare_unpaired(([0.1, np.nan, 0.5], ids[:3], ids[1:]), ([0.2, 0.4], ids[:2], ids[2:]))
    assert (result.n, result.n_excluded) == (2, 1)
    assert result.diff == pytest.approx(0.0)
    alone = compare_unpaired(([0.1], ["a"], ["b"]), ([0.2, 0.4], ids[:2], ids[2:]))
    assert alone.diff == pytest.approx(-0.2)
    assert np.isnan([alone.se, alone.p_value, alone.ci_low]).all()
    none = compare_unpaired(([np.nan], ["a"], ["b"]), ([0.2, 0.4], ids[:2], ids[2:]))
    assert none.n == 0
    assert np.isnan([none.diff, none.p_value, none.mde]).all()


def test_unpaired_intervals_cover_where_methods_share_images() -> None:
    """What an image brings to both methods cancels: as two samples they would look less certain than they are."""
    samples = list(_own_pairs(1000))
    results = [compare_unpaired(a, b) for a, b in samples]
    truth = np.std([result.diff for result in results])
    covered = np.mean([result.ci_low <= 0 <= result.ci_high for result in results])
    assert 0.92 <= covered <= 0.97
    assert np.mean([result.se for result in results]) == pytest.approx(truth, rel=0.05)
    assert np.mean([result.p_value < 0.05 for result in results]) == pytest.approx(1 - covered)
    apart = [np.hypot(dyadic_se(*a), dyadic_se(*b)) for a, b in samples[:100]]
    assert np.mean(apart) > 1.5 * truth


def _own_pairs(repetitions: int) -> Iterator[tuple[Sample, Sample]]:
    """Two methods, equal on average: each pairs every image of 240 with another of its own choice, three times."""
    rng = np.random.default_rng(22)
    source = np.tile(np.arange(240), 3)
    for _ in range(repetitions):
        brings = rng.normal(0, 0.1, size=240)
        pairs = [(source, (source + rng.integers(1, 240, size=720)) % 240) for _ in range(2)]
        a, b = ((brings[s] + brings[t] + rng.normal(0, 0.1, size=720), s, t) for s, t in pairs)
        yield a, b
