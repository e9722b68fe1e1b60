"""GuidedMixup: every pixel is shared between two images by their saliency there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import Draws, Mixer, register_mixer
from gazeeval.signals.base import InputGradient, Saliency, Signal, Signals
from gazeeval.signals.guided_residual import guided_blur
from gazeeval.types import PairBatch, Placement

_RESIDUAL = Saliency("guided_residual")


@register_mixer("guidedmixup-sr")
@dataclass(frozen=True)
class GuidedMixupSR(Mixer[Draws]):
    """Kang and Kim, "GuidedMixup: An Efficient Mixup Strategy Guided by Saliency Maps", AAAI 2023; "Guided-SR".

    ``mask = S_source / (S_source + S_target)`` pixel by pixel, S = the blurred (7 x 7, sigma 3) spectral residual of an
    image, divided by its sum; ``mixed = mask * source + (1 - mask) * target``; ``lam = mean(mask)``. Nothing is drawn.

    Symbols: the code's ratio is the share of the target, here ``1 - lam``. The paper calls the image of the batch as it
    came the source, here the target; the method treats both alike.

    Options: ``blur_passes``. The released code blurs twice, inside its detector and again before the sum is taken; 1 is
    the single blur that the paper describes, the detector's. Above 128 px that is a blur at 128 x 128. ``pairing``: the
    run's pairs, those of every other method; or ``greedy``, the method's own as published: the images of a group in one
    cycle along which maps are far apart.

    Deviations: the run's pairs are the default; the released CIFAR code asks for the greedy pairing of the paper, but
    gets random pairs. Our cycle joins images of different labels, where the run's pairs do. All pairs are mixed, where
    training leaves some batches unmixed (``mix_prob``). Of our own: a map without mass counts as uniform, and where
    both are 0 the mask is 1/2; the code divides 0 by 0. Images higher than 128 px are made smaller with antialiasing,
    as the code does under torchvision 0.17 and later.
    """

    blur_passes: int = 2
    pairing: Literal["run", "greedy"] = "run"

    def __post_init__(self) -> None:
        if self.blur_passes not in (1, 2):
            raise UsageError(f"method guidedmixup-sr: blur_passes, got {self.blur_passes}. Give 1 or 2.")

    def needs(self) -> frozenset[Signal]:
        return frozenset({_RESIDUAL})

    def pairing_maps(self, signals: Signals) -> Tensor:
        return sum_to_one(self._blurred(signals.images(_RESIDUAL)))

    def draw(self, rng: PairRng, size: tuple[int, int]) -> Draws:
        return Draws()

    def place(self, pairs: PairBatch, signals: Signals, draws: Draws) -> Placement:
        return shared_by(self._blurred(signals.source(_RESIDUAL)), self._blurred(signals.target(_RESIDUAL)))

    def _blurred(self, maps: Tensor) -> Tensor:
        return guided_blur(maps) if self.blur_passes == 2 else maps  # the detector has made the first pass


@register_mixer("guidedmixup-ap")
@dataclass(frozen=True)
class GuidedMixupAP(Mixer[Draws]):
    """Kang and Kim, "GuidedMixup: An Efficient Mixup Strategy Guided by Saliency Maps", AAAI 2023; "Guided-AP".

    As `GuidedMixupSR`, where S = the blurred (7 x 7, sigma 3) size of the input gradient, divided by its sum; the
    gradient is that of the cross entropy with the image's label, ``sqrt(mean_c (dL/dx_c)**2)``.

    Symbols and options: as for `GuidedMixupSR`.

    Deviations: the gradient is taken in eval mode, so that it does not depend on the other images of a batch; the
    released code leaves the network in train mode. The rest as for `GuidedMixupSR`.
    """

    pairing: Literal["run", "greedy"] = "run"

    def needs(self) -> frozenset[Signal]:
        return frozenset({InputGradient()})

    def pairing_maps(self, signals: Signals) -> Tensor:
        return sum_to_one(guided_blur(signals.images(InputGradient())))

    def draw(self, rng: PairRng, size: tuple[int, int]) -> Draws:
        return Draws()

    def place(self, pairs: PairBatch, signals: Signals, draws: Draws) -> Placement:
        source, target = signals.source(InputGradient()), signals.target(InputGradient())
        return shared_by(guided_blur(source), guided_blur(target))


def shared_by(source: Tensor, target: Tensor) -> Placement:
    """Blend by the source's share of the two maps (b, h, w) >= 0 at each pixel, each map divided by its sum first."""
    shown = sum_to_one(source)
    both = shown + sum_to_one(target)
    return Placement.from_mask(torch.where(both > 0, shown / both, 0.5), "soft")


def sum_to_one(maps: Tensor) -> Tensor:
    """Each of the maps (n, h, w) divided by its sum; uniform where the sum is 0 or not finite."""
    total = maps.sum(dim=(1, 2), keepdim=True)
    return torch.where((total > 0) & total.isfinite(), maps / total, 1 / maps[0].numel())
