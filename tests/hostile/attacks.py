"""Files that attack, or are merely broken: what each does, and its bytes.

Those of at most `KEPT` bytes also lie under ``corpus/``, where the fuzz tests begin, beside what these have found.
Written again by

    python -m tests.hostile.attacks
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat

from gazeeval import data_specs

CORPUS = Path(__file__).parent / "corpus"
KEPT = 4096

Files = dict[str, Callable[[], bytes]]


# -- pickles ----------------------------------------------------------------------------------------------------------


class Reduced:
    """Pickles as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def _nested_tuples() -> bytes:
    """A dict whose key is a tuple in a tuple in a tuple..."""
    return b"\x80\x02}K\x00" + b"\x85" * 1_000_000 + b"K\x01s."


def _shared_lists() -> bytes:
    """Nine lists, each ten times in the next."""
    levels = b"".join(b"](" + b"h" + bytes([n]) + (b"h" + bytes([n])) * 9 + b"eq" + bytes([n + 1]) for n in range(9))
    return b"\x80\x02](" + b"K\x01" * 10 + b"eq\x00" + levels + b"."


def _called(module: str, name: str, args: bytes) -> bytes:
    return f"\x80\x02c{module}\n{name}\n".encode("latin1") + args + b"R."


_MANY = b"J" + struct.pack("<i", 2**31 - 1)

PICKLES: Files = {
    "a call of os.system": lambda: pickle.dumps(Reduced(os.system, "true"), 2),
    "a call of os.system in a list in a dict": lambda: pickle.dumps({"x": [[Reduced(os.system, "true")]]}, 4),
    "a call of eval": lambda: pickle.dumps(Reduced(eval, "1"), 2),
    "an old-style object (INST)": lambda: b"\x80\x02(S'true'\nios\nsystem\n.",
    "an old-style object (OBJ)": lambda: b"\x80\x02(cos\nsystem\nS'true'\no.",
    "an external object (persistent id)": lambda: b"\x80\x04\x8c\x04evilQ.",
    "a registered extension": lambda: b"\x80\x02\x82\x01.",
    "an attribute set on a class": lambda: b"\x80\x02cpandas\nDataFrame\n}X\x05\x00\x00\x00shapeK\x01sb.",
    "a memo index of 2 147 483 647": lambda: b"\x80\x02]r\xff\xff\xff\x7f.",
    "a text of 2^62 bytes": lambda: b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
    "bytes of 2^40": lambda: b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "a bytearray of 2^36": lambda: b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b"x.",
    "a frame of 2^62": lambda: b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "a whole number of 2^31 bytes": lambda: b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "bytes(2147483647)": lambda: _called("__builtin__", "bytes", _MANY + b"\x85"),
    "a RangeIndex of 2^31 rows": lambda: _called(
        "pandas.core.indexes.base",
        "_new_Index",
        b"cpandas\nRangeIndex\n}(X\x05\x00\x00\x00startK\x00X\x04\x00\x00\x00stop"
        + _MANY
        + b"X\x04\x00\x00\x00stepK\x01u\x86",
    ),
    "a slice of 2^31 columns": lambda: _called("__builtin__", "slice", b"K\x00" + _MANY + b"K\x01\x87"),
    "a DataFrame that is called": lambda: _called("pandas", "DataFrame", b"K\x00](K\x01K\x01e\x86"),
    "tuples a million deep, hashed": _nested_tuples,
    "lists that stand for 10^10 values": _shared_lists,
    "a list that contains itself": lambda: b"\x80\x02]q\x00h\x00a.",
    "an array of (2^31, 2^33) in 16 bytes": lambda: (
        _called("numpy._core.multiarray", "_reconstruct", b"cnumpy\nndarray\nK\x00\x85C\x01b\x87")[:-1]
        + b"(K\x01"
        + _MANY
        + b"\x8a\x05\x00\x00\x00\x00\x02\x86cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R\x89C\x10"
        + bytes(16)
        + b"tb."
    ),
    "half a pickle": lambda: pickle.dumps([1, 2, 3])[:-3],
    "a text": lambda: b"img_id,x,y\n1,2,3\n",
}


# -- checkpoints ------------------------------------------------------------------------------------------------------


def _torch_zip(pickled: bytes, members: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file as torch.save makes it, around a pickle of our own."""
    buffer = io.BytesIO()
    contents = {"w/data.pkl": pickled, "w/byteorder": b"little", "w/version": b"3\n"} | (members or {})
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def _tensor(storage: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """{'w': a float32 tensor over the storage '0'} as torch.save pickles it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    storage_id = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        + storage_id
        + b"J"
        + struct.pack("<i", storage)
        + b"tQK\x00"
        + numbers(shape)
        + numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )


def _saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _hex_of_hex() -> bytes:
    """Forty times the hexadecimal digits of what was before: 2^40 bytes."""
    step = b"X\x03\x00\x00\x00hex\x86R"
    return (
        b"\x80\x02"
        + b"c_codecs\nencode\n" * 40
        + b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R"
        + step * 40
        + b"."
    )


WEIGHTS = {"w": torch.ones(4)}

CHECKPOINTS: Files = {
    "a call of os.system in a checkpoint": lambda: _saved({"state_dict": WEIGHTS, "x": Reduced(os.system, "true")}),
    "the same in the format before PyTorch 1.6": lambda: _saved(
        {"state_dict": WEIGHTS, "x": Reduced(os.system, "true")}, _use_new_zipfile_serialization=False
    ),
    "a zip bomb (64 MB in 64 kB)": lambda: _torch_zip(
        _tensor(2**24, (2**24,), (1,)), {"w/data/0": bytes(2**26)}, zipfile.ZIP_DEFLATED
    ),
    "a storage that claims more than its record": lambda: _torch_zip(
        _tensor(2**30, (2**30,), (1,)), {"w/data/0": bytes(16)}
    ),
    "a view of four numbers as 2^60": lambda: _torch_zip(_tensor(4, (2**30, 2**30), (0, 0)), {"w/data/0": bytes(16)}),
    "a member ../../evil": lambda: _torch_zip(_tensor(4, (4,), (1,)), {"w/data/0": bytes(16), "w/../../evil": b"x"}),
    "tuples a million deep, hashed, in a checkpoint": lambda: _torch_zip(_nested_tuples()),
    "text doubled forty times (codec hex)": lambda: _torch_zip(_hex_of_hex()),
    "a bytearray of 2^31, iterated": lambda: _torch_zip(
        b"\x80\x02c__builtin__\nset\ncbuiltins\nbytearray\n" + _MANY + b"\x85R\x85R."
    ),
    "a tar of PyTorch before 0.1.10": lambda: bytes(257) + b"ustar" + bytes(250),
    "half a checkpoint": lambda: _saved(WEIGHTS)[:-200],
    "safetensors, a header of 2^60 bytes": lambda: _safetensors(b"{}", length=2**60),
    "safetensors, a header longer than the file": lambda: _safetensors(b"{}", length=2**20),
    "safetensors, data beyond the end": lambda: _safetensors(
        b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,99999]}}'
    ),
    "safetensors, offsets that overlap": lambda: _safetensors(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
        bytes(12),
    ),
    "safetensors, a shape that does not fit": lambda: _safetensors(
        b'{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,8]}}', bytes(8)
    ),
    "weights that are not numbers (NaN)": lambda: save({"w": torch.full((4,), torch.nan)}, {"arch": "resnet18"}),
    "weights of another architecture": lambda: save(WEIGHTS, {"arch": "resnet18"}),
}


# -- images -----------------------------------------------------------------------------------------------------------


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width: int, height: int, rows: bytes, more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = _chunk(b"IHDR", header) + more + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _image(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _ramp(mode: str = "L") -> Image.Image:
    return Image.linear_gradient("L").resize((48, 40)).convert(mode)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _image(_ramp("RGB"), "JPEG", exif=exif)


BROKEN_IMAGES: Files = {
    "a bomb: 100 000 x 100 000 px in 1 kB": lambda: _png(100_000, 100_000, bytes(1000)),
    "a text chunk that unpacks to 100 MB": lambda: _png(
        2, 2, bytes(14), _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))
    ),
    "an image cut in half": lambda: _image(Image.effect_noise((48, 40), 50), "PNG")[:1000],
    "an image of 0 x 0 px": lambda: _png(0, 0, b""),
    "an empty file": lambda: b"",
    "a text named .png": lambda: b"no image",
    "PostScript, which Pillow would run": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    "floating-point pixels": lambda: _image(Image.new("F", (4, 4)), "TIFF"),
}
ODD_IMAGES: Files = {
    "16-bit grey": lambda: _image(
        Image.fromarray(np.linspace(0, 65535, 1920).reshape(40, 48).astype(np.uint16)), "PNG"
    ),
    "CMYK": lambda: _image(_ramp("CMYK"), "JPEG"),
    "8-bit grey": lambda: _image(_ramp(), "PNG"),
    "one bit": lambda: _image(_ramp("1"), "PNG"),
    "a palette with transparency": lambda: _image(_ramp("P"), "PNG", transparency=bytes([255, 0])),
    "alpha": lambda: _image(_ramp("RGBA"), "PNG"),
    "turned by its EXIF tag": _turned,
    "animated": lambda: _image(_ramp("P"), "GIF", save_all=True, append_images=[_ramp("P")] * 3),
    "one pixel": lambda: _image(Image.new("RGB", (1, 1)), "PNG"),
}


# -- specs, tables, MATLAB --------------------------------------------------------------------------------------------


def _laughs(line: str) -> bytes:
    """Each of nine anchors stands ten times in the next."""
    lines = (f"a{n}: &a{n} " + line.format(",".join([f"*a{n - 1}"] * 10)) for n in range(1, 10))
    return "\n".join(["a0: &a0 {x: 1}", *lines]).encode()


SPECS: Files = {
    "aliases that stand for 10^9 values": lambda: _laughs("[{}]"),
    "merged mappings of 10^9 keys": lambda: _laughs("{{<<: [{}]}}"),
    "a list that contains itself, in YAML": lambda: b"name: &a [*a]",
    "lists 100 000 deep": lambda: b"[" * 100_000,
    "a tag that calls os.system": lambda: b"name: !!python/object/apply:os.system [true]",
    "a key twice": lambda: b"name: a\nname: b",
    "a spec of 2 MB": lambda: b"name: " + b"x" * 2_000_000,
    "a date of month 99": lambda: b"name: 2020-99-99",
    "a whole number of 80 000 bits": lambda: b"name: 0x" + b"f" * 20_000,
    "bytes that are not UTF-8": lambda: b"name: \xff",
}

IMAGE_TABLES: Files = {
    "a quote that is never closed": lambda: b'image,label\n"a.png,x\n' + b"b.png,y\n" * 20_000,
    "one line of 10 MB": lambda: b"image,label\n" + b"x" * 10**7,
    "a zero byte": lambda: b"image,label\na\0.png,x\n",
    "UTF-16": lambda: "image,label\na.png,x\n".encode("utf-16"),
    "a name of 5000 characters": lambda: b"image,label\n" + b"a" * 5000 + b",x\n",
    "a row without image": lambda: b"label,image\nx\n",
    "a column twice": lambda: b"image,label,label\na.png,x,y\n",
    "a class number of 5000 digits": lambda: b"image,label\na.png," + b"9" * 5000 + b"\n",
    "an image that is a device": lambda: b"image,label\n/dev/zero,x\n",
}

GAZE_TABLES: Files = {
    "gaze: a quote that is never closed": lambda: b'image,x,y\n"00.png,1,1\n01.png,1,1\n',
    "gaze: one line of 10 MB": lambda: b"image,x,y\n" + b"1" * 10**7,
    "gaze: a zero byte": lambda: b"image,x,y\n00.png,1,\0\n",
    "gaze: UTF-16": lambda: "image,x,y\n00.png,1,1\n".encode("utf-16"),
    "gaze: rows of too many fields": lambda: b"image,x,y\n00.png,1,1,1,1,1\n",
    "gaze: words for numbers": lambda: b"image,x,y\n00.png,one,two\n",
}


def _mat() -> bytearray:
    buffer = io.BytesIO()
    savemat(cast(Any, buffer), {"s": {"x": np.arange(3), "name": "abc"}})
    return bytearray(buffer.getvalue())


def _mat_with(position: int, value: int) -> bytes:
    content = _mat()
    content[position] = value
    return bytes(content)


def _mat_bomb() -> bytes:
    head, inner = _mat()[:128], struct.pack("<2I", 14, 2**26) + bytes(2**26)
    packed = zlib.compress(inner)
    return bytes(head) + struct.pack("<2I", 15, len(packed)) + packed


MAT_FILES: Files = {
    "MATLAB: a type that does not exist": lambda: _mat_with(136, 249),
    "MATLAB: a real matrix that says it is complex": lambda: _mat_with(145, 255),
    "MATLAB: 67 MB in 65 kB": _mat_bomb,
    "MATLAB: half a file": lambda: bytes(_mat()[:200]),
}


# -- what is sound ----------------------------------------------------------------------------------------------------

_FRAME = pd.DataFrame({"img_id": [1, 2], "x": [[1.0, 2.0], [3.0]], "kind": pd.Categorical(["a", "b"])})
SOUND: dict[str, Files] = {
    "pickle": {f"sound frame {protocol}": partial(pickle.dumps, _FRAME, protocol) for protocol in (2, 5)}
    | {"sound lists": lambda: pickle.dumps([{"x": [1, 2.5], "t": (1, None), "s": {"a"}, "a": np.arange(3)}], 4)},
    "checkpoint": {
        "sound": lambda: _saved({"state_dict": WEIGHTS, "epoch": 3, "best": np.float64(0.5)}),
        "sound before 1.6": lambda: _saved({"state_dict": WEIGHTS}, _use_new_zipfile_serialization=False),
        "sound safetensors": lambda: save(WEIGHTS, {"arch": "resnet18"}),
    },
    "spec": {"sound": (Path(data_specs.__path__[0]) / "cub-gha.yaml").read_bytes},
    "images.csv": {"sound": lambda: b'image,label\na.png,x\n"b,c.png",y\n'},
    "gaze.csv": {"sound": lambda: b'image,x,y,d\na.png,1,2,3\n"b,c.png",4.5,6e1,nan\n'},
    "mat": {"sound": lambda: bytes(_mat())},
}

KINDS: dict[str, Files] = {
    "pickle": PICKLES,
    "checkpoint": CHECKPOINTS,
    "image": BROKEN_IMAGES | ODD_IMAGES,
    "spec": SPECS,
    "images.csv": IMAGE_TABLES,
    "gaze.csv": GAZE_TABLES,
    "mat": MAT_FILES,
}


def main() -> None:
    for kind, files in ((kind, KINDS[kind] | SOUND.get(kind, {})) for kind in KINDS):
        (CORPUS / kind).mkdir(parents=True, exist_ok=True)
        for name, make in files.items():
            if len(content := make()) <= KEPT:
                (CORPUS / kind / "".join(c if c.isalnum() else "-" for c in name).strip("-")).write_bytes(content)


if __name__ == "__main__":
    main()
