"""Look through a MATLAB file of version 5 to 7.2 before SciPy reads it.

SciPy takes type codes from the file as positions in a table of its own, so that one wrong byte can end the process.
Here every element is looked at as SciPy will: its code, its length, and how many follow. Format: "MAT-File Format",
The MathWorks, level 5.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_HEADER = 128
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_LAST_OF_NUMBERS = 15
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_NUMBERS = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}
_CHARACTERS = {1, 2, 4, 16, 17, 18}
_MOST_DIMENSIONS, _MOST_NESTED, _MOST_BYTES = 32, 50, 2**31


def check_mat5(path: Path) -> None:
    """Raise ValueError, OSError or zlib.error if the file is of this format and SciPy must not read it."""
    data = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None or data[125:126] == b"\2" or data[124:125] == b"\2":  # version 4, or HDF5
        return
    walk = _Walk(memoryview(data), order, _HEADER)
    while walk.at < len(data):
        kind, content = walk.element()
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            unpacked = inflater.decompress(content, _MOST_BYTES)
            if inflater.unconsumed_tail:
                raise ValueError(f"a variable of more than {_MOST_BYTES:,} bytes")
            kind, content = _Walk(memoryview(unpacked), order).element()
        if kind != _MATRIX:
            raise ValueError(f"a variable of type {kind}")
        _Walk(content, order).matrix()


@dataclass
class _Walk:
    """Goes from element to element; ``at`` is where the next begins."""

    data: memoryview
    order: str
    at: int = 0

    def element(self) -> tuple[int, memoryview]:
        """Type code and content of the next element."""
        kind, size = struct.unpack_from(f"{self.order}2I", self._take(8))
        if kind >> 16:  # the short form: four bytes at most, beside the type
            if kind >> 16 > 4:
                raise ValueError(f"{kind >> 16} bytes in a short element")
            return kind & 0xFFFF, self.data[self.at - 4 : self.at - 4 + (kind >> 16)]
        content = self._take(size)
        if kind not in (_MATRIX, _COMPRESSED):
            self.at += -size % 8
        return kind, content

    def _take(self, size: int) -> memoryview:
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError(f"{size:,} bytes announced where {len(part):,} are left")
        self.at += size
        return part

    def of(self, kinds: set[int], what: str) -> memoryview:
        """The content of the next element, which must have one of these types."""
        kind, content = self.element()
        if kind not in kinds:
            raise ValueError(f"{what} of type {kind}")
        return content

    def integers(self, what: str, kind: int = _INT32) -> tuple[int, ...]:
        content = self.of({kind}, what)
        return struct.unpack(f"{self.order}{len(content) // 4}i", content[: len(content) // 4 * 4])

    def matrix(self, nested: int = 0) -> None:
        """The parts of one matrix, and of those in it."""
        if nested > _MOST_NESTED:
            raise ValueError(f"more than {_MOST_NESTED} cells or structs in each other")
        if not self.data:
            return  # an empty cell
        flags, _ = self.integers("flags", _UINT32)
        kind, is_complex = flags & 0xFF, flags >> 11 & 1
        if kind == _OPAQUE:
            for what in ("name", "kind of object", "class"):
                self.of({_INT8}, what)
            self._matrices(1, nested)
            return
        sides = self.integers("dimensions")
        if not 2 <= len(sides) <= _MOST_DIMENSIONS or min(sides) < 0:
            raise ValueError(f"dimensions {sides}")
        self.of({_INT8}, "name")
        count = math.prod(sides)
        if kind in (_CELL, _FUNCTION):
            self._matrices(count if kind == _CELL else 1, nested)
        elif kind in (_STRUCT, _OBJECT):
            self._struct(count, nested, has_class=kind == _OBJECT)
        elif kind == _CHAR:
            self.of(_CHARACTERS, "text")
        else:
            self._numbers(kind, parts=1 + is_complex)

    def _numbers(self, kind: int, parts: int) -> None:
        if kind > _LAST_OF_NUMBERS:
            raise ValueError(f"a matrix of class {kind}")
        if kind == _SPARSE:
            self.integers("rows")
            self.integers("columns")
        for _ in range(parts):
            self.of(_NUMBERS, "numbers")

    def _struct(self, count: int, nested: int, *, has_class: bool) -> None:
        if has_class:
            self.of({_INT8}, "class")
        (length,) = self.integers("length of field names")
        names = self.of({_INT8}, "field names")
        if length < 1 or len(names) % length:
            raise ValueError(f"field names of {length} characters in {len(names)} bytes")
        self._matrices(count * (len(names) // length), nested)

    def _matrices(self, count: int, nested: int) -> None:
        if count > (len(self.data) - self.at) // 8:
            raise ValueError(f"{count:,} matrices in {len(self.data) - self.at:,} bytes")
        for _ in range(count):
            _Walk(self.of({_MATRIX}, "a matrix inside"), self.order).matrix(nested + 1)
