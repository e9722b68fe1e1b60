"""Attentive CutMix: the most activated cells of the source replace the same cells of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._blocks import first_cells
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import FeatureMean, Signal, Signals
from gazeeval.types import PairBatch, Placement

_PAPER_SHARE = 6 / 49


@dataclass(frozen=True)
class AttentiveMixDraws(Draws):
    """``lam`` (b,) float64, share of the cells before rounding. With a fixed number of cells nothing is drawn."""

    lam: Tensor


@register_mixer("attentivemix")
@dataclass(frozen=True)
class AttentiveMix(Mixer[Draws]):
    """Walawalkar et al., "Attentive CutMix: An Enhanced Data Augmentation Approach for Deep Learning Based Image
    Classification", ICASSP 2020.

    Attention = the mean over the channels of the network's last feature map of the source, averaged to ``grid x grid``
    cells. The N cells with the highest values are pasted: ``mixed = B * source + (1 - B) * target``, ``lam = mean(B)``,
    which is N / 49 where the sides of the image are multiples of 7.

    Symbols: ``B`` is the mask, N is ``top``; the paper's lambda is the share of the pasted image, as here.

    Options: ``grid=native`` keeps the grid of the feature map. ``top`` is the number of cells; without it the paper's
    share, ``round(6/49 * cells)``: 6 of 49. ``top=beta`` is OpenMixup's "AttentiveMix+", which draws it:
    ``clamp(int(cells * Beta(alpha, alpha)), 1, cells)``.

    Sides that are no multiple of the grid give cells that differ by a pixel; ``lam`` is the share of pixels realised.
    Equal values are taken in raster order. A feature map coarser than the grid is stretched to it, so that neighbouring
    cells share their values.

    Deviations: the paper does not say how channels become one map; the mean is OpenMixup's (another code takes the last
    channel). The features are those of the run's network on its own input, where the paper uses a network trained on
    ImageNet at 224 px. No code of the authors is known.
    """

    grid: int | Literal["native"] = 7
    top: int | Literal["beta"] | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, *(name for name, value in vars(self).items() if isinstance(value, int | float)))
        if self.grid != "native":
            self._check_top(self.grid**2)

    def needs(self) -> frozenset[Signal]:
        return frozenset({FeatureMean()})

    def draw(self, rng: PairRng, size: tuple[int, int]) -> Draws:
        return AttentiveMixDraws(beta_share(rng.uniform("lam"), self.alpha)) if self.top == "beta" else Draws()

    def place(self, pairs: PairBatch, signals: Signals, draws: Draws) -> Placement:
        attention = signals.source(FeatureMean())
        if self.grid != "native":
            attention = adaptive_avg_pool2d(attention, self.grid)
        kept = _strongest(attention, self._count(attention[0].numel(), draws))
        return Placement.from_mask(_upsampled(kept, pairs.size), "patches")

    def _count(self, cells: int, draws: Draws) -> Tensor | int:
        """How many cells are pasted: (b, 1) int64, or one number for all pairs."""
        if isinstance(draws, AttentiveMixDraws):
            return (cells * draws.lam).long().clamp(1, cells).unsqueeze(1)
        self._check_top(cells)
        return self.top if isinstance(self.top, int) else max(1, round(_PAPER_SHARE * cells))

    def _check_top(self, cells: int) -> None:
        if isinstance(self.top, int) and self.top > cells:
            raise UsageError(
                f"method attentivemix: top, got {self.top} of a grid of {cells} cells. Give at most {cells}."
            )


def _strongest(attention: Tensor, count: Tensor | int) -> Tensor:
    """(b, rows, cols) float32, 1 at the ``count`` highest values; the first in raster order among equals."""
    order = attention.flatten(1).argsort(dim=1, descending=True, stable=True)
    return first_cells(order, count).float().view_as(attention)


def _upsampled(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """(b, h, w): every pixel has the value of the cell that it lies in."""
    rows, cols = (
        torch.arange(pixels, device=cells.device) * count // pixels
        for pixels, count in zip(size, cells.shape[1:], strict=True)
    )
    return cells[:, rows[:, None], cols]
