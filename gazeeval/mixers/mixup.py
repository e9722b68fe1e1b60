"""Mixup: a pixel-wise convex combination of two images and of their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import Signals
from gazeeval.types import Labels, PairBatch, Placement


@dataclass(frozen=True)
class MixupDraws(Draws):
    """``lam`` (b,) float64, share of the source."""

    lam: Tensor


@register_mixer("mixup")
@dataclass(frozen=True)
class Mixup(Mixer[MixupDraws]):
    """Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.

    ``mixed = lam * source + (1 - lam) * target`` with lam ~ Beta(alpha, alpha).

    Symbols: the paper's lambda weighs the image of the batch as it came, here the target: ``1 - lam``.

    Deviations: one lam per pair, where the released code draws one per batch.

    A constant mask scales both gaze densities alike, so ``lam_gaze = lam`` for every pair: the score is 0 by
    construction and is shown as not applicable.
    """

    alpha: float = 1.0
    scores_gaze: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_positive(self, "alpha")

    def draw(self, rng: PairRng, size: tuple[int, int]) -> MixupDraws:
        return MixupDraws(beta_share(rng.uniform("lam"), self.alpha))

    def place(self, pairs: PairBatch, signals: Signals, draws: MixupDraws) -> Placement:
        h, w = pairs.size
        return Placement.from_mask(draws.lam.float().view(-1, 1, 1).expand(len(pairs), h, w), "soft")

    def weigh(
        self,
        pairs: PairBatch,
        placement: Placement,
        signals: Signals,
        draws: MixupDraws,
        mixed: Signals | None,
    ) -> Labels:
        return Labels(draws.lam.expand(len(pairs)))
