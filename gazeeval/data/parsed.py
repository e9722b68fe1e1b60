"""Gaze files that were parsed before are not parsed again: what came of them is kept in the user's cache folder.

A table is found by a hash of the files' content and names, of how the spec says to read them, and of the version of
this package. ``GAZEEVAL_CACHE`` names another folder; ``GAZEEVAL_CACHE=off`` keeps nothing. Kept are tables of files
that take a while, and only as arrays: nothing in the folder can run code.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError
from gazeeval.version import __version__

log = logging.getLogger("gazeeval")

_LAYOUT = 1  # raise it when the same files would give another table under the same version
_WORDS = ("viewers", "conditions", "notes")
_LEAST_BYTES = 1_000_000
_LEAST_FILES = 100


def cache_folder() -> Path | None:
    """Where parsed gaze is kept, or None."""
    chosen = os.environ.get("GAZEEVAL_CACHE")
    if chosen is not None:
        return None if chosen.lower() in {"", "0", "off", "no"} else Path(chosen) / "gaze"
    from platformdirs import user_cache_path

    return user_cache_path("gazeeval", appauthor=False) / "gaze"


def clear_cache() -> int:
    """Remove all parsed gaze that is kept; the number of bytes that were freed."""
    folder = cache_folder()
    if folder is None or not folder.is_dir():
        return 0
    freed = 0
    for path in (*folder.glob("*.npz"), *folder.glob("*.part")):
        freed += path.stat().st_size
        path.unlink()
    return freed


def parsed(files: Sequence[GazeFile], settings: str, parse: Callable[[], GazeTable]) -> GazeTable:
    """What ``parse`` makes of the files under these ``settings``, from the cache if it is there.

    A file in the cache that is damaged is parsed again; one that cannot be written is a warning in the log.
    """
    folder = cache_folder()
    try:
        size = sum(file.path.stat().st_size for file in files)
    except OSError:  # the reader says it better
        return parse()
    if folder is None or (size < _LEAST_BYTES and len(files) < _LEAST_FILES):
        return _within_memory(parse, size)
    path = folder / f"{_key(files, settings)}.npz"
    table = _load(path)
    if table is not None:
        log.info("gaze: %s rows read from the cache, %s (GAZEEVAL_CACHE=off parses again)", f"{len(table):,}", path)
        return table
    table = _within_memory(parse, size)
    _store(table, path)
    return table


def _within_memory(parse: Callable[[], GazeTable], size: int) -> GazeTable:
    try:
        return parse()
    except MemoryError:
        raise DataError(
            f"gaze files: {size / 1e9:.1f} GB do not fit into memory. Name fewer files in gaze.files, or use a machine "
            "with more memory."
        ) from None


def _key(files: Sequence[GazeFile], settings: str) -> str:
    digest = hashlib.sha256(f"{__version__} {_LAYOUT} {settings}".encode())
    for file in files:
        with file.path.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256")
        digest.update(f"{file.name}\0{sorted(file.fields.items())}\0".encode() + content.digest())
    return digest.hexdigest()


def _load(path: Path) -> GazeTable | None:
    """The table in a file, or None if there is none, or one that is damaged."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            columns: dict[str, Any] = dict(stored)
        words = {name: tuple(columns[name].tolist()) for name in _WORDS}
        return GazeTable(**columns | words | {"kind": str(columns["kind"])})
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("gaze cache: %s is damaged (%s), parsed again", path, error)
        return None


def _store(table: GazeTable, path: Path) -> None:
    """Write a table under another name first, so that nobody ever reads half of it."""
    columns: dict[str, Any] = {name: value for name, value in vars(table).items() if value is not None}
    part = path.with_name(f"{path.stem}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez(file, **columns | {name: np.array(columns[name], dtype=np.str_) for name in _WORDS})
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        log.warning("gaze cache: %s cannot be written (%s): set GAZEEVAL_CACHE to a folder, or to off", path, error)
