"""TokenMix: several blocks of tokens show the source, labelled by what a network sees in the tokens that stay."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._blocks import first_cells, repeated
from gazeeval.mixers.base import Draws, Mixer, Scope, register_mixer, require_positive
from gazeeval.signals.base import ClassAttention, ClassEvidence, ClassMap, Signal, Signals
from gazeeval.types import Labels, PairBatch, Placement

Content = Literal["evidence", "cam", "attention", "area"]

_CONTENT: Mapping[Content, Signal] = {"evidence": ClassEvidence(), "cam": ClassMap(), "attention": ClassAttention()}
_ATTEMPTS = 10  # failures in a row that end the search for blocks
_LEAST_AREA, _LEAST_ASPECT = 1, 0.3
_ROUND = 32  # attempts drawn at a time


@dataclass(frozen=True)
class TokenMixDraws(Draws):
    """``cells`` (b, grid, grid) bool, True where the source shows; one row for all pairs with ``mask_per=group``."""

    cells: Tensor


@register_mixer("tokenmix")
@dataclass(frozen=True)
class TokenMix(Mixer[TokenMixDraws]):
    """Liu et al., "TokenMix: Rethinking Image Mixing for Data Augmentation in Vision Transformers", ECCV 2022.

    N = ``min(grid**2, int(lam_constant * grid**2) + minimum_tokens)`` tokens are to show the source, 112 of 196. Blocks
    of tokens are placed at random, as in BEiT: area ~ U(1, tokens still missing), aspect = height / width ~ log-uniform
    in [0.3, 1/0.3], sides rounded; a block counts if it is smaller than the grid and adds at least one token and not
    more than are missing. Ten failures in a row end the search, so that N may be missed. p = an image's content map,
    bilinear on the grid, divided by its sum: ``score_source`` = sum of p_source over the source's tokens,
    ``score_target`` = sum of p_target over the others; ``lam = score_source / (score_source + score_target)``.

    Symbols: ``lam_constant`` of the released code is the share of the target, here of the source (both 0.5).
    ``minimum_tokens``, its name, bounds nothing: it is added. The two scores are the weights that it trains with, each
    label's loss for itself, so that their sum need not be 1: the share of the label is their quotient. Both are kept
    (``x_score_source``, ``x_score_target``), and ``x_lam_area``, the share of the tokens that was reached.

    Options: ``mask_type=random`` takes N single tokens. ``mask_per=group`` shares one mask among the pairs of a group,
    as the released code does in a batch. ``content``, of each image for itself: ``evidence``, the probability of the
    image's class at each token; ``cam``, the class map without its negative part; ``attention``, of the class token;
    ``area``, the same everywhere, which needs no network. ``grid`` is the number of tokens along each side.

    An image whose map is 0 everywhere scores 0; where both do, the area is the label.

    Deviations: one mask per pair by default. The content maps of the authors are stored outputs of a teacher (NFNet-F6,
    the five likeliest classes) that no checkpoint gives; here they come from the network under evaluation, in eval
    mode. The code trains some batches with Mixup, and can draw a share that it then does not use; both are left out.

    Raises:
        UsageError: for images whose sides ``grid`` does not divide.
    """

    lam_constant: float = 0.5
    minimum_tokens: int = 14
    mask_type: Literal["block", "random"] = "block"
    mask_per: Literal["pair", "group"] = "pair"
    content: Content = "evidence"
    grid: int = 14

    def __post_init__(self) -> None:
        require_positive(self, "grid")
        if not 0 <= self.lam_constant <= 1:
            raise UsageError(f"method tokenmix: lam_constant, got {self.lam_constant}. Give a number from 0 to 1.")
        if self.minimum_tokens < 0:
            raise UsageError(f"method tokenmix: minimum_tokens, got {self.minimum_tokens}. Give 0 or more.")

    @property
    def scope(self) -> Scope:
        return self.mask_per

    @property
    def tokens(self) -> int:
        """How many tokens are to show the source."""
        cells = self.grid**2
        return min(cells, int(self.lam_constant * cells) + self.minimum_tokens)

    def needs(self) -> frozenset[Signal]:
        return frozenset({_CONTENT[self.content]} if self.content != "area" else ())

    def draw(self, rng: PairRng, size: tuple[int, int]) -> TokenMixDraws:
        if size[0] % self.grid or size[1] % self.grid:
            raise UsageError(
                f"method tokenmix: image size, got {size[0]}x{size[1]} px for {self.grid}x{self.grid} tokens. "
                f"Give sides that are multiples of {self.grid}, e.g. --input-size {16 * self.grid}, or another grid=."
            )
        if self.mask_type == "random":
            order = torch.from_numpy(rng.permutation("tokens", self.grid**2))
            return TokenMixDraws(first_cells(order, self.tokens).view(-1, self.grid, self.grid))
        return TokenMixDraws(torch.from_numpy(block_masks(_attempts(rng), len(rng), self.grid, self.tokens)))

    def place(self, pairs: PairBatch, signals: Signals, draws: TokenMixDraws) -> Placement:
        cells = draws.cells.float().expand(len(pairs), -1, -1)
        return Placement.from_mask(repeated(cells, pairs.size), "patches")

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: TokenMixDraws, mixed: Signals | None
    ) -> Labels:
        area = placement.mask_share()
        if self.content == "area":
            source, target = area, 1 - area
        else:
            content = _CONTENT[self.content]
            source = content_share(signals.source(content), draws.cells)
            target = content_share(signals.target(content), ~draws.cells)
        total = source + target
        lam = torch.where(total > 0, source / total, area)
        return Labels(lam, {"score_source": source, "score_target": target, "lam_area": area})


def content_share(maps: Tensor, cells: Tensor) -> Tensor:
    """(b,) float64 in [0, 1]: the share of each content map (b, rows, cols) that lies in ``cells`` (b, grid, grid).

    The positive part of the map is stretched to the grid. 0 where nothing is left of it.
    """
    size = (cells.shape[1], cells.shape[2])
    content = interpolate(maps.double().clamp(min=0).unsqueeze(1), size, mode="bilinear").squeeze(1)
    total = content.sum(dim=(1, 2))
    return torch.where(total > 0, (content * cells).sum(dim=(1, 2)) / total, 0)


def block_masks(attempts: Iterable[NDArray[np.float64]], count: int, grid: int, tokens: int) -> NDArray[np.bool_]:
    """(count, grid, grid): masks of random blocks that add up to ``tokens``, all masks at once.

    Args:
        attempts: (4, count) uniforms in [0, 1) each: area, aspect, top and left of the next block of every mask. As
            many are taken as the slowest mask needs; a mask that is done ignores them.
    """
    masks = np.zeros((count, grid, grid), dtype=np.bool_)
    failures = np.zeros(count, dtype=np.int64)
    at = np.arange(grid)
    lowest = math.log(_LEAST_ASPECT)
    highest = math.log(1 / _LEAST_ASPECT)
    for area_at, aspect_at, top_at, left_at in attempts:
        missing = tokens - masks.sum(axis=(1, 2))
        open_ = (missing > 0) & (failures < _ATTEMPTS)
        if not open_.any():
            break
        # in this order and in double precision, since a product near .5 may round to either side
        area = _LEAST_AREA + (missing - _LEAST_AREA) * area_at
        aspect = np.exp(lowest + (highest - lowest) * aspect_at)
        sides = np.rint(np.sqrt([area * aspect, area / aspect]))
        first = np.floor(np.array((top_at, left_at)) * (grid - sides + 1))
        inside = (at >= first[..., None]) & (at < (first + sides)[..., None])
        blocks = inside[0][:, :, None] & inside[1][:, None, :]
        new = (blocks & ~masks).sum(axis=(1, 2))
        taken = open_ & (sides < grid).all(axis=0) & (new > 0) & (new <= missing)
        masks |= blocks & taken[:, None, None]
        failures = np.where(taken, 0, failures + 1)
    return masks


def _attempts(rng: PairRng) -> Iterator[NDArray[np.float64]]:
    """Uniforms (4, n), attempt after attempt, without end."""
    for number in itertools.count():
        yield from rng.uniform(f"blocks/{number}", _ROUND, 4).transpose(1, 2, 0)
