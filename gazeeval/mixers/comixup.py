"""Co-Mixup: a whole batch becomes a batch of mixes, each of one or several images, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaincinv
from torch import Tensor
from torch.nn.functional import avg_pool2d

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._blocks import saliency_shares
from gazeeval.mixers._potts import PottsEnergy, least_energy
from gazeeval.mixers.base import Draws, GroupMixer, register_mixer, require_positive
from gazeeval.signals.base import InputGradient, Signal, Signals
from gazeeval.types import GroupPlacement, PairBatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SLOTS = 1024  # that draws reach for, as draw() does not know how many images and pairs a group has
_BLOCKS = (2, 4, 8, 16)
_MOST_BETA = 1000  # the minimum cut counts in 32 bits
_HALF_BONUS = 5e-4  # as in the released code, so that ties go to showing both


@dataclass(frozen=True)
class CoMixupDraws(Draws):
    """One row per group; a slot is an image in its part, and the mix in its place.

    ``blocks`` (1,) int64, along each side; ``order`` (1, slots) float64, whose ranking shuffles the images; ``taste``
    (1, slots) float64 ~ Gamma(alpha), divided by its sum over a part the Dirichlet draw; ``start`` (1, slots, n, n)
    float64 in [0, 1), the first label of a block as a share of the part's images, of which the first ``blocks`` rows
    and columns serve.
    """

    blocks: Tensor
    order: Tensor
    taste: Tensor
    start: Tensor


@register_mixer("comixup")
@dataclass(frozen=True)
class CoMixup(GroupMixer[CoMixupDraws]):
    """Kim, Choo, Jeong and Song, "Co-Mixup: Saliency Guided Joint Mixup with Supermodular Diversity", ICLR 2021.

    Parts of m images become m mixes on a grid of n x n blocks. Every block of a mix shows one image k, or half and half
    of two, so that the sum of these is small:

    - ``-s_k - eta / n**2 * ln(q_k + 1e-8)``: shows saliency; s = an image's share of its saliency in the block,
      q ~ Dirichlet(alpha, ..., alpha) over the part;
    - ``beta / n**2`` for neighbours that show different images: smooth masks;
    - ``2 * gamma / n**2 * (A P)_k``, P = blocks that the other mixes show of each image, where ``(A P)_k`` exceeds
      ``thres * n**2``: mixes differ. ``A = (1 - omega) * I + omega * m * D / sum(D)``, D = L1 distance between the most
      salient places (of 8 x 8 pixels).

    The mixes are improved one after the other, ``sweeps`` times. From the second sweep on blocks may be shared: by the
    two images of the mix, or by any two of its three largest. ``o_k`` = the mean share of image k is its label.

    Symbols: ``blocks`` is n, ``part`` is m; ``blocks``, ``part``, ``sweeps``, ``resolve``, ``alpha`` are the code's
    ``m_block_num``, ``m_part``, ``m_niter``, ``set_resolve``, ``mixup_alpha``; the other names are its ``m_`` options.

    Options: ``blocks=none`` draws n from 2, 4, 8 and 16, once per group (the code's -1). ``hard=false`` charges only
    the excess over the threshold. ``resolve`` makes mixes of the same images differ, by an extra charge in the last
    sweep. The command for ImageNet: ``part=16,sweeps=3``.

    With the same draws the masks are those of the released code, block for block. As there, costs count in steps of
    1e-5 and ``beta / n**2`` in steps of 1e-3: with 16 blocks it is 0.001 instead of 0.00125, with more than 17 nothing.
    The hard threshold leaves out images in the product: ``A`` is masked by column, so that images below the threshold
    pay a little for those above.

    Deviations: the images of a group are shuffled before they are cut into parts (they come in the order of the data
    set); the last part may have any size, one image is itself; mixes fill the group's pairs in order, further ones are
    not made, and with more pairs than images the parts are drawn again. If all images are most salient in one place A
    is the identity (there: not a number). Saliency that is zero or not finite is uniform. The gradient is that of the
    network under evaluation in eval mode.

    Raises:
        UsageError: for images whose sides the numbers of blocks do not divide, and for groups of more than 1024 slots.
    """

    blocks: int | None = 4
    part: int = 20
    beta: float = 0.32
    gamma: float = 1.0
    thres: float = 0.83
    hard: bool = True
    eta: float = 0.05
    alpha: float = 2.0
    omega: float = 0.001
    sweeps: int = 4
    resolve: bool = True

    def __post_init__(self) -> None:
        require_positive(self, "part", "beta", "gamma", "thres", "eta", "alpha", "sweeps")
        if self.blocks is not None and self.blocks < 1:
            raise UsageError(f"method comixup: blocks, got {self.blocks}. Give a number above 0, or none to draw it.")
        if self.beta > _MOST_BETA:
            raise UsageError(f"method comixup: beta, got {self.beta}. Give a number up to {_MOST_BETA}.")
        if not 0 <= self.omega <= 1:
            raise UsageError(f"method comixup: omega, got {self.omega}. Give a number from 0 to 1.")

    def needs(self) -> frozenset[Signal]:
        return frozenset({InputGradient()})

    def draw(self, rng: PairRng, size: tuple[int, int]) -> CoMixupDraws:
        most = max(self._numbers)
        for name, pixels in zip(("height", "width"), size, strict=True):
            if pixels % most:
                raise UsageError(
                    f"method comixup: {name} of the images, got {pixels} px, which {most} blocks do not divide. "
                    f"Use {max(1, round(pixels / most)) * most} px, or another number of blocks."
                )
        return CoMixupDraws(
            torch.tensor(self._numbers)[rng.integers("blocks", len(self._numbers))],
            torch.from_numpy(rng.uniform("order", _SLOTS)),
            torch.from_numpy(gammaincinv(self.alpha, rng.uniform("taste", _SLOTS))),
            torch.from_numpy(rng.uniform("start", _SLOTS, most, most)),
        )

    @property
    def _numbers(self) -> tuple[int, ...]:
        return _BLOCKS if self.blocks is None else (self.blocks,)

    def compose(self, pairs: PairBatch, signals: Signals, draws: CoMixupDraws) -> GroupPlacement:
        saliency = signals.images(InputGradient())
        images, mixes = len(saliency), len(pairs)
        slots = -(-mixes // images) * images
        if slots > _SLOTS:
            raise UsageError(
                f"method comixup: images or pairs of a group, got {slots}, above {_SLOTS}. Use a smaller --group-size."
            )
        n, order = int(draws.blocks[0]), draws.order[0, :images].argsort()
        weights = torch.zeros(slots, images, n, n, device=saliency.device)
        for first in range(0, slots, images):
            for begin in range(0, min(images, mixes - first), self.part):
                rows = order[begin : begin + self.part]
                slot = slice(first + begin, first + begin + len(rows))
                cost = self.costs(saliency[rows], draws.taste[0, slot], n)
                start = (draws.start[0, slot, :n, :n] * len(rows)).long()
                alike = self.compatibility(saliency[rows])
                shown = self.solve(cost.cpu().numpy(), alike.cpu().numpy(), start.cpu().numpy())
                weights[slot, rows] = torch.from_numpy(shown).to(weights)
        return GroupPlacement(weights[:mixes])

    def costs(self, saliency: Tensor, taste: Tensor, n: int) -> Tensor:
        """(m, n, n) float64: the cost of showing each image in each block, from ``saliency`` (m, h, w)."""
        shares = saliency_shares(saliency.unsqueeze(0), n, n)[0]
        liked = (taste / taste.sum() + 1e-8).log()
        return -shares - (self.eta / n**2 * liked)[:, None, None]

    def compatibility(self, saliency: Tensor) -> Tensor:
        """(m, m) float64, A: near 1 for an image with itself; else the larger, the farther apart the most salient
        places lie."""
        count, (height, width) = len(saliency), saliency.shape[1:]
        smooth = avg_pool2d(saliency.nan_to_num(0, 0, 0).unsqueeze(1), (min(8, height), min(8, width)), stride=1)
        at = smooth.flatten(1).argmax(dim=1)
        place = torch.stack((at // smooth.shape[3], at % smooth.shape[3]), dim=1).double()
        distance = (place.unsqueeze(1) - place).abs().sum(dim=2)
        same, total = torch.eye(count, dtype=torch.float64, device=at.device), distance.sum()
        return torch.where(total > 0, (1 - self.omega) * same + self.omega * count * distance / total, same)

    def solve(self, cost: Floats, alike: Floats, start: Ints) -> Floats:
        """(m mixes, m images, n, n): how much of each image shows, from `costs`, `compatibility` and first labels
        (m, n, n). On the host, one mix after the other."""
        shown = np.eye(len(cost))[start].transpose(0, 3, 1, 2)
        cells, before = cost[0].size, self.objective(cost, shown)
        for sweep in range(self.sweeps):
            extra = _apart(shown) if self.resolve and sweep == self.sweeps - 1 else np.zeros(shown.shape[:2])
            for i, mine in enumerate(shown):
                others = shown.sum(axis=(0, 2, 3)) - mine.sum(axis=(1, 2))
                charge = self.gamma / cells * (2 * self._crowding(alike, others, cells) + extra[i])
                shown[i] = self._mix(cost + charge[:, None, None], _shareable(mine) if sweep else [])
            after = self.objective(cost, shown)
            if abs(before - after) < 1e-6 * abs(before):
                break
            before = after
        return shown

    def objective(self, cost: Floats, shown: Floats) -> float:
        """What is to be small, without threshold and ``omega``."""
        used, cells = shown.sum(axis=(2, 3)), cost[0].size
        differing = sum((np.diff(shown, axis=axis) ** 2).sum() for axis in (2, 3))
        overlap = (used.sum(axis=0) ** 2).sum() - (used**2).sum()
        return float((cost * shown).sum() + self.beta / (2 * cells) * differing + self.gamma / cells * overlap)

    def _crowding(self, alike: Floats, others: Floats, cells: int) -> Floats:
        near, limit = alike @ others, self.thres * cells
        return (alike * (near > limit)) @ others if self.hard else np.maximum(near - limit, 0)

    def _mix(self, unary: Floats, halves: list[tuple[int, int]]) -> Floats:
        """(m, n, n) the best mix found, with labels for single images and for the pairs in ``halves``."""
        count, cells = len(unary), unary[0].size
        basis = np.eye(count + len(halves), count)
        charge = 1 - np.eye(len(basis))
        for label, pair in enumerate(map(list, halves), start=count):
            basis[label, pair] = 0.5
            charge[label, pair] = charge[pair, label] = 0.25
            unary = np.concatenate((unary, unary[pair].mean(axis=0, keepdims=True) - _HALF_BONUS))
        smooth = _whole(self.beta / cells, 1e3) * _whole(charge, 1e2)
        return basis[least_energy(PottsEnergy(_whole(unary, 1e5), smooth))].transpose(2, 0, 1)


def _whole(value: float | Floats, scale: float) -> Floats:
    """``value * scale`` truncated, in single precision, as in the released code."""
    return np.asarray(np.trunc(np.float32(value) * np.float32(scale)), dtype=np.float64)


def _shareable(shown: Floats) -> list[tuple[int, int]]:
    """Pairs among the up to three largest images of a mix (m, n, n). Ties go as in the released code, to whom
    `torch.topk` names first."""
    used = torch.from_numpy(shown.sum(axis=(1, 2)))
    largest = used.topk(min(3, int(used.count_nonzero()))).indices
    return list(combinations(sorted(largest.tolist()), 2))


def _apart(shown: Floats) -> Floats:
    """(mixes, images): 1 for one image of each mix that shows the same images as another, in turn."""
    extra = np.zeros(shown.shape[:2])
    same: dict[tuple[int, ...], list[int]] = {}
    for i, used in enumerate(shown.sum(axis=(2, 3)) > 0):
        same.setdefault(tuple(np.flatnonzero(used).tolist()), []).append(i)
    for images, mixes in same.items():
        if len(images) > 1 and len(mixes) > 1:
            for turn, i in enumerate(mixes):
                extra[i, images[turn % len(images)]] = 1
    return extra
