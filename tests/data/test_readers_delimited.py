"""Tables of text: keys survive as text, odd rows are counted, wrong files are named, many files are read as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeeval.data.readers.delimited import Layout, read_delimited
from gazeeval.data.readers.files import GazeFile, find_files
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError, UsageError

COLUMNS = {"image": "file", "x": "X", "y": "Y"}


def read(text: str, folder: Path, columns: dict[str, str] | None = None, **options: Any) -> GazeTable:
    path = folder / "gaze.csv"
    path.write_bytes(text.encode())
    return read_delimited([GazeFile(path, path.name)], columns or COLUMNS, **options)


def keys(table: GazeTable) -> list[str]:
    """The image key of each row."""
    found: list[str] = table.images[table.image].tolist()
    return found


def test_numbers_that_are_names_stay_text(tmp_path: Path) -> None:
    table = read("file,X,Y,v\n000005,1,2,01\n000005,1,2,1\n", tmp_path, COLUMNS | {"viewer": "v"})
    assert (keys(table), table.viewers) == (["000005"] * 2, ("01", "1"))


def test_keys_stay_text(tmp_path: Path) -> None:
    table = read("file,X,Y\n000005,1,2\nNone,3.5,4\nNA,5,6\nnan,7,8\n", tmp_path)
    assert keys(table) == ["000005", "None", "NA", "nan"]
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


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_found_in_the_first_line(delimiter: str, end: str, tmp_path: Path) -> None:
    text = "file,X,Y\n\na,1,2\n\nb, 3,4".replace("\n", end).replace(",", delimiter)
    for option in (None, delimiter):
        table = read("\ufeff" + end + text, tmp_path, layout=Layout(option))
        assert (keys(table), table.y.tolist()) == (["a", "b"], [2, 4])


def test_line_ends_may_be_mixed_and_fields_quoted(tmp_path: Path) -> None:
    table = read('file,X,Y\r\n"a, b",1,2\n"c\nd",3,4\re,5,6\n', tmp_path)
    assert (keys(table), table.y.tolist()) == (["a, b", "c\nd", "e"], [2, 4, 6])


def test_numbers_as_written_in_other_countries(tmp_path: Path) -> None:
    layout = Layout(decimal=",", encoding="latin-1")
    path = tmp_path / "gaze.csv"
    path.write_bytes("file;X;Y;d\nMöwe;1,5;2;300\nMöwe;x;2;0,5\n".encode("latin-1"))
    table = read_delimited([GazeFile(path, "g")], COLUMNS | {"duration": "d"}, layout=layout)
    assert (keys(table), table.x.tolist(), table.duration_ms.tolist()) == (["Möwe"], [1.5], [300])
    assert "1 of 2 rows lack" in table.notes[0]


def test_without_a_header_columns_are_numbers(tmp_path: Path) -> None:
    columns = {"image": "3", "x": "1", "y": "2"}
    table = read("(1.5, 2, a)\n(3, 4, b)\n", tmp_path, columns, layout=Layout(header=False, ignore="()"))
    assert (keys(table), table.x.tolist(), table.y.tolist()) == (["a", "b"], [1.5, 3], [2, 4])
    with pytest.raises(DataError, match=r"no column '4' for 'y', got 1, 2, 3"):
        read("1,2,a\n", tmp_path, columns | {"y": "4"}, layout=Layout(header=False))


def test_events_have_an_onset_and_an_offset(tmp_path: Path) -> None:
    columns = COLUMNS | {"onset": "on", "offset": "off"}
    table = read("file,X,Y,on,off\na,1,2,100,350\na,1,2,400,\n", tmp_path, columns)
    assert table.duration_ms[0] == 250
    assert np.isnan(table.duration_ms[1])
    assert table.t_ms.tolist() == [100, 400]
    with pytest.raises(DataError, match=r"gaze\.csv: row 1, duration, got -250\. Expected 0 or more"):
        read("file,X,Y,on,off\na,1,2,350,100\n", tmp_path, columns)


def test_only_rows_that_are_asked_for(tmp_path: Path) -> None:
    text = "file,X,Y,name,ok\na,1,2,fixation,1\na,3,4,saccade,1\nb,5,6,fixation,0\nb,7,8,fixation.merged,1\n"
    table = read(text, tmp_path, where={"name": ["fixation", "fixation.merged"], "ok": ["1"]})
    assert table.x.tolist() == [1, 7]
    assert table.notes == ("2 rows are not those of gaze.where",)
    with pytest.raises(DataError, match="no column 'event' for 'where'"):
        read(text, tmp_path, where={"event": ["fixation"]})
    with pytest.raises(DataError, match="no row has an image and a position"):
        read(text, tmp_path, where={"name": ["blink"]})


def test_rows_without_image_or_position_are_counted(tmp_path: Path) -> None:
    table = read("file,X,Y\na,1,2\nb,?,2\n,1,2\nc,1\nd,inf,2\ne,1,nan\nf,3,4\n", tmp_path)
    assert keys(table) == ["a", "f"]
    assert table.notes == ("5 of 7 rows lack an image, a position or a time: left out (first: gaze.csv: row 2)",)


def test_samples_stay_where_the_eye_is_lost_but_not_without_a_time(tmp_path: Path) -> None:
    columns = COLUMNS | {"time": "t"}
    text = "file,X,Y,t\na,1,2,0.00\na,.,.,0.02\na,1,2,\na,1,2,0.30\n"
    table = read(text, tmp_path, columns, time_unit="auto", kind="samples")
    np.testing.assert_allclose(table.t_ms, [0, 20, 300])
    np.testing.assert_allclose(table.duration_ms, [20, 280, 150])
    np.testing.assert_array_equal(table.x, [1, np.nan, 1])
    assert table.kind == "samples"
    assert "1 of 4 rows" in table.notes[0]
    assert "unit of time taken as" in table.notes[1]
    fixations = read(text, tmp_path, columns)
    assert np.isnan(fixations.duration_ms).all()
    assert len(fixations) == 3


def test_infinite_numbers_are_no_numbers(tmp_path: Path) -> None:
    text = "file,X,Y,t,on,off\na,1,2,0,0,9\na,inf,-inf,inf,inf,inf\na,inf,2,10,inf,inf\n"
    columns = COLUMNS | {"time": "t", "onset": "on", "offset": "off"}
    samples = read(text, tmp_path, columns, kind="samples")
    np.testing.assert_array_equal(samples.x, [1, np.nan])
    assert samples.t_ms.tolist() == [0, 10]
    np.testing.assert_array_equal(read(text, tmp_path, columns).duration_ms, [9])


def test_samples_of_a_known_rate_need_no_times(tmp_path: Path) -> None:
    table = read("file,X,Y\na,1,2\nb,1,2\na,nan,2\na,1,2\n", tmp_path, kind="samples", sampling_rate=50)
    assert table.t_ms.tolist() == [0, 0, 20, 40]
    assert table.duration_ms.tolist() == [20] * 4


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("file,X,y\na,1,2\n", {}, r"no column 'Y' for 'y', got file, X, y"),
        ("file,X,Y,X\na,1,2,3\n", {}, r"two columns 'X' for 'x'"),
        ("file;X;Y\na;1;2\n", {"delimiter": ","}, "no column 'file' for 'image'"),
        ("file,X,Y\na,1,2\na,1,2,3\n", {}, "Expected 3 fields in line 3, saw 4"),
        ("file,X,Y\na,1,2,9\na,1,2,9\n", {}, "Check the delimiter"),
        ('file,X,Y\n"a,1,2\n', {}, "EOF inside string"),
        ("file,X,Y\n", {}, "no row has an image and a position"),
        ("file,X,Y\na,left,up\n", {}, "no row has an image and a position"),
        ("", {}, "the file is empty"),
        ("file,X,Y,d\na,1,2,5\na,1,2,-5\n", {"duration": "d"}, "row 2, duration, got -5. Expected 0 or more"),
        ("file,X,Y,d\na,1,2,long\n", {"duration": "d"}, "row 1, duration, got 'long'. Expected a number"),
        ("file,X,Y,d\na,1,2,inf\n", {"duration": "d"}, "row 1, duration, got inf"),
        ("file,X,Y,d\na,1,2,1.5\n", {"label": "d"}, "row 1, label, got 1.5. Expected a whole number"),
        ("file,X,Y,d\na,1,2,\n", {"width": "d"}, "row 1, width, got nan"),
    ],
)
def test_wrong_tables_are_named(text: str, columns: dict[str, str], message: str, tmp_path: Path) -> None:
    named = COLUMNS | {name: column for name, column in columns.items() if name != "delimiter"}
    with pytest.raises(DataError, match=message) as caught:
        read(text, tmp_path, named, layout=Layout(columns.get("delimiter")))
    assert "gaze.csv" in str(caught.value)


def test_other_encodings_and_missing_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("file,X,Y\nMöwe,1,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv: not UTF-8 text, got byte 0xf6 at position 10"):
        read_delimited([GazeFile(path, "latin.csv")], COLUMNS)
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read"):
        read_delimited([GazeFile(tmp_path / "absent.csv", "absent.csv")], COLUMNS)


def test_wrong_names_of_ours_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gaze\.columns\.durations: unknown name \(did you mean 'duration'"):
        read("file,X,Y\na,1,2\n", tmp_path, COLUMNS | {"durations": "d"})
    with pytest.raises(UsageError, match=r"gaze\.columns\.y: missing"):
        read("file,X,Y\na,1,2\n", tmp_path, {"image": "file", "x": "X"})
    with pytest.raises(UsageError, match=r"gaze\.delimiter: got '::'"):
        read("file,X,Y\na,1,2\n", tmp_path, layout=Layout("::"))


# ------------------------------------------------------------------------------------------------ many files


@pytest.fixture
def files(tmp_path: Path) -> list[GazeFile]:
    """Three viewers on two images; columns in another order in the last file, one file without a row, one empty."""
    texts = {
        "ann/cat/1.csv": "x,y\n1,2\n3,4\n",
        "ann/dog/1.csv": 'y,x\n6,5\n"8","7"\n',
        "bob/cat/1.csv": "x,y\r\n9,10",
        "bob/dog/1.csv": "x,y\n",
        "eve/cat/1.csv": "",
        "eve/dog/1.csv": "x,y\n11,12\n\n13,14\n",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return find_files(tmp_path, ["{viewer}/{image}.csv"])


def test_many_files_are_read_as_one(files: list[GazeFile]) -> None:
    table = read_delimited(files, {"x": "x", "y": "y"})
    assert table.x.tolist() == [1, 3, 5, 7, 9, 11, 13]
    assert table.y.tolist() == [2, 4, 6, 8, 10, 12, 14]
    assert keys(table) == ["cat/1", "cat/1", "dog/1", "dog/1", "cat/1", "dog/1", "dog/1"]
    assert [table.viewers[code] for code in table.viewer] == ["ann", "ann", "ann", "ann", "bob", "eve", "eve"]
    assert table.notes == ("1 of 6 gaze files are empty",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n1,2,3\n", r"dog.1\.csv: Expected 2 fields in line 3, saw 3"),
        ("x,y\n1,2\n1,b\n", None),
        ("x,z\n1,2\n", r"dog.1\.csv: no column 'y'"),
        ("x,y\n1,\xff\n", r"dog.1\.csv: not UTF-8 text"),
    ],
)
def test_the_bad_one_of_many_files_is_named(files: list[GazeFile], text: str, message: str | None) -> None:
    files[5].path.write_bytes(text.encode("latin-1"))
    if message is None:
        notes = read_delimited(files, {"x": "x", "y": "y"}).notes
        assert notes[1] == ("1 of 7 rows lack an image, a position or a time: left out (first: eve/dog/1.csv: row 2)")
    else:
        with pytest.raises(DataError, match=message):
            read_delimited(files, {"x": "x", "y": "y"})


def test_files_without_any_row(files: list[GazeFile]) -> None:
    for file in files:
        file.path.write_text("")
    with pytest.raises(DataError, match=r"1\.csv: the file is empty"):
        read_delimited(files, {"x": "x", "y": "y"})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(alphabet='0159,.-;\t \n\r"abx?é', max_size=60), st.booleans())
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str, header: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_text("file,X,Y\n" * header + text, encoding="utf-8", newline="")
    columns = COLUMNS if header else {"image": "1", "x": "2", "y": "3"}
    try:
        table = read_delimited([GazeFile(path, "fuzz.csv")], columns, layout=Layout(header=header))
    except DataError:
        return
    assert np.isfinite(table.x).all()
    assert np.isfinite(table.y).all()
    left_out = int(table.notes[0].split()[0].replace(",", "")) if table.notes else 0
    lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip()]
    if '"' not in text:
        assert len(lines) == len(table) + left_out
