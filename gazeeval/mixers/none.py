"""No mixing: the unmixed target, or source, as a control for the accuracy columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from gazeeval.data.random import PairRng
from gazeeval.mixers.base import Draws, Mixer, register_mixer
from gazeeval.signals.base import Signals
from gazeeval.types import PairBatch, Placement


@register_mixer("none")
@dataclass(frozen=True)
class NoMix(Mixer[Draws]):
    """Control: the image as it is, with its own label.

    ``show=target`` (default): lam = 0; ``show=source``: lam = 1. ``hit1_main`` is then the model's plain accuracy on
    these images. All visible gaze is the shown image's, so the score is 0 by construction.
    """

    show: Literal["target", "source"] = "target"
    scores_gaze: ClassVar[bool] = False
    reference: ClassVar[bool] = True

    def draw(self, rng: PairRng, size: tuple[int, int]) -> Draws:
        return Draws()

    def place(self, pairs: PairBatch, signals: Signals, draws: Draws) -> Placement:
        share = 1.0 if self.show == "source" else 0.0
        return Placement.from_mask(torch.full((len(pairs), *pairs.size), share, device=pairs.images.device), "none")
