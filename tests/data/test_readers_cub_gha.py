"""CUB-GHA run files: the oracle, the counts of the card on the real files, the traps as options, malformed lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeeval.data.readers.cub_gha import read_cub_gha
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError, UsageError

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = sorted(ORACLE.glob("gaze-datasets_cubgha_*.npz"))
REAL = Path(__file__).parents[3] / "shared" / "data" / "cub_gha"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no CUB-GHA run files beside the repository")


def write(folder: Path, text: str, name: str = "Fixation_run1.txt") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_the_oracle_is_there() -> None:
    assert CASES


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_oracle(case: Path, line_end: str, tmp_path: Path) -> None:
    data = np.load(case)
    text = bytes(data["text"]).decode().replace("\n", line_end)
    table = read_cub_gha([write(tmp_path, text)])
    np.testing.assert_array_equal(np.stack([table.x, table.y, table.duration_ms], axis=1), data["fix"])
    for column, name in ((table.images[table.image], "line_img_id"), (table.width, "line_w"), (table.height, "line_h")):
        np.testing.assert_array_equal(column, np.repeat(data[name], data["line_n"]))
    assert table.carry_over is not None
    starts = np.cumsum(data["line_n"]) - data["line_n"]
    np.testing.assert_array_equal(table.carry_over[starts], data["carry_over"].astype(bool))
    assert table.carry_over.sum() == data["carry_over"].sum()
    assert np.isnan(table.t_ms).all()


CARD = {  # lines, distinct images, fixations of the card's table
    "run1": (11_634, 10_556, 83_671),
    "run2": (11_721, 11_721, 80_805),
    "run3": (11_747, 11_747, 76_936),
    "run4": (11_601, 11_601, 98_750),
}


@needs_real
@pytest.mark.parametrize("run", CARD)
def test_real_files_hold_what_the_card_says(run: str) -> None:
    lines, images, fixations = CARD[run]
    table = read_cub_gha([REAL / f"Fixation_{run}.txt"])
    assert table.viewers == (run,)
    assert (len(np.unique(table.image)), len(table)) == (images, fixations)
    assert table.duration_ms.min() == 60
    assert table.width is not None
    assert table.height is not None
    assert ((table.x >= 0) & (table.x < table.width) & (table.y >= 0) & (table.y < table.height)).all()
    assert table.carry_over is not None
    if run == "run1":
        assert not table.carry_over.any()
        assert table.notes == ("run1: 699 images occur more than once (1,078 extra lines), kept and joined",)
    else:
        assert 0.655 <= table.carry_over.sum() / lines < 0.715
        assert f"of {lines:,} lines" in table.notes[0]


@needs_real
def test_real_options_change_what_they_say() -> None:
    files = [REAL / f"Fixation_{run}.txt" for run in CARD]
    keep = read_cub_gha(files)
    assert len(keep) == sum(fixations for *_, fixations in CARD.values())
    assert keep.viewers == tuple(CARD)
    assert keep.carry_over is not None
    dropped = read_cub_gha(files, carry_over="drop-first")
    assert len(dropped) == len(keep) - keep.carry_over.sum()
    first = read_cub_gha(files[:1], repeats="first")
    last = read_cub_gha(files[:1], repeats="last")
    assert len(np.unique(first.image)) == len(np.unique(last.image)) == 10_556
    assert len(first) != len(last)


# Line 2 starts with the fixation that ended line 1 (same size, same place), line 3 is image 1 again.
LINES = "1,500,375,10,10,100,200,100,300\n2,500,375,201,101,300,40,40,80\n1,500,375,77,88,99\n"


def rows(table: GazeTable) -> list[tuple[float, ...]]:
    return list(zip(table.images[table.image].tolist(), table.x.tolist(), table.duration_ms.tolist(), strict=True))


def test_carry_over_options(tmp_path: Path) -> None:
    path = write(tmp_path, LINES)
    keep, drop, halve = (read_cub_gha([path], carry_over=option) for option in ("keep", "drop-first", "halve"))
    assert rows(keep) == [(1, 10, 100), (1, 200, 300), (2, 201, 300), (2, 40, 80), (1, 77, 99)]
    assert keep.carry_over is not None
    assert keep.carry_over.tolist() == [False, False, True, False, False]
    assert rows(drop) == [(1, 10, 100), (1, 200, 300), (2, 40, 80), (1, 77, 99)]
    assert rows(halve) == [(1, 10, 100), (1, 200, 150), (2, 201, 150), (2, 40, 80), (1, 77, 99)]
    assert [table.notes[1].split(", ")[-1] for table in (keep, drop, halve)] == [
        "kept",
        "removed from the later line",
        "half of its duration in each",
    ]


def test_repeats_options(tmp_path: Path) -> None:
    path = write(tmp_path, LINES)
    first, last = read_cub_gha([path], repeats="first"), read_cub_gha([path], repeats="last")
    assert rows(first) == [(1, 10, 100), (1, 200, 300), (2, 201, 300), (2, 40, 80)]
    assert rows(last) == [(2, 201, 300), (2, 40, 80), (1, 77, 99)]
    assert last.carry_over is not None
    assert last.carry_over.tolist() == [True, False, False]  # found in the order of the file, before lines go
    assert "1 images occur more than once (1 extra lines), only the last line" in last.notes[0]


@pytest.mark.parametrize(
    ("second", "carried"),
    [
        ("2,500,375,200,100,300", True),
        ("2,500,375,200,100,301", False),  # another duration
        ("2,500,375,203,100,300", False),  # 3 image px are 8.6 px of the display
        ("2,375,500,121,133,300", True),  # a portrait image: same point of the display
        ("2,375,500,200,100,300", False),
    ],
)
def test_carry_over_is_found_on_the_display(second: str, carried: bool, tmp_path: Path) -> None:
    table = read_cub_gha([write(tmp_path, f"1,500,375,200,100,300\n{second}\n")])
    assert table.carry_over is not None
    assert table.carry_over.tolist() == [False, carried]


def test_lines_without_fixations_and_blank_lines(tmp_path: Path) -> None:
    table = read_cub_gha([write(tmp_path, "\n1,500,375,200,100,300\n2,500,375\n3,500,375,200,100,300\n\n")])
    assert table.images[table.image].tolist() == [1, 3]
    assert table.carry_over is not None
    assert not table.carry_over.any()
    assert table.notes == ("run1: 1 lines hold no fixation",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2,500,375,1,2", r":2, got 5 fields, expected img_id,width,height and three more"),
        ("2,500", ":2, got 2 fields"),
        ("2,500,375,400,300,0,0,1,2,3", ":2, got 10 fields, expected img_id,width,height and three more per fixation"),
        ("2,500,375,a,2,3", ":2, got 'a' in field 4, expected whole numbers"),
        ("2,500,375,1.5,2,3", ":2, got '1.5' in field 4"),
        ("2,500,375,,2,3", ":2, got '' in field 4"),
        ("2,500,375,1_0,2,3", ":2, got '1_0' in field 4"),
        ("0,500,375,1,2,3", ":2, got img_id 0, expected at least 1"),
        ("2,500,0,1,2,3", ":2, got height 0"),
        ("2,500,375,1,2,-3", ":2, got duration -3, expected at least 0"),
        ("2,500,375,1,2,99999999999999999999", "field 6"),
    ],
)
def test_malformed_lines_are_named(line: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"1,500,375,10,20,100\n{line}\n")
    with pytest.raises(DataError, match=message) as caught:
        read_cub_gha([path])
    assert str(path) in str(caught.value)


def test_wrong_files_and_options(tmp_path: Path) -> None:
    path = write(tmp_path, LINES)
    with pytest.raises(DataError, match="none given"):
        read_cub_gha([])
    with pytest.raises(DataError, match="two files of one name"):
        read_cub_gha([path, path])
    with pytest.raises(DataError, match=r"absent\.txt: cannot be read"):
        read_cub_gha([tmp_path / "absent.txt"])
    with pytest.raises(DataError, match="the file is empty"):
        read_cub_gha([write(tmp_path, "\n\n", "empty.txt")])
    (tmp_path / "latin.txt").write_bytes(b"1,2,3\xff")
    with pytest.raises(DataError, match="not UTF-8 text, got byte 0xff at position 5"):
        read_cub_gha([tmp_path / "latin.txt"])
    with pytest.raises(UsageError, match="carry_over: got 'drop_first' \\(did you mean 'drop-first'"):
        read_cub_gha([path], carry_over="drop_first")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="repeats: got 'firsts'"):
        read_cub_gha([path], repeats="firsts")  # type: ignore[arg-type]


# A letterbox of 1440x1080 at (240, 0): one pixel of a 500x375 image is 2.88 px of the display.
MERGED = (
    "1,500,375,1440,1080,240,0,240,0,100,1679,1079,200\n"
    "2,375,500,810,1080,555,0,960,540,300\n"
    "1,500,375,1440,1080,240,0\n"
)


def test_the_merged_file_is_brought_from_the_display_to_the_image(tmp_path: Path) -> None:
    table = read_cub_gha([write(tmp_path, MERGED, "Fixation.txt")])
    assert table.images[table.image].tolist() == [1, 1, 2]
    np.testing.assert_allclose(table.x + 0.5, [0.5 / 2.88, 500 - 0.5 / 2.88, 405.5 * 375 / 810])
    np.testing.assert_allclose(table.y + 0.5, [0.5 / 2.88, 375 - 0.5 / 2.88, 540.5 * 500 / 1080])
    assert table.duration_ms.tolist() == [100, 200, 300]
    assert table.width is not None
    assert (table.viewers, table.viewer.tolist(), table.width.tolist()) == ((), [-1] * 3, [500, 500, 375])
    assert table.notes == (
        "1 images occur more than once (1 extra lines), kept and joined",
        "1 lines hold no fixation",
    )
    assert len(read_cub_gha([write(tmp_path, MERGED, "Fixation.txt")], repeats="last")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MERGED + "2,375,500,1,2,3\n", r":4, got 6 fields, expected img_id,width,height,w,h,x0,y0 of the display"),
        (MERGED + "1,500,375,0,1080,240,0,1,2,3\n", ":4, got display size 0, expected at least 1"),
        (MERGED + "1,500,375,1440,1080,240,0,1,2\n", ":4, got 9 fields"),
    ],
)
def test_malformed_lines_of_the_merged_file_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_cub_gha([write(tmp_path, text, "Fixation.txt")])


def test_the_merged_file_stands_alone_and_has_no_order_of_viewing(tmp_path: Path) -> None:
    merged, run = write(tmp_path, MERGED, "Fixation.txt"), write(tmp_path, LINES)
    with pytest.raises(DataError, match=r"Fixation\.txt holds all runs, got 1 files beside it"):
        read_cub_gha([run, merged])
    with pytest.raises(UsageError, match=r"carry_over: got 'halve', but the order of viewing"):
        read_cub_gha([merged], carry_over="halve")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(alphabet="0123456789,-.x \n", max_size=60))
def test_any_text_is_read_in_full_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.txt"
    path.write_text(text)
    try:
        table = read_cub_gha([path])
    except DataError:
        return
    lines = [line for line in text.splitlines() if line.strip()]
    head = 7 if table.carry_over is None else 3
    assert len(table) == sum((line.count(",") + 1 - head) // 3 for line in lines)
