"""Read a pickle without letting it run anything: plain containers, numpy arrays and pandas frames, nothing else.

Names are allowed one by one, never whole modules, and most of them only as data: what a pickle may call is a shorter
list, and what it may build a shorter one still. The numpy part does not reach numpy's own constructors either: a forged
dtype state can turn raw bytes into object pointers there, so dtypes, arrays and scalars are rebuilt here from a type
code that is checked.

Nor does a small file become large: what a pickle announces is held against the size of the file, and what it holds
is counted as often as it occurs, for references cost a file two bytes each and whoever reads on a whole array.
"""

from __future__ import annotations

import io
import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.guarded import Unpickler, name_of
from gazeeval.data.regular import require_regular
from gazeeval.errors import DataError

_OFTEN = 10  # values that a byte of a file may stand for
_PLAIN = {bool, bytes, complex, float, int, str, type(None)}
_TYPE_CODE = re.compile(r"[biufcSU]\d{1,6}|O\d?")

# As written by pandas 1.5, 2.2 and 3 for frames of numbers, text, categories and objects; 3 uses the short names.
_FRAMES = {
    "pandas.core.arrays.categorical.Categorical",
    "pandas.core.arrays.string_.StringArray",
    "pandas.core.dtypes.dtypes.CategoricalDtype",
    "pandas.core.frame.DataFrame",
    "pandas.core.series.Series",
    *(f"pandas.{name}" for name in ("Categorical", "CategoricalDtype", "DataFrame", "Series", "arrays.StringArray")),
}
_INDEXES = {
    "pandas.core.indexes.base.Index": {"data", "name"},
    "pandas.core.indexes.range.RangeIndex": {"start", "stop", "step", "name"},
}
_INDEXES |= {f"pandas.{name.rpartition('.')[2]}": fields for name, fields in _INDEXES.items()}
_PARTS = {
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals._unpickle_block",
    "pandas.core.arrays.string_.StringDtype",
    "pandas.core.internals.managers.BlockManager",
    "pandas.core.internals.managers.SingleBlockManager",
    "pandas.StringDtype",
}
_PANDAS = _FRAMES | _INDEXES.keys() | _PARTS | {"pandas._libs.missing.NA", "pandas.NA"}
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
        require_regular(path)
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"pickle: {path}: cannot be read ({error.strerror}). Check the file name in the spec and --root."
        ) from None
    try:
        content = _Restricted(data, path).load()
        allowed = _OFTEN * len(data)
        if _expanded(content, allowed) > allowed:
            raise ValueError("the same values occur again and again, too often to be a recording")
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"pickle: {path}: damaged or not a pickle, got {len(data):,} bytes and {type(error).__name__}: "
            f"{str(error)[:200]}. Fetch the file again, or convert it to CSV."
        ) from None
    return content


def _expanded(content: object, limit: int) -> int:
    """The number of values in ``content``, each as often as it occurs; something above ``limit`` if there are more."""
    import pandas as pd

    count, waiting = 0, [content]
    while waiting and count <= limit:
        item = waiting.pop()
        members: Any = ()
        if isinstance(item, list | tuple | set | frozenset):
            members = item
        elif isinstance(item, dict):
            members = [*item, *item.values()]
        elif isinstance(item, pd.DataFrame):
            members = [column.array for _, column in item.items()]
        elif isinstance(item, pd.Series | pd.Index):
            members = [item.array]
        elif isinstance(item, pd.api.extensions.ExtensionArray):
            members = [np.asarray(item)]
        elif isinstance(item, np.ndarray):
            count += item.size
            members = item.ravel().tolist() if item.dtype.hasobject else ()
        count += len(members)
        waiting.extend(member for member in members if type(member) not in _PLAIN)
    return count


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


def _set(members: list[Any]) -> set[Any]:
    """Of a list, which has as many members as the file holds."""
    if type(members) is not list:
        raise ValueError(f"set of a {type(members).__name__}")
    return set(members)


def _frozenset(members: list[Any]) -> frozenset[Any]:
    return frozenset(_set(members))


def _empty(kind: type[Any]) -> Callable[[], Any]:
    """``kind`` without arguments: ``bytes(10**10)`` would be as large as it says."""

    def make(*args: object) -> Any:
        if args:
            raise ValueError(f"{kind.__name__} of {args!r:.40}")
        return kind()

    return make


def _defaultdict(factory: type[Any]) -> defaultdict[Any, Any]:
    if not isinstance(factory, type):
        raise ValueError(f"defaultdict of {factory!r:.40}")
    return defaultdict(factory)


_CALLS: dict[str, Callable[..., Any]] = {
    "builtins.bytes": _empty(bytes),
    "builtins.complex": complex,
    "builtins.frozenset": _frozenset,
    "builtins.set": _set,
    "collections.OrderedDict": _empty(OrderedDict),
    "collections.defaultdict": _defaultdict,
    "_codecs.encode": _encode,
    "numpy.dtype": _Dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
_KINDS: dict[str, Any] = {
    **{f"builtins.{kind.__name__}": kind for kind in (bool, dict, float, int, list, str, tuple)},
    "numpy.ndarray": np.ndarray,  # only ever handed to _reconstruct
}


class _Restricted(Unpickler):
    """Every name that a pickle may use stands for one of four: what it may call, a kind that defaultdict or
    _reconstruct is told, a class of pandas to make empty and fill, or a part of such an object."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(data), len(data))
        self._path = path
        self._callable: set[Any] = {*_CALLS.values(), self._slice, self._index}

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}".replace("__builtin__.", "builtins.")
        own = {"builtins.slice": self._slice, "pandas.core.indexes.base._new_Index": self._index} | _CALLS | _KINDS
        if wanted in own:
            return own[wanted]
        if wanted in _PANDAS:
            found = super().find_class(module, name)
            self._callable |= {found} if wanted in _PARTS else set()
            return found
        if wanted in _RENAMED:
            return super().find_class(*_RENAMED[wanted])
        raise self.refused(f"import {wanted}")

    def persistent_load(self, pid: object) -> Any:
        raise self.refused(f"load the external object {str(pid)[:40]!r}")

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        return function(*args) if function in self._callable else super().call(function, args)

    def new(self, kind: Any, args: tuple[Any, ...]) -> Any:
        is_empty_frame = isinstance(kind, type) and name_of(kind) in _FRAMES and args == ()
        return kind.__new__(kind) if is_empty_frame else super().new(kind, args)

    def build(self, target: Any, state: Any) -> None:
        if not isinstance(target, _Dtype | _Array) and name_of(type(target)) not in _FRAMES:
            super().build(target, state)
        elif hasattr(target, "__setstate__"):
            target.__setstate__(state)
        else:
            vars(target).update(state)

    def _slice(self, *ends: int | None) -> slice:
        return slice(*map(self._bounded, ends))

    def _index(self, kind: type[Any], fields: dict[str, Any]) -> Any:
        known = _INDEXES[name_of(kind)]
        if not fields.keys() <= known or isinstance(fields.get("data"), range | kind):
            raise self.refused(f"make a {name_of(kind)} of {', '.join(map(str, fields))}")
        for end in ("start", "stop", "step"):
            self._bounded(fields.get(end))
        return kind.__new__(kind, **fields)  # type: ignore[call-overload]

    def _bounded(self, end: int | None) -> int | None:
        """A number of rows or columns, of which a file cannot hold more than it has bytes."""
        if end is not None and not (type(end) is int and abs(end) <= self._size):
            raise ValueError(f"{end!r:.40} rows or columns in {self._size:,} bytes")
        return end

    def refused(self, attempt: str) -> DataError:
        return DataError(
            f"pickle: {self._path}: refused, it tried to {attempt}. Only plain containers, numpy arrays and pandas "
            "frames are read; nothing was run. If you trust the file, convert it to CSV ('format: csv' in the spec)."
        )
