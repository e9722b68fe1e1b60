"""PuzzleMix: a block mask of least energy, then the salient blocks of both images move into what the mask shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._blocks import border_differences, largest_divisor, repeated, saliency_shares
from gazeeval.mixers._graphcut import GridEnergy, max_flow, primal_dual
from gazeeval.mixers._transport import own_pixels, transport_plan
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.signals.base import InputGradient, Signal, Signals
from gazeeval.types import PairBatch, Placement

_BLOCKS = (2, 4, 8, 16)


@dataclass(frozen=True)
class PuzzleMixDraws(Draws):
    """``lam`` (b,) float64, expected share of the source; ``blocks`` (b,) int64, blocks along each side."""

    lam: Tensor
    blocks: Tensor


@register_mixer("puzzlemix")
@dataclass(frozen=True)
class PuzzleMix(Mixer[PuzzleMixDraws]):
    """Kim, Choo and Song, "Puzzle Mix: Exploiting Saliency and Local Statistics for Optimal Mixup", ICML 2020.

    The image is divided into n x n blocks, n drawn from 2, 4, 8 and 16. Block p shows the share t_p of the source, one
    of ``levels`` values from 0 to 1, so that the sum of these is least:

    - ``t * s_target + (1 - t) * s_source``: the saliency that is lost, s = an image's share of its saliency in p;
    - ``beta / (16 n) * (t_p - t_q)**2`` for neighbours: smooth masks;
    - for neighbours the mean of ``|last row of p - first row of q|`` (columns likewise) between the images that they
      show, weighted by their shares, times ``gamma * beta / (16 n)``: smooth images. Rows of cells of up to ``neigh``
      pixels;
    - ``-eta / n**2 * ln(binomial probability of the level)``, with the drawn expected share lam ~ Beta(alpha, alpha).

    Then every block of each image may move: from i to j it costs ``t_eps * distance**2 - s_i * visible_j``, distances
    in units of the grid's side. ``mixed = t * moved source + (1 - t) * moved target``, ``lam = mean(t)``. Blocks that
    find no place are lost, with their gaze. Saliency: the input gradient of the loss.

    Symbols: the paper's z and the code's mask, ratio and ``alpha`` are shares of the target, here ``1 - t``,
    ``1 - lam``; ``levels``, ``alpha``, ``neigh``, ``blocks`` are the code's ``n_labels``, ``mixup_alpha``,
    ``neigh_size``, ``block_num``.

    Options: ``blocks`` fixes n. ``t_size`` moves cells of this many pixels instead of whole blocks (the command for
    CIFAR-100, whose other settings are the defaults: 4); ``transport=false`` moves nothing. ``solver=max-flow`` gives
    the exact minimum, the same wherever the network runs; ``primal-dual`` stays on the device and reaches it in most
    pairs, in more of them with more ``iterations``.

    Deviations: n and lam per pair, where the released code draws one of each per batch; the exact minimum, where it
    takes a local one by alpha-beta swap (with 3 levels and n = 16 missed in most pairs, by up to 1 % of the energy).
    Not followed are four faults of it: costs of blocks with more than 21.5 times the mean saliency overflow 32 bits, so
    that the most salient block is given away; cells of ``neigh`` pixels that do not divide a block give wrong borders
    or a crash (here the largest divisor up to ``neigh``, and up to ``t_size``); blocks without saliency turn black when
    they move; images must be square (here the axes are divided separately). An image without any saliency counts as
    uniformly salient. The gradient is that of the network under evaluation in eval mode.

    Raises:
        UsageError: for images whose sides the numbers of blocks do not divide.
    """

    levels: int = 3
    beta: float = 1.2
    gamma: float = 0.5
    eta: float = 0.2
    neigh: int = 4
    t_eps: float = 0.8
    t_size: int | None = None
    transport: bool = True
    alpha: float = 1.0
    blocks: int | None = None
    solver: Literal["max-flow", "primal-dual"] = "max-flow"
    iterations: int = 500

    def __post_init__(self) -> None:
        numbers = ("beta", "eta", "neigh", "t_eps", "alpha", "iterations")
        require_positive(self, *numbers, *(("t_size",) if self.t_size is not None else ()))
        if not 2 <= self.levels <= 16:
            raise UsageError(f"method puzzlemix: levels, got {self.levels}. Give a number from 2 to 16.")
        if not 0 <= self.gamma <= 1:
            raise UsageError(f"method puzzlemix: gamma, got {self.gamma}. Give a number from 0 to 1.")
        if self.blocks is not None and self.blocks < 2:
            raise UsageError(f"method puzzlemix: blocks, got {self.blocks}. Give at least 2, or none to draw it.")

    def needs(self) -> frozenset[Signal]:
        return frozenset({InputGradient()})

    def draw(self, rng: PairRng, size: tuple[int, int]) -> PuzzleMixDraws:
        self._check_size(size)
        drawn = rng.integers("blocks", len(self._numbers))
        return PuzzleMixDraws(beta_share(rng.uniform("lam"), self.alpha), torch.tensor(self._numbers)[drawn])

    def place(self, pairs: PairBatch, signals: Signals, draws: PuzzleMixDraws) -> Placement:
        saliency = torch.stack((signals.target(InputGradient()), signals.source(InputGradient())), dim=1)
        order, parts = [], []
        for n in self._numbers:
            rows = (draws.blocks == n).nonzero().squeeze(1)
            if len(rows):
                images = pairs.images[torch.stack((pairs.target[rows], pairs.source[rows]), dim=1)]
                levels = self.solve(images, saliency[rows], draws.lam[rows], n)
                order.append(rows)
                parts.append(self.arrange(levels, saliency[rows]))
        return _concatenated(parts)[torch.cat(order).argsort()]

    def solve(self, images: Tensor, saliency: Tensor, lam: Tensor, n: int) -> Tensor:
        """(b, n, n) int64, the levels of the source: 0 shows the target alone, ``levels - 1`` the source alone.

        ``images`` (b, 2, 3, h, w) and ``saliency`` (b, 2, h, w) are those of target and source.
        """
        energy = self.energy(*self.costs(images, saliency, n), lam)
        return max_flow(energy) if self.solver == "max-flow" else primal_dual(energy, self.iterations)

    def costs(self, images: Tensor, saliency: Tensor, n: int) -> tuple[Tensor, Tensor]:
        """Costs (b, 2, n, n) of showing target and source; weights (b, 2, n, n) between a block and the one below it,
        and the one to its right. Float64; weights are 0 where there is no neighbour."""
        smooth = self.beta / (16 * n)
        borders = smooth * self.gamma * border_differences(images, n, self.neigh)
        (tt, ts), (st, ss) = (borders[:, :, i].unbind(2) for i in (0, 1))
        weights = smooth + (ts + st - tt - ss) / 2
        weights[:, 0, -1] = weights[:, 1, :, -1] = 0
        before, after = borders.mean(dim=3), borders.mean(dim=2)
        around = before.sum(dim=1) + after[:, 0].roll(1, -2) + after[:, 1].roll(1, -1)
        return saliency_shares(saliency, n, n).flip(1) + around, weights

    def energy(self, costs: Tensor, weights: Tensor, lam: Tensor) -> GridEnergy:
        """The energy of the pairs in whole units of ``1 / (1000 * n**2)``, truncated as in the released code."""
        top, unit = self.levels - 1, 1000 * costs.shape[-1] ** 2
        level = torch.arange(self.levels, device=lam.device, dtype=torch.float64)
        ways = torch.tensor([math.comb(top, k) for k in range(self.levels)], device=lam.device)
        chance = ways * lam.unsqueeze(1) ** level * (1 - lam).unsqueeze(1) ** (top - level)
        prior = -self.eta * 1000 / unit * (chance + 1e-8).log()
        target, source = costs.unsqueeze(-1).unbind(1)
        unary = target + level / top * (source - target) + prior[:, None, None]
        return GridEnergy((unit * unary).long(), (unit * weights).long())

    def arrange(self, levels: Tensor, saliency: Tensor) -> Placement:
        """The placement of ``levels`` (b, n, n), blocks moved by ``saliency`` (b, 2, h, w) of target and source."""
        n, size = levels.shape[1], (saliency.shape[-2], saliency.shape[-1])
        mask = repeated(levels.float() / (self.levels - 1), size)
        if not self.transport:
            return Placement(mask, "patches")
        rows, cols = (side // largest_divisor(side // n, self.t_size or side) for side in size)
        cells = repeated(levels, (rows, cols))
        visible = torch.stack((cells < self.levels - 1, cells > 0), dim=1)
        plan = transport_plan(saliency_shares(saliency, rows, cols).flatten(0, 1), visible.flatten(0, 1), self.t_eps)
        index = own_pixels(plan, (rows, cols), size)
        return Placement(mask, "patches", source_index=index[1::2], target_index=index[::2])

    @property
    def _numbers(self) -> tuple[int, ...]:
        return _BLOCKS if self.blocks is None else (self.blocks,)

    def _check_size(self, size: tuple[int, int]) -> None:
        most = max(self._numbers)
        for name, pixels in zip(("height", "width"), size, strict=True):
            if pixels % most:
                raise UsageError(
                    f"method puzzlemix: {name} of the images, got {pixels} px, which {most} blocks do not divide. "
                    f"Use {max(1, round(pixels / most)) * most} px, or another number of blocks."
                )


def _concatenated(parts: list[Placement]) -> Placement:
    names = [name for name, value in vars(parts[0]).items() if isinstance(value, Tensor)]
    joined: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **joined)
