"""SmoothMix: a Gaussian blob of the source fades into the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.mixers.base import Draws, Mixer, register_mixer
from gazeeval.signals.base import Signals
from gazeeval.types import Labels, PairBatch, Placement


@dataclass(frozen=True)
class SmoothMixDraws(Draws):
    """``centre`` (b, 2) int64, (y, x): the blob peaks half a pixel before it; ``sigma`` (b,) float64, px."""

    centre: Tensor
    sigma: Tensor


@register_mixer("smoothmix")
@dataclass(frozen=True)
class SmoothMix(Mixer[SmoothMixDraws]):
    """Lee, Zaheer, Astrid & Lee, "SmoothMix: A Simple Yet Effective Data Augmentation to Train Robust Classifiers",
    CVPR Workshops 2020; in its circular form (SmoothMix-C).

    ``mixed = G * source + (1 - G) * target`` with ``G = exp(-((y - cy)^2 + (x - cx)^2) / (2 sigma^2))``, sigma uniform
    from a quarter to half of the height, the centre uniform over the pixels less half a pixel; ``lam = mean(G)``.

    Symbols: the paper's lambda weighs the image under G, as here.

    Options: ``label=openmixup`` gives the inverted label ``1 - mean(G)``, as openmixup trains: its head gives mean(G)
    to the target. It is wrong, and there to audit numbers published with that code.

    Deviations: there is no official code; openmixup's mask is followed, in closed form, hence for any height and width
    (its own fails on images that are not square or of odd side). Its mask is never exactly 1, since the centre lies
    between the pixels. One mask per pair, where it draws one per batch. The paper's ellipses, with their own sigma for
    width and height, and SmoothMix-S, whose square mask it does not give exactly, are left out.
    """

    label: Literal["paper", "openmixup"] = "paper"

    def draw(self, rng: PairRng, size: tuple[int, int]) -> SmoothMixDraws:
        centre = (torch.from_numpy(rng.uniform("centre", 2)) * torch.tensor(size)).long()
        sigma = (1 + torch.from_numpy(rng.uniform("sigma"))) * (size[0] / 4)
        return SmoothMixDraws(centre, sigma)

    def place(self, pairs: PairBatch, signals: Signals, draws: SmoothMixDraws) -> Placement:
        h, w = pairs.size
        rows = _bump(h, draws.centre[:, 0], draws.sigma)
        cols = _bump(w, draws.centre[:, 1], draws.sigma)
        return Placement.from_mask((rows.unsqueeze(2) * cols.unsqueeze(1)).float(), "soft")

    def weigh(
        self,
        pairs: PairBatch,
        placement: Placement,
        signals: Signals,
        draws: SmoothMixDraws,
        mixed: Signals | None,
    ) -> Labels:
        share = placement.mask_share()
        return Labels(share if self.label == "paper" else 1 - share)


def _bump(length: int, centre: Tensor, sigma: Tensor) -> Tensor:
    """(b, length) float64: G along one axis; the product of two of them is G."""
    offset = torch.arange(length, device=centre.device) - (centre - 0.5).unsqueeze(1).double()
    return torch.exp(-0.5 * (offset / sigma.unsqueeze(1)).square())
