"""Parquet tables: as their text twins, keys of any type as text, damage and a missing library named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gazeeval.data.readers.delimited import read_delimited
from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.parquet import read_parquet
from gazeeval.errors import DataError

COLUMNS = {"image": "file", "x": "X", "y": "Y", "duration": "ms", "viewer": "who"}
FRAME = pd.DataFrame(
    {
        "file": ["b.jpg", "a.jpg", None, "b.jpg", "000"],
        "X": [1, 2, 3, 4, 5],
        "Y": [0.5, np.nan, 2.5, 3.5, 4.5],
        "ms": pd.array([100, 200, 300, None, 500], dtype="Int64"),
        "who": [2, 1, 1, 2, 7],
        "event": pd.Categorical(["fixation", "fixation", "fixation", "fixation", "saccade"]),
        "unused": [b"x"] * 5,
    }
)


def write(folder: Path, **columns: Any) -> list[GazeFile]:
    pytest.importorskip("pyarrow.parquet")
    path = folder / "gaze.parquet"
    FRAME.assign(**columns).to_parquet(path)
    return [GazeFile(path, path.name)]


def test_rows_are_those_of_the_same_table_as_text(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "gaze.csv", index=False)
    where = {"event": ["fixation"]}
    text = read_delimited([GazeFile(tmp_path / "gaze.csv", "gaze.parquet")], COLUMNS, where=where)
    table = read_parquet(write(tmp_path), COLUMNS, where=where)
    assert table.images[table.image].tolist() == ["b.jpg", "b.jpg"] == text.images[text.image].tolist()
    assert (
        table.notes
        == text.notes
        == (
            "1 rows are not those of gaze.where",
            "2 of 4 rows lack an image, a position or a time: left out (first: gaze.parquet: row 2)",
        )
    )
    assert [table.viewers[code] for code in table.viewer] == ["2", "2"]
    for name in ("x", "y", "duration_ms", "t_ms"):
        np.testing.assert_array_equal(getattr(table, name), getattr(text, name))


def test_keys_of_any_type_are_text(tmp_path: Path) -> None:
    for keys in ([5, 6, 7, 8, 9], [5.0, 6.0, 7.0, 8.0, 9.0], ["5", "6", "7", "8", "9"]):
        table = read_parquet(write(tmp_path, file=keys, Y=1.0), COLUMNS)
        assert table.images.tolist() == ["5", "6", "7", "8", "9"]


@pytest.mark.parametrize(
    ("columns", "change", "message"),
    [
        ({"x": "x"}, {}, r"gaze\.parquet: no column 'x' for 'x'"),
        ({}, {"X": ["left"] * 5}, r"gaze\.parquet: cannot be read as Parquet \(Failed to parse string: 'left'"),
        ({}, {"ms": -1}, r"gaze\.parquet: row 1, duration, got -1\. Expected 0 or more"),
        ({}, {"Y": np.nan}, "no row has an image and a position"),
    ],
)
def test_wrong_tables_are_named(columns: dict[str, str], change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_parquet(write(tmp_path, **change), COLUMNS | columns)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    files = write(tmp_path)
    data = files[0].path.read_bytes()
    for part in (b"", data[:100], data[:-1], data[100:], b"file,X,Y\n"):
        files[0].path.write_bytes(part)
        with pytest.raises(DataError, match=r"gaze\.parquet: cannot be read as Parquet"):
            read_parquet(files, COLUMNS)
    files[0].path.unlink()
    with pytest.raises(DataError, match=r"gaze\.parquet: cannot be read as Parquet \(.*No such file"):
        read_parquet(files, COLUMNS)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"g\.parquet: .*needs the library pyarrow.*pip install 'gazeeval\[parquet\]'"):
        read_parquet([GazeFile(tmp_path / "g.parquet", "g.parquet")], COLUMNS)
