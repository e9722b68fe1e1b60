"""SaliencyMix: CutMix whose box is centred on the most salient pixel of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.mixers._boxes import half_sides, peak
from gazeeval.mixers.base import Draws, Mixer, Scope, beta_share, register_mixer, require_positive
from gazeeval.signals.base import Saliency, Signal, Signals
from gazeeval.types import PairBatch, Placement

Scheme = Literal[
    "salient-corresponding",
    "salient-salient",
    "salient-nonsalient",
    "nonsalient-salient",
    "nonsalient-nonsalient",
]


@dataclass(frozen=True)
class SaliencyMixDraws(Draws):
    """``lam`` (b,) float64, share of the source before clipping."""

    lam: Tensor


@register_mixer("saliencymix")
@dataclass(frozen=True)
class SaliencyMix(Mixer[SaliencyMixDraws]):
    """Uddin et al., "SaliencyMix: A Saliency Guided Data Augmentation Strategy for Better Regularization", ICLR 2021.

    The box of CutMix around the first maximum of the fine-grained saliency map (Montabone & Soto 2010) of the source,
    clipped at the border; ``lam`` = area of the realised box / (H*W).

    Symbols: the paper's lambda (eq. 4) is the share of the target, here ``1 - lam``; ``alpha`` is the code's ``beta``.

    Options: ``scheme`` is one of the five placements of section 3.4 (patch of the source -> place in the target). A
    patch that does not fit on one side, in either image, is cut on that side in both.

    Deviations from the released code, all by default: the detector sees the 8-bit image with true luminance, and every
    pair has its own box. The released code hands the normalised float image to OpenCV, which then reads raw bytes of
    the floats as pixel values (so the map is not saliency), and takes one box per batch from one image.
    ``official_float=true`` does the same for audits of published numbers: one box per group, from the source of the
    group's first pair; it needs an OpenCV with ``cv2.saliency``. The paper shifts a box that crosses the border, the
    code clips it; the code is followed.
    """

    alpha: float = 1.0
    scheme: Scheme = "salient-corresponding"
    official_float: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "alpha")

    @property
    def scope(self) -> Scope:
        return "group" if self.official_float else "pair"

    def needs(self) -> frozenset[Signal]:
        return frozenset({self._request})

    def draw(self, rng: PairRng, size: tuple[int, int]) -> SaliencyMixDraws:
        return SaliencyMixDraws(beta_share(rng.uniform("lam"), self.alpha))

    def place(self, pairs: PairBatch, signals: Signals, draws: SaliencyMixDraws) -> Placement:
        from_peak, to = self.scheme.split("-")
        source_point = _point(signals.source(self._request), from_peak)
        target_point = source_point if to == "corresponding" else _point(signals.target(self._request), to)
        if self.official_float:
            source_point, target_point = (p[:1].expand(len(pairs), 2) for p in (source_point, target_point))
        half, _ = half_sides(draws.lam.expand(len(pairs)), pairs.size)
        limit = torch.tensor(pairs.size, device=half.device)
        before = torch.minimum(half, torch.minimum(source_point, target_point))
        after = torch.minimum(half, limit - torch.maximum(source_point, target_point))
        source_box = torch.cat(((source_point - before).flip(1), (source_point + after).flip(1)), dim=1)
        if to == "corresponding":
            return Placement.from_boxes(source_box, pairs.size)
        target_box = torch.cat(((target_point - before).flip(1), (target_point + after).flip(1)), dim=1)
        return Placement.from_boxes(target_box, pairs.size, source_box)

    @property
    def _request(self) -> Saliency:
        return Saliency("opencv_float" if self.official_float else "fine_grained")


def _point(saliency: Tensor, which: str) -> Tensor:
    """(b, 2) (y, x) of the most or the least salient pixel, the first in raster order among equals."""
    return peak(saliency if which == "salient" else 255 - saliency)
