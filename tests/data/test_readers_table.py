"""What readers share: joining tables, the unit of time, the time that a raw sample stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gazeeval.data.readers.table import GazeTable, concat, in_time_order, read_text, time_scale
from gazeeval.errors import DataError


def table(image: list[Any], t: list[float] | None = None, **columns: Any) -> GazeTable:
    m = len(image)
    images, code = np.unique(image, return_inverse=True)
    plain: dict[str, Any] = {
        "x": np.arange(m, dtype=np.float64),
        "y": np.zeros(m),
        "duration_ms": np.full(m, np.nan),
        "t_ms": np.full(m, np.nan) if t is None else np.array(t, dtype=np.float64),
        "viewer": np.full(m, -1, dtype=np.int32),
        "condition": np.full(m, -1, dtype=np.int32),
    }
    return GazeTable(image=code.astype(np.int32), images=images, **(plain | columns))


def keys(table: GazeTable) -> list[Any]:
    """The image key of each row."""
    found: list[Any] = table.images[table.image].tolist()
    return found


def codes(*values: int) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def test_concat_joins_images_viewers_and_conditions_by_name() -> None:
    a = table([1, 2, 3], viewer=codes(1, -1, 0), viewers=("ann", "bob"), notes=("a",))
    b = table(
        [4, 2], viewer=codes(1, 0), viewers=("eve", "bob"), condition=codes(0, -1), conditions=("c",), notes=("b",)
    )
    joined = concat([a, b])
    assert joined.viewers == ("ann", "bob", "eve")
    assert joined.viewer.tolist() == [1, -1, 0, 1, 2]
    assert (joined.conditions, joined.condition.tolist()) == (("c",), [-1, -1, -1, 0, -1])
    assert keys(joined) == [1, 2, 3, 4, 2]
    assert (len(joined.images), joined.images.dtype.kind) == (4, "i")
    assert joined.notes == ("a", "b")
    assert keys(concat([table(["b"]), table(["a", "b"])])) == ["b", "a", "b"]


def test_concat_keeps_optional_columns_that_all_tables_have() -> None:
    both = [table([1], label=np.array([7]), width=np.array([5])), table([2], label=np.array([8]))]
    joined = concat(both)
    assert joined.width is None
    assert joined.label is not None
    assert joined.label.tolist() == [7, 8]


def test_concat_refuses_what_does_not_belong_together() -> None:
    with pytest.raises(DataError, match="none given"):
        concat([])
    with pytest.raises(DataError, match="mixed"):
        concat([table([1]), table([1], kind="samples")])
    with pytest.raises(DataError, match="mixed"):
        concat([table([1]), table(["a"])])


def test_some_rows_keep_the_names() -> None:
    some = table(["a", "b", "a"], viewer=codes(0, 1, 1), viewers=("ann", "bob")).take(np.array([2, 1]))
    assert (keys(some), some.x.tolist(), some.viewers) == (["a", "b"], [2, 1], ("ann", "bob"))


@pytest.mark.parametrize(("unit", "ms"), [("s", 1000.0), ("ms", 1.0), ("us", 0.001)])
@pytest.mark.parametrize("rate", [30, 60, 250, 1000])
def test_the_unit_of_time_is_inferred_and_said(unit: str, ms: float, rate: int) -> None:
    time = np.arange(50, dtype=np.float64) * (1000 / rate / ms)
    scale, notes = time_scale("auto", np.arange(50) // 10, time, "here")
    assert scale == ms
    assert f"taken as {unit}" in notes[0]
    assert f"{rate} per second" in notes[0]


def test_a_declared_unit_is_taken_and_an_unclear_one_refused() -> None:
    group, time = np.zeros(3, dtype=np.int64), np.array([0.0, 0.3, 0.6])
    assert time_scale("ms", group, time, "here") == (1.0, [])
    with pytest.raises(DataError, match=r"here: .*got a median step of 0.3. Declare gaze.time_unit: s, ms or us"):
        time_scale("auto", group, time, "here")
    with pytest.raises(DataError, match="no two times of one recording"):
        time_scale("auto", np.arange(3), time, "here")


def test_a_sample_stands_for_the_time_to_the_next_one_capped() -> None:
    samples = in_time_order(table([1, 1, 1, 1, 2, 2], [0, 10, 20, 100, 5, 15]), "f")
    assert samples.duration_ms.tolist() == [10, 10, 20, 10, 10, 10]  # 80 ms without data count as 2 x 10
    assert samples.notes == ()


def test_a_known_rate_is_the_step_in_place_of_the_median() -> None:
    samples = in_time_order(table([1, 1, 1, 1, 2], [0, 10, 20, 100, 5]), "f", step_ms=8.0)
    assert samples.duration_ms.tolist() == [10, 10, 16, 8, 8]


def test_recordings_may_be_interleaved_and_samples_of_one_moment_share_it() -> None:
    samples = in_time_order(table([1, 2, 1, 2, 1, 1], [0, 0, 10, 10, 20, 20]), "f")
    assert samples.x.tolist() == [0, 1, 2, 3, 4, 5]
    assert samples.duration_ms.tolist() == [10, 10, 10, 10, 5, 5]


def test_conditions_and_viewers_are_recordings_of_their_own() -> None:
    who = {"viewer": codes(0, 1, 0, 1), "viewers": ("a", "b"), "condition": codes(0, 0, 0, 0), "conditions": ("c",)}
    samples = in_time_order(table([1, 1, 1, 1], [0, 3, 10, 13], **who), "f")
    assert samples.duration_ms.tolist() == [10, 10, 10, 10]
    assert samples.notes == ()


def test_samples_out_of_order_are_sorted_and_counted() -> None:
    samples = in_time_order(table(["b", "b", "a", "a", "a"], [0, 10, 20, 0, 10]), "f")
    assert keys(samples) == ["a", "a", "a", "b", "b"]
    assert samples.t_ms.tolist() == [0, 10, 20, 0, 10]
    assert samples.x.tolist() == [3, 4, 2, 0, 1]
    assert samples.notes == (
        "f: 1 recordings were not in time order, sorted by time (several viewers in one recording?)",
    )


def test_without_two_moments_the_time_step_is_unknown() -> None:
    assert np.isnan(in_time_order(table([1, 2], [3, 4]), "f").duration_ms).all()


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"", "utf-8", "the file is empty"),
        (b" \r\n ", "utf-8", "the file is empty"),
        (b"a\xffb", "utf-8", r"not UTF-8 text, got byte 0xff at position 1\. Save it as UTF-8, or declare"),
        ("ä,ö".encode("utf-16-le"), "utf-8", r"not UTF-8 text, got byte 0xe4 at position 0"),
        ("a,b".encode("utf-16-le"), "utf-8", r"not UTF-8 text, got a zero byte at position 1\. .* often UTF-16"),
        (b"abc", "utf-16", "not UTF-16 text"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, encoding: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"^here: .*f\.txt: {message}"):
        read_text(path, "here", encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_text_in_a_declared_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes("Möwe".encode(encoding))
    assert read_text(path, "here", "utf-8" if encoding == "utf-8-sig" else encoding) == "Möwe"
