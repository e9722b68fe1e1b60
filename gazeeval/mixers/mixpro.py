"""MaskMix and MixPro: random cells show the source, labelled by area, or by area and attention to the mixed image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._blocks import first_cells, repeated
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.mixers.transmix import ATTENTION, Attention, attention_share
from gazeeval.signals.base import Logits, Signal, Signals
from gazeeval.types import Labels, PairBatch, Placement

_SIDES_PX = (32, 16, 8)
_LEAST_CELLS = 3


@dataclass(frozen=True)
class MaskMixDraws(Draws):
    """``lam`` (b,) float64, share of the source before rounding; ``order`` (b, cells) int64, a permutation of the
    cells, those of the target first."""

    lam: Tensor
    order: Tensor


@register_mixer("maskmix")
@dataclass(frozen=True)
class MaskMix(Mixer[MaskMixDraws]):
    """Zhao et al., "MixPro: Data Augmentation with MaskMix and Progressive Attention Labeling for Vision Transformer",
    ICLR 2023; MaskMix alone, as in all settings that the authors published.

    The image is divided into n cells of ``cell x cell`` pixels, of which ``ceil(n * (1 - s))`` at random show the
    target, the others the source, s ~ Beta(alpha, alpha). ``lam`` = share of the pixels that show the source.

    Symbols: the paper's lambda and mask, and all shares in the code, belong to the image that is not permuted, the
    target: here ``1 - lam``. ``cell`` is the code's ``MASK_PATCH_SIZE``.

    Options: without ``cell`` it is the largest of 32, 16 and 8 px that divides both sides, at least three times: 32 at
    224 px, two patches of 16. The authors use 56 px there with patches of 14 (DeiT) and 4 (Swin). A given ``cell`` need
    not divide the image: cells at the right and bottom border are then cut. ``area=official`` counts those as whole
    ones, as the code does.

    Rounding up keeps at least one cell of the target, and may keep all: nothing is mixed then, ``lam = 0``.

    Deviations: s per pair, where the released code draws one per batch; the area that is realised; images need not be
    square. In training half of the batches are mixed by CutMix or Mixup instead, which is left out.

    Raises:
        UsageError: for images that no such ``cell`` divides, or that are no larger than one.
    """

    alpha: float = 1.0
    cell: int | None = None
    area: Literal["actual", "official"] = "actual"

    def __post_init__(self) -> None:
        require_positive(self, "alpha", *(["cell"] if self.cell is not None else []))

    def draw(self, rng: PairRng, size: tuple[int, int]) -> MaskMixDraws:
        rows, cols = self._grid(size)
        order = rng.permutation("cells", rows * cols)
        return MaskMixDraws(beta_share(rng.uniform("lam"), self.alpha), torch.from_numpy(order))

    def place(self, pairs: PairBatch, signals: Signals, draws: MaskMixDraws) -> Placement:
        (height, width), (rows, cols), cell = pairs.size, self._grid(pairs.size), self._side(pairs.size)
        source = ~first_cells(draws.order, _kept(draws).unsqueeze(1)).view(-1, rows, cols)
        mask = repeated(source.float(), (rows * cell, cols * cell))
        return Placement.from_mask(mask[:, :height, :width], "patches")

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: MaskMixDraws, mixed: Signals | None
    ) -> Labels:
        return Labels(self._area(placement, draws))

    def _area(self, placement: Placement, draws: MaskMixDraws) -> Tensor:
        """(b,) float64, the source's share of the area."""
        return placement.mask_share() if self.area == "actual" else 1 - _kept(draws) / draws.order.shape[1]

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of cells that cover the image. Raises UsageError where one cell does."""
        cell = self._side(size)
        if cell >= max(size):
            raise UsageError(
                f"method {type(self).name}: cell, got {cell} px for images of {size[0]}x{size[1]} px, where nothing "
                f"could be mixed. Give at most {max(size) // 2}."
            )
        return -(-size[0] // cell), -(-size[1] // cell)

    def _side(self, size: tuple[int, int]) -> int:
        """Pixels along the side of a cell."""
        known = [px for px in _SIDES_PX if not any(side % px for side in size) and min(size) >= _LEAST_CELLS * px]
        if self.cell is None and not known:
            name = type(self).name
            raise UsageError(
                f"method {name}: cell, got none for images of {size[0]}x{size[1]} px, where 32, 16 and 8 px do not "
                f"fit. Pass -m {name}:cell=PIXELS, a multiple of the network's patch."
            )
        return self.cell or known[0]


@register_mixer("mixpro")
@dataclass(frozen=True)
class MixPro(MaskMix):
    """Zhao et al., "MixPro: Data Augmentation with MaskMix and Progressive Attention Labeling for Vision Transformer",
    ICLR 2023.

    The mixed image is that of `MaskMix`. Its label (progressive attention labeling, PAL) goes from the area to the
    attention as far as the network understands the MIXED image:
    ``lam = (1 - pal_alpha) * lam_area + pal_alpha * lam_attn``. ``lam_attn`` is the share of the class token's
    attention that falls on cells of the source (`TransMix`), ``pal_alpha`` the cosine of the label by area, smoothed by
    ``smoothing``, and the softmax of the logits. All three are kept (``x_lam_area``, ``x_lam_attn``, ``x_pal_alpha``).

    Symbols: as for `MaskMix`; ``pal_alpha`` is the paper's alpha, ``alpha`` the code's ``MASKMIX_ALPHA``.

    Options: those of `MaskMix`, whose masks the same seed gives. ``pal=false`` is MaskMix. ``attention=queries`` takes
    the mean over all patches, for networks without class token (`TransMix`); the released code has PAL for its ViT
    only. Cells must be whole patches.

    Deviations: those of `MaskMix`. PAL is on, as the paper has it: every published setting turns it off, and the
    released code stops where it would begin. The network is in eval mode and knows its classes, so that ``pal_alpha``
    is what it has come to at the end of training: about 0.7, not 1, where it is sure of one image of two equal halves.
    Where nothing has attention ``lam_attn`` is the area; the code divides 0 by 0.

    Raises:
        UsageError: as `MaskMix`; where cells are no whole patches of the network.
    """

    pal: bool = True
    attention: Attention = "class"
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing <= 1:
            raise UsageError(f"method mixpro: smoothing, got {self.smoothing}. Give a number from 0 to 1.")

    def needs_mixed(self) -> frozenset[Signal]:
        return frozenset({ATTENTION[self.attention], Logits()} if self.pal else ())

    def draw(self, rng: PairRng, size: tuple[int, int]) -> MaskMixDraws:
        return super().draw(PairRng(rng.seed, MaskMix.name, rng.ids.astype(np.int64)), size)  # the masks of maskmix

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: MaskMixDraws, mixed: Signals | None
    ) -> Labels:
        if not self.pal:
            return super().weigh(pairs, placement, signals, draws, mixed)
        assert mixed is not None  # needs_mixed() asks for it
        attention, area = mixed.source(ATTENTION[self.attention]), self._area(placement, draws)
        self._check_patches(pairs.size, (attention.shape[1], attention.shape[2]))
        share = attention_share(attention, placement.mask, area)
        agreement = label_agreement(mixed.source(Logits()), pairs, area, self.smoothing)
        return Labels(torch.lerp(area, share, agreement), {"lam_area": area, "lam_attn": share, "pal_alpha": agreement})

    def _check_patches(self, size: tuple[int, int], grid: tuple[int, int]) -> None:
        cell = self._side(size)
        for pixels, patches in zip(size, grid, strict=True):
            if cell * patches % pixels:
                patch = pixels / patches
                raise UsageError(
                    f"cell, got {cell} px for patches of {patch:g} px. "
                    + (
                        f"Pass -m mixpro:cell=PIXELS, a multiple of {patch:g}."
                        if patch.is_integer()
                        else "Pass --attention-model with a transformer whose patches are whole pixels."
                    )
                )


def label_agreement(logits: Tensor, pairs: PairBatch, area: Tensor, smoothing: float) -> Tensor:
    """(b,) float64 in [0, 1]: cosine of the predicted probabilities and the smoothed label by area.

    Args:
        logits: (b, classes) of the mixed images; labels are columns of it.
        area: (b,) float64, share of the source.
        smoothing: what all classes share.
    """
    classes = torch.arange(logits.shape[1], device=logits.device)
    source, target = (
        (labels.unsqueeze(1) == classes).double() for labels in (pairs.source_labels, pairs.target_labels)
    )
    label = torch.lerp(target, source, area.unsqueeze(1)) * (1 - smoothing) + smoothing / len(classes)
    return cosine_similarity(label, logits.double().softmax(dim=1)).clamp(max=1)  # rounding may exceed it


def _kept(draws: MaskMixDraws) -> Tensor:
    """(b,) float64: how many cells show the target."""
    return (draws.order.shape[1] * (1 - draws.lam)).ceil()
