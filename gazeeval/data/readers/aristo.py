"""ARISTO pickles: raw gaze samples on CUB images, one file per level of the hierarchy.

Fields as documented by visiondom/CHRF: ``img_id`` (number in CUB's ``images.txt``), ``times``, ``x``, ``y`` (px of a
1280x720 frame), ``hierarchy``, ``label``. Container, unit of time and base of the numbers are not documented, hence
read in every likely form, and inferred (card ``gaze-datasets``, ARISTO).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.readers.table import GazeTable, TimeUnit, concat, in_time_order, time_scale
from gazeeval.data.unpickle import restricted_load
from gazeeval.errors import DataError, did_you_mean

FIELDS = ("img_id", "times", "x", "y")
AGREEMENT = 0.99

_WHAT = "ARISTO pickle"
Column = Sequence[Any] | NDArray[Any]


def read_aristo(files: Mapping[str, Path], *, time_unit: TimeUnit = "auto") -> GazeTable:
    """All samples of the pickles; kind "samples", ``duration_ms`` = min(dt, 2 x median dt).

    A pickle holds a data frame, a list of dicts or a dict of lists; a row is one sample, or one image with lists of
    ``times``, ``x`` and ``y``. Samples of an image that are not in time order are sorted; samples whose time or
    position is not a number are left out; both are counted in ``notes``. Base of ``image``: see :func:`infer_base`.

    Args:
        files: condition (level of the hierarchy) to pickle.
        time_unit: of ``times``; "auto" infers it from the median step and says so in ``notes``.

    Raises:
        DataError: a pickle that tries to import something, missing fields, unequal lists, values that are not numbers,
            a unit of time that cannot be inferred.
    """
    return concat([_read_level(path, level, time_unit, set(files)) for level, path in files.items()])


def infer_base(
    img_id: NDArray[np.int64],
    n_images: int,
    label: NDArray[np.int64] | None = None,
    reference_labels: NDArray[np.int64] | None = None,
) -> int:
    """Whether image numbers count from 0 or from 1 (card ``gaze-datasets``, ARISTO 3).

    The ends decide (0, or ``n_images``, occurs); else the labels do, if more than 99 % of the distinct images agree
    with the reference under one base and not under the other. Labels may themselves count from 0 or 1.

    Args:
        img_id: (m,) numbers in the gaze file.
        n_images: images in the list that the numbers refer to. Numbers beyond it are not compared.
        label: (m,) species labels beside ``img_id``.
        reference_labels: (n_images,) labels in the order of the list.

    Raises:
        DataError: no number, a negative one, or undecidable.
    """
    if img_id.size == 0 or img_id.min() < 0:
        found = f"{img_id.min()}" if img_id.size else "none"
        raise DataError(f"image numbers: got {found}. Expected numbers from 0 or 1; check the field img_id.")
    if img_id.min() == 0:
        return 0
    if img_id.max() == n_images:
        return 1
    fitting = []
    if label is not None and reference_labels is not None:
        image, first = np.unique(img_id, return_index=True)
        agreement = [_agreement(image - base, label[first], reference_labels) for base in (0, 1)]
        fitting = [base for base in (0, 1) if agreement[base] > AGREEMENT]
    if len(fitting) != 1:
        raise DataError(
            f"image numbers: got {img_id.min()} to {img_id.max()} for a list of {n_images:,} images, which may count "
            "from 0 or from 1, and the labels do not decide. Declare gaze.image_id_base: 0 or 1."
        )
    return fitting[0]


def _agreement(row: NDArray[np.int64], label: NDArray[np.int64], reference: NDArray[np.int64]) -> float:
    """Largest share of images in the list whose label differs from the reference by one and the same of -1, 0, 1."""
    listed = row < len(reference)
    difference = label[listed] - reference[row[listed]]
    return max(np.count_nonzero(difference == offset) for offset in (-1, 0, 1)) / max(len(difference), 1)


def _read_level(path: Path, level: str, time_unit: TimeUnit, levels: set[str]) -> GazeTable:
    columns = _columns(restricted_load(path), path)
    _check_level(columns, level, levels, path)
    columns = _explode({name: columns[name] for name in (*FIELDS, "label") if name in columns}, path)
    image = _whole(_numbers(columns, "img_id", path), "img_id", path)
    time, x, y = (_numbers(columns, name, path) for name in FIELDS[1:])
    label, notes = _label(columns, path)
    good = np.isfinite(time) & np.isfinite(x) & np.isfinite(y)
    if not good.any():
        raise DataError(f"{_WHAT}: {path}: no sample has a time and a position. Check the fields x, y and times.")
    if not good.all():
        notes.append(f"{(~good).sum():,} of {len(good):,} samples have no finite time or position and were left out")
    scale, unit_note = time_scale(time_unit, image[good], time[good], f"{_WHAT}: {path}")
    images, code = np.unique(image, return_inverse=True)
    table = GazeTable(
        image=code.astype(np.int32),
        images=images,
        x=x,
        y=y,
        duration_ms=np.full(len(x), np.nan),
        t_ms=time * scale,
        viewer=np.full(len(x), -1, dtype=np.int32),
        condition=np.zeros(len(x), dtype=np.int32),
        conditions=(level,),
        label=label,
        kind="samples",
        notes=tuple(f"{level}: {note}" for note in [*notes, *unit_note]),
    )
    return in_time_order(table.take(good), level)


def _label(columns: Mapping[str, Column], path: Path) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Labels serve only to find the base of the numbers, so unusual ones are no error."""
    if "label" not in columns:
        return None, []
    try:
        return _whole(_numbers(columns, "label", path), "label", path), []
    except DataError:
        return None, ["the labels are not whole numbers and were not used"]


def _columns(content: object, path: Path) -> dict[str, Column]:
    """The fields of whatever container was in the pickle."""
    import pandas as pd

    columns: dict[str, Column]
    if isinstance(content, pd.DataFrame):
        columns = {str(name): content.iloc[:, i].to_numpy() for i, name in enumerate(content.columns)}
    elif isinstance(content, dict):
        columns = {
            str(name): values for name, values in content.items() if isinstance(values, list | tuple | np.ndarray)
        }
    elif isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        columns = {str(name): [row.get(name) for row in content] for name in content[0]}
    else:
        raise DataError(
            f"{_WHAT}: {path}: got a {type(content).__name__}. "
            "Expected a data frame, a list of dicts or a dict of lists, with rows."
        )
    missing = [name for name in FIELDS if name not in columns]
    if missing:
        raise DataError(
            f"{_WHAT}: {path}: no field {missing[0]!r}{did_you_mean(missing[0], columns)}, "
            f"got {', '.join(columns) or 'none'}. Expected {', '.join(FIELDS)}."
        )
    return columns


def _check_level(columns: Mapping[str, Column], level: str, levels: set[str], path: Path) -> None:
    """A file that names another of the declared levels in ``hierarchy`` was declared under the wrong name."""
    named = {value for value in columns.get("hierarchy", ()) if isinstance(value, str)} & levels
    if named - {level}:
        raise DataError(
            f"{_WHAT}: {path}: field 'hierarchy', got {', '.join(sorted(named))} in the file declared as {level!r}. "
            "Correct gaze.files in the spec."
        )


def _explode(columns: dict[str, Column], path: Path) -> dict[str, Column]:
    """One row per sample: rows that hold lists of times, x and y become as many rows."""
    rows = {name: len(values) for name, values in columns.items()}
    if len(set(rows.values())) > 1:
        found = ", ".join(f"{name} {n:,}" for name, n in rows.items())
        raise DataError(f"{_WHAT}: {path}: fields of unequal length, got {found}. Export the file again.")
    points = FIELDS[1:]
    if not any(_holds_lists(columns[name]) for name in points):
        return columns
    cells = {name: _cells(columns[name], name, path) for name in points}
    sizes = np.array([[cell.size for cell in cells[name]] for name in points])
    uneven = np.flatnonzero((sizes != sizes[0]).any(axis=0))
    if uneven.size:
        row = uneven[0]
        found = ", ".join(f"{name} {n}" for name, n in zip(points, sizes[:, row], strict=True))
        raise DataError(f"{_WHAT}: {path}: row {row}, got lists of unequal length ({found}). Export the file again.")
    repeat = np.repeat(np.arange(sizes.shape[1]), sizes[0])
    flat: dict[str, Column] = {name: np.concatenate(cells[name]) for name in points}
    return flat | {name: _object(values)[repeat] for name, values in columns.items() if name not in points}


def _holds_lists(values: Column) -> bool:
    numeric = isinstance(values, np.ndarray) and values.dtype.kind in "biuf"
    return not numeric and any(isinstance(value, list | tuple | np.ndarray) for value in values)


def _cells(values: Column, name: str, path: Path) -> list[NDArray[Any]]:
    try:
        return [np.ravel(value) for value in values]
    except ValueError:
        raise _not_a_number(values, name, path) from None


def _object(values: Column) -> NDArray[Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column


def _numbers(columns: Mapping[str, Column], name: str, path: Path) -> NDArray[np.float64]:
    values = columns[name]
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise _not_a_number(values, name, path) from None
    if column.ndim != 1:
        raise _not_a_number(values, name, path)
    return column


def _whole(values: NDArray[np.float64], name: str, path: Path) -> NDArray[np.int64]:
    bad = np.flatnonzero(~(np.abs(values) < 2**53) | (values != np.round(values)))
    if bad.size:
        raise DataError(f"{_WHAT}: {path}: field {name!r}, row {bad[0]}, got {values[bad[0]]}. Expected whole numbers.")
    return values.astype(np.int64)


def _not_a_number(values: Column, name: str, path: Path) -> DataError:
    for row, value in enumerate(values):
        try:
            float(value)
        except (TypeError, ValueError):
            return DataError(f"{_WHAT}: {path}: field {name!r}, row {row}, got {str(value)[:40]!r}. Expected a number.")
    return DataError(f"{_WHAT}: {path}: field {name!r} is not one column of numbers. Export the file again.")
