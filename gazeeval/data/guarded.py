"""The machine that reads pickles, with what a hostile file does with it taken out.

Python's own unpickler in its Python form: the one in C is several times as quick, but gives memory to any index of its
memo that a file names (34 GB for five bytes), and calls whatever it has found. Here a subclass says what may be called.
"""

from __future__ import annotations

import pickle
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from io import BytesIO
from struct import unpack
from typing import IO, Any, ClassVar

import numpy as np

MOST_NESTED = 50
"""Tuples inside each other. Hashing goes down through all of them in C, which has ended the process at 1e6."""

_FLOAT = np.dtype([("value", ">f8"), ("next", "u1")])  # a number, and the opcode behind it
_AT_ONCE = 4096

_Step = Callable[[Any], None]
_STEPS: dict[int, _Step] = pickle._Unpickler.dispatch  # what each opcode does
_DICTS = (dict, OrderedDict, defaultdict, Counter)
_NOT_OF_DATA = (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4)


class Unpickler(pickle._Unpickler):
    """Builds lists, dicts, sets and tuples of plain values; for everything else it asks its subclass.

    A subclass has ``find_class`` and ``persistent_load``, as any has, and of `call`, `new` and `build` what it allows.

    Args:
        file: at a pickle, or at several behind each other, one for each call of ``load``.
        size: bytes of the file.
    """

    dispatch: ClassVar[dict[int, _Step]] = dict(_STEPS)
    stack: list[Any]
    metastack: list[list[Any]]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    _unframer: Any

    def __init__(self, file: IO[bytes], size: int) -> None:
        super().__init__(file)
        self._file = file
        self._size = size
        self._nested: dict[int, tuple[int, tuple[Any, ...]]] = {}  # id -> depth; the tuple keeps its id from new use

    def refused(self, attempt: str) -> Exception:
        """What to raise where the file tries to do ``attempt``."""
        return pickle.UnpicklingError(f"refused, it tried to {attempt}")

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        """The object that calling ``function`` makes."""
        raise self.refused(f"call {name_of(function)}")

    def new(self, kind: Any, args: tuple[Any, ...]) -> Any:
        """What ``__new__`` of a class makes."""
        raise self.refused(f"make a {name_of(kind)}")

    def build(self, target: Any, state: Any) -> None:
        """Give an object its state."""
        raise self.refused(f"change a {type(target).__name__}")

    def _reduce(self) -> None:
        args = self.stack.pop()
        if type(args) is not tuple:
            raise self.refused("call with arguments that are no tuple")
        self.stack[-1] = self.call(self.stack[-1], args)

    def _newobj(self) -> None:
        args, kind = self.stack.pop(), self.stack.pop()
        self.append(self.new(kind, args))

    def _build(self) -> None:
        state = self.stack.pop()
        self.build(self.stack[-1], state)

    def _bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        if length > self._size:
            raise EOFError(f"{length:,} bytes announced")
        self.append(bytearray(self.read(length)))

    def _binfloat(self) -> None:
        """Recordings are long lists of floats: as many as follow each other are read at once."""
        source = self._unframer.current_frame or self._file
        if isinstance(source, BytesIO):
            start = source.tell()
            ahead = source.getbuffer()[start : start + _FLOAT.itemsize * _AT_ONCE]
            if len(ahead) > _FLOAT.itemsize and ahead[8] == pickle.BINFLOAT[0]:
                run = np.frombuffer(ahead, _FLOAT, len(ahead) // _FLOAT.itemsize)
                ends = np.flatnonzero(run["next"] != pickle.BINFLOAT[0])
                run = run[: ends[0] + 1] if len(ends) else run
                self.stack.extend(run["value"].tolist())
                source.seek(start + _FLOAT.itemsize * len(run) - 1)
                return
        self.append(unpack(">d", self.read(8))[0])

    def _inside(self, members: tuple[Any, ...]) -> int:
        return max((self._nested.get(id(item), (1,))[0] for item in members if type(item) is tuple), default=0)

    def _check_nested(self) -> None:
        made = self.stack[-1]
        depth = self._inside(made) + 1
        if depth > MOST_NESTED:
            raise self.refused(f"put more than {MOST_NESTED} tuples into each other")
        if depth > 1:
            self._nested[id(made)] = depth, made

    dispatch |= {pickle.REDUCE[0]: _reduce, pickle.NEWOBJ[0]: _newobj, pickle.BUILD[0]: _build}
    dispatch |= {pickle.BYTEARRAY8[0]: _bytearray8, pickle.BINFLOAT[0]: _binfloat}


def _nesting(step: _Step) -> _Step:
    def checked(self: Unpickler) -> None:
        step(self)
        self._check_nested()

    return checked


def _changing(step: _Step, place: Callable[[Unpickler], Any], kinds: tuple[type[Any], ...]) -> _Step:
    def checked(self: Unpickler) -> None:
        if type(target := place(self)) not in kinds:
            raise self.refused(f"put values into a {type(target).__name__}")
        step(self)

    return checked


def _unread(self: Unpickler) -> None:
    raise pickle.UnpicklingError("an opcode that no pickle of data has")


for _code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3):
    Unpickler.dispatch[_code[0]] = _nesting(_STEPS[_code[0]])
for _code, _place, _kinds in (
    (pickle.APPEND, lambda self: self.stack[-2], (list,)),
    (pickle.APPENDS, lambda self: self.metastack[-1][-1], (list,)),
    (pickle.SETITEM, lambda self: self.stack[-3], _DICTS),
    (pickle.SETITEMS, lambda self: self.metastack[-1][-1], _DICTS),
    (pickle.ADDITEMS, lambda self: self.metastack[-1][-1], (set,)),
):
    Unpickler.dispatch[_code[0]] = _changing(_STEPS[_code[0]], _place, _kinds)
Unpickler.dispatch |= {_code[0]: _unread for _code in _NOT_OF_DATA}


def name_of(thing: Any) -> str:
    """Module and name of a class or function; the class of anything else."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"
