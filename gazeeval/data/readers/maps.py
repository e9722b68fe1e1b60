"""Gaze that was rendered already, one grey picture per image, in the two forms around (card ``gaze-datasets``).

"mirrored": a folder tree like that of the images, as morning12138/TdAttenMix expects it,
``<root>_gauss/{train,val}/<class>/<file>``. "gmaps": ``gmaps_<level>/<stem>/<stem>-<kind>.png``, as visiondom/CHRF
reads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gazeeval.errors import DataError, ImageError, did_you_mean

LEVELS = ("species", "genus", "family", "order")
SPLITS = ("train", "val", "test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_WHAT = "gaze maps"
Key = tuple[str, ...]


def gaze_map_paths(
    image_ids: Sequence[str],
    root: Path,
    *,
    layout: Literal["mirrored", "gmaps"],
    kind: Literal["map", "mapmg", "mapfg"] = "map",
    levels: Sequence[str] = LEVELS,
) -> list[list[Path]]:
    """The map files of each image, in the order of ``image_ids``; empty where an image has none.

    Args:
        image_ids: paths relative to the image folder, ``<class>/<file>``, with or without a split in front.
        root: the folder of the maps, or for "mirrored" also the image folder beside ``<root>_gauss``.
        layout: "mirrored" maps are matched by class and file name without suffix. Classes that start with a number
            match by the number, so that ``1/a.png`` belongs to ``001.Black_footed_Albatross/a.jpg``.
        kind, levels: of "gmaps". An image that lacks one of the levels has no gaze.

    Raises:
        DataError: no such folder, no map for any image, or two maps for one image.
    """
    found = _gmaps(image_ids, root, kind, levels) if layout == "gmaps" else _mirrored(image_ids, root)
    if not any(found):
        example = image_ids[0] if image_ids else "none"
        raise DataError(
            f"{_WHAT}: {root}: no map for any of {len(image_ids):,} images, such as {example!r}. "
            "Check gaze.path and gaze.layout in the spec."
        )
    return found


def read_gaze_map(paths: Sequence[Path]) -> NDArray[np.float32]:
    """Mean luminance of the maps of one image, (h, w) float32; 8-bit values divided by 255, deeper ones by 65535.

    Raises ImageError for a file that cannot be decoded and for maps of different sizes.
    """
    maps = [_luminance(path) for path in paths]
    if len({grey.shape for grey in maps}) > 1:
        sizes = ", ".join(f"{grey.shape[1]}x{grey.shape[0]}" for grey in maps)
        raise ImageError(f"{_WHAT}: {paths[0]}: levels of different sizes, got {sizes}. Render them again.")
    mean: NDArray[np.float32] = np.stack(maps).mean(axis=0)
    return mean


def _gmaps(image_ids: Sequence[str], root: Path, kind: str, levels: Sequence[str]) -> list[list[Path]]:
    for level in levels:
        if not (root / f"gmaps_{level}").is_dir():
            there = [path.name.removeprefix("gmaps_") for path in sorted(root.glob("gmaps_*"))]
            raise DataError(
                f"{_WHAT}: {root / f'gmaps_{level}'}: no such folder{did_you_mean(level, there)}, "
                f"got levels {', '.join(there) or 'none'}. Check gaze.path and gaze.levels in the spec."
            )
    stems = [PurePosixPath(image).stem for image in image_ids]
    files = [[root / f"gmaps_{level}" / stem / f"{stem}-{kind}.png" for level in levels] for stem in stems]
    return [paths if all(path.is_file() for path in paths) else [] for paths in files]


def _mirrored(image_ids: Sequence[str], root: Path) -> list[list[Path]]:
    beside = root.with_name(root.name + "_gauss")
    base = beside if beside.is_dir() else root
    if not base.is_dir():
        raise DataError(f"{_WHAT}: {root}: no such folder, nor {beside.name} beside it. Check gaze.path in the spec.")
    index: dict[Key, Path] = {}
    for path in _pictures(base):
        key = _key(path.relative_to(base).as_posix())
        if key in index:
            raise DataError(f"{_WHAT}: {path}: a second map beside {index[key]}. Keep one map per image.")
        index[key] = path
    return [[index[key]] if (key := _key(image)) in index else [] for image in image_ids]


def _pictures(base: Path) -> list[Path]:
    return [
        Path(folder) / name
        for folder, _, names in os.walk(base)
        for name in sorted(names)
        if name.lower().endswith(SUFFIXES)
    ]


def _key(relative: str) -> Key:
    """What an image and its map have in common: folders below the split (a number for numbered ones), and the stem."""
    *folders, name = PurePosixPath(relative).parts
    if folders and folders[0] in SPLITS:
        folders = folders[1:]
    numbers = (re.match(r"\d+", folder) for folder in folders)
    named = [str(int(n[0])) if n else folder for n, folder in zip(numbers, folders, strict=True)]
    return (*named, PurePosixPath(name).stem)


def _luminance(path: Path) -> NDArray[np.float32]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            deep = image.mode.startswith("I") or image.mode == "F"
            grey = np.asarray(image if deep else image.convert("L"), dtype=np.float32)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{_WHAT}: {path}: cannot be decoded ({error}). Render or fetch it again.") from None
    return grey / np.float32(65535 if deep else 255)
