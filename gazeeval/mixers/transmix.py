"""TransMix: CutMix, labelled half by the attention that a transformer pays to the box in the mixed image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gazeeval.errors import UsageError
from gazeeval.mixers._blocks import top_left
from gazeeval.mixers.base import register_mixer
from gazeeval.mixers.cutmix import CutMix, CutMixDraws
from gazeeval.signals.base import BottomUp, ClassAttention, Signal, Signals
from gazeeval.types import Labels, PairBatch, Placement

Attention = Literal["class", "queries"]
ATTENTION: Mapping[Attention, Signal] = {"class": ClassAttention(), "queries": BottomUp()}


@register_mixer("transmix")
@dataclass(frozen=True)
class TransMix(CutMix):
    """Chen et al., "TransMix: Attend to Mix for Vision Transformers", CVPR 2022.

    The mixed image is that of CutMix. a = the attention of the last block's class token to the patches of the MIXED
    image, mean over the heads; a patch is the source's if its top left pixel lies in the box:
    ``lam_attn = (sum of a over the source's patches) / (sum of a)``,
    ``lam = (1 - attn_weight) * area of the box + attn_weight * lam_attn``.

    Symbols: the released code draws the target's share of the area and returns the source's share of the label, here
    both are the source's. Both parts are kept (``x_lam_area``, ``x_lam_attn``).

    Options: ``alpha`` and ``rule`` as for CutMix, whose boxes the same seed gives. ``attn_weight=1`` takes attention
    alone, as figure 1 of the paper has it; the released code fixes 1/2. ``attention=queries`` takes the mean over all
    patches in place of the class token, and the size of the last features of a network without attention: a variant,
    for networks without a class token, where TransMix is not defined.

    A box that lies between the corners of patches has ``lam_attn = 0``. Where no patch gets attention ``lam_attn`` is
    the area; the code divides 0 by 0.

    Deviations: one box per pair, where the released code draws one per batch. Attention is that of the network in eval
    mode, where training takes it as it comes, with dropout. The columns of all prefix tokens are dropped, where the
    code drops the class token's only; the grid of patches need not be square.
    """

    attn_weight: float = 0.5
    attention: Attention = "class"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.attn_weight <= 1:
            raise UsageError(f"method transmix: attn_weight, got {self.attn_weight}. Give a number from 0 to 1.")

    def needs_mixed(self) -> frozenset[Signal]:
        return frozenset({ATTENTION[self.attention]})

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: CutMixDraws, mixed: Signals | None
    ) -> Labels:
        assert mixed is not None  # needs_mixed() asks for it
        area = placement.mask_share()
        share = attention_share(mixed.source(ATTENTION[self.attention]), placement.mask, area)
        return Labels(torch.lerp(area, share, self.attn_weight), {"lam_area": area, "lam_attn": share})


def attention_share(attention: Tensor, mask: Tensor, otherwise: Tensor) -> Tensor:
    """(b,) float64 in [0, 1]: the share of the ``attention`` of mixed images that falls on the source.

    Args:
        attention: (b, rows, cols) >= 0, of any scale.
        mask: (b, h, w), 1 where the source shows. A patch is the source's if its top left pixel is.
        otherwise: (b,), the answer where there is no attention.
    """
    weight = attention.double()
    total = weight.sum(dim=(1, 2))
    seen = (weight * top_left(mask, *attention.shape[1:])).sum(dim=(1, 2))
    return torch.where(total > 0, seen / total, otherwise)
