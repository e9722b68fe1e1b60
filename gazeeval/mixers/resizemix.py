"""ResizeMix: the whole source, shrunk, replaces a rectangle of the target."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._boxes import clipped_box
from gazeeval.mixers.base import Draws, Mixer, register_mixer
from gazeeval.signals.base import Signals
from gazeeval.types import PairBatch, Placement

Rule = Literal["official", "openmixup"]


@dataclass(frozen=True)
class ResizeMixDraws(Draws):
    """``tau`` (b,) float64, factor by which the source is shrunk; ``centre`` (b, 2) int64, (y, x) of the box."""

    tau: Tensor
    centre: Tensor


@register_mixer("resizemix")
@dataclass(frozen=True)
class ResizeMix(Mixer[ResizeMixDraws]):
    """Qin et al., "ResizeMix: Mixing Data with Preserved Object Information and True Labels", arXiv 2012.11101, 2020.

    The source is shrunk to ``floor(H*tau) x floor(W*tau)`` pixels with tau ~ U(low, high), its centre uniform over the
    pixels, and shifted inside the image where it crosses the border; ``lam`` = area of the box / (H*W).

    Symbols: the released code's lambda is ``1 - lam``; ``low`` and ``high`` are its ``alpha`` and ``beta`` (bounds of a
    uniform law, not parameters of a Beta law).

    Options: ``interpolation`` reads the nearest source pixel, as the released code does, or bilinearly.
    ``rule=openmixup`` cuts the box at the border instead of shifting it, with sides rounded to even numbers, and
    shrinks the source to what is left of the box, so that it loses its aspect ratio and a part of its share (mean
    0.173 instead of 0.243 at 224 px).

    Deviations: tau and centre per pair, where the released code draws one tau and openmixup one box per batch.
    openmixup's law for tau from a Beta distribution is left out. The whole source stays visible, hence all its gaze:
    ``lam_gaze = 1 / (1 + visible gaze of the target)`` is at least one half, far above ``lam``, by the method's nature.

    Raises:
        UsageError: for bounds other than ``0 < low <= high <= 1``; for images so small that nothing may be left of the
            source; for images that are not square with ``rule=openmixup``, whose code confuses their axes.
    """

    low: float = 0.1
    high: float = 0.8
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    rule: Rule = "official"

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high <= 1:
            raise UsageError(
                f"method resizemix: low and high, got {self.low} and {self.high}. Give 0 < low <= high <= 1."
            )

    def draw(self, rng: PairRng, size: tuple[int, int]) -> ResizeMixDraws:
        self._check_size(size)
        tau = self.low + (self.high - self.low) * torch.from_numpy(rng.uniform("size"))
        centre = (torch.from_numpy(rng.uniform("centre", 2)) * torch.tensor(size)).long()
        return ResizeMixDraws(tau, centre)

    def place(self, pairs: PairBatch, signals: Signals, draws: ResizeMixDraws) -> Placement:
        h, w = pairs.size
        box = pasted_box(draws, pairs.size, self.rule)
        whole = torch.tensor((0, 0, w, h), device=box.device)
        if self.rule == "official":
            step = (1 / draws.tau).unsqueeze(1).expand(-1, 2)  # the factor as drawn, not the ratio of the sizes
        else:
            step = whole[2:] / (box[:, 2:] - box[:, :2]).double()
        return replace(
            Placement.from_boxes(box, pairs.size, whole.expand_as(box)),
            source_rows=self._read(h, box[:, 1], step[:, 1]),
            source_cols=self._read(w, box[:, 0], step[:, 0]),
        )

    def _read(self, length: int, start: Tensor, step: Tensor) -> Tensor:
        """(b, length) float64: where the pixels of one axis read the source, for a box that begins at ``start``."""
        # In float32, as torch's interpolation computes it: near whole numbers rounding decides the nearest pixel.
        at = (torch.arange(length, device=start.device) - start.unsqueeze(1)).float()
        scale = step.float().unsqueeze(1)
        read = (at * scale).floor() if self.interpolation == "nearest" else (at + 0.5) * scale - 0.5
        return read.double().clamp(0, length - 1)

    def _check_size(self, size: tuple[int, int]) -> None:
        if self.rule == "openmixup" and size[0] != size[1]:
            raise UsageError(
                f"method resizemix: height x width with rule=openmixup, got {size[0]} x {size[1]}. That code swaps the "
                "axes and fails on such images; use square images or rule=official."
            )
        least = 1 if self.rule == "official" else 2
        for name, pixels in zip(("height", "width"), size, strict=True):
            if math.floor(pixels * self.low) < least:
                raise UsageError(
                    f"method resizemix: {name} of the images, got {pixels} px, of which low={self.low} leaves nothing. "
                    f"Use at least {math.ceil(least / self.low)} px or a larger low."
                )


def pasted_box(draws: ResizeMixDraws, size: tuple[int, int], rule: Rule) -> Tensor:
    """(b, 4) int64, xyxy: where the shrunk source lands in images of (height, width) ``size``."""
    extent = torch.tensor(size, device=draws.tau.device)
    side = (extent * draws.tau.unsqueeze(1)).long()
    if rule == "openmixup":
        return clipped_box(draws.centre, side // 2, side // 2, size)
    low = torch.minimum((draws.centre - side // 2).clamp(min=0), extent - side)
    return torch.cat((low.flip(1), (low + side).flip(1)), dim=1)
