"""Gaze in a table with a header (CSV, TSV, ...), one row per fixation or raw sample, any column names."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.readers.table import GazeTable, Kind, TimeUnit, in_time_order, read_text, time_scale
from gazeeval.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("image", "x", "y")
OPTIONAL = ("duration", "time", "viewer", "condition", "label", "width", "height")
DELIMITERS = (",", ";", "\t", "|")

_WHAT = "gaze table"


def read_delimited(
    path: Path,
    columns: Mapping[str, str],
    *,
    time_unit: TimeUnit = "ms",
    delimiter: str | None = None,
    kind: Kind = "fixations",
) -> GazeTable:
    """The rows of a UTF-8 table. Image keys, viewers and conditions are text as written ("000005" and "None" survive).

    Rows without an image or whose x or y is not a finite number (and raw samples without a time) are left out, counted
    in ``notes`` with the first of them.

    Args:
        columns: our name (``image``, ``x``, ``y``; optionally ``duration``, ``time``, ``viewer``, ``condition``,
            ``label``, ``width``, ``height``) to the column's name in the file.
        time_unit: of ``duration`` and ``time``; "auto" infers it from the median step of ``time``.
        delimiter: None takes the one of comma, semicolon, tab and bar that is most frequent in the header.
        kind: "samples" without a ``duration`` column get min(dt, 2 x median dt) from ``time``.

    Raises:
        DataError: missing file or column, not UTF-8, rows with too many fields, no usable row, a negative duration, or
            another value that is not a number. Rows count from 1 below the header, blank lines left out.
        UsageError: a name in ``columns`` that is not one of ours.
    """
    _check_names(columns)
    frame = _read_text_columns(path, columns, delimiter)
    x, y = (_coordinates(frame[name]) for name in ("x", "y"))
    image = frame["image"].to_numpy(dtype=object)
    numbers = {name: _numbers(frame, name, path) for name in ("duration", "time")}
    steps = kind == "samples" and "time" in columns and "duration" not in columns
    good = np.isfinite(x) & np.isfinite(y) & (image != "") & (np.isfinite(numbers["time"]) | (not steps))
    if not good.any():
        raise DataError(f"{_WHAT}: {path}: no row has an image and a position. Check 'columns' in the spec.")
    _refuse_negative(numbers["duration"], path)
    whole = {name: _whole(frame, name, path) for name in ("label", "width", "height") if name in columns}
    viewers, viewer = _codes(frame, "viewer")
    conditions, condition = _codes(frame, "condition")
    table = GazeTable(
        image=image,
        x=x,
        y=y,
        duration_ms=numbers["duration"],
        t_ms=numbers["time"],
        viewer=viewer,
        condition=condition,
        viewers=viewers,
        conditions=conditions,
        label=whole.get("label"),
        width=whole.get("width"),
        height=whole.get("height"),
        kind=kind,
        notes=_left_out(frame, good, path),
    ).take(good)
    table = _in_ms(table, time_unit, path)
    return in_time_order(table, path.name) if steps else table


def _in_ms(table: GazeTable, unit: TimeUnit, path: Path) -> GazeTable:
    recording = np.unique(table.image, return_inverse=True)[1].astype(np.int64)
    timed = np.isfinite(table.t_ms)
    scale, note = time_scale(unit, recording[timed], table.t_ms[timed], f"{_WHAT}: {path}")
    return replace(
        table,
        duration_ms=table.duration_ms * scale,
        t_ms=table.t_ms * scale,
        notes=(*table.notes, *(f"{path.name}: {text}" for text in note)),
    )


def _check_names(columns: Mapping[str, str]) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for name in columns:
        if name not in known:
            raise UsageError(
                f"gaze.columns.{name}: unknown name{did_you_mean(name, known)}. Known: {', '.join(known)}."
            )
    for name in REQUIRED:
        if name not in columns:
            raise UsageError(f"gaze.columns.{name}: missing. Name the column that holds it.")


def _read_text_columns(path: Path, columns: Mapping[str, str], delimiter: str | None) -> pd.DataFrame:
    """The declared columns as text, under our names; fields that a short row lacks are empty."""
    import pandas as pd

    text = read_text(path, _WHAT)
    header = text.lstrip("\r\n").splitlines()[0]
    sep = delimiter or max(DELIMITERS, key=header.count)
    if len(sep) != 1:
        raise UsageError(f"gaze.delimiter: got {sep!r}. Give one character.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text), sep=sep, dtype=str, na_filter=False, index_col=False, skipinitialspace=True
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
        problem = str(error).removeprefix("Error tokenizing data. C error: ").strip().rstrip(".")
        raise DataError(f"{_WHAT}: {path}: {problem}. Check the delimiter ({sep!r}) and the quotes.") from None
    for name, column in columns.items():
        if column not in frame.columns:
            raise DataError(
                f"{_WHAT}: {path}: no column {column!r} for {name!r}{did_you_mean(column, map(str, frame.columns))}, "
                f"got {', '.join(map(str, frame.columns))}. Correct 'columns' (or 'delimiter', {sep!r}) in the spec."
            )
    return frame[list(columns.values())].set_axis(list(columns), axis=1).fillna("")


def _coordinates(column: pd.Series[str]) -> NDArray[np.float64]:
    """Numbers, NaN for what is none."""
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)


def _numbers(frame: pd.DataFrame, name: str, path: Path) -> NDArray[np.float64]:
    """An optional column: NaN where empty or absent; other text is an error."""
    if name not in frame:
        return np.full(len(frame), np.nan)
    values = _coordinates(frame[name])
    text = frame[name].str.strip().str.lower()
    bad = np.flatnonzero(~np.isfinite(values) & ~text.isin(["", "nan", "na", "none"]).to_numpy())
    if bad.size:
        raise _bad_value(path, name, bad[0], frame[name].iloc[bad[0]], "a number")
    return values


def _whole(frame: pd.DataFrame, name: str, path: Path) -> NDArray[np.int64]:
    values = _coordinates(frame[name])
    bad = np.flatnonzero(~np.isfinite(values) | (values != np.round(values)))
    if bad.size:
        raise _bad_value(path, name, bad[0], frame[name].iloc[bad[0]], "a whole number")
    return values.astype(np.int64)


def _refuse_negative(duration: NDArray[np.float64], path: Path) -> None:
    bad = np.flatnonzero(duration < 0)
    if bad.size:
        raise _bad_value(path, "duration", bad[0], f"{duration[bad[0]]:g}", "0 or more")


def _bad_value(path: Path, name: str, row: int, value: str, expected: str) -> DataError:
    return DataError(f"{_WHAT}: {path}: row {row + 1}, {name}, got {value[:40]!r}. Expected {expected}.")


def _codes(frame: pd.DataFrame, name: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Names in order of first appearance and a code per row; empty text is -1."""
    if name not in frame:
        return (), np.full(len(frame), -1, dtype=np.int32)
    column = frame[name].astype(object)
    codes, names = column.where(column != "", None).factorize()
    return tuple(map(str, names)), codes.astype(np.int32)


def _left_out(frame: pd.DataFrame, good: NDArray[np.bool_], path: Path) -> tuple[str, ...]:
    bad = np.flatnonzero(~good)
    if not bad.size:
        return ()
    image, x, y = frame[list(REQUIRED)].iloc[bad[0]]
    return (
        f"{path.name}: {bad.size:,} of {len(good):,} rows lack an image, a finite position or a time and were left out "
        f"(first: row {bad[0] + 1}, image {image!r}, x {x!r}, y {y!r})",
    )
