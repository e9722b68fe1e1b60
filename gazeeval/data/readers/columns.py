"""Named columns as a reader found them, whatever the shape of the file, and the gaze table that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.table import (
    Codes,
    Floats,
    GazeTable,
    Kind,
    TimeUnit,
    in_time_order,
    join_codes,
    time_scale,
)
from gazeeval.errors import DataError, UsageError, did_you_mean

WORDS = ("image", "viewer", "condition")
NUMBERS = ("x", "y", "duration", "time", "onset", "offset", "label", "width", "height")
REQUIRED = ("image", "x", "y")


class Text(NamedTuple):
    """A column of words as (m,) ``codes``, rows of ``names``, -1 for an empty field."""

    names: Sequence[str]
    codes: Codes


class Columns(NamedTuple):
    """m rows of one or more files.

    ``text`` has "image", "viewer", "condition", where the file has them; ``numbers`` (m,) each "x", "y", "duration" and
    so on (`NUMBERS`), NaN for none. ``file`` (m,) numbers the files, ``row`` (m,) the rows of each from 1. ``unwanted``
    counts rows that the spec does not ask for.
    """

    text: Mapping[str, Text]
    numbers: Mapping[str, Floats]
    file: Codes
    row: NDArray[np.int64]
    unwanted: int = 0

    def where(self, wanted: NDArray[np.bool_]) -> Columns:
        """Only some rows."""
        if wanted.all():
            return self
        return Columns(
            {name: Text(words.names, words.codes[wanted]) for name, words in self.text.items()},
            {name: values[wanted] for name, values in self.numbers.items()},
            self.file[wanted],
            self.row[wanted],
            int(np.count_nonzero(~wanted)),
        )


def check_names(columns: Mapping[str, str], files: Sequence[GazeFile], known: Sequence[str]) -> None:
    """Refuse names that are not ``known``, and a lack of those that every table needs (UsageError)."""
    for name in columns:
        if name not in known:
            raise UsageError(
                f"gaze.columns.{name}: unknown name{did_you_mean(name, known)}. Known: {', '.join(known)}."
            )
    for name in REQUIRED:
        if name not in columns and not (files and name in files[0].fields):
            raise UsageError(f"gaze.columns.{name}: missing. Name the column that holds it.")


def find_column(names: Sequence[str], where: str, name: str, column: str) -> int:
    """The place of ``column``, our ``name``, among the ``names`` of a file; DataError starts with ``where``."""
    count = names.count(column)
    if count == 1:
        return names.index(column)
    found = "two columns" if count else "no column"
    raise DataError(
        f"{where}: {found} {column!r} for {name!r}{did_you_mean(column, names)}, got {', '.join(names)}. "
        "Correct gaze.columns (or gaze.delimiter, where the names run together) in the spec."
    )


def encode(values: ArrayLike) -> Text:
    """A column of words, any array of text; names in order of first appearance."""
    return in_order_of_appearance(*np.unique(np.asarray(values, dtype=np.str_), return_inverse=True))


def in_order_of_appearance(names: NDArray[np.str_], codes: NDArray[np.integer]) -> Text:
    """``names`` that occur in ``codes`` (-1: nothing), the first to occur first; the empty name becomes -1."""
    used, first = np.unique(codes, return_index=True)
    used = used[np.argsort(first)]
    used = used[used >= 0]
    used = used[names[used] != ""]
    lookup = np.full(len(names) + 1, -1, dtype=np.int32)
    lookup[used] = np.arange(len(used))
    return Text(names[used].tolist(), lookup[codes])  # code -1 reads the last entry, which is -1


def gaze_table(
    what: str,
    files: Sequence[GazeFile],
    parts: Sequence[Columns],
    *,
    row: str = "row",
    within: str = "row",
    kind: Kind,
    time_unit: TimeUnit,
    sampling_rate: float | None = None,
    notes: Sequence[str] = (),
) -> GazeTable:
    """The table of what was found in ``files``, checked, with times in ms; paths may name image, viewer or condition.

    Rows without an image, fixations without a position and samples without a time are left out, and counted. The
    duration is ``offset - onset`` where there is no ``duration``; that of samples is the step to the next one.

    Args:
        what: what is read, for messages. They count ``row`` (rows or points) and say where: "a.csv: ``within`` 3".
        kind: "samples" without a duration get min(dt, 2 x median dt) from their times.
        time_unit: of every time and duration; "auto" infers it from the median step.
        sampling_rate: samples per second where known: the step in place of the median, and of samples without times.

    Raises:
        DataError: no usable row, a negative or infinite duration, a label or size that is not a whole number, times
            whose unit cannot be inferred.
    """
    rows = _joined(parts, files)
    image = rows.text["image"]
    numbers = {name: _without_infinity(values) for name, values in rows.numbers.items()}
    nothing = np.full(len(rows.file), np.nan)
    time = numbers.get("time", numbers.get("onset", nothing))
    duration = rows.numbers.get("duration", numbers["offset"] - numbers["onset"] if "offset" in numbers else nothing)
    placed = (image.codes >= 0) & ~np.isnan(numbers["x"]) & ~np.isnan(numbers["y"])
    if not placed.any():
        raise DataError(f"{what}: {files[0].name}: no {row} has an image and a position. Check gaze.columns.")

    def refuse(name: str, values: Floats, bad: NDArray[np.bool_], expected: str) -> None:
        for i in np.flatnonzero(bad)[:1]:
            where = f"{files[rows.file[i]].name}: {within} {rows.row[i]}"
            raise DataError(f"{what}: {where}, {name}, got {values[i]:g}. Expected {expected}.")

    refuse("duration", duration, (duration < 0) | np.isinf(duration), "0 or more")
    whole = {}
    for name in ("label", "width", "height"):
        if name not in numbers:
            continue
        values = numbers[name]
        refuse(name, values, values != np.round(values), "a whole number")  # NaN is not
        whole[name] = values.astype(np.int64)

    samples = kind == "samples"
    timed = samples and not np.isnan(time).all()
    steps = samples and not {"duration", "offset"} & numbers.keys()
    good = (image.codes >= 0) & (~np.isnan(time) | (not timed)) if samples else placed
    bad = np.flatnonzero(~good)
    lacking = [
        f"{bad.size:,} of {len(good):,} {row}s lack an image, a position or a time: left out "
        f"(first: {files[rows.file[i]].name}: {within} {rows.row[i]})"
        for i in bad[:1]
    ]
    unwanted = [f"{rows.unwanted:,} {row}s are not those of gaze.where"] if rows.unwanted else []
    nobody = Text((), np.full(len(good), -1, dtype=np.int32))
    viewer, condition = rows.text.get("viewer", nobody), rows.text.get("condition", nobody)
    table = GazeTable(
        image=image.codes,
        images=np.array(image.names, dtype=np.str_),
        x=numbers["x"],
        y=numbers["y"],
        duration_ms=duration,
        t_ms=time,
        viewer=viewer.codes,
        condition=condition.codes,
        viewers=tuple(viewer.names),
        conditions=tuple(condition.names),
        label=whole.get("label"),
        width=whole.get("width"),
        height=whole.get("height"),
        kind=kind,
    )
    table = table if good.all() else table.take(good)
    scale, unit_note = time_scale(time_unit, table.recording(), table.t_ms, what)
    table = replace(
        table,
        duration_ms=table.duration_ms * scale,
        t_ms=table.t_ms * scale,
        notes=(*notes, *unwanted, *lacking, *unit_note),
    )
    step_ms = 1e3 / sampling_rate if sampling_rate else None
    if timed and steps:
        return in_time_order(table, what, step_ms)
    return _at_rate(table, step_ms) if steps and step_ms else table


def _joined(parts: Sequence[Columns], files: Sequence[GazeFile]) -> Columns:
    """One set of columns, and those that the paths say."""
    file = np.concatenate([part.file for part in parts])
    said = {name: encode([each.fields[name] for each in files]) for name in files[0].fields}
    names = dict.fromkeys(name for part in parts for name in part.numbers)
    read = {name: Text(*join_codes([part.text[name] for part in parts])) for name in parts[0].text if name not in said}
    return Columns(
        text=read | {name: Text(words.names, words.codes[file]) for name, words in said.items()},
        numbers={name: np.concatenate([_or_nan(part, name) for part in parts]) for name in names},
        file=file,
        row=np.concatenate([part.row for part in parts]),
        unwanted=sum(part.unwanted for part in parts),
    )


def _without_infinity(values: Floats) -> Floats:
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values) if infinite.any() else values


def _or_nan(part: Columns, name: str) -> Floats:
    return part.numbers[name] if name in part.numbers else np.full(len(part.row), np.nan)


def _at_rate(table: GazeTable, step_ms: float) -> GazeTable:
    """Samples without times, one every ``step_ms`` in the order of the file."""
    recording = table.recording()
    order = np.argsort(recording, kind="stable")
    _, first, count = np.unique(recording[order], return_index=True, return_counts=True)
    t_ms = np.empty(len(table))
    t_ms[order] = (np.arange(len(table)) - np.repeat(first, count)) * step_ms
    return replace(table, t_ms=t_ms, duration_ms=np.full(len(table), step_ms))
