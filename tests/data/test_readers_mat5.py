"""The look at MATLAB files: every sound one passes, and no damaged one reaches SciPy and ends the process."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.io import loadmat, savemat

from gazeeval.data.readers.mat5 import check_mat5
from gazeeval.data.readers.matlab import load_mat
from gazeeval.errors import DataError

VARIABLES: dict[str, Any] = {
    "numbers": np.arange(12.0).reshape(3, 4),
    "complex": np.array([1 + 2j]),
    "cube": np.zeros((2, 3, 4), np.uint8),
    "empty": np.empty((0, 2)),
    "text": "fixations",
    "lines": np.array(["ab", "cd"]),
    "flag": np.array([True, False]),
    "cells": np.array([np.arange(2), "q", np.array([])], dtype=object),
    "struct": {"x": np.arange(3), "inner": {"name": "é"}},
    "structs": np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "O"), ("b", "O")]),
    "sparse": sparse.csc_matrix(np.eye(3)),
}


def mat(variables: dict[str, Any], *, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    savemat(cast(Any, buffer), variables, do_compression=compressed)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", VARIABLES)
def test_every_kind_of_variable_passes(name: str, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(mat({name: VARIABLES[name]}, compressed=compressed))
    check_mat5(path)
    assert name in loadmat(path)


def test_files_of_other_versions_are_left_to_their_readers(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"x": np.arange(3)}, format="4")
    check_mat5(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("position", "value", "problem"),
    [
        (136, 249, "flags of type 249"),
        (144, 40, "a matrix of class 40"),
        (163, 255, "dimensions"),
        (135, 4, r"[\d,]+ bytes announced"),
    ],
)
def test_a_wrong_byte_is_named(position: int, value: int, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    content = bytearray(mat({"numbers": VARIABLES["numbers"]}))
    content[position] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.mat: cannot be read as a MATLAB file \({problem}"):
        load_mat(path)


def test_a_compressed_variable_is_looked_at_as_well(tmp_path: Path) -> None:
    content = bytearray(mat({"numbers": VARIABLES["numbers"]}))
    content[136] = 249
    packed = zlib.compress(bytes(content[128:]))
    (tmp_path / "a.mat").write_bytes(content[:128] + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(DataError, match="flags of type 249"):
        load_mat(tmp_path / "a.mat")


@settings(max_examples=300, deadline=None, derandomize=True)  # of as many files, SciPy alone crashes on about eight
@given(st.data())
def test_damage_anywhere_ends_in_data_or_a_message(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.mat"
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        load_mat(path)


WHOLE = mat(VARIABLES)
