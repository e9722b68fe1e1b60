"""What a whole run is measured on: photographs with gaze where they lie beside the repository, else the demo data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gazeeval as ge
from gazeeval.data.dataset import Dataset
from gazeeval.models.model import Model

SHARED = Path(__file__).parents[2] / "shared" / "data"
CHECKPOINT = SHARED / "checkpoints" / "cub10_resnet10t_224.pt"


@dataclass(frozen=True)
class Photos:
    """A data set and a network, loaded once; ``pairs`` are as many as one round has, at most."""

    device: str
    pairs: int
    is_real: bool = CHECKPOINT.is_file()

    @cached_property
    def dataset(self) -> Dataset:
        return ge.load_dataset("cub-gha", SHARED) if self.is_real else ge.load_dataset("demo")

    @cached_property
    def model(self) -> Model:
        return ge.load_model(CHECKPOINT if self.is_real else "demo", device=self.device)

    @property
    def options(self) -> dict[str, Any]:
        """As `ge.evaluate` takes them."""
        return {"data": self.dataset, "model": self.model, "device": self.device, "num_pairs": self.pairs}

    def __str__(self) -> str:
        what = (
            f"{len(self.dataset)} photographs of CUB-200-2011" if self.is_real else f"{len(self.dataset)} demo images"
        )
        return f"{self.pairs} pairs of {what}, {self.model.arch} at {self.model.geometry.width} px"


def photos(device: str, pairs: int) -> Photos:
    """At most ``pairs`` pairs: one round of those that are there."""
    found = Photos(device, pairs)
    return Photos(device, min(pairs, len(found.dataset) // 2 - 12), found.is_real)
