"""Attention on a grid of tokens, and the square of tokens that moves from one image to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._windows import best_window
from gazeeval.mixers.base import AnyMixer, Draws, Mixer, Scope
from gazeeval.signals.base import Signal, Signals
from gazeeval.types import PairBatch, Placement, mass


def on_grid(maps: Tensor, side: int) -> Tensor:
    """(b, side, side) float64: ``maps`` (b, rows, cols), read bilinearly (corners not aligned) where the grid differs.

    What they sum to is not kept; see `unit_mass`.
    """
    maps = maps.double()
    if maps.shape[1:] == (side, side):
        return maps
    return interpolate(maps.unsqueeze(1), (side, side), mode="bilinear", align_corners=False).squeeze(1)


def unit_mass(maps: Tensor) -> Tensor:
    """Each of ``maps`` (b, h, w) float64 divided by its sum. A map of zeros stays as it is."""
    total = mass(maps)
    return maps / torch.where(total == 0, 1, total)[:, None, None]


def require_divisible(mixer: AnyMixer, size: tuple[int, int], side: int) -> None:
    """Raise UsageError unless ``side`` tokens divide height and width, (height, width) ``size`` of the images."""
    for name, pixels in zip(("height", "width"), size, strict=True):
        if pixels % side:
            raise UsageError(
                f"method {type(mixer).name}: {name} of the images, got {pixels} px, which side={side} tokens do not "
                f"divide. Pass --input-size {max(1, round(pixels / side)) * side} or another side=."
            )


@dataclass(frozen=True)
class SquareDraws(Draws):
    """``k`` (b,) int64, side of the square in tokens."""

    k: Tensor


Q = TypeVar("Q", bound=SquareDraws)


@dataclass(frozen=True)
class SquareMixer(Mixer[Q]):
    """The k x k tokens with most attention in the source replace those with least attention in the target.

    k is uniform over ``int(min_side * side) .. int(max_side * side)``, ``side`` = tokens along each side of the image.
    ``size_per`` draws it for each pair, or once for a group. Among equal squares the first in raster order is taken.

    Raises:
        UsageError: for squares without a token; for images whose sides ``side`` tokens do not divide.
    """

    side: int = 14
    min_side: float = 0.25
    max_side: float = 0.75
    size_per: Literal["pair", "group"] = "pair"

    def __post_init__(self) -> None:
        if not 0 < self.min_side <= self.max_side <= 1:
            raise UsageError(
                f"method {type(self).name}: min_side and max_side, got {self.min_side} and {self.max_side}. "
                "Give 0 < min_side <= max_side <= 1."
            )
        if int(self.min_side * self.side) < 1:
            raise UsageError(
                f"method {type(self).name}: min_side, got {self.min_side} of side={self.side}, not one token. "
                "Give more of either."
            )

    @property
    def scope(self) -> Scope:
        return self.size_per

    @property
    def request(self) -> Signal:
        """Asks for the map (n, rows, cols) >= 0 that says how much attention each token gets."""
        raise NotImplementedError

    def needs(self) -> frozenset[Signal]:
        return frozenset({self.request})

    def draw_k(self, rng: PairRng, size: tuple[int, int]) -> Tensor:
        """(n,) int64. From the shared stream: all methods of this kind get squares of the same size."""
        require_divisible(self, size, self.side)
        least, most = (int(share * self.side) for share in (self.min_side, self.max_side))
        return least + torch.from_numpy(rng.integers("size", most - least + 1))

    def place(self, pairs: PairBatch, signals: Signals, draws: Q) -> Placement:
        h, w = pairs.size
        source_box, target_box = self.squares(*self.maps(signals), draws)
        token = torch.tensor((w, h, w, h), device=target_box.device) // self.side
        return Placement.from_boxes(target_box * token, pairs.size, source_box * token)

    def maps(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """Attention of the source and of the target, (b, side, side) float64."""
        return on_grid(signals.source(self.request), self.side), on_grid(signals.target(self.request), self.side)

    def squares(self, source: Tensor, target: Tensor, draws: Q) -> tuple[Tensor, Tensor]:
        """(b, 4) int64 xyxy in tokens: the square taken from the source, and where it lands in the target."""
        sides = draws.k.expand(len(source)).unsqueeze(1).expand(-1, 2)
        return best_window(source, sides), best_window(target, sides, largest=False)
