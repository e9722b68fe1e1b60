"""Tables with a header: keys survive as text, odd rows are counted, wrong files are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeeval.data.readers.delimited import read_delimited
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError, UsageError

COLUMNS = {"image": "file", "x": "X", "y": "Y"}


def read(text: str, folder: Path, columns: dict[str, str] | None = None, **options: Any) -> GazeTable:
    path = folder / "gaze.csv"
    path.write_bytes(text.encode())
    return read_delimited(path, columns or COLUMNS, **options)


def test_keys_stay_text(tmp_path: Path) -> None:
    table = read("file,X,Y\n000005,1,2\nNone,3.5,4\nNA,5,6\nnan,7,8\n", tmp_path)
    assert table.image.tolist() == ["000005", "None", "NA", "nan"]
    assert (table.x.tolist(), table.y.tolist()) == ([1, 3.5, 5, 7], [2, 4, 6, 8])
    assert (table.kind, table.notes, table.label) == ("fixations", (), None)
    assert np.isnan(table.duration_ms).all()
    assert table.viewer.tolist() == [-1] * 4


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_all_columns(unit: str, tmp_path: Path) -> None:
    columns = COLUMNS | {"duration": "d", "time": "t", "viewer": "v", "condition": "c", "label": "l"}
    columns |= {"width": "w", "height": "h"}
    text = (
        "t,file,X,Y,d,v,c,l,w,h\n5,a,1,2,300,p2,free,1,640,480\n9,b,3,4,,p1,,2,640,480\n9,b,3,4,1,p2,task,2,640,480\n"
    )
    table = read(text, tmp_path, columns, time_unit=unit)
    ms = {"s": 1000, "ms": 1, "us": 0.001}[unit]
    np.testing.assert_allclose(table.duration_ms, [300 * ms, np.nan, ms])
    np.testing.assert_allclose(table.t_ms, [5 * ms, 9 * ms, 9 * ms])
    assert (table.viewers, table.viewer.tolist()) == (("p2", "p1"), [0, 1, 0])
    assert (table.conditions, table.condition.tolist()) == (("free", "task"), [0, -1, 1])
    assert table.label is not None
    assert table.width is not None
    assert (table.label.tolist(), table.width.tolist()) == ([1, 2, 2], [640] * 3)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(delimiter: str, tmp_path: Path) -> None:
    text = "file,X,Y\r\na b,1,2\r\n\r\n".replace(",", delimiter)
    for option in (None, delimiter):
        table = read("\ufeff" + text, tmp_path, delimiter=option)
        assert (table.image.tolist(), table.y.tolist()) == (["a b"], [2])


def test_rows_without_image_or_position_are_counted(tmp_path: Path) -> None:
    table = read("file,X,Y\na,1,2\nb,?,2\n,1,2\nc,1\nd,inf,2\ne,1,nan\nf,3,4\n", tmp_path)
    assert table.image.tolist() == ["a", "f"]
    assert table.notes == (
        "gaze.csv: 5 of 7 rows lack an image, a finite position or a time and were left out "
        "(first: row 2, image 'b', x '?', y '2')",
    )


def test_raw_samples_get_their_time_step(tmp_path: Path) -> None:
    columns = COLUMNS | {"time": "t"}
    text = "file,X,Y,t\na,1,2,0.00\na,1,2,0.02\na,1,2,\na,1,2,0.30\n"
    table = read(text, tmp_path, columns, time_unit="auto", kind="samples")
    np.testing.assert_allclose(table.t_ms, [0, 20, 300])
    np.testing.assert_allclose(table.duration_ms, [20, 280, 150])
    assert table.kind == "samples"
    assert "1 of 4 rows" in table.notes[0]
    assert "gaze.csv: unit of time taken as" in table.notes[1]
    fixations = read(text, tmp_path, columns)
    assert np.isnan(fixations.duration_ms).all()
    assert len(fixations) == 4


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("file,X,y\na,1,2\n", {}, r"no column 'Y' for 'y', got file, X, y"),
        ("file;X;Y\na;1;2\n", {"delimiter": ","}, "no column 'file' for 'image'"),
        ("file,X,Y\na,1,2\na,1,2,3\n", {}, "Expected 3 fields in line 3, saw 4"),
        ("file,X,Y\na,1,2,9\na,1,2,9\n", {}, "Check the delimiter"),
        ('file,X,Y\n"a,1,2\n', {}, "EOF inside string"),
        ("file,X,Y\n", {}, "no row has an image and a position"),
        ("file,X,Y\na,left,up\n", {}, "no row has an image and a position"),
        ("", {}, "the file is empty"),
        ("file,X,Y,d\na,1,2,5\na,1,2,-5\n", {"duration": "d"}, "row 2, duration, got '-5'. Expected 0 or more"),
        ("file,X,Y,d\na,1,2,long\n", {"duration": "d"}, "row 1, duration, got 'long'. Expected a number"),
        ("file,X,Y,d\na,1,2,inf\n", {"duration": "d"}, "row 1, duration, got 'inf'"),
        ("file,X,Y,d\na,1,2,1.5\n", {"label": "d"}, "row 1, label, got '1.5'. Expected a whole number"),
        ("file,X,Y,d\na,1,2,\n", {"width": "d"}, "row 1, width, got ''"),
    ],
)
def test_wrong_tables_are_named(text: str, columns: dict[str, str], message: str, tmp_path: Path) -> None:
    options = {"delimiter": columns["delimiter"]} if "delimiter" in columns else {}
    named = COLUMNS | {name: column for name, column in columns.items() if name != "delimiter"}
    with pytest.raises(DataError, match=message) as caught:
        read(text, tmp_path, named, **options)
    assert "gaze.csv" in str(caught.value)


def test_other_encodings_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("file,X,Y\nMöwe,1,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv: not UTF-8 text, got byte 0xf6 at position 10"):
        read_delimited(path, COLUMNS)
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read"):
        read_delimited(tmp_path / "absent.csv", COLUMNS)


def test_wrong_names_of_ours_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gaze\.columns\.durations: unknown name \(did you mean 'duration'"):
        read("file,X,Y\na,1,2\n", tmp_path, COLUMNS | {"durations": "d"})
    with pytest.raises(UsageError, match=r"gaze\.columns\.y: missing"):
        read("file,X,Y\na,1,2\n", tmp_path, {"image": "file", "x": "X"})
    with pytest.raises(UsageError, match=r"gaze\.delimiter: got '::'"):
        read("file,X,Y\na,1,2\n", tmp_path, delimiter="::")
