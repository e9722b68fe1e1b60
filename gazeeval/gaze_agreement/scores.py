"""How well maps agree with gaze: NSS, AUC, CC, SIM, KL and information gain, image by image.

Definitions as in the MIT/Tuebingen saliency benchmark and in Bylinskii et al., "What do different evaluation metrics
tell us about saliency models?" (arXiv 1604.03605); card ``gaze-metrics`` says where implementations differ and which
form is taken. NSS, AUC and CC take maps as they are, (n, h, w) of any real dtype, one per image; SIM, KL and IG take
densities, see `density`. Every score is (n,) float64, NaN for an image without the gaze that it needs. A constant map
is scored, not dropped: NSS 0, AUC 1/2, CC 0, whatever rounding makes of its standard deviation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 1e-20
"""What pysaliency adds to maps so that logarithms exist."""


@dataclass(frozen=True)
class FixatedPixels:
    """Where people looked, as pixels: those of ``n`` images side by side, padded to the longest.

    Attributes:
        index: (n, k) int64, row * width + column; any pixel where ``valid`` is False.
        valid: (n, k) bool. A pixel that was fixated twice is there twice.
    """

    index: Tensor
    valid: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, valid: Tensor, height: int, width: int) -> FixatedPixels:
        """From positions (n, k) in pixels, corner convention; those outside the frame are dropped."""
        column, row = x.floor().long(), y.floor().long()
        inside = valid & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        return cls(torch.where(inside, row * width + column, 0), inside)

    def to(self, device: torch.device | str) -> FixatedPixels:
        """The same on another device."""
        return FixatedPixels(self.index.to(device), self.valid.to(device))

    def only(self, kept: Tensor) -> FixatedPixels:
        """Those for which ``kept`` (n, k) bool holds."""
        return FixatedPixels(self.index, self.valid & kept)

    def counts(self) -> Tensor:
        """(n,) int64, fixations of each image."""
        return self.valid.sum(dim=1)

    def mean(self, values: Tensor) -> Tensor:
        """(n,): mean over the fixations of ``values`` (n, h * w) at their pixels; NaN without fixations."""
        return values.gather(1, self.index).masked_fill(~self.valid, 0).sum(dim=1) / self.counts()


def density(maps: Tensor, floor: float = 0.0) -> Tensor:
    """(n, h, w) float64 of sum 1: maps less their minimum where that is negative, plus ``floor``, over their sum.

    A map of zeros becomes uniform. Raises ValueError for maps that are not finite.
    """
    values = _pixels(maps)
    values = values - values.amin(dim=1, keepdim=True).clamp(max=0)
    values += floor  # apart, or it would be lost in rounding
    total = values.sum(dim=1, keepdim=True)
    return torch.where(total > 0, values / total, 1 / values.shape[1]).view(maps.shape)


def is_flat(maps: Tensor) -> Tensor:
    """(n,) bool: whether a map says nothing about places, being constant."""
    lowest, highest = maps.flatten(1).aminmax(dim=1)
    return lowest == highest


def nss(maps: Tensor, fixations: FixatedPixels) -> Tensor:
    """Normalised scanpath saliency: mean over the fixations of the map in standard deviations (ddof 0) from its mean.

    Peters, Iyer, Itti & Koch (2005), Vision Research 45. Raises ValueError for maps that are not finite.
    """
    centred, spread = _standard(maps)
    return fixations.mean(centred) / spread


def auc(maps: Tensor, fixations: FixatedPixels, negatives: Tensor | None = None) -> Tensor:
    """Area under the ROC curve, exact: how often a fixation lies on a higher value than a negative, ties counting half.

    This is the Mann-Whitney statistic over all pairs, without thresholds, jitter or sampling, so it is not biased
    upwards for few fixations as AUC-Judd is. Raises ValueError for maps that are not finite.

    Args:
        negatives: (n, h, w) or (h, w) >= 0, how often each pixel counts as a negative. None: every pixel once (uniform
            AUC). The fixations of other images make it shuffled AUC, in which a bias to the centre that all images
            share earns nothing (Tatler, Baddeley & Gilchrist 2005, Vision Research 45).
    """
    values = _pixels(maps)
    fixated = values.gather(1, fixations.index).masked_fill(~fixations.valid, math.inf).sort(dim=1).values
    below = torch.searchsorted(fixated, values)  # how many fixations are lower than each pixel
    below += torch.searchsorted(fixated, values, right=True)  # and how many are lower or equal
    beaten = 1 - below.double() / (2 * fixations.counts().unsqueeze(1))
    if negatives is None:
        return beaten.mean(dim=1)
    weights = negatives.double().expand(maps.shape).flatten(1)
    return (weights * beaten).sum(dim=1) / weights.sum(dim=1)


def cc(maps: Tensor, gaze: Tensor) -> Tensor:
    """Pearson correlation over the pixels with ``gaze`` (n, h, w); 0 where either is constant.

    Raises ValueError for maps that are not finite.
    """
    (a, spread_a), (b, spread_b) = _standard(maps), _standard(gaze)
    return _where_gaze((a * b).mean(dim=1) / (spread_a * spread_b), gaze)


def sim(p: Tensor, q: Tensor) -> Tensor:
    """Histogram intersection ``sum min(p, q)`` in [0, 1] of the map's density and that of the gaze."""
    return _where_gaze(p.minimum(q).sum(dim=(1, 2)), q)


def kl(p: Tensor, q: Tensor, eps: float = 2.2204e-16) -> Tensor:
    """Kullback-Leibler divergence of the map's density p from that of the gaze q: ``sum q ln(eps + q / (p + eps))``.

    In nats. The default is the form of the MIT/Tuebingen benchmark; pysaliency's own has ``eps=0`` and densities made
    with `FLOOR`. They agree on positive maps and are far apart where p is 0 under gaze: see `mass_on_zero`.
    """
    return _where_gaze(torch.where(q > 0, q * (eps + q / (p + eps)).log(), 0).sum(dim=(1, 2)), q)


def mass_on_zero(p: Tensor, q: Tensor) -> Tensor:
    """Share of the gaze q on pixels where the map's density p is 0: what KL and IG score by their floor alone."""
    return _where_gaze(q.masked_fill(p > 0, 0).sum(dim=(1, 2), dtype=torch.float64), q)


def information_gain(p: Tensor, fixations: FixatedPixels, baseline: Tensor | None = None) -> Tensor:
    """Bits per fixation by which density p says better where people look than density ``baseline``: mean of
    ``log2 p - log2 baseline`` over the fixations (Kuemmerer, Wallis & Bethge 2015, PNAS 112).

    Make both with `FLOOR`. It means what it says only of maps that were made as densities: a saliency map scaled to
    sum 1 is none.

    Args:
        baseline: None: uniform.
    """
    uniform = -math.log2(p.shape[1] * p.shape[2])
    gain = p.log2() - (uniform if baseline is None else baseline.log2())
    return fixations.mean(gain.flatten(1))


def _pixels(maps: Tensor) -> Tensor:
    """(n, h * w) float64."""
    values = maps.flatten(1).double()
    if not values.sum().isfinite():  # quicker than to ask every pixel
        raise ValueError("maps: got values that are not finite. Leave such maps out, or replace what made them so.")
    return values


def _standard(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Maps minus their mean (n, h * w), and their standard deviation (n,): infinite for constant ones, so that scores
    in units of it are 0."""
    values = _pixels(maps)
    centred = values - values.mean(dim=1, keepdim=True)
    return centred, centred.square().mean(dim=1).sqrt().masked_fill(is_flat(values), math.inf)


def _where_gaze(score: Tensor, gaze: Tensor) -> Tensor:
    """The score (n,), NaN for images of which ``gaze`` (n, h, w) is all zero."""
    return score.masked_fill(gaze.flatten(1).amax(dim=1) == 0, math.nan)
