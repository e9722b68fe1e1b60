"""SMMix: the square with most attention of the source replaces the one with least attention of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gazeeval.data.random import PairRng
from gazeeval.mixers._tokens import SquareDraws, SquareMixer
from gazeeval.mixers.base import register_mixer
from gazeeval.signals.base import BottomUp, ClassAttention, Signal


@register_mixer("smmix")
@dataclass(frozen=True)
class SMMix(SquareMixer[SquareDraws]):
    """Chen et al., "SMMix: Self-Motivated Image Mixing for Vision Transformers", ICCV 2023.

    On a grid of S x S tokens the k x k square with the largest sum of attention in the source is pasted over the k x k
    square with the smallest sum in the target; ``lam = k**2 / S**2``, the share of the area: attention decides where,
    not how much. k is uniform over the whole numbers from ``int(S / 4)`` to ``int(3 S / 4)``: 3 to 10 of 14, so that
    ``lam`` lies between 0.046 and 0.510, on average at 0.242.

    Symbols: S is ``side``, the code's ``min_side_ratio`` and ``max_side_ratio`` are ``min_side`` and ``max_side``, k is
    its ``rect``; its ``lam`` is the share of the target, here ``1 - lam``.

    Options: ``attention=queries`` is what each patch gets from all patches in the last block, mean over heads, as in
    the released code (of a network without attention the norm of its features); ``attention=class`` what it gets from
    the class token, as in OpenMixup's port. ``size_per=group`` draws one k for all pairs of a group, as the released
    code does for a batch. A network whose own grid is another (7 x 7 for PVT, Swin or ResNet at 224 px) has its map
    resized bilinearly; ``side=7`` takes it as it is.

    Deviations: k per pair. Window sums are float64 and equal within a relative 1e-9: the code's float32 sums let
    rounding decide between the windows of a flat map. The code alternates with Mixup from batch to batch, and trains
    with further losses that leave ``lam`` alone; both are left out. Sides that S does not divide are refused, where the
    code leaves a black border or crashes. The map is that of the network under evaluation in eval mode.
    """

    attention: Literal["queries", "class"] = "queries"

    @property
    def request(self) -> Signal:
        return BottomUp() if self.attention == "queries" else ClassAttention()

    def draw(self, rng: PairRng, size: tuple[int, int]) -> SquareDraws:
        return SquareDraws(self.draw_k(rng, size))
