"""Gaze in tables of text (CSV, TSV, ...), one row per fixation or raw sample, any column names, one file or many."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from gazeeval.data.readers.table import Codes, Floats, GazeTable, Kind, TimeUnit, read_text
from gazeeval.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = (",", ";", "\t", "|")
MISSING = ("", "nan", "na", "n/a", "none", "null", ".")

_WHAT = "gaze table"
_FILES_AT_ONCE = 1000


@dataclass(frozen=True)
class Layout:
    """How a table is written as text.

    Attributes:
        delimiter: between fields; " " is any white space. None: the one of comma, semicolon, tab and bar that is most
            frequent in the first line, or white space if there is none of them.
        header: whether the first line names the columns. Without it they are called "1", "2", ...
        decimal: "." or ",".
        encoding: of the text, a name that Python knows.
        ignore: characters that are deleted before anything is read, such as brackets.
    """

    delimiter: str | None = None
    header: bool = True
    decimal: str = "."
    encoding: str = "utf-8"
    ignore: str = ""


class _Body(NamedTuple):
    """The text of file number ``file`` below its header, with the header's line end; column names; delimiter."""

    file: int
    text: str
    names: tuple[str, ...]
    delimiter: str


def read_delimited(
    files: Sequence[GazeFile],
    columns: Mapping[str, str],
    *,
    layout: Layout | None = None,
    where: Mapping[str, Sequence[str]] | None = None,
    kind: Kind = "fixations",
    time_unit: TimeUnit = "ms",
    sampling_rate: float | None = None,
) -> GazeTable:
    """The rows of all files. Image keys, viewers and conditions are text as written ("000005" and "None" survive).

    Rows that cannot be used are left out and counted, see `gaze_table`; so are empty files among others.

    Args:
        files: at least one; their paths may say image, viewer or condition.
        columns: our name to the column's name in the files: ``image`` (unless the paths say it), ``x``, ``y``;
            optionally ``duration``, ``time``, ``onset`` and ``offset``, ``viewer``, ``condition``, ``label``,
            ``width``, ``height``.
        where: a column of the files to the values that it has in the rows to read.
        kind, time_unit, sampling_rate: see `gaze_table`.

    Raises:
        DataError: a missing file or column, another encoding, rows with too many fields, no usable row, a negative
            duration, or another value that is not a number. Rows count from 1 below the header, blank lines left out.
        UsageError: a name in ``columns`` that is not one of ours, a delimiter of several characters.
    """
    if not files:
        raise DataError(f"{_WHAT}: no files given. Name at least one in gaze.files.")
    check_names(columns, files, (*WORDS, *NUMBERS))
    layout, where = layout or Layout(), where or {}
    parts, filled = [], 0
    for batch in _batches(_bodies(files, layout)):
        parts.append(_read(batch, files, columns, where, layout.decimal))
        filled += len(batch)
    if not parts:
        raise DataError(f"{_WHAT}: {files[0].path}: the file is empty. Fetch or export it again.")
    empty = [f"{len(files) - filled:,} of {len(files):,} gaze files are empty"] if filled < len(files) else []
    return gaze_table(_WHAT, files, parts, kind=kind, time_unit=time_unit, sampling_rate=sampling_rate, notes=empty)


def _bodies(files: Sequence[GazeFile], layout: Layout) -> Iterator[_Body]:
    ignored = str.maketrans("", "", layout.ignore)
    for number, file in enumerate(files):
        text = read_text(file.path, _WHAT, layout.encoding, may_be_empty=True)
        text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n").translate(ignored)
        if not text.strip():
            continue
        first = text.partition("\n")[0]
        delimiter = layout.delimiter or max(DELIMITERS, key=first.count)
        if layout.delimiter is None and delimiter not in first:
            delimiter = " "
        if len(delimiter) != 1:
            raise UsageError(f"gaze.delimiter: got {delimiter!r}. Give one character.")
        names = first.split() if delimiter == " " else next(csv.reader([first], delimiter=delimiter))
        if layout.header:
            yield _Body(number, text[len(first) :], tuple(name.strip() for name in names), delimiter)
        else:
            yield _Body(number, text, tuple(str(i + 1) for i in range(len(names))), delimiter)


def _batches(bodies: Iterable[_Body]) -> Iterator[list[_Body]]:
    """Files to parse at once: of the same columns. A quoted field may hold a line end, so such files go alone."""
    for (_, _, alone), group in groupby(bodies, key=lambda body: (body.names, body.delimiter, '"' in body.text)):
        while batch := list(islice(group, 1 if alone else _FILES_AT_ONCE)):
            yield batch


def _read(
    batch: Sequence[_Body],
    files: Sequence[GazeFile],
    columns: Mapping[str, str],
    where: Mapping[str, Sequence[str]],
    decimal: str,
) -> Columns:
    """The rows of files that have the same columns."""
    first = batch[0]
    find = partial(find_column, first.names, f"{_WHAT}: {files[first.file].path}")
    place = {name: str(find(name, column)) for name, column in columns.items()}
    tests = {str(find("where", column)): values for column, values in where.items()}
    words = {place[name] for name in WORDS if name in place} | tests.keys()
    try:
        frame, file = _parse(batch, words, set(place.values()) - words, decimal)
    except (ValueError, Warning) as error:
        for body in batch if len(batch) > 1 else ():
            _read([body], files, columns, where, decimal)  # raises for the file that it is
        problem = str(error).removeprefix("Error tokenizing data. C error: ").strip().rstrip(".")
        raise DataError(
            f"{_WHAT}: {files[first.file].path}: {problem}. Check the delimiter ({first.delimiter!r}) and the quotes."
        ) from None
    starts = np.flatnonzero(np.diff(file, prepend=-1))
    row = np.arange(len(file)) - np.repeat(starts, np.diff(starts, append=len(file))) + 1
    numbers = {}
    for name in NUMBERS:
        if name in place:
            numbers[name], wrong = _numbers(frame[place[name]], decimal)
            for i in np.flatnonzero(wrong)[:1] if name not in ("x", "y") else ():
                value = str(frame[place[name]].iloc[i])[:40]
                at = f"{files[file[i]].name}: row {row[i]}"
                raise DataError(f"{_WHAT}: {at}, {name}, got {value!r}. Expected a number.")
    text = {name: _words(frame[place[name]]) for name in WORDS if name in place}
    meant = np.ones(len(frame), dtype=bool)
    for column, values in tests.items():
        meant &= frame[column].isin(list(values)).to_numpy()
    return Columns(text, numbers, file, row).where(meant)


def _parse(batch: Sequence[_Body], words: Set[str], numbers: Set[str], decimal: str) -> tuple[pd.DataFrame, Codes]:
    """The fields, columns "0", "1", ..., and the file (m,) of each row. ``numbers`` are floats, or text like ``words``.

    Raises ValueError, or a Warning, if pandas cannot make a table of them.
    """
    import pandas as pd

    delimiter, width = batch[0].delimiter, len(batch[0].names)
    several = len(batch) > 1
    lines = (re.sub("(?m)^(?=.)", f"{body.file}{delimiter}", body.text) if several else body.text for body in batch)
    labels = [*(["file"] if several else []), *map(str, range(width))]
    options: dict[str, Any] = {
        **{"sep": r"\s+" if delimiter == " " else delimiter, "decimal": decimal, "header": None, "names": labels},
        **{"index_col": False, "skipinitialspace": True, "keep_default_na": False},
    }
    text = "\n".join(lines)
    # what is not needed is read as cheaply as can be; not reading it would let rows with too many fields pass
    types: dict[str, Any] = dict.fromkeys(labels, "category") | dict.fromkeys(words, str)
    types |= {"file": "int32"} if several else {}
    missing: Any = {column: [*MISSING, *map(str.upper, MISSING), "NaN", "None"] for column in numbers}
    frame: pd.DataFrame
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            floats = types | dict.fromkeys(numbers, "float64")
            frame = pd.read_csv(io.StringIO(text), dtype=floats, na_values=missing, **options)
        except pd.errors.ParserError:
            raise
        except ValueError:  # words among the numbers: which, is found later
            frame = pd.read_csv(io.StringIO(text), dtype=types | dict.fromkeys(numbers, str), **options)
    file = frame["file"].to_numpy(dtype=np.int32) if several else np.full(len(frame), batch[0].file, dtype=np.int32)
    return frame, file


def _words(column: pd.Series[Any]) -> Text:
    codes, names = column.factorize()
    return in_order_of_appearance(np.asarray(names, dtype=np.str_), codes)


def _numbers(column: pd.Series[Any], decimal: str) -> tuple[Floats, NDArray[np.bool_]]:
    """A column as numbers, NaN for none; and which fields are neither a number nor one of the words for none."""
    import pandas as pd

    if column.dtype == np.float64:
        return column.to_numpy(), np.zeros(len(column), dtype=bool)
    codes, found = column.factorize()
    words = pd.Series(found, dtype=str).str.strip()
    values = pd.to_numeric(words.str.replace(decimal, ".", regex=False), errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.isnan(values) & ~words.str.lower().isin(MISSING).to_numpy()
    return np.append(values, np.nan)[codes], np.append(wrong, False)[codes]
