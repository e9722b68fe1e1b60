from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeeval.data.fixations import Fixations
from gazeeval.errors import DataError


def example() -> Fixations:
    """Rows of images 2, 0, 2, 0, 3; images 1 and 4 have none."""
    return Fixations.from_rows(
        [2, 0, 2, 0, 3],
        5,
        [1, 2, 3, 4, 5],
        [10, 20, 30, 40, 50],
        [100, 200, 300, 400, np.nan],
        viewer=[1, 0, 0, 1, -1],
        viewers=("ann", "bob"),
    )


def rows_of(gaze: Fixations, image: int) -> list[float]:
    return [float(x) for x in gaze.x[gaze.offsets[image] : gaze.offsets[image + 1]]]


def test_rows_are_sorted_by_image_and_keep_their_order() -> None:
    gaze = example()
    assert gaze.x.tolist() == [2, 4, 1, 3, 5]
    assert gaze.y.tolist() == [20, 40, 10, 30, 50]
    assert gaze.viewer.tolist() == [0, 1, 1, 0, -1]
    assert gaze.counts().tolist() == [2, 0, 2, 1, 0]
    assert gaze.image_index().tolist() == [0, 0, 2, 2, 3]
    assert len(gaze) == 5


def test_what_is_left_out_is_unknown() -> None:
    gaze = Fixations.from_rows([0, 0], 1, [1, 2], [3, 4])
    assert np.isnan(gaze.duration_ms).all()
    assert gaze.viewer.tolist() == gaze.condition.tolist() == [-1, -1]
    assert [gaze.x.dtype, gaze.duration_ms.dtype, gaze.viewer.dtype] == [np.float32, np.float32, np.int32]


def test_select_takes_images_in_the_order_asked() -> None:
    gaze = example().select(np.array([3, 2, 1, 2]))
    assert gaze.counts().tolist() == [1, 2, 0, 2]
    assert gaze.x.tolist() == [5, 1, 3, 1, 3]
    assert gaze.viewers == ("ann", "bob")


def test_select_of_nothing() -> None:
    gaze = example().select(np.array([], np.int64))
    assert len(gaze) == 0
    assert len(gaze.x) == 0


def test_keep_leaves_the_images() -> None:
    gaze = example()
    kept = gaze.keep(gaze.viewer == 0)
    assert kept.counts().tolist() == [1, 0, 1, 0, 0]
    assert kept.x.tolist() == [2, 3]
    assert kept.duration_ms.tolist() == [200, 300]


def test_padded() -> None:
    padded = example().padded(np.array([1, 0, 3]))
    assert padded.valid.tolist() == [[False, False], [True, True], [True, False]]
    assert padded.x.tolist() == [[0, 0], [2, 4], [5, 0]]
    assert padded.viewer.tolist() == [[-1, -1], [0, 1], [-1, -1]]
    assert padded.duration_ms[1].tolist() == [200, 400]
    assert np.isnan(padded.duration_ms[2, 0])
    assert padded.duration_ms[2, 1] == 0


@pytest.mark.parametrize("images", [[], [1], [1, 4]])
def test_padded_without_any_gaze(images: list[int]) -> None:
    padded = example().padded(np.array(images, np.int64))
    assert all(part.shape == (len(images), 0) for part in padded)


def test_padded_without_any_row() -> None:
    empty = Fixations.from_rows([], 3, [], [])
    assert empty.counts().tolist() == [0, 0, 0]
    assert empty.padded(np.array([0, 2])).valid.shape == (2, 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=20), st.lists(st.integers(0, 5), max_size=8), st.data())
def test_select_keep_and_padded_agree_with_lists(image: list[int], chosen: list[int], data: st.DataObject) -> None:
    gaze = Fixations.from_rows(image, 6, np.arange(len(image)), np.zeros(len(image)))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(image), max_size=len(image))), bool)
    by_image = [[k for k, i in enumerate(image) if i == n] for n in range(6)]
    kept = gaze.keep(mask)
    survivors = set(gaze.x[mask].tolist())
    assert [rows_of(kept, n) for n in range(6)] == [[k for k in rows if k in survivors] for rows in by_image]
    selected = gaze.select(np.array(chosen, np.int64))
    assert [rows_of(selected, i) for i in range(len(chosen))] == [by_image[n] for n in chosen]
    padded = gaze.padded(np.array(chosen, np.int64))
    assert [x[v].tolist() for x, v in zip(padded.x, padded.valid, strict=True)] == [by_image[n] for n in chosen]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [1.0]}, r"y, got 1 values for 2 rows"),
        ({"x": [1.0, np.nan]}, r"row 1, x, got nan"),
        ({"y": [np.inf, np.nan]}, r"row 0, y, got inf \(and 1 more rows\)"),
        ({"image_index": [0, 3]}, r"row 1, image_index, got 3.*0 to 2"),
        ({"image_index": [-1, 0]}, r"row 0, image_index, got -1"),
        ({"duration_ms": [5.0, -1.0]}, r"row 1, duration_ms, got -1"),
        ({"duration_ms": [np.inf, 1.0]}, r"row 0, duration_ms, got inf"),
        ({"viewer": [0, 1], "viewers": ("ann",)}, r"row 1, viewer, got 1.*1 names"),
        ({"condition": [0, -1]}, r"row 0, condition, got 0.*0 names"),
    ],
)
def test_bad_rows_are_named(change: dict[str, Any], message: str) -> None:
    rows = {"image_index": [0, 1], "n_images": 3, "x": [1.0, 2.0], "y": [1.0, 2.0]}
    with pytest.raises(DataError, match=message):
        Fixations.from_rows(**{**rows, **change})
