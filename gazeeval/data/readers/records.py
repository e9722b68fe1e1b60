"""Gaze in nested files, JSON or MATLAB: a list of recordings, each with values for one viewing and lists of points.

Where things stand is said by paths: ``a.b`` is field b of field a of the recording, ``/a.b`` the same of the whole
file, ``.`` the recording itself, ``#`` its number from 1 (or its name, where the recordings have names).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.readers.columns import NUMBERS, WORDS, Columns, Text, check_names, encode, gaze_table
from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.table import Floats, GazeTable, Kind, TimeUnit, read_text
from gazeeval.errors import DataError, did_you_mean

POINTS = "points"

_WHAT = "gaze recordings"


@dataclass(frozen=True)
class Lookup:
    """The list ``records`` gives images names: field ``image`` is that of the image that recordings call ``key``."""

    records: str
    key: str
    image: str


def read_records(
    files: Sequence[GazeFile],
    load: Callable[[Path], Any],
    columns: Mapping[str, str],
    *,
    records: str = ".",
    points: Sequence[str] = (),
    lookup: Lookup | None = None,
    where: Mapping[str, Sequence[str]] | None = None,
    kind: Kind = "fixations",
    time_unit: TimeUnit = "ms",
    sampling_rate: float | None = None,
) -> GazeTable:
    """All points of all recordings in the files.

    Args:
        files: at least one; their paths may say image, viewer or condition.
        load: a file as nested dicts, lists and arrays: `load_json` or `gazeeval.data.readers.matlab.load_mat`.
        columns: our name to the path of its field. One value holds for all points of a recording, a list has one for
            each. The field of ``points`` is a table with a row per point, whose columns the argument ``points`` names.
        records: path of the list of recordings in a file; "." if the file is the list.
        where: path of a field to the values that it has in the recordings to read.
        kind, time_unit, sampling_rate: see `gaze_table`.

    Raises:
        DataError: a file that cannot be read, a field that is missing, lists of unequal length, values that are not
            numbers, and what `gaze_table` refuses. Recordings count from 1.
    """
    check_names({**columns, **dict.fromkeys(points, "")}, files, (*WORDS, *NUMBERS, POINTS))
    parts, other = [], 0
    for number, file in enumerate(files):
        content = load(file.path)
        whole = _Recording(content, content, "", f"{_WHAT}: {file.name}")
        names = _image_names(whole, lookup)
        for place, recording in enumerate(whole.recordings(records), 1):
            if all(recording.word(path) in values for path, values in (where or {}).items()):
                parts.append(_columns(recording, columns, points, names, number, place))
            else:
                other += 1
    if not parts:
        found = f"{other:,} recordings, none as gaze.where asks" if other else "no recording"
        raise DataError(f"{_WHAT}: {files[0].path}: got {found}. Check gaze.records and gaze.where in the spec.")
    empty = sum(not len(part.row) for part in parts)
    notes = [f"{empty:,} of {len(parts):,} recordings hold no point"] if empty else []
    notes += [f"{other:,} recordings are not those of gaze.where"] if other else []
    options: dict[str, Any] = {"kind": kind, "time_unit": time_unit, "sampling_rate": sampling_rate}
    return gaze_table(_WHAT, files, parts, row="point", within="recording", notes=notes, **options)


def load_json(path: Path) -> Any:
    """A JSON file; lists of numbers become arrays as they are met, so that no number stays a Python object.

    Raises DataError: not JSON (where, and a hint at truncation), or an object that has a name twice.
    """

    def compact(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = {name: _compact(value) for name, value in pairs}
        if len(fields) < len(pairs):
            name = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
            raise DataError(f"{_WHAT}: {path}: an object has the name {name!r} twice. Keep one of them.")
        return fields

    try:
        return json.loads(read_text(path, _WHAT), object_pairs_hook=compact)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{_WHAT}: {path}:{error.lineno}, column {error.colno}, not JSON: {error.msg}. "
            "Fetch the file again if it ends there."
        ) from None
    except (RecursionError, ValueError) as error:  # nested without end; a number of thousands of digits
        raise DataError(f"{_WHAT}: {path}: not JSON that can be read: {error}. Export it again.") from None


def _compact(value: Any) -> Any:
    first = value[0] if isinstance(value, list) and value else None
    first = first[0] if isinstance(first, list) and first else first
    if type(first) not in (int, float):
        return value
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        return value


@dataclass(frozen=True)
class _Recording:
    """One recording, or the whole file if ``value`` is ``file``; messages begin with ``at``."""

    value: Any
    file: Any
    label: str
    at: str

    def field(self, path: str) -> Any:
        """What stands at a path."""
        if path == "#":
            return self.label
        value = self.file if path.startswith("/") else self.value
        for name in filter(None, path.strip("/").split(".")):
            if not isinstance(value, Mapping) or name not in value:
                there = list(map(str, value)) if isinstance(value, Mapping) else []
                raise DataError(
                    f"{self.at}: no field {path!r}{did_you_mean(name, there)}, got {', '.join(there[:20]) or 'none'}. "
                    "Correct the paths of gaze in the spec."
                )
            value = value[name]
        return value

    def recordings(self, path: str) -> Iterator[_Recording]:
        """Those in the list at ``path``; a table, or one value, is one recording. Named values are called by name."""
        value = self.field(path)
        if isinstance(value, Mapping) and value and all(isinstance(each, Mapping) for each in value.values()):
            pairs = [(str(name), each) for name, each in value.items()]
        elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
            pairs = [(str(number), each) for number, each in enumerate(value, 1)]
        elif isinstance(value, Mapping) or np.ndim(value) == 2:
            pairs = [("1", value)]
        else:
            found = "one value" if np.ndim(value) == 0 else "a list of numbers"
            raise DataError(f"{self.at}: {path!r} is {found}, not a list of recordings. Correct gaze.records.")
        for label, each in pairs:
            yield _Recording(each, self.file, label, f"{self.at}: recording {label}")

    def numbers(self, name: str, value: Any) -> Floats:
        """A value or nested lists of values; NaN for null."""
        try:
            return np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(f"{self.at}, {name}, got {str(value)[:40]!r}. Expected numbers.") from None

    def words(self, name: str, value: Any) -> NDArray[np.object_]:
        """A value or nested lists of values, none of which holds others."""
        words = np.asarray(value, dtype=object)
        if any(isinstance(word, list | dict | np.ndarray) for word in words.ravel()):
            raise DataError(f"{self.at}, {name}, got {str(value)[:40]!r}. Expected words or numbers.")
        return words

    def word(self, path: str) -> str:
        """The one value at a path, as text."""
        words = self.words(path, self.field(path))
        if words.size != 1:
            raise DataError(f"{self.at}, {path}, got {words.size} values. Expected one.")
        return _word(words.item())


def _word(value: Any) -> str:
    """A value as text: whole numbers without a decimal point, nothing for null and NaN."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _image_names(whole: _Recording, lookup: Lookup | None) -> dict[str, str]:
    if lookup is None:
        return {}
    names: dict[str, str] = {}
    for entry in whole.recordings(lookup.records):
        key, name = entry.word(lookup.key), entry.word(lookup.image)
        if names.setdefault(key, name) != name:
            raise DataError(f"{entry.at}: {lookup.key} {key} is both {names[key]!r} and {name!r}. Keep one of them.")
    return names


def _columns(
    recording: _Recording,
    paths: Mapping[str, str],
    points: Sequence[str],
    image_names: Mapping[str, str],
    file: int,
    place: int,
) -> Columns:
    """The points of one recording, number ``place`` of file number ``file``."""
    words = {name: recording.words(name, recording.field(path)) for name, path in paths.items() if name in WORDS}
    numbers = {name: recording.numbers(name, recording.field(path)) for name, path in paths.items() if name in NUMBERS}
    if POINTS in paths:
        for name, values in zip(points, _point_table(recording, paths[POINTS], len(points)).T, strict=False):
            (words if name in WORDS else numbers)[name] = values
    flat = {
        name: values.ravel() if values.size in values.shape else values for name, values in (numbers | words).items()
    }
    lengths = {name: values.size for name, values in flat.items() if values.ndim}
    if any(values.ndim > 1 for values in flat.values()) or len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {values.shape}" for name, values in flat.items() if values.ndim)
        raise DataError(f"{recording.at}: lists of unequal length, got {found}. Correct the paths of gaze in the spec.")
    length = next(iter(lengths.values()), 1)
    text = {name: _text(flat[name], length) for name in words}
    if "image" in text:
        image = text["image"]
        text["image"] = Text([image_names.get(name, name) for name in image.names], image.codes)
    return Columns(
        text=text,
        numbers={name: np.broadcast_to(flat[name], length) for name in numbers},
        file=np.broadcast_to(np.int32(file), length),
        row=np.broadcast_to(np.int64(place), length),
    )


def _point_table(recording: _Recording, path: str, width: int) -> NDArray[np.float64]:
    """(n, at least ``width``); a single point may come without a list around it."""
    table = recording.numbers(POINTS, recording.field(path))
    if table.size == 0:
        return np.empty((0, width))
    if table.ndim == 1:
        table = table[None]
    if table.ndim != 2 or table.shape[1] < width:
        raise DataError(f"{recording.at}, points, got shape {table.shape}. Expected {width} numbers per point.")
    return table


def _text(values: NDArray[Any], length: int) -> Text:
    """One value for all points, or one for each."""
    if values.size == 1:
        word = _word(values.item())
        return Text([word], np.broadcast_to(np.int32(0 if word else -1), length))
    return encode([_word(value) for value in values.tolist()])
