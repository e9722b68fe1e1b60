"""Labels of the blocks of a grid that minimise a cost per block plus a charge for neighbours that differ.

The energy of a labelling is ``sum_p unary(label_p, p) + sum_pq charge(label_p, label_q)`` over neighbours p, q. It
falls by alpha-beta swaps (Y. Boykov, O. Veksler and R. Zabih, "Fast approximate energy minimization via graph cuts",
PAMI 2001, section 4): the blocks of two labels share these anew, at the least cost. The result depends on the start and
on the order of the swaps. Both are those of the authors' library, gco 3.0, so that it comes out label for label.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PottsEnergy:
    """The energy of labellings of one grid, in whole numbers (float64, whose matrix products are the faster ones).

    Attributes:
        unary: (labels, n, n), cost of every label at every block.
        charge: (labels, labels) >= 0, symmetric, 0 on the diagonal: cost of two neighbouring blocks.
    """

    unary: Floats
    charge: Floats

    def __call__(self, labels: Ints) -> float:
        """The energy of ``labels`` (n, n)."""
        alone = np.take_along_axis(self.unary, labels[None], axis=0).sum()
        down, right = self.charge[labels[:-1], labels[1:]], self.charge[labels[:, :-1], labels[:, 1:]]
        return float(alone + down.sum() + right.sum())

    def of_changes(self, labels: Ints) -> Floats:
        """(labels, n, n): what every label costs at every block while the others keep ``labels`` (n, n)."""
        return self.unary + _beside(self.charge[:, labels])


def least_energy(energy: PottsEnergy) -> Ints:
    """(n, n): labels of nearly least energy, which no swap of two labels lowers. Starts with label 0 everywhere."""
    labels = np.zeros(energy.unary.shape[1:], dtype=np.int64)
    before, value = np.inf, energy(labels)
    while value < before:
        labels = _cycle(energy, labels)
        before, value = value, energy(labels)
    return labels


def _cycle(energy: PottsEnergy, labels: Ints) -> Ints:
    """(n, n): ``labels`` after all swaps in turn: of 0 with the last, the last but one, ..., 1; of 1 with the last ...

    Those still to come are tried at once, up to the first that changes something; then the rest again.
    """
    first, second = np.triu_indices(len(energy.unary), 1)
    second = first + len(energy.unary) - second
    done = 0
    while True:
        turns = done + np.flatnonzero(_exchangeable(energy, labels)[first[done:], second[done:]])
        if not len(turns):
            return labels
        swapped = _swap(energy, labels, first[turns, None, None], second[turns, None, None])
        changes = np.flatnonzero((swapped != labels).any(axis=(1, 2)))
        if not len(changes):
            return labels
        labels, done = swapped[changes[0]], turns[changes[0]] + 1


def _exchangeable(energy: PottsEnergy, labels: Ints) -> Bools:
    """(labels, labels): False if a swap of the two moves nothing, as no block would gain even if its neighbours of the
    same label moved along."""
    every = np.arange(len(energy.unary))
    cost, on = energy.of_changes(labels), (labels == every[:, None, None]).astype(np.float64)
    stay, alike = ((part * on).sum(axis=0) for part in (cost, _beside(on)))
    movable = cost - 2 * energy.charge[:, labels] * alike <= stay
    into = movable.reshape(len(every), -1) @ on.reshape(len(every), -1).T > 0
    return np.asarray(into | into.T)


def _swap(energy: PottsEnergy, labels: Ints, first: Ints, second: Ints) -> Ints:
    """(k, n, n): ``labels`` (n, n) after the best swap of ``first`` with ``second`` (k, 1, 1), each on its own.

    Among equals the one with most blocks on ``first``. After the first that changes something they need not be best.
    """
    side = (labels == first) * 1.0 - (labels == second)  # 1 on first, -1 on second, 0 on neither
    charge, cost = energy.charge[first, second], energy.of_changes(labels)
    loss = cost[second[:, 0, 0]] - cost[first[:, 0, 0]] - charge * _beside(side)  # of second, blocks of both left out
    # All on first, then whoever gains goes over, then whoever gains now ...: those go over in the best swap too. The
    # same from the other end: mostly both meet, and only between them does it take a cut.
    most = _followed(np.abs(side), loss + 0.5, charge)
    least = _followed(-np.abs(side), loss - 0.5, charge)
    unsure = most != least
    changes = np.flatnonzero((most != side).any(axis=(1, 2)) & ~unsure.any(axis=(1, 2)))
    cut = np.flatnonzero(unsure[: changes[0] if len(changes) else None].any(axis=(1, 2)))
    if len(cut):
        known = np.where(unsure, 0, most)[cut]
        most[cut] -= 2 * _least_cut(loss[cut] + charge[cut] * _beside(known), charge[cut], unsure[cut])
    return np.where(side == 0, labels, np.where(most > 0, first, second))


def _followed(side: Floats, loss: Floats, charge: Floats) -> Floats:
    """(k, n, n): ``side``, 1, -1 or 0 (stays), after every block has followed its ``loss`` and its neighbours."""
    while True:
        after = np.abs(side) * np.sign(loss + charge * _beside(side))
        if np.array_equal(after, side):
            return side
        side = after


def _least_cut(loss: Floats, charge: Floats, free: Bools) -> Bools:
    """(k, n, n): which of the ``free`` blocks to switch on, where each costs ``loss`` (k, n, n), and ``charge``
    (k, 1, 1) is paid for free neighbours that differ. Among equals the fewest."""
    node = free.cumsum().reshape(free.shape) + 1  # after source (0) and sink (1)
    alone, charge = loss[free], np.broadcast_to(charge, free.shape)
    edges = [(np.where(alone < 0, 0, node[free]), np.where(alone < 0, node[free], 1), np.abs(alone))]
    for axis in (1, 2):
        here, there = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        both = free[here] & free[there]
        ends = node[here][both], node[there][both]
        edges += [(*ends, charge[here][both]), (*ends[::-1], charge[here][both])]
    tail, head, capacity = np.concatenate(edges, axis=1).astype(np.int32)
    size = len(alone) + 2
    graph = coo_array((capacity, (tail, head)), shape=(size, size)).tocsr()
    left = graph - maximum_flow(graph, 0, 1).flow
    reached = np.zeros(size, dtype=bool)
    reached[breadth_first_order(left, 0, return_predecessors=False)] = True
    on = free.copy()
    on[free] = reached[2:]
    return on


def _beside(values: Floats) -> Floats:
    """(..., n, n): the sum over the neighbours of every block, from ``values`` (..., n, n)."""
    next_ = _next(values.shape[-1])
    return np.asarray(next_ @ values + values @ next_)


@cache
def _next(n: int) -> Floats:
    """(n, n): 1 for places in a row that follow one another."""
    return np.eye(n, k=1) + np.eye(n, k=-1)
