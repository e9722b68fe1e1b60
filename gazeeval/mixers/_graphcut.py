"""Levels on a grid of blocks that minimise a cost per block plus a charge for neighbours that differ.

The energy of levels l = 0 .. L is ``sum_p unary(p, l_p) + sum_pq weight_pq * ((l_p - l_q) / L)**2``. Written with
switches b_1 >= ... >= b_L in {0, 1}, l = sum_k b_k, it is one minimum cut (H. Ishikawa, "Exact optimization for Markov
random fields with convex priors", PAMI 2003): ``(l - m)**2 = l*(L - m) + m*(L - l) + (l**2 - L*l) + (m**2 - L*m)``,
where the first two terms are cut edges between all switches of two neighbours and the others belong to single blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor

from gazeeval.errors import UsageError

Ints = NDArray[np.int64]

_SWITCHES_PER_GRAPH = 2**13  # many small grids in one graph save calls, large graphs take longer to search
_INFINITE = 2**30  # capacities are int32


@dataclass(frozen=True)
class GridEnergy:
    """The energies of b pairs.

    Attributes:
        unary: (b, n, n, L + 1) int64, cost of every level at every block.
        weight: (b, 2, n, n) int64 >= 0, charge between a block and the one below it, and the one to its right; 0 where
            there is none.
    """

    unary: Tensor
    weight: Tensor

    def __call__(self, levels: Tensor) -> Tensor:
        """(b,) float64: the energy of ``levels`` (b, n, n) int64."""
        steps = self.unary.shape[-1] - 1
        alone = self.unary.gather(-1, levels.unsqueeze(-1)).sum(dim=(1, 2, 3))
        differing = (self.weight * (levels.unsqueeze(1) - _next(levels)).square()).sum(dim=(1, 2, 3))
        return alone + differing.double() / steps**2

    def switch_costs(self) -> Tensor:
        """(b, n, n, L) int64: what switch k costs by itself, in units of 1 / L**2."""
        level = torch.arange(self.unary.shape[-1], device=self.unary.device)
        steps = len(level) - 1
        down, right = self.weight.unbind(1)
        around = down + right + down.roll(1, 1) + right.roll(1, 2)
        return (steps**2 * self.unary + (level**2 - steps * level) * around.unsqueeze(-1)).diff(dim=-1)


def max_flow(energy: GridEnergy) -> Tensor:
    """(b, n, n) int64: the levels of least energy; among equals the lowest at every block. Solved on the host.

    Raises UsageError where the costs exceed what 32-bit capacities hold.
    """
    costs = energy.switch_costs()
    host, weights = costs.cpu().numpy(), energy.weight.cpu().numpy()
    step = max(1, _SWITCHES_PER_GRAPH // host[0].size)
    cuts = [_cut(host[i : i + step], weights[i : i + step]) for i in range(0, len(host), step)]
    return torch.from_numpy(np.concatenate(cuts)).sum(dim=-1).to(costs.device)


def _cut(costs: Ints, weights: Ints) -> NDArray[np.bool_]:
    """Which switches are on: one graph for several pairs, which share nothing but source (0) and sink (1)."""
    switch = np.arange(costs.size).reshape(costs.shape) + 2
    below, right = np.roll(switch, -1, 1), np.roll(switch, -1, 2)
    edges = [
        _edges(0, switch, -costs),
        _edges(switch, 1, costs),
        _edges(switch[..., 1:], switch[..., :-1], _INFINITE),  # no switch is on before the one below it
    ]
    for neighbour, weight in zip((below, right), weights.swapaxes(0, 1), strict=True):
        here, there = switch[..., :, None], neighbour[..., None, :]
        edges += _edges(here, there, weight[..., None, None]), _edges(there, here, weight[..., None, None])
    tail, head, capacity = np.concatenate(edges, axis=1)
    if capacity.max(initial=0) > _INFINITE:
        raise UsageError(f"method puzzlemix: a cost of {capacity.max()} units, above {_INFINITE}. Use fewer levels.")
    size = switch.size + 2
    tail, head, capacity = (column.astype(np.int32) for column in (tail, head, capacity))  # all that the solver takes
    graph = coo_array((capacity, (tail, head)), shape=(size, size)).tocsr()
    left = graph - maximum_flow(graph, 0, 1).flow
    on = np.zeros(size, dtype=bool)
    on[breadth_first_order(left, 0, return_predecessors=False)] = True
    return on[2:].reshape(switch.shape)


def _edges(tail: Ints | int, head: Ints | int, capacity: Ints | int) -> Ints:
    """(3, edges): those of positive capacity."""
    table = np.stack(np.broadcast_arrays(tail, head, capacity)).reshape(3, -1)
    return table[:, table[2] > 0]


def primal_dual(energy: GridEnergy, iterations: int) -> Tensor:
    """(b, n, n) int64: levels of nearly least energy, for all pairs at once where ``energy`` lies.

    The tight relaxation 0 <= b <= 1 by A. Chambolle and T. Pock, "A first-order primal-dual algorithm for convex
    problems with applications to imaging", 2011, algorithm 1, cut at 1/2.
    """
    # Costs that fall from one switch to the next would break the order of the switches: pooled, they cannot.
    costs = _ascending(energy.switch_costs().double()).movedim(-1, 1)
    switches = costs.shape[1]
    unit = costs.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    bound = (energy.weight / unit).float()[:, :, None, None]
    step = 1 / (4 * switches) ** 0.5
    drift = (2 * step / unit * costs).float().contiguous()
    switch = torch.full_like(drift, 0.5)
    ahead = switch
    dual = bound.new_zeros(len(bound), 2, switches, switches, *bound.shape[-2:])  # here, there
    for _ in range(iterations):
        differing = ahead[:, None, :, None] - _next(ahead)[:, :, None]
        dual = torch.clamp(dual.add_(differing, alpha=step / 4), -bound, bound)
        down, right = dual.sum(dim=2).unbind(1)
        pull = dual.sum(dim=(1, 3)) - down.roll(1, -2) - right.roll(1, -1)
        before, switch = switch, (switch - drift).sub_(pull, alpha=2 * step).clamp_(0, 1)
        ahead = 2 * switch - before
    return (switch > 0.5).sum(dim=1)


def _next(grid: Tensor) -> Tensor:
    """(b, 2, ..., n, n): at every block the value of the one below and of the one to the right, cyclically."""
    return torch.stack((grid.roll(-1, -2), grid.roll(-1, -1)), dim=1)


def _ascending(values: Tensor) -> Tensor:
    """The ascending sequence along the last axis that is nearest to ``values``: violators replaced by their mean."""
    length = values.shape[-1]
    sums = torch.nn.functional.pad(values.cumsum(dim=-1), (1, 0))
    at = torch.arange(length, device=values.device)
    mean = (sums[..., None, 1:] - sums[..., :-1, None]) / (at - at.unsqueeze(1) + 1).clamp(min=1)  # [first, last]
    return torch.stack([mean[..., : k + 1, k:].amin(dim=-1).amax(dim=-1) for k in range(length)], dim=-1)
