"""Fixations from samples: the oracle (I-VT agrees with pymovements, I-DT with its definition), gaps, blinks, limits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import cases, load

from gazeeval.data.events import Events, Floats, detect, idt, ivt, summarise, velocity

CASES = cases("gaze-events_")


def pairs(events: Events) -> list[tuple[int, int]]:
    return list(zip(events.first.tolist(), events.last.tolist(), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_velocity_of_the_oracle(case: str) -> None:
    data = load(case)
    np.testing.assert_allclose(velocity(data["x"], data["y"], data["t_ms"]), data["velocity"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("find", "name"), [(ivt, "velocity"), (idt, "dispersion")])
def test_fixations_of_the_oracle(case: str, find: Callable[..., Events], name: str) -> None:
    data = load(case)
    x, y, t = data["x"].astype(np.float64), data["y"].astype(np.float64), data["t_ms"]
    events = find(x, y, t, float(data[f"{name}_threshold"]), float(data["min_duration_ms"]))
    short = "ivt" if name == "velocity" else "idt"
    np.testing.assert_array_equal(events.first, data[f"{short}_first"])
    np.testing.assert_array_equal(events.last, data[f"{short}_last"])
    np.testing.assert_allclose(summarise(events, x, y, t), data[f"{short}_centroid_duration"], rtol=1e-5, atol=1e-5)


def dwell(*places: float, samples: int = 10, step: float = 10.0) -> tuple[Floats, Floats, Floats]:
    """x, y, t of an eye that stays ``samples`` samples at each place; NaN: lost."""
    x = np.repeat(np.array(places), samples)
    return x, np.zeros_like(x), step * np.arange(len(x))


@pytest.mark.parametrize("find", [partial(ivt, threshold=50.0), partial(idt, threshold=1.0)])
def test_a_blink_ends_a_fixation_and_the_eye_may_be_back_where_it_was(find: partial[Events]) -> None:
    events = find(*dwell(5.0, np.nan, 5.0), min_duration_ms=50)
    assert [(first < 10 and last < 10) or (first >= 20) for first, last in pairs(events)] == [True, True]


def test_ivt_leaves_the_jump_out_and_idt_divides_at_it() -> None:
    x, y, t = dwell(0.0, 9.0)
    assert pairs(ivt(x, y, t, 50, 50)) == [(0, 8), (11, 19)]
    assert pairs(idt(x, y, t, 1, 50)) == [(0, 9), (10, 19)]


@pytest.mark.parametrize("find", [ivt, idt])
@pytest.mark.parametrize("samples", [0, 1])
def test_too_few_samples_are_no_fixation(find: Callable[..., Events], samples: int) -> None:
    x, y, t = dwell(1.0, samples=samples)
    events = find(x, y, t, 1.0, 50)
    assert pairs(events) == []
    assert pairs(detect(partial(find, threshold=1.0, min_duration_ms=50), np.zeros(samples, int), x, y, t, 75)) == []
    assert summarise(events, x, y, t).shape == (0, 3)


def test_the_shortest_duration_is_from_first_to_last_sample() -> None:
    x, y, t = dwell(0.0, samples=6)
    for find in (ivt, idt):
        assert pairs(find(x, y, t, 1.0, 50)) == [(0, 5)]
        assert pairs(find(x, y, t, 1.0, 51)) == []


def test_recordings_and_long_gaps_are_cut() -> None:
    x, y, t = dwell(3.0, samples=40)
    t = t + np.where(np.arange(40) >= 30, 300.0, 0.0)  # nothing for 310 ms in the second recording
    recording = np.repeat([0, 1], 20)
    find = partial(idt, threshold=1.0, min_duration_ms=50.0)
    assert pairs(detect(find, recording, x, y, t, max_gap_ms=75)) == [(0, 19), (20, 29), (30, 39)]
    assert pairs(detect(find, recording, x, y, t, max_gap_ms=400)) == [(0, 19), (20, 39)]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([0.0, 0.2, 0.5, 3.0, np.nan]), max_size=40), st.sampled_from([10.0, 25.0, 40.0]))
def test_idt_is_its_definition(values: list[float], least: float) -> None:
    x, t = np.array(values, dtype=np.float64), np.arange(len(values)) * 10.0
    expected, start = [], 0
    while start < len(x):
        ends = [end for end in range(start, len(x)) if t[end] - t[start] >= least]
        narrow = [end for end in range(start, len(x)) if np.max(x[start : end + 1]) - np.min(x[start : end + 1]) <= 1]
        if ends and ends[0] in narrow:
            expected.append((start, narrow[-1]))
            start = narrow[-1] + 1
        else:
            start += 1
    assert pairs(idt(x, np.zeros_like(x), t, 1.0, least)) == expected
