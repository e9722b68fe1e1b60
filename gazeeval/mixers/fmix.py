"""FMix: a random smooth field, cut at a level, says which pixels come from the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import betaincinv, ndtri
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import Signals
from gazeeval.types import Labels, PairBatch, Placement

Spectrum = Literal["official", "isotropic"]


@dataclass(frozen=True)
class FMixDraws(Draws):
    """``lam`` (b,) float64, nominal share of the source; ``round_up`` (b,) bool, whether the number of target pixels is
    rounded up; ``normals`` (b, k, f, 2) float64, standard normal, for the first k frequencies of the rows (official: 2,
    isotropic: h) and f = (w + 1) // 2 + 1 of the columns."""

    lam: Tensor
    round_up: Tensor
    normals: Tensor


@register_mixer("fmix")
@dataclass(frozen=True)
class FMix(Mixer[FMixDraws]):
    """Harris et al., "FMix: Enhancing Mixed Sample Data Augmentation", arXiv 2002.12047, 2020.

    White noise in Fourier space, damped by ``max(frequency, 1/max(H, W))^(-decay)``, gives a smooth field; the
    ``(1 - lam)*H*W`` pixels where it is largest show the target, the others the source, with lam ~ Beta(alpha, alpha).

    Symbols: the paper's lambda and mask belong to the target, here ``1 - lam``; ``decay`` is the code's
    ``decay_power``.

    Options: ``spectrum=official`` takes the noise as the released code does, which mistakes the axis of the row
    frequencies for that of real and imaginary part: along a row of pixels the field then holds nothing but its mean and
    one cycle per width. ``isotropic`` is the field that the paper describes; the published numbers come from the
    official one. ``max_soft`` replaces the hard edge by a ramp over that share of the ranks on each side of the level.
    ``label`` is the realised share of the source (default) or the nominal one that was drawn, the code's.
    ``reformulate`` draws the target's share from Beta(alpha + 1, alpha).

    Deviations: one mask per pair, where the released code draws one per batch. The realised share differs from the
    code's by less than 1/(H*W) with hard masks. Equal values keep the order of the pixels. With ``reformulate`` the
    code trains on the target's label alone, equal in expectation to shares with lam ~ Beta(alpha, alpha); here the
    label stays the share.
    """

    alpha: float = 1.0
    decay: float = 3.0
    max_soft: float = 0.0
    spectrum: Spectrum = "official"
    label: Literal["realised", "nominal"] = "realised"
    reformulate: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "alpha", "decay")
        if not 0 <= self.max_soft <= 0.5:
            raise UsageError(f"method fmix: max_soft, got {self.max_soft}. Give a number from 0 to 0.5.")

    def draw(self, rng: PairRng, size: tuple[int, int]) -> FMixDraws:
        h, w = size
        uniform = rng.uniform("lam")
        if self.reformulate:
            lam = torch.from_numpy(betaincinv(self.alpha, self.alpha + 1, uniform))
        else:
            lam = beta_share(uniform, self.alpha)
        rows = 2 if self.spectrum == "official" else h
        noise = np.maximum(rng.uniform("normals", rows, (w + 1) // 2 + 1, 2), 2.0**-54)  # 0 would become -inf
        return FMixDraws(lam, torch.from_numpy(rng.uniform("coin") > 0.5), torch.from_numpy(ndtri(noise)))

    def place(self, pairs: PairBatch, signals: Signals, draws: FMixDraws) -> Placement:
        field = smooth_field(draws.normals, pairs.size, self.decay, self.spectrum)
        order = field.flatten(1).argsort(dim=1, descending=True, stable=True)
        by_rank = self._share_by_rank(draws, order.shape[1])
        mask = torch.empty_like(by_rank).scatter_(1, order, by_rank).view_as(field)
        return Placement.from_mask(mask, "soft" if self.max_soft else "binary")

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: FMixDraws, mixed: Signals | None
    ) -> Labels:
        return Labels(placement.mask_share() if self.label == "realised" else draws.lam)

    def _share_by_rank(self, draws: FMixDraws, pixels: int) -> Tensor:
        """(b, pixels) float32, share of the source at the largest, second largest ... value of the field."""
        level = (1 - draws.lam) * pixels
        level = torch.where(draws.round_up, level.ceil(), level.floor())
        soft = torch.minimum(draws.lam, 1 - draws.lam).clamp(max=self.max_soft)
        reach = (soft * pixels).floor().clamp(min=1)  # a ramp of two ranks is the hard edge
        rank = torch.arange(pixels, device=level.device)
        ramp = (rank - (level - reach).unsqueeze(1)) / (2 * reach - 1).unsqueeze(1)
        return ramp.clamp(0, 1).float()


def smooth_field(normals: Tensor, size: tuple[int, int], decay: float, spectrum: Spectrum) -> Tensor:
    """(b, h, w) float64, the random field of `FMixDraws.normals`, on a scale of its own (the code: 0 to 1)."""
    h, w = size
    row, col = (torch.fft.fftfreq(n, dtype=torch.float64, device=normals.device) for n in size)
    frequency = torch.hypot(row[: normals.shape[1], None], col[: normals.shape[2]])
    noise = normals * frequency.clamp(min=1 / max(size)).pow(-decay).unsqueeze(-1)
    real, imaginary = noise.unbind(1 if spectrum == "official" else 3)
    # The coefficients have no Hermitian symmetry, which a 2-D real transform may count on: one axis after the other.
    along_rows = torch.fft.ifft(torch.complex(real, imaginary), n=h, dim=1)
    field: Tensor = torch.fft.irfft(along_rows, n=w, dim=2)
    return field
