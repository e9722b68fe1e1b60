"""Fixations that pysaliency wrote to HDF5 (``fixations.to_hdf5``); needs the extra ``hdf5``.

Layouts as matthias-k/pysaliency reads them: types Fixations (1.0 to 1.2), FixationTrains (1.0 to 1.3), Scanpaths and
ScanpathFixations (1.0); images from FileStimuli.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.readers.columns import Columns, Text, encode, gaze_table
from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.table import Floats, GazeTable, Kind, TimeUnit
from gazeeval.errors import DataError
from gazeeval.optional import optional_module

_WHAT = "pysaliency export"
T = TypeVar("T")


class _Layout(NamedTuple):
    """Where a type of export has its datasets. With ``length`` they have one row per scanpath, padded behind it."""

    x: str
    y: str
    image: str
    viewer: Sequence[str]  # the first that is there
    time: str
    duration: str
    length: str | None = None


_SCANPATHS = _Layout(
    *("xs", "ys", "n", ["scanpath_attributes/subject"]),
    *("fixation_attributes/ts", "fixation_attributes/durations", "lengths"),
)
_TRAINS = _Layout(
    *("train_xs", "train_ys", "train_ns", ["train_subjects"]),
    *("train_ts", "scanpath_fixation_attributes/durations", "train_lengths"),
)
_LAYOUTS = {
    "Fixations": _Layout("x", "y", "n", ["subject", "subjects"], "t", "duration"),
    "FixationTrains": _TRAINS,
    "Scanpaths": _SCANPATHS,
    "ScanpathFixations": _SCANPATHS,
}


def read_pysaliency(
    files: Sequence[GazeFile], stimuli: Path, *, kind: Kind = "fixations", time_unit: TimeUnit = "s"
) -> GazeTable:
    """The fixations of all exports. Images are called as ``stimuli``, the export of the images, calls their files.

    Raises:
        DataError: a file that is missing or damaged, another type of export, images without names, and what
            `gaze_table` refuses. Fixations count from 1.
    """
    names = _read(stimuli, _image_names)
    parts = []
    for number, file in enumerate(files):
        image, viewer, numbers = _read(file.path, _fixations)
        if len(image) and not 0 <= image.min() <= image.max() < len(names):
            raise DataError(
                f"{_WHAT}: {file.path}: images {image.min()} to {image.max()}, got {len(names)} in {stimuli.name}. "
                "Name the stimuli of the same data set in gaze.stimuli."
            )
        text = {"image": Text(names, image.astype(np.int32)), "viewer": viewer}
        rows = np.arange(1, len(image) + 1)
        parts.append(Columns(text, numbers, np.full(len(image), number, dtype=np.int32), rows))
    return gaze_table(_WHAT, files, parts, row="fixation", within="fixation", kind=kind, time_unit=time_unit)


def _read(path: Path, part: Callable[[Any, str], T]) -> T:
    what = f"{_WHAT}: {path}"
    h5py = optional_module("h5py", what)
    try:
        with h5py.File(path, "r") as file:
            return part(file, what)
    except (OSError, KeyError, RuntimeError, ValueError, IndexError) as error:
        raise DataError(f"{what}: cannot be read ({error}). Export it again from pysaliency.") from None


def _type(file: Any) -> str:
    name = file.attrs.get("type", "none")
    return name.decode() if isinstance(name, bytes) else str(name)


def _image_names(file: Any, what: str) -> list[str]:
    if _type(file) != "FileStimuli":
        raise DataError(f"{what}: type, got {_type(file)!r}. Export the images as FileStimuli, which has their names.")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in file["filenames"][()]]


def _fixations(file: Any, what: str) -> tuple[NDArray[np.int64], Text, dict[str, Floats]]:
    """Image (m,), viewer, and the columns of numbers."""
    if _type(file) not in _LAYOUTS:
        raise DataError(f"{what}: type, got {_type(file)!r}. Expected one of {', '.join(_LAYOUTS)}.")
    layout = _LAYOUTS[_type(file)]
    group = file["scanpaths"] if _type(file) == "ScanpathFixations" else file
    there = {"x": layout.x, "y": layout.y, "time": layout.time, "duration": layout.duration}
    numbers = {
        name: group[path][()].astype(np.float64) for name, path in there.items() if path in group or name in "xy"
    }
    image = group[layout.image][()].astype(np.int64)
    viewer = next((group[path][()] for path in layout.viewer if path in group), np.full(len(image), ""))
    if layout.length is not None:
        longest = np.arange(numbers["x"].shape[1])
        length = group[layout.length][()] if layout.length in group else (~np.isnan(numbers["x"])).sum(axis=1)
        inside = longest < length[:, None]
        numbers = {name: values[inside] for name, values in numbers.items()}
        image, viewer = np.repeat(image, length), np.repeat(viewer, length)
    if len({*map(len, numbers.values()), len(image), len(viewer)}) > 1:
        raise ValueError("datasets of unequal length")
    words = [name.decode() for name in viewer] if viewer.dtype == object else viewer.astype(np.str_)
    return image, encode(words), numbers
