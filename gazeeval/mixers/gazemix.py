"""Reference mixers that know the gaze, or where people look anyway: what automatic methods are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.mixers._windows import best_window
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import CentrePrior, GazeDensity, Signal, Signals
from gazeeval.types import Labels, PairBatch, Placement, mass


@dataclass(frozen=True)
class WindowDraws(Draws):
    """``lam`` (b,) float64, share of the pixels that is pasted."""

    lam: Tensor


@register_mixer("gazemix")
@dataclass(frozen=True)
class GazeMix(Mixer[WindowDraws]):
    """Reference, not a training method: it needs human gaze on both images.

    The box with most gaze of the source is pasted over the box with least gaze of the target; both have sides
    ``H*sqrt(s)``, ``W*sqrt(s)``, s ~ Beta(alpha, alpha), the draw of CutMix, and are not clipped. ``lam`` =
    S / (S + T), the gaze itself: the score is 0 by construction, and the accuracy columns show what a mixer gains that
    knows the gaze.
    """

    alpha: float = 1.0
    scores_gaze: ClassVar[bool] = False
    reference: ClassVar[bool] = True
    map: ClassVar[Signal] = GazeDensity()

    def __post_init__(self) -> None:
        require_positive(self, "alpha")

    def needs(self) -> frozenset[Signal]:
        return frozenset({self.map})

    def draw(self, rng: PairRng, size: tuple[int, int]) -> WindowDraws:
        return WindowDraws(beta_share(rng.uniform("lam"), self.alpha))

    def place(self, pairs: PairBatch, signals: Signals, draws: WindowDraws) -> Placement:
        extent = torch.tensor(pairs.size, device=draws.lam.device)
        sides = (extent * draws.lam.sqrt().unsqueeze(1)).long().clamp(min=1)
        source_box = best_window(signals.source(self.map), sides)
        target_box = best_window(signals.target(self.map), sides, largest=False)
        return Placement.from_boxes(target_box, pairs.size, source_box)

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: WindowDraws, mixed: Signals | None
    ) -> Labels:
        seen_source, seen_target = placement.visibility()
        S = mass(seen_source * signals.source(self.map))
        T = mass(seen_target * signals.target(self.map))
        return Labels(S / (S + T))


@register_mixer("centermix")
@dataclass(frozen=True)
class CenterMix(GazeMix):
    """Reference: gazemix with the centre prior in place of the images' own gaze, so without looking at them.

    The prior of an image is the mean gaze density of all other images of the data set. Boxes and ``lam`` come from the
    priors alone; the score says how far one gets by knowing only where people look anyway.
    """

    scores_gaze: ClassVar[bool] = True
    map: ClassVar[Signal] = CentrePrior()
