"""The files of a run folder: written whole or not at all, read back with the types they were written with."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
import pandas as pd
from pandas.api.types import pandas_dtype, union_categoricals

from gazeeval.errors import DataError
from gazeeval.report.columns import FILES, Columns, extra_column, from_description

_ROWS = 10_000  # of a table that are parsed at once
# pandas 2 misses the last bit of many floats unless told otherwise, pandas 3 never does and deprecates being told
_EXACT: dict[str, Any] = {} if int(pd.__version__.partition(".")[0]) > 2 else {"float_precision": "round_trip"}


@dataclass(frozen=True)
class Results:
    """A finished run.

    Attributes:
        folder: where its files are.
        manifest: manifest.json.
        groups, summary, failures: the CSV files of those names, with the dtypes of :mod:`gazeeval.report.columns`.
    """

    folder: Path
    manifest: Mapping[str, Any]
    groups: pd.DataFrame
    summary: pd.DataFrame
    failures: pd.DataFrame

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """inconsistency.csv, likewise; read when first asked for."""
        return read_csv(*self._table)

    def by_method(self, *names: str) -> Iterator[tuple[str, pd.DataFrame]]:
        """Method -> the columns ``names`` of its rows, in the order of the run; without names all columns.

        With names, one method is in memory at a time.

        Raises:
            DataError: as `read_results`.
        """
        if not names or "pairs" in vars(self):
            for method, rows in self.pairs.groupby("method", sort=False):
                yield str(method), rows[list(names)] if names else rows
        else:
            yield from read_by_method(*self._table, names)

    def chunks(self) -> Iterator[pd.DataFrame]:
        """The rows of ``pairs``, some thousands at a time."""
        path, columns = self._table
        dtypes = _dtypes(path, columns)
        yield from _parsed(path, dtypes, list(dtypes))

    @property
    def _table(self) -> tuple[Path, Columns]:
        columns = from_description(self.manifest.get("columns", {}))
        return self.folder / "inconsistency.csv", columns.get("inconsistency.csv", ())


def read_results(run: str | Path) -> Results:
    """Read a run folder; ids such as "000005" and classes named "NA" stay what they are.

    Raises:
        DataError: a file is missing, cut or does not have the columns that manifest.json lists.
    """
    folder = Path(run)
    manifest = read_manifest(folder)
    files = FILES | from_description(manifest.get("columns", {}))
    names = ("groups.csv", "summary.csv", "failures.csv")
    results = Results(folder, manifest, *(read_csv(folder / name, files[name]) for name in names))
    _dtypes(*results._table)
    return results


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json of a run folder. Raises DataError."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"not a run folder: {path}, got {error.strerror}. Give the folder that `gazeeval run` printed."
        ) from None
    except ValueError as error:
        raise DataError(f"malformed manifest: {path}, got {error}. Restore the file or run again.") from None
    if not isinstance(manifest, dict):
        raise DataError(f"malformed manifest: {path}, got a {type(manifest).__name__}. Restore the file or run again.")
    return manifest


def read_csv(path: Path, columns: Columns) -> pd.DataFrame:
    """Read one file of a run; columns that start with ``x_`` may come on top of ``columns``.

    Raises:
        DataError: the file is missing, has other columns, or a value does not fit its column.
    """
    dtypes = _dtypes(path, columns)
    return pd.concat(_parsed(path, dtypes, list(dtypes)), ignore_index=True)


def read_by_method(path: Path, columns: Columns, names: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Method -> the columns ``names`` of its rows in an inconsistency.csv, and its name; texts are categories.

    One method is in memory at a time, in the order of the file. Columns that the file lacks are all missing.

    Raises:
        DataError: as `read_csv`.
    """
    dtypes = _dtypes(path, columns)
    asked = [name for name in dict.fromkeys(("method", *names)) if name in dtypes]
    dtypes = {name: "category" if dtype == "string" else dtype for name, dtype in dtypes.items()}
    parts = (
        (str(method), part)
        for chunk in _parsed(path, dtypes, asked)
        for method, part in chunk.groupby("method", sort=False, observed=True)
    )
    for method, same in groupby(parts, key=itemgetter(0)):
        frames = [part for _, part in same]
        columns_of = {name: _whole([frame.pop(name) for frame in frames]) for name in asked}  # never two of all columns
        rows = pd.DataFrame(columns_of, copy=False)
        del columns_of, frames
        yield method, rows.assign(**dict.fromkeys(set(names) - set(asked), np.nan))
        del rows


def _whole(parts: list[pd.Series[Any]]) -> Any:
    """One column of its parts."""
    if isinstance(parts[0].dtype, pd.CategoricalDtype):
        return union_categoricals(parts)
    return pd.concat(parts, ignore_index=True)


def _dtypes(path: Path, columns: Columns) -> dict[str, str]:
    """The columns of a file of a run and what they hold. Raises DataError unless these are ``columns`` and extras."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            header = next(csv.reader(stream), [])
    except OSError as error:
        raise DataError(f"incomplete run: {path}, got {error.strerror}. Run again with another --out.") from None
    dtypes = {column.name: column.dtype for column in with_extras(columns, header)}
    if set(header) != set(dtypes):
        wrong = ", ".join(sorted(set(header) ^ set(dtypes)))
        raise DataError(f"unexpected columns: {path}:1, got or missed {wrong}. Use the manifest of the same run.")
    return dtypes


def _parsed(path: Path, dtypes: Mapping[str, str], names: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The columns ``names`` of a CSV file with the columns ``dtypes``, some rows at a time. Raises DataError."""
    # parsed as floats of NumPy, which is exact; those of pandas are not everywhere
    floats = {name: dtypes[name] for name in names if dtypes[name].startswith("Float")}
    options: dict[str, Any] = {"dtype": {**dtypes, **dict.fromkeys(floats, "float64")}, **_EXACT}
    if len(names) < len(dtypes):  # with it, pandas overlooks lines that are too long
        options["usecols"] = list(names)
    try:
        with pd.read_csv(path, chunksize=_ROWS, keep_default_na=False, na_values=[""], **options) as chunks:
            for chunk in chunks:
                yield chunk.astype(floats)
    except ValueError as error:  # includes pandas' ParserError
        raise DataError(f"malformed table: {path}, got {error}. Restore the file or run again.") from None


def with_extras(columns: Columns, names: Iterable[str]) -> Columns:
    """``columns`` and, after them, a column for every further name that starts with ``x_``."""
    listed = {column.name for column in columns}
    extras = (name for name in dict.fromkeys(names) if name.startswith("x_") and name not in listed)
    return (*columns, *map(extra_column, extras))


def conform(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """``frame`` with exactly ``columns``, in their order and dtypes; columns that it lacks are all missing.

    Raises:
        ValueError: ``frame`` has a column that is not among ``columns``.
    """
    unknown = set(frame.columns) - {column.name for column in columns}
    if unknown:
        raise ValueError(f"columns without a schema: {', '.join(sorted(unknown))}")
    return pd.DataFrame(
        {
            column.name: frame[column.name].astype(pandas_dtype(column.dtype))
            if column.name in frame
            else pd.Series(pd.NA, index=frame.index, dtype=column.dtype)
            for column in columns
        }
    )


def write_csv(frame: pd.DataFrame, path: Path, columns: Columns) -> None:
    """Write ``frame`` as UTF-8 CSV: empty = missing, true/false, floats with 9 significant digits.

    Raises:
        ValueError: ``frame`` has a column that is not among ``columns``.
    """
    content = _csv_bytes(conform(frame, columns))
    with replacing(path) as stream:
        stream.write(content)


def write_json(path: Path, content: object) -> None:
    """Write strict JSON (no NaN), indented, keys in the order given."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as stream:
        stream.write(f"{text}\n".encode())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content appears at ``path`` when the block ends well; else ``path`` stays as it was."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class PairWriter:
    """Takes the rows of a run chunk by chunk, in any order and from any number of processes.

    A chunk is a run of consecutive pairs. The rows of each method are a file under ``parts/``, its failures and times
    two more, of which the last says that the chunk is finished: so a killed run keeps what it had finished.
    ``merge`` joins the rows in the order of the run, with memory that does not depend on the number of pairs.

    Args:
        run: the run folder.
        methods: canonical specs in the order of the run.
        columns: of inconsistency.csv; ``x_`` columns of the rows are added to them.
    """

    def __init__(self, run: Path, methods: Sequence[str], columns: Columns) -> None:
        self.run, self.methods, self.columns = run, tuple(methods), columns
        self.parts = run / "parts"
        self.parts.mkdir(parents=True, exist_ok=True)

    def chunk(self, method: str, first_pair: int) -> Path:
        """Where the chunk of ``method`` that starts at ``first_pair`` is, or will be once it is finished."""
        return self.parts / f"{self.methods.index(method):03d}-{first_pair:012d}.csv"

    def is_finished(self, first_pair: int) -> bool:
        """Whether everything of the chunk that starts at ``first_pair`` is written."""
        return self._side("timing.csv", first_pair).exists()

    def write(self, rows: pd.DataFrame) -> Path:
        """Write one method's rows of a chunk; a file that was there is replaced.

        Raises:
            ValueError: rows of several methods, pairs that do not ascend, or a column without a schema.
        """
        methods, pairs = rows["method"].unique(), rows["pair_id"]
        if len(methods) != 1 or not (pairs.is_monotonic_increasing and pairs.is_unique):
            raise ValueError("a chunk holds ascending pairs of one method")
        path = self.chunk(str(methods[0]), int(pairs.iloc[0]))
        write_csv(rows, path, with_extras(self.columns, rows.columns))
        return path

    def finish(self, first_pair: int, failures: pd.DataFrame, timing: pd.DataFrame) -> None:
        """Write the rest of a chunk whose rows are all written."""
        for name, rows in (("failures.csv", failures), ("timing.csv", timing)):
            write_csv(rows, self._side(name, first_pair), FILES[name])

    def side_table(self, name: str) -> pd.DataFrame:
        """failures.csv or timing.csv of all chunks."""
        return pd.concat([read_csv(path, FILES[name]) for path in sorted(self.parts.glob(f"*/{name}"))])

    def _side(self, name: str, first_pair: int) -> Path:
        path = self.parts / f"{first_pair:012d}" / name
        path.parent.mkdir(exist_ok=True)
        return path

    def merge(self) -> Columns:
        """Write inconsistency.csv from the parts and return its columns; the parts stay."""
        parts = sorted(self.parts.glob("*.csv"))
        headers = dict.fromkeys(map(_first_line, parts))
        names = (name for header in headers for name in next(csv.reader([header.decode()])))
        columns = with_extras(self.columns, names)
        header = _csv_bytes(conform(pd.DataFrame(), columns))
        with replacing(self.run / "inconsistency.csv") as merged:
            merged.write(header)
            for part in parts:
                with part.open("rb") as stream:
                    if stream.readline() == header:
                        shutil.copyfileobj(stream, merged)
                    else:
                        merged.write(_widened(part, columns))
        return columns


def _first_line(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.readline()


def _widened(part: Path, columns: Columns) -> bytes:
    """Rows of a chunk of a method that lacks some extra columns, in the columns of all methods."""
    text = pd.read_csv(part, dtype=str, keep_default_na=False)
    rows = text.reindex(columns=[column.name for column in columns], fill_value="")
    return _lines(rows.itertuples(index=False))


def _csv_bytes(frame: pd.DataFrame) -> bytes:
    """CSV of a frame that has been through ``conform``."""
    return _lines([frame.columns, *zip(*(_texts(frame[name]) for name in frame), strict=True)])


def _lines(rows: Iterable[Iterable[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def _texts(values: pd.Series[Any]) -> list[str]:
    dtype = str(values.dtype)
    if dtype.startswith("Float"):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # no "-0"
        return ["" if math.isnan(number) else f"{number:.9g}" for number in numbers.tolist()]
    cells = values.to_numpy(dtype=object)
    if dtype == "boolean":
        return ["" if cell is pd.NA else str(cell).lower() for cell in cells]
    # the csv module of Python 3.11 writes a carriage return unquoted, which readers take for the end of the row
    return ["" if cell is pd.NA else str(cell).replace("\r", " ") for cell in cells]
