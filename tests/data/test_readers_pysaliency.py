"""Exports of pysaliency: every type and version in the layout that its reader expects, written here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.pysaliency import read_pysaliency
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError

# Two scanpaths, the second shorter: padded behind it.
XS = np.array([[10.0, 20, 30], [40, 50, np.nan]])
YS = XS + 1
TS = np.array([[0.0, 0.5, 1], [0.1, 0.4, np.nan]])
DURATIONS = np.array([[0.2, 0.3, 0.25], [0.15, 0.35, np.nan]])
N, SUBJECT, LENGTHS = np.array([1, 0]), np.array([4, 2]), np.array([3, 2])
IMAGES = ["stimuli/a.jpeg", "stimuli/ü.jpeg"]


def scanpaths(group: Any) -> None:
    group.attrs["type"], group.attrs["version"] = np.bytes_("Scanpaths"), np.bytes_("1.0")
    for name, values in {"xs": XS, "ys": YS, "n": N, "lengths": LENGTHS}.items():
        group[name] = values
    group["scanpath_attributes/subject"] = SUBJECT
    group["fixation_attributes/ts"] = TS
    group["fixation_attributes/durations"] = DURATIONS


def scanpath_fixations(file: Any) -> None:
    file.attrs["type"], file.attrs["version"] = np.bytes_("ScanpathFixations"), np.bytes_("1.0")
    scanpaths(file.create_group("scanpaths"))


def trains(file: Any) -> None:
    file.attrs["type"], file.attrs["version"] = np.bytes_("FixationTrains"), np.bytes_("1.3")
    old_trains(file)
    file["train_lengths"] = LENGTHS
    file["scanpath_fixation_attributes/durations"] = DURATIONS


def old_trains(file: Any) -> None:
    file.attrs["type"] = "FixationTrains"  # 1.0: neither lengths nor durations
    for name, values in {"xs": XS, "ys": YS, "ts": TS, "ns": N, "subjects": SUBJECT}.items():
        file[f"train_{name}"] = values


def points(file: Any, subject: str = "subject") -> None:
    file.attrs["type"] = np.bytes_("Fixations")
    inside = np.isfinite(XS)
    for name, values in {"x": XS, "y": YS, "t": TS}.items():
        file[name] = values[inside]
    file["n"], file[subject] = np.repeat(N, LENGTHS), np.repeat(SUBJECT, LENGTHS)


def old_points(file: Any) -> None:
    points(file, "subjects")


Write = Callable[[Any], None]


def export(folder: Path, write: Write, images: list[str] = IMAGES) -> tuple[list[GazeFile], Path]:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "fixations.hdf5", "w") as file:
        write(file)
    with h5py.File(folder / "stimuli.hdf5", "w") as file:
        file.attrs["type"], file.attrs["version"] = np.bytes_("FileStimuli"), np.bytes_("2.1")
        file.create_dataset("filenames", data=[name.encode() for name in images], dtype=h5py.special_dtype(vlen=str))
    return [GazeFile(folder / "fixations.hdf5", "fixations.hdf5")], folder / "stimuli.hdf5"


@pytest.mark.parametrize("write", [scanpaths, scanpath_fixations, trains, old_trains, points, old_points])
def test_every_type_of_export(write: Write, tmp_path: Path) -> None:
    table = read_pysaliency(*export(tmp_path, write))
    assert table.images[table.image].tolist() == [IMAGES[1]] * 3 + [IMAGES[0]] * 2
    assert (table.x.tolist(), table.y.tolist()) == ([10, 20, 30, 40, 50], [11, 21, 31, 41, 51])
    assert [table.viewers[code] for code in table.viewer] == ["4"] * 3 + ["2"] * 2
    np.testing.assert_allclose(table.t_ms, [0, 500, 1000, 100, 400])
    if write in (old_trains, points, old_points):
        assert np.isnan(table.duration_ms).all()
    else:
        np.testing.assert_allclose(table.duration_ms, [200, 300, 250, 150, 350])


def test_two_exports_of_one_set_of_images(tmp_path: Path) -> None:
    files, stimuli = export(tmp_path, trains)
    both: GazeTable = read_pysaliency([*files, *files], stimuli, time_unit="ms")
    assert (len(both), len(both.images), both.duration_ms[0]) == (10, 2, 0.2)


def other_type(file: Any) -> None:
    file.attrs["type"] = np.bytes_("Stimuli")


def without_y(file: Any) -> None:
    scanpaths(file)
    del file["ys"]


def uneven(file: Any) -> None:
    scanpaths(file)
    del file["ys"]
    file["ys"] = YS[:1]


def short(file: Any) -> None:
    points(file)
    del file["x"]
    file["x"] = np.array([1.0])


def negative(file: Any) -> None:
    points(file)
    file["duration"] = np.array([1.0, 2, 3, -4, 5])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (other_type, r"fixations\.hdf5: type, got 'Stimuli'\. Expected one of Fixations, FixationTrains"),
        (without_y, r"fixations\.hdf5: cannot be read \('?.*ys"),
        (uneven, r"fixations\.hdf5: cannot be read \("),
        (short, r"fixations\.hdf5: cannot be read \(datasets of unequal length"),
        (negative, r"fixations\.hdf5: fixation 4, duration, got -4"),
    ],
)
def test_other_exports_are_named(write: Write, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_pysaliency(*export(tmp_path, write))


def test_images_that_do_not_fit_are_named(tmp_path: Path) -> None:
    files, stimuli = export(tmp_path, trains, IMAGES[:1])
    with pytest.raises(DataError, match=r"images 0 to 1, got 1 in stimuli\.hdf5"):
        read_pysaliency(files, stimuli)
    with pytest.raises(DataError, match=r"type, got 'FixationTrains'\. Export the images as FileStimuli"):
        read_pysaliency(files, files[0].path)


def test_damaged_files_and_a_missing_library_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, stimuli = export(tmp_path, trains)
    data = files[0].path.read_bytes()
    for part in (b"", data[:40], data[: len(data) // 2]):
        files[0].path.write_bytes(part)
        with pytest.raises(DataError, match=r"fixations\.hdf5: cannot be read"):
            read_pysaliency(files, stimuli)
    with pytest.raises(DataError, match=r"absent\.hdf5: cannot be read"):
        read_pysaliency(files, tmp_path / "absent.hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"stimuli\.hdf5: .*pip install 'gazeeval\[hdf5\]'"):
        read_pysaliency(files, stimuli)
