"""Open a weight file without running code, whatever it turns out to be.

The kind is told by the first bytes, not by the suffix. Files of ``torch.save`` go through the unpickler that builds
nothing but tensors, containers, plain values and the few classes of ``SAFE_GLOBALS`` (card ``model-signals``, 5).
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from gazeeval.data.regular import require_regular
from gazeeval.errors import CheckpointError, did_you_mean
from gazeeval.models.rehearsal import rehearse

# What training scripts store beside the weights and what cannot do harm. NumPy 1 and 2 name the same function apart.
_numpy_scalar: Any = np.float64(0).__reduce__()[0]
SAFE_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("bool", "int32", "int64", "float32", "float64")),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
]

OTHER_KINDS = (
    (
        b"version https://git-lfs",
        "this is a Git LFS pointer, not the weights. Run `git lfs pull` where it came from.",
    ),
    (
        (b"<!doctype", b"<html", b"<?xml"),
        "this is a web page (of a failed download?). Download the weights again.",
    ),
    (b"\x1f\x8b", "this is a gzip archive. Unpack it and name the file inside."),
    (b"\x89hdf", "this is an HDF5 file (of Keras?). Give PyTorch weights."),
)


def read_weight_file(path: Path, *, unsafe_load: bool = False) -> tuple[Any, Mapping[str, Any]]:
    """What the file holds, and what it says beside the weights (header or outermost dict), tensors on the CPU.

    Args:
        unsafe_load: unpickle without restriction, which runs whatever code the file contains.

    Raises:
        CheckpointError: no such file, not a checkpoint, damaged, or objects that need code.
    """
    head = _first_bytes(path)
    if _is_safetensors(head):
        return _read_safetensors(path)
    content = _read_pickled(path, head, unsafe_load)
    return content, content if isinstance(content, Mapping) else {}


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in (".pt", ".pth", ".safetensors", ".bin"))
        hint = f", e.g. {path / inside[0]}" if inside else ""
        raise CheckpointError(f"checkpoint: {path}, got a folder. Name the file that holds the weights{hint}.")
    try:
        require_regular(path)
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError:
        beside = did_you_mean(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
        raise CheckpointError(f"checkpoint: {path}: no such file{beside}. Check the path.") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint: {path}: {error.strerror}. Check the path and its permissions.") from error
    if not head:
        raise CheckpointError(f"checkpoint: {path}: the file is empty. Download or save it again.")
    return head


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of header length, then JSON."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, and the header's strings with JSON decoded where they are JSON."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, {  # noqa: SIM118 (not a dict)
                name: _from_json(text) for name, text in (file.metadata() or {}).items()
            }
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"checkpoint: {path}: damaged safetensors file ({error}). Download it again.") from error


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _read_pickled(path: Path, head: bytes, unsafe_load: bool) -> Any:
    """The object that ``torch.save`` wrote."""
    if problem := _not_a_checkpoint(path, head):
        raise CheckpointError(f"checkpoint: {path}: {problem}")
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        try:
            if not unsafe_load:
                rehearse(path)
            return torch.load(path, map_location="cpu", weights_only=not unsafe_load)
        except Exception as error:  # torch raises a dozen kinds on files that are not its own
            if not unsafe_load and (names := _unsafe_globals(path, error)):
                raise CheckpointError(_refusal(path, names)) from error
            raise CheckpointError(
                f"checkpoint: {path}: cannot be read ({type(error).__name__}: {_reason(error)}). It is damaged or "
                "torch.save did not write it: download it again, or save the network's state_dict()."
            ) from error


def _reason(error: Exception) -> str:
    """The first line of torch's message without its advice on unpickling."""
    text = str(error).partition("WeightsUnpickler error: ")[2] or str(error)
    return text.strip().split("\n", maxsplit=1)[0][:120]


def _not_a_checkpoint(path: Path, head: bytes) -> str | None:
    """What the file seems to be instead, with the next step; None if torch may be able to read it."""
    if head.startswith(b"PK"):
        return _not_a_torch_zip(path)
    if head.startswith(b"\x80"):
        return None
    if head[257:262] == b"ustar":
        return "this was saved by PyTorch before 0.1.10. Load it where it was made, and save it again with torch.save."
    start = head.lstrip().lower()
    for beginning, problem in OTHER_KINDS:
        if start.startswith(beginning):
            return problem
    what = "a text file" if head.isascii() and b"\0" not in head else "neither a torch.save nor a safetensors file"
    return f"this is {what}. Give a checkpoint (.pt, .pth, .safetensors)."


def _not_a_torch_zip(path: Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return "the file is cut short (an interrupted download?). Download it again."
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        return f"damaged zip archive ({error}). Download it again."
    names = [member.filename.partition("/")[2] for member in members]
    if "constants.pkl" in names:
        return (
            "this is a TorchScript program, not weights. Save its weights: "
            "torch.save(torch.jit.load(file).state_dict(), 'weights.pt')."
        )
    if "data.pkl" not in names:
        return "this is a zip archive that torch.save did not write. Unpack it first."
    return _not_as_torch_zips(path, members)


def _not_as_torch_zips(path: Path, members: Sequence[zipfile.ZipInfo]) -> str | None:
    """``torch.save`` stores members as they are, under one folder: what else there is was made by hand."""
    size, unpacked = path.stat().st_size, sum(member.file_size for member in members)
    if unpacked > size:
        return (
            f"the archive unpacks {size:,} bytes to {unpacked:,}, but torch.save does not compress. Load it where it "
            "is trusted, and save it again with torch.save."
        )
    outside = [name for name in (member.filename for member in members) if name[0] == "/" or ".." in name.split("/")]
    return f"the archive has a member {outside[0]!r} outside of it. Do not trust this file." if outside else None


def _unsafe_globals(path: Path, error: Exception) -> list[str]:
    """Names of the classes and functions that the file asks for and that are not on the safe list."""
    if not isinstance(error, pickle.UnpicklingError):
        return []
    with suppress(Exception):  # lists files of today's format only, and a hostile file may break it
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    return re.findall(r"GLOBAL ([\w.]+)", str(error))[:1]


def _refusal(path: Path, names: list[str]) -> str:
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    if any(name.startswith("torch.nn.modules.") for name in names):
        what, convert = "a whole pickled network", "torch.save(network.state_dict(), 'weights.pt')"
    else:
        what, convert = "objects that need code to load", "torch.save({'state_dict': ...}, 'weights.pt')"
    return (
        f"checkpoint: {path}: holds {what}, got {listed}. Nothing was executed. Convert it where it was made with "
        f"{convert}, or pass --unsafe-load if you trust the file: that runs the code inside."
    )
