"""Gaze in Parquet tables, one row per fixation or raw sample, any column names; needs the extra ``parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from gazeeval.data.readers.columns import (
    NUMBERS,
    WORDS,
    Columns,
    Text,
    check_names,
    find_column,
    gaze_table,
    in_order_of_appearance,
)
from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.table import GazeTable, Kind, TimeUnit
from gazeeval.errors import DataError
from gazeeval.optional import optional_module

_WHAT = "gaze table"


def read_parquet(
    files: Sequence[GazeFile],
    columns: Mapping[str, str],
    *,
    where: Mapping[str, Sequence[str]] | None = None,
    kind: Kind = "fixations",
    time_unit: TimeUnit = "ms",
    sampling_rate: float | None = None,
) -> GazeTable:
    """The rows of all files; arguments and errors as `gazeeval.data.readers.delimited.read_delimited`.

    Image keys and other words are read as text, whatever their type in the file. Only the declared columns are read.
    """
    check_names(columns, files, (*WORDS, *NUMBERS))
    parts = [_read(number, file, columns, where or {}) for number, file in enumerate(files)]
    return gaze_table(_WHAT, files, parts, kind=kind, time_unit=time_unit, sampling_rate=sampling_rate)


def _read(number: int, file: GazeFile, columns: Mapping[str, str], where: Mapping[str, Sequence[str]]) -> Columns:
    what = f"{_WHAT}: {file.path}"
    parquet, arrow = optional_module("pyarrow.parquet", what), optional_module("pyarrow", what)
    try:
        find = partial(find_column, parquet.read_schema(file.path).names, what)
        for name, column in [*columns.items(), *(("where", column) for column in where)]:
            find(name, column)
        table = parquet.read_table(file.path, columns=sorted({*columns.values(), *where}))
        text = {name: _words(table[columns[name]], arrow) for name in WORDS if name in columns}
        tests = [(_words(table[column], arrow), values) for column, values in where.items()]
        numbers = {
            name: table[columns[name]].cast(arrow.float64()).to_numpy().astype(np.float64)
            for name in NUMBERS
            if name in columns
        }
    except (OSError, arrow.ArrowException) as error:
        problem = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"{what}: cannot be read as Parquet ({problem}). Fetch or export it again.") from None
    rows = np.arange(1, len(table) + 1)
    found = Columns(text, numbers, np.full(len(table), number, dtype=np.int32), rows)
    wanted = np.ones(len(table), dtype=bool)
    for words, values in tests:
        wanted &= np.isin(words.codes, [code for code, name in enumerate(words.names) if name in values])
    return found.where(wanted)


def _words(column: Any, arrow: Any) -> Text:
    """A column of any type as text; whole numbers without a decimal point, nothing for null."""
    encoded = column.cast(arrow.string()).combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return in_order_of_appearance(np.array(encoded.dictionary.to_pylist(), dtype=np.str_), codes)
