"""Read a pickle without letting it run anything: plain containers, numpy arrays and pandas frames, nothing else.

Names are allowed one by one, never whole modules. The numpy part does not reach numpy's own constructors either: a
forged dtype state can turn raw bytes into object pointers there, so dtypes, arrays and scalars are rebuilt here from a
type code that is checked.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeeval.errors import DataError

_TYPE_CODE = re.compile(r"[biufcSU]\d{1,6}|O\d?")

# As written by pandas 1.5, 2.2 and 3 for frames of numbers, text, categories and objects; 3 uses the short names.
_PANDAS = {
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals._unpickle_block",
    "pandas._libs.missing.NA",
    "pandas.core.arrays.categorical.Categorical",
    "pandas.core.arrays.string_.StringArray",
    "pandas.core.arrays.string_.StringDtype",
    "pandas.core.dtypes.dtypes.CategoricalDtype",
    "pandas.core.frame.DataFrame",
    "pandas.core.indexes.base.Index",
    "pandas.core.indexes.base._new_Index",
    "pandas.core.indexes.range.RangeIndex",
    "pandas.core.internals.managers.BlockManager",
    "pandas.core.internals.managers.SingleBlockManager",
    "pandas.core.series.Series",
    *(f"pandas.{name}" for name in ("DataFrame", "Series", "Index", "RangeIndex", "StringDtype", "NA")),
    *(f"pandas.{name}" for name in ("Categorical", "CategoricalDtype", "arrays.StringArray")),
}
_RENAMED = {  # pandas 1: indexes of numbers had classes of their own
    f"pandas.core.indexes.numeric.{name}": ("pandas.core.indexes.base", "Index")
    for name in ("Int64Index", "UInt64Index", "Float64Index")
}


def restricted_load(path: Path) -> object:
    """The object in a pickle (protocols 2 to 5).

    Raises:
        DataError: the file is missing, empty, truncated or no pickle; or it names anything but plain containers, numpy
            and pandas data. The message names what it tried to import; nothing of it has run.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"pickle: {path}: cannot be read ({error.strerror}). Check the file name in the spec and --root."
        ) from None
    try:
        return _Restricted(io.BytesIO(data), path).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"pickle: {path}: damaged or not a pickle, got {len(data):,} bytes and {type(error).__name__}: "
            f"{str(error)[:200]}. Fetch the file again, or convert it to CSV."
        ) from None


class _Dtype:
    """Stands in for a numpy dtype while loading: a type code and a byte order, no other state."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def resolve(self) -> np.dtype[Any]:
        if not _TYPE_CODE.fullmatch(self.code) or self.order not in set("<>=|"):
            raise ValueError(f"arrays of numpy type {self.order}{self.code} are not read")
        return np.dtype("O" if self.code[0] == "O" else self.order + self.code)


class _Array(np.ndarray[Any, np.dtype[Any]]):
    """An array that takes its state with a stand-in dtype."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, stand_in, fortran, data = state
        dtype, in_columns = stand_in.resolve(), bool(fortran)
        if not (type(shape) is tuple and all(type(side) is int and side >= 0 for side in shape)):
            raise ValueError(f"array of shape {shape!r}")
        # numpy reads past the end of a list that is shorter than the array
        kind, length = (list, math.prod(shape)) if dtype.hasobject else (bytes, math.prod(shape) * dtype.itemsize)
        if type(data) is not kind or len(data) != length:
            raise ValueError(f"array of shape {shape} with {len(data)} values or bytes for {length}")
        super().__setstate__((int(version), shape, dtype, in_columns, data))  # type: ignore[arg-type]


def _reconstruct(*_: object) -> _Array:
    return _Array((0,), np.int8)


def _from_buffer(
    buffer: bytes, dtype: _Dtype, shape: tuple[int, ...], order: str, axes: tuple[int, ...] | None = None
) -> NDArray[Any]:
    array = np.frombuffer(buffer, dtype.resolve())
    if order == "K" and axes is not None:
        return array.reshape(shape).transpose(axes)
    return array.reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype.resolve())[0]


def _encode(text: str, encoding: str) -> bytes:
    """What protocol 2 uses for bytes."""
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode(encoding)


_OURS: dict[str, Any] = {
    **{f"builtins.{kind.__name__}": kind for kind in (bool, bytes, complex, dict, float, frozenset, int, list)},
    **{f"builtins.{kind.__name__}": kind for kind in (set, slice, str, tuple)},
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": defaultdict,
    "_codecs.encode": _encode,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": "ndarray",  # only ever handed to _reconstruct
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}


class _Restricted(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if wanted in _OURS:
            return _OURS[wanted]
        if wanted in _PANDAS:
            return super().find_class(module, name)
        if wanted in _RENAMED:
            return super().find_class(*_RENAMED[wanted])
        raise self._refused(f"import {wanted}")

    def persistent_load(self, pid: object) -> Any:
        raise self._refused(f"load the external object {str(pid)[:40]!r}")

    def _refused(self, attempt: str) -> DataError:
        return DataError(
            f"pickle: {self._path}: refused, it tried to {attempt}. Only plain containers, numpy arrays and pandas "
            "frames are read; nothing was run. If you trust the file, convert it to CSV ('format: csv' in the spec)."
        )
