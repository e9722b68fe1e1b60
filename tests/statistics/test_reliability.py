from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gazeeval.statistics.reliability import icc, leave_one_out_mae, mean_r, spearman_brown, within_var

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = sorted(ORACLE.glob("statistics_reliability_*.npz"))


def test_there_are_oracles() -> None:
    assert CASES


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_reliability_agrees_with_the_oracle(case: Path) -> None:
    o = np.load(case)
    values, K = o["values"], o["values"].shape[1]
    r1 = mean_r(values)
    assert r1 == pytest.approx(float(o["mean_r"]), rel=1e-5)
    np.testing.assert_allclose(spearman_brown(r1, np.arange(1, K + 1)), o["spearman_brown"], rtol=1e-5)
    np.testing.assert_allclose(icc(values), (o["icc_single"], o["icc_mean"]), rtol=1e-5)
    assert within_var(values) == pytest.approx(float(o["within_var"]), rel=1e-5)
    np.testing.assert_allclose(leave_one_out_mae(values), o["leave_one_out_mae"], rtol=1e-5)


def test_rows_with_a_missing_viewer_are_dropped() -> None:
    values = np.random.default_rng(0).random((20, 3))
    holes = np.vstack([values, [np.nan, 0.1, 0.2]])
    assert mean_r(holes) == mean_r(values)
    assert icc(holes) == icc(values)
    np.testing.assert_array_equal(leave_one_out_mae(holes), leave_one_out_mae(values))


def test_viewers_of_one_mind_are_perfectly_reliable() -> None:
    values = np.repeat(np.random.default_rng(0).random((10, 1)), 3, axis=1)
    assert mean_r(values) == pytest.approx(1)
    assert icc(values) == pytest.approx((1, 1))
    assert within_var(values) == pytest.approx(0)
    np.testing.assert_allclose(leave_one_out_mae(values), 0, atol=1e-15)


def test_scores_that_do_not_vary_have_no_reliability() -> None:
    assert np.isnan(mean_r(np.full((5, 2), 0.5)))
    assert np.isnan(icc(np.full((5, 2), 0.5))).all()


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_one_viewer_has_no_ceiling(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two viewers"):
        mean_r(np.zeros(shape))


def test_one_row_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two rows without NaN, got 1"):
        within_var([[0.1, 0.2], [np.nan, 0.3]])
