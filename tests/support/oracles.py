"""Reading the stored outputs of official implementations, and running a mixer on their inputs and draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.mixers.base import AnyMixer, Draws
from gazeeval.signals.base import Signals
from gazeeval.types import Labels, PairBatch, Placement

FOLDER = Path(__file__).parents[1] / "oracle"
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def cases(prefix: str) -> list[str]:
    """Names of the stored cases that start with ``prefix``."""
    found = sorted(path.stem for path in FOLDER.glob(f"{prefix}*.npz"))
    assert found, f"no oracle files {prefix}*.npz"
    return found


def load(case: str) -> dict[str, NDArray[Any]]:
    """The arrays of one case."""
    with np.load(FOLDER / f"{case}.npz") as data:
        return {key: data[key] for key in data.files}


def pair_batch(source: NDArray[Any], target: NDArray[Any], device: str = "cpu") -> PairBatch:
    """Pairs of the given images (b, 3, h, w); labels are the places in the batch."""
    count = len(source)
    images = torch.from_numpy(np.concatenate((source, target))).float().to(device)
    order = torch.arange(2 * count, device=device)
    return PairBatch(images, order, order[:count], order[count:])


def run(
    mixer: AnyMixer, pairs: PairBatch, draws: Draws, signals: Signals | None = None
) -> tuple[Placement, Labels, Tensor]:
    """Placement, labels and mixed images for given draws."""
    signals = signals or Signals({}, pairs.source, pairs.target)
    draws = draws.to(pairs.images.device)
    placement = mixer.place(pairs, signals, draws)
    labels = mixer.weigh(pairs, placement, signals, draws, None)
    return placement, labels, placement.blend(pairs.source_images, pairs.target_images)


def xyxy(boxes: NDArray[Any], count: int) -> NDArray[Any]:
    """Boxes (n, 4) y1, x1, y2, x2 reordered from the oracles' (y1, y2, x1, x2), one per pair."""
    y1, y2, x1, x2 = np.broadcast_to(boxes, (count, 4)).T
    return np.stack((x1, y1, x2, y2), axis=1)
