"""GridMixup: a regular grid of holes inside a random crop shows the source. OpenMixup calls it GridMix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import Signals
from gazeeval.types import PairBatch, Placement

Border = Literal["clip", "released"]


@dataclass(frozen=True)
class GridMixupDraws(Draws):
    """``lam`` (b,) float64, share of a patch that its hole takes; ``holes`` (b,) int64, patches across the crop;
    ``area`` (b,) float64, share of the image that the crop takes; ``aspect`` (b,) float64, height / width of the crop;
    ``offset`` (b, 2) float64 in [0, 1), (y, x), where in the free space the crop lies."""

    lam: Tensor
    holes: Tensor
    area: Tensor
    aspect: Tensor
    offset: Tensor


@register_mixer("gridmixup", aliases=("gridmix",))
@dataclass(frozen=True)
class GridMixup(Mixer[GridMixupDraws]):
    """Dobrynin, "GridMixup", released code without a paper, 2020.

    A crop of the image is divided into square patches, ``holes`` of them across. The top left corner of every patch, a
    square of side ``clamp(int(patch * sqrt(s)), 1, patch - 1)``, shows the source, where
    s ~ min_lam + (max_lam - min_lam) * Beta(alpha, alpha). The number of holes and the crop's area (share of the
    image), aspect (height / width) and place in the free space are uniform in their ranges.
    ``lam`` = share of the pixels in holes, about ``area * s``: the s that was drawn is never the label.

    ``gridmix`` is OpenMixup's name for this method, and the tables made with it mean this one. GridMix of Baek et al.
    (Pattern Recognition, 2021), which also trains on labels of patches, is another method and has no public code.

    Symbols: the code's lambda is the share of a patch that is kept, here ``1 - s``.

    Options: the ranges. The defaults are those of OpenMixup's classifier. The example of the released code has
    ``min_lam=0.3,max_lam=0.6``; its class has ``min_lam=0.1,max_lam=0.9`` and one grid over the whole image,
    ``min_holes=20,max_holes=20,min_area=1,min_aspect=1,max_aspect=1``. More than half of the default crops are longer
    than the image: ``border=clip`` cuts their holes at its border, ``border=released`` lets them start at negative
    indices, as the code does: a hole across the border vanishes, one beyond it shows at the far side.

    Deviations: ``border``; draws per pair, where the released code has one set per batch; holes are always square, as
    in all settings in use. OpenMixup confuses height and width where they differ, which is not followed.
    """

    alpha: float = 1.0
    min_lam: float = 0.0
    max_lam: float = 1.0
    min_holes: int = 2
    max_holes: int = 6
    min_area: float = 0.5
    max_area: float = 1.0
    min_aspect: float = 0.5
    max_aspect: float = 2.0
    border: Border = "clip"

    def __post_init__(self) -> None:
        require_positive(self, "alpha", "min_area", "min_aspect")
        for name, least, most in (("lam", 0, 1), ("holes", 1, math.inf), ("area", 0, 1), ("aspect", 0, math.inf)):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if not least <= low <= high <= most:
                raise UsageError(
                    f"method gridmixup: min_{name} and max_{name}, got {low} and {high}. "
                    f"Give a range within {least:g} .. {most:g}."
                )

    def draw(self, rng: PairRng, size: tuple[int, int]) -> GridMixupDraws:
        """Raises UsageError where the smallest crop of images of ``size`` is too narrow for ``max_holes``."""
        narrowest = int(math.sqrt(int(size[0] * size[1] * self.min_area) / self.max_aspect))
        if self.max_holes > narrowest // 2:
            raise UsageError(
                f"method gridmixup: max_holes, got {self.max_holes} where the narrowest crop of {size[0]}x{size[1]} px "
                f"has {narrowest}. Give at most {narrowest // 2}, or a larger --input-size."
            )
        share = beta_share(rng.uniform("lam"), self.alpha)
        holes = rng.integers("holes", self.max_holes - self.min_holes + 1)
        return GridMixupDraws(
            lam=self.min_lam + (self.max_lam - self.min_lam) * share,
            holes=self.min_holes + torch.from_numpy(holes),
            area=torch.from_numpy(self.min_area + (self.max_area - self.min_area) * rng.uniform("area")),
            aspect=torch.from_numpy(self.min_aspect + (self.max_aspect - self.min_aspect) * rng.uniform("aspect")),
            offset=torch.from_numpy(rng.uniform("offset", 2)),
        )

    def place(self, pairs: PairBatch, signals: Signals, draws: GridMixupDraws) -> Placement:
        h, w = pairs.size
        crop_w = ((h * w * draws.area).long() / draws.aspect).sqrt().long()
        crop_h = (crop_w * draws.aspect).long()
        patch = (crop_w + draws.holes - 1) // draws.holes
        hole = (patch * draws.lam.sqrt()).long().clamp(min=1).minimum(patch - 1)
        fit = _clipped if self.border == "clip" else _wrapped
        top, left = ((h - crop_h) * draws.offset[:, 0]).long(), ((w - crop_w) * draws.offset[:, 1]).long()
        rows, cols = fit(h, top, crop_h, patch, hole), fit(w, left, crop_w, patch, hole)
        return Placement.from_mask((rows.unsqueeze(2) & cols.unsqueeze(1)).float(), "patches")


def _clipped(length: int, start: Tensor, crop: Tensor, patch: Tensor, hole: Tensor) -> Tensor:
    """(b, length) bool: rows or columns of the image that holes cover. ``start`` may be negative."""
    return _holes(torch.arange(length, device=start.device), start, crop, patch, hole)[0]


def _wrapped(length: int, start: Tensor, crop: Tensor, patch: Tensor, hole: Tensor) -> Tensor:
    """The same where a hole is ``image[first:end]`` with Python's meaning of negative numbers."""
    at = torch.arange(length, device=start.device)
    here, first, _ = _holes(at, start, crop, patch, hole)
    beyond, first_beyond, end = _holes(at - length, start, crop, patch, hole)
    around = here & beyond & (first == first_beyond)  # one hole longer than the image
    return (here & (first >= 0)) | (beyond & (end < 0)) | around


def _holes(at: Tensor, start: Tensor, crop: Tensor, patch: Tensor, hole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether positions ``at`` (k,) lie in a hole, and where the hole of their patch begins and ends: (b, k) each."""
    start, crop, patch, hole = (value.unsqueeze(1) for value in (start, crop, patch, hole))
    inside = at - start
    first = inside // patch * patch
    covered = (inside >= 0) & (inside < crop) & (inside - first < hole)
    return covered, start + first, start + torch.minimum(first + hole, crop)
