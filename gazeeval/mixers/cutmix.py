"""CutMix: a random rectangle of the source replaces the same rectangle of the target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.mixers._boxes import BoxRule, clipped_box, half_sides
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import Signals
from gazeeval.types import PairBatch, Placement


@dataclass(frozen=True)
class CutMixDraws(Draws):
    """``lam`` (b,) float64, share of the source before clipping; ``centre`` (b, 2) int64, (y, x) of the box."""

    lam: Tensor
    centre: Tensor


@register_mixer("cutmix")
@dataclass(frozen=True)
class CutMix(Mixer[CutMixDraws]):
    """Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019.

    Box sides ``H*sqrt(s)``, ``W*sqrt(s)`` with s ~ Beta(alpha, alpha), centre uniform over the pixels, clipped at the
    border; ``lam`` = area of the clipped box / (H*W).

    Symbols: the paper's and the released code's lambda is the share of the image that is kept, here ``1 - lam``.
    ``alpha`` is the paper's alpha and the code's ``beta``.

    Deviations: draws per pair, where the released code draws one box per batch (its own choice for training speed;
    pairs of one batch would not be independent samples). ``rule`` rounds the box as the released code, timm (>= 1.0.26)
    or torchvision do. ``lam`` is always recomputed from the clipped box.
    """

    alpha: float = 1.0
    rule: BoxRule = "official"

    def __post_init__(self) -> None:
        require_positive(self, "alpha")

    def draw(self, rng: PairRng, size: tuple[int, int]) -> CutMixDraws:
        lam = beta_share(rng.uniform("lam"), self.alpha)
        centre = (torch.from_numpy(rng.uniform("centre", 2)) * torch.tensor(size)).long()
        return CutMixDraws(lam, centre)

    def place(self, pairs: PairBatch, signals: Signals, draws: CutMixDraws) -> Placement:
        before, after = half_sides(draws.lam, pairs.size, self.rule)
        return Placement.from_boxes(clipped_box(draws.centre, before, after, pairs.size), pairs.size)
