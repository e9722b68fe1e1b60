"""MATLAB files as nested Python containers: structs are dicts, struct arrays and cells lists, matrices arrays."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from gazeeval.data.readers.mat5 import check_mat5
from gazeeval.data.readers.table import read_bytes
from gazeeval.errors import DataError
from gazeeval.optional import optional_module

_WHAT = "gaze recordings"


def load_mat(path: Path) -> dict[str, Any]:
    """The variables of a .mat file; matrices with one row or column become one-dimensional, single values scalars.

    Files of version 7.3 are HDF5 and need the extra ``hdf5``.

    Raises:
        DataError: the file is missing, truncated or no MATLAB file, has a variable twice, or holds an object of a
            MATLAB class, which nothing but MATLAB can open.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatlabOpaque, MatReadWarning

    what = f"{_WHAT}: {path}"
    read_bytes(path, _WHAT, 1)  # says what is wrong with the path
    try:
        check_mat5(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", MatReadWarning)
            content: dict[str, Any] = loadmat(path, simplify_cells=True)
    except NotImplementedError:
        return _load_hdf5(path, what)
    except Exception as error:  # a damaged file can raise anything
        problem = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"{what}: cannot be read as a MATLAB file ({problem}). Fetch or export it again.") from None
    variables = {name: value for name, value in content.items() if not name.startswith("__")}
    for name, value in variables.items():
        if isinstance(value, MatlabOpaque):
            raise DataError(
                f"{what}: {name!r} is an object of a MATLAB class (a containers.Map, a table), which only MATLAB "
                "opens. Save it there as a struct array, see the spec."
            )
    return variables


def _load_hdf5(path: Path, what: str) -> dict[str, Any]:
    h5py = optional_module("h5py", f"{what} (MATLAB 7.3)")
    try:
        with h5py.File(path, "r") as file:
            return {name: _value(item, file, h5py) for name, item in file.items() if not name.startswith("#")}
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise DataError(f"{what}: cannot be read as HDF5 ({error}). Fetch or export it again.") from None


def _value(item: Any, file: Any, h5py: Any) -> Any:
    """A MATLAB value: matrices lie transposed in the file, cells and the fields of struct arrays are references."""
    if isinstance(item, h5py.Group):
        fields = {name: _value(part, file, h5py) for name, part in item.items()}
        if all(_refers(part, h5py) and "MATLAB_class" not in part.attrs for part in item.values()):
            return [dict(zip(fields, values, strict=True)) for values in zip(*fields.values(), strict=True)]
        return fields
    if "MATLAB_empty" in item.attrs:
        return []
    if _refers(item, h5py):
        return [_value(file[reference], file, h5py) for reference in item[()].ravel()]
    matrix = item[()].T
    if item.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, matrix.ravel()))
    return np.squeeze(matrix)[()]


def _refers(item: Any, h5py: Any) -> bool:
    return isinstance(item, h5py.Dataset) and h5py.check_ref_dtype(item.dtype) is not None
