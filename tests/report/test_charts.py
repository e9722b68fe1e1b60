"""The geometry of the report's figures."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazeeval.report.charts import Axis, cells, dots, steps

NUMBERS = st.lists(st.floats(-1, 1, allow_nan=False), max_size=6)


@given(NUMBERS)
def test_an_axis_holds_its_values_between_round_ticks(values: list[float]) -> None:
    axis = Axis.around(values)
    assert axis.low <= min([0, *values]) + 1e-9
    assert axis.high >= max([0, *values]) - 1e-9
    assert axis.at(axis.low) == 0
    assert axis.at(axis.high) == 100
    step = axis.ticks[1] - axis.ticks[0]
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - whole) for whole in (1, 2, 5)) < 1e-6
    assert 2 <= len(axis.ticks) <= 9
    assert any(abs(tick) < 1e-12 for tick in axis.ticks)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.383, math.nan], [0, 0.1, 0.2, 0.3, 0.4]),
        ([], [0, 0.2]),
        ([-0.24, 0.24], [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]),
    ],
)
def test_ticks(values: list[float], ticks: list[float]) -> None:
    assert Axis.around(values).ticks == pytest.approx(ticks)


def test_what_lies_beyond_an_axis_is_drawn_at_its_end() -> None:
    axis = Axis(-1, 1, (-1, 0, 1))
    assert [axis.at(value) for value in (-5, -1, 0.5, 7)] == [0, 0, 75, 100]


def test_dots_stand_at_their_points() -> None:
    assert dots(np.array([0, 0.25]), np.array([0, 1.0])) == "M0 100h0M25 0h0"


def test_cells_are_darker_where_more_points_are() -> None:
    x = np.array([0.5] * 16 + [0.9] * 4 + [0.1])
    found = cells(x, 1 - x)
    assert [opacity for opacity, _ in found] == [0.33, 0.5, 1.0]
    darkest = re.fullmatch(r"M([\d.]+) ([\d.]+)h4v4h-4z", found[-1][1])
    assert darkest is not None
    left, top = map(float, darkest.groups())
    assert left <= 50 <= left + 4
    assert top <= 50 <= top + 4


@given(st.integers(0, 3000))
def test_cells_cover_every_point_once(count: int) -> None:
    x, y = np.random.default_rng(count).random((2, count))
    squares = "".join(path for _, path in cells(x, y))
    assert squares.count("M") == len(set(zip((x * 25).astype(int), (y * 25).astype(int), strict=True)))


def test_steps_outline_a_histogram() -> None:
    assert steps([0.25, 1]) == "M0 100V75h50V0h50V100z"
