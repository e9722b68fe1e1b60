"""SnapMix: CutMix with two boxes, labelled by how much of each image's class map is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gazeeval.data.random import PairRng
from gazeeval.mixers._boxes import clipped_box, half_sides
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import ClassMap, Signal, Signals
from gazeeval.types import Labels, PairBatch, Placement


@dataclass(frozen=True)
class SnapMixDraws(Draws):
    """Shares (b,) float64 of the images that the boxes take before clipping, and centres (b, 2) int64, (y, x), of the
    boxes: ``lam`` and ``centre`` of the box in the target, ``source_share`` and ``source_centre`` of the one in the
    source."""

    lam: Tensor
    centre: Tensor
    source_share: Tensor
    source_centre: Tensor


@register_mixer("snapmix")
@dataclass(frozen=True)
class SnapMix(Mixer[SnapMixDraws]):
    """Huang, Wang & Tao, "SnapMix: Semantically Proportional Mixing for Augmenting Fine-grained Data", AAAI 2021.

    Two boxes of CutMix, drawn apart: the content of one, in the source, is resized (bilinearly, corners on corners)
    into the other, in the target. M = the class map of each image for its own class, stretched to the image, its
    minimum taken off, divided by its sum. Label weights: rho_source = sum of M_source inside its box, rho_target = sum
    of M_target outside its box; ``lam = rho_source / (rho_source + rho_target)``.

    Symbols: the paper's rho_a and rho_b (the released code's lam_a, lam_b) are rho_target and rho_source; 1 - lambda of
    the Beta law is the share of a box. The two weights need not sum to 1: their sum only weighs the training sample, so
    the share of the label is their quotient. Both are kept (``x_rho_source``, ``x_rho_target``), to be compared with
    ``gaze_kept_source`` and ``gaze_kept_target``; ``x_area_source`` and ``x_area_target`` are the shares of the boxes.

    Options: ``beta`` of the Beta law; the authors fine-tune with 5.

    Where either box is empty nothing is mixed (``lam = 0``). Where a class map is constant the share of the target's
    box stands in for its sum, as in the released code; such pairs have the status ``flat_map``.

    Deviations: boxes per pair, where the released code takes two for the whole batch. For pairs of one class that code
    gives both labels the weight rho_source + rho_target, which doubles the loss of the sample; ``lam`` does without.
    The class map comes from the network in eval mode, where the code uses the one in training; and from the features
    as they are, where the code sets negative ones to 0 (no difference for networks that end in a ReLU). For networks
    without pooling before a linear classifier, which the paper does not treat, it is Grad-CAM.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "beta")

    def needs(self) -> frozenset[Signal]:
        return frozenset({ClassMap()})

    def draw(self, rng: PairRng, size: tuple[int, int]) -> SnapMixDraws:
        extent = torch.tensor(size)
        return SnapMixDraws(
            lam=beta_share(rng.uniform("lam"), self.beta),
            centre=(torch.from_numpy(rng.uniform("centre", 2)) * extent).long(),
            source_share=beta_share(rng.uniform("source_share"), self.beta),
            source_centre=(torch.from_numpy(rng.uniform("source_centre", 2)) * extent).long(),
        )

    def place(self, pairs: PairBatch, signals: Signals, draws: SnapMixDraws) -> Placement:
        target_box = clipped_box(draws.centre, *half_sides(draws.lam, pairs.size), pairs.size)
        source_box = clipped_box(draws.source_centre, *half_sides(draws.source_share, pairs.size), pairs.size)
        empty = (_area(target_box) == 0) | (_area(source_box) == 0)
        target_box, source_box = _emptied(target_box, empty), _emptied(source_box, empty)
        return Placement.from_boxes(target_box, pairs.size, source_box, align_corners=True)

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: SnapMixDraws, mixed: Signals | None
    ) -> Labels:
        seen_source, seen_target = placement.visibility()
        area = placement.mask_share()
        rho_source = _sum_seen(percent_map(signals.source(ClassMap()), pairs.size), seen_source, area)
        rho_target = _sum_seen(percent_map(signals.target(ClassMap()), pairs.size), seen_target, 1 - area)
        total = rho_source + rho_target
        lam = torch.where(total > 0, rho_source / total, area)
        areas = {"area_source": seen_source.double().mean(dim=(1, 2)), "area_target": area}
        return Labels(lam, {"rho_source": rho_source, "rho_target": rho_target, **areas})


def percent_map(class_maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(b, h, w) float64, >= 0, sum 1: class maps (b, rows, cols) stretched to ``size``; NaN where one is constant.

    The released code's semantic percent map.
    """
    flat = class_maps.amax(dim=(1, 2), keepdim=True) == class_maps.amin(dim=(1, 2), keepdim=True)
    stretched = interpolate(class_maps.double().unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)
    above = stretched - stretched.amin(dim=(1, 2), keepdim=True)
    # Stretching leaves rounding noise of a constant map, which must not become a map of its own.
    return (above / above.sum(dim=(1, 2), keepdim=True)).masked_fill(flat, torch.nan)


def _sum_seen(percent: Tensor, seen: Tensor, otherwise: Tensor) -> Tensor:
    """(b,) float64 in [0, 1]: how much of a map is seen, ``otherwise`` where there is no map."""
    total = (percent * seen).sum(dim=(1, 2)).clamp(0, 1)
    return torch.where(total.isnan(), otherwise, total)


def _area(box: Tensor) -> Tensor:
    return (box[:, 2:] - box[:, :2]).prod(dim=1)


def _emptied(box: Tensor, empty: Tensor) -> Tensor:
    """The boxes (b, 4), shrunk to their first corner where ``empty`` (b,)."""
    return torch.where(empty.unsqueeze(1), box[:, :2].repeat(1, 2), box)
