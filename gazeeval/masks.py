"""``masks/`` of a run folder: what of each image shows where, so that gaze can be weighed again without the network.

One compressed file per method and group of images, ``masks/<number of the method>/<group>.npz``. Every array is kept at
its own grid, the coarsest on which nothing is lost. Methods that paste one box need no file: their boxes stand in
``inconsistency.csv``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.errors import DataError
from gazeeval.types import GroupPlacement, Placement

AnyPlacement = Placement | GroupPlacement

_FULL = 65535  # soft masks are kept in 16 bits: off by 8e-6 at most, exact where 0 or 1
_EDGES = ("x0", "y0", "x1", "y1")


def mask_file(folder: Path, method: int, group: int) -> Path:
    """Where the masks of a ``group`` lie; ``method`` is its number in the run."""
    return folder / "masks" / f"{method:03d}" / f"{group:08d}.npz"


@dataclass(frozen=True)
class Masks:
    """What the pairs ``ids`` (b,) of one method and group show of the images ``rows`` (n,) of the data set."""

    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    placement: AnyPlacement


def save_masks(path: Path, masks: Masks) -> None:
    """Write the masks of one method and group, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".tmp")
    with part.open("wb") as stream:
        arrays: dict[str, Any] = {"pair_id": masks.ids, "image": masks.rows, **_packed(masks.placement)}
        np.savez_compressed(stream, **arrays)
    part.replace(path)


def load_masks(path: Path) -> Masks:
    """What `save_masks` wrote. Raises DataError."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return Masks(arrays.pop("pair_id"), arrays.pop("image"), _unpacked(arrays))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"masks: {path}, got {type(error).__name__}: {error}. Run again to write them.") from error


def placement_of_boxes(rows: pd.DataFrame) -> Placement:
    """The placement of pairs that paste one box, from their rows of ``inconsistency.csv``."""
    size = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
    boxes = (torch.from_numpy(_edges(rows, prefix)) for prefix in ("box", "src"))
    target_box, source_box = boxes
    return Placement.from_boxes(target_box, size, source_box)


def _edges(rows: pd.DataFrame, prefix: str) -> NDArray[np.int64]:
    return rows[[f"{prefix}_{edge}" for edge in _EDGES]].to_numpy(dtype=np.int64)


def _packed(placement: AnyPlacement) -> dict[str, NDArray[np.generic]]:
    if isinstance(placement, GroupPlacement):
        return {"weights": placement.weights.cpu().numpy()}
    size = np.array(placement.size)
    packed = {"size": size, "mask": _coarse(_fixed_point(placement.mask.cpu().numpy()))}
    for name in ("source_index", "target_index"):
        index: Tensor | None = getattr(placement, name)
        if index is not None:
            packed[name] = _coarse(_shift(index.cpu().numpy()))
    return packed


def _unpacked(arrays: dict[str, NDArray[np.generic]]) -> AnyPlacement:
    if "weights" in arrays:
        return GroupPlacement(torch.from_numpy(arrays["weights"]))
    h, w = arrays["size"].astype(int)
    whole = {name: _fine(array, h, w) for name, array in arrays.items() if name != "size"}
    mask = whole.pop("mask")
    full = _FULL if mask.dtype == np.uint16 else 1
    indices = {name: torch.from_numpy(_unshift(shift)) for name, shift in whole.items()}
    return Placement(torch.from_numpy(mask.astype(np.float32) / full), "soft", **indices)


def _fixed_point(mask: NDArray[np.float32]) -> NDArray[np.generic]:
    if np.isin(mask, (0, 1)).all():
        return mask.astype(np.uint8)
    return np.round(mask * _FULL).astype(np.uint16)


def _shift(index: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where a pixel reads, relative to itself; beyond the image for none. Constant in blocks that move as one."""
    pixels = index[0].size
    shift = index - np.arange(pixels).reshape(index.shape[1:])
    return np.where(index < 0, pixels, shift).astype(np.int32)


def _unshift(shift: NDArray[np.generic]) -> NDArray[np.int64]:
    pixels = shift[0].size
    index = shift.astype(np.int64) + np.arange(pixels).reshape(shift.shape[1:])
    return np.where(shift == pixels, -1, index)


def _coarse(maps: NDArray[np.generic]) -> NDArray[np.generic]:
    """``maps`` (b, h, w) at the coarsest grid of equal cells in which they are constant."""
    _, h, w = maps.shape
    rows = np.flatnonzero((maps[:, 1:] != maps[:, :-1]).any(axis=(0, 2))) + 1
    cols = np.flatnonzero((maps[:, :, 1:] != maps[:, :, :-1]).any(axis=(0, 1))) + 1
    return maps[:, :: math.gcd(h, *rows.tolist()), :: math.gcd(w, *cols.tolist())]


def _fine(maps: NDArray[np.generic], h: int, w: int) -> NDArray[np.generic]:
    return maps.repeat(h // maps.shape[1], axis=1).repeat(w // maps.shape[2], axis=2)
