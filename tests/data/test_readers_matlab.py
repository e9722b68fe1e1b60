"""MATLAB files: SALICON's, CAT2000's and PASCAL-S's layouts as documented, written here; damage and objects named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.io.matlab import MatlabOpaque

from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.matlab import load_mat
from gazeeval.data.readers.records import read_records
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError


def struct_array(rows: list[dict[str, Any]]) -> np.ndarray[Any, Any]:
    """A MATLAB struct array (1 x n), as scipy writes it."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.values())
    return array


def keys(table: GazeTable) -> list[str]:
    """The image key of each row."""
    found: list[str] = table.images[table.image].tolist()
    return found


@pytest.fixture
def salicon(tmp_path: Path) -> Path:
    """Two people, the second with a single sample."""
    people: list[dict[str, Any]] = [
        {"location": np.array([[1, 2], [640, 480], [3, 4]]), "timestamp": np.array([[0], [16], [33]]), "fixations": []},
        {"location": np.array([[5, 6]]), "timestamp": np.array([[2]]), "fixations": np.array([[7, 8]])},
    ]
    path = tmp_path / "COCO_train2014_000000000009.mat"
    content = {"image": path.stem, "resolution": np.array([480, 640]), "gaze": struct_array(people)}
    savemat(path, content)
    return path


def test_salicon(salicon: Path) -> None:
    files = [GazeFile(salicon, salicon.name, {"image": salicon.stem})]
    columns = {"points": "location", "viewer": "#", "time": "timestamp"}
    table = read_records(files, load_mat, columns, records="gaze", points=["x", "y"], kind="samples")
    assert keys(table) == [salicon.stem] * 4
    assert (table.x.tolist(), table.y.tolist()) == ([1, 640, 3, 5], [2, 480, 4, 6])
    assert [table.viewers[code] for code in table.viewer] == ["1", "1", "1", "2"]
    assert table.duration_ms.tolist() == [16, 17, 16.5, 16.5]
    found = read_records(files, load_mat, {"image": "/image", "points": "fixations"}, records="gaze", points=["x", "y"])
    assert (keys(found), found.x.tolist()) == ([salicon.stem], [7])
    assert found.notes == ("1 of 2 recordings hold no point",)


@pytest.mark.parametrize("rows", [1, 2])
def test_cat2000_as_saved_from_its_map(rows: int, tmp_path: Path) -> None:
    recordings = [
        {"image": 1, "viewer": "ABC", "data": np.array([[960.5, 540.0, 3], [961, 541, 4]])},
        {"image": 2, "viewer": "DEF", "data": np.array([[1.0, 1.0, 5]])},
    ]
    path = tmp_path / "recordings.mat"
    savemat(path, {"recordings": struct_array(recordings[:rows])})
    columns = {"image": "image", "viewer": "viewer", "points": "data"}
    table = read_records([GazeFile(path, "r")], load_mat, columns, records="recordings", points=["x", "y"])
    assert keys(table) == ["1", "1", "2"][: rows + 1]
    assert table.viewers == ("ABC", "DEF")[:rows]
    assert table.x.tolist() == [960.5, 961, 1][: rows + 1]


def test_an_object_of_a_matlab_class_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "allFixData.mat"
    path.write_bytes(b"MATLAB")
    opaque = MatlabOpaque(np.zeros(1, dtype=[("s0", "O"), ("s1", "O"), ("s2", "O"), ("arr", "O")]))
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: {"__version__": "1.0", "allData": opaque})
    with pytest.raises(DataError, match=r"allFixData\.mat: 'allData' is an object of a MATLAB class .*struct array"):
        load_mat(path)


def test_damaged_files_are_named(salicon: Path, tmp_path: Path) -> None:
    data = salicon.read_bytes()
    for part in (b"", data[:64], data[: len(data) // 2], b"image,x,y\n" * 30):
        path = tmp_path / "bad.mat"
        path.write_bytes(part)
        with pytest.raises(DataError, match=r"bad\.mat: cannot be read as a MATLAB file"):
            load_mat(path)
    with pytest.raises(DataError, match=r"absent\.mat: cannot be read \(No such file"):
        load_mat(tmp_path / "absent.mat")


def test_a_variable_that_stands_twice_is_refused(salicon: Path, tmp_path: Path) -> None:
    twice = tmp_path / "twice.mat"
    header = 128
    twice.write_bytes(salicon.read_bytes() + salicon.read_bytes()[header:])
    with pytest.raises(DataError, match=r"twice\.mat: cannot be read as a MATLAB file \(Duplicate variable name"):
        load_mat(twice)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.booleans(), st.integers(136, 500), st.integers(1, 255))
def test_cut_or_changed_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, at: int, change: int
) -> None:
    """Cut anywhere; a byte changed in a compressed file, as MATLAB writes them (only these have a checksum)."""
    path = tmp_path_factory.getbasetemp() / "fuzz.mat"
    people = struct_array([{"p": np.arange(6.0).reshape(3, 2), "name": "ab"}])
    savemat(path, {"gaze": people}, do_compression=compressed)
    data = bytearray(path.read_bytes())
    at = 136 + at % (len(data) - 136)
    if compressed:
        data[at] ^= change
    else:
        del data[at:]
    path.write_bytes(data)
    files = [GazeFile(path, path.name)]
    try:
        table = read_records(files, load_mat, {"image": "#", "points": "p"}, records="gaze", points=["x", "y"])
    except DataError:
        return
    assert table.x.tolist() == [0, 2, 4]


# ------------------------------------------------------------------------------------------------ version 7.3


HEADER = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"


def write_pascal(path: Path) -> None:
    """fixCell as MATLAB 7.3 stores it: references to matrices that lie transposed; a char, an empty, a struct array."""
    h5py = pytest.importorskip("h5py")
    cells = [np.array([[10.0, 20, 1], [11, 21, 1], [12, 22, 2]]), np.array([[5.0, 6, 2]])]
    with h5py.File(path, "w", userblock_size=512) as file:
        hidden = file.create_group("#refs#")
        references = []
        for name, matrix in zip("ab", cells, strict=True):
            hidden[name] = matrix.T
            references.append(hidden[name].ref)
        file["fixCell"] = np.array([references], dtype=h5py.ref_dtype)
        file["fixCell"].attrs["MATLAB_class"] = np.bytes_("cell")
        file["title"] = np.array([[ord(letter)] for letter in "Möwe"], dtype=np.uint16)
        file["title"].attrs["MATLAB_class"] = np.bytes_("char")
        file["nothing"] = np.zeros(2, dtype=np.uint64)
        file["nothing"].attrs["MATLAB_empty"] = np.uint8(1)
        people = file.create_group("people")
        people.attrs["MATLAB_class"] = np.bytes_("struct")
        people["p"] = np.array([[reference] for reference in references], dtype=h5py.ref_dtype)
        file.create_group("one")["x"] = np.array([[4.0]])
    with path.open("r+b") as raw:
        raw.write(HEADER)


def test_pascal_s(tmp_path: Path) -> None:
    path = tmp_path / "pascalFix.mat"
    write_pascal(path)
    options: dict[str, Any] = {"records": "fixCell", "points": ["y", "x", "viewer"]}
    table = read_records([GazeFile(path, "p")], load_mat, {"image": "#", "points": "."}, **options)
    assert keys(table) == ["1", "1", "1", "2"]
    assert (table.x.tolist(), table.y.tolist()) == ([20, 21, 22, 6], [10, 11, 12, 5])
    assert [table.viewers[code] for code in table.viewer] == ["1", "1", "2", "2"]
    content = load_mat(path)
    assert (content["title"], content["nothing"], content["one"]) == ("Möwe", [], {"x": 4.0})
    assert [person["p"].shape for person in content["people"]] == [(3, 3), (3,)]


def test_version_7_3_needs_a_library_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new.mat"
    path.write_bytes(HEADER)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"new\.mat \(MATLAB 7\.3\): .*needs the library h5py.*gazeeval\[hdf5\]"):
        load_mat(path)


def test_a_damaged_file_of_version_7_3_is_named(tmp_path: Path) -> None:
    path = tmp_path / "new.mat"
    write_pascal(path)
    data = path.read_bytes()
    for end in (len(HEADER), 700, len(data) // 2):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=r"new\.mat: cannot be read as HDF5"):
            load_mat(path)
