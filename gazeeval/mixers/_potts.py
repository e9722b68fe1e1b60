"""Labels on a grid of blocks that minimise a cost per block plus a charge for neighbours that differ.

The energy of a labelling is ``sum_p unary(label_p, p) + sum_pq charge(label_p, label_q)`` over neighbours p, q. It
falls by expansion moves (Y. Boykov, O. Veksler and R. Zabih, "Fast approximate energy minimization via graph cuts",
PAMI 2001, section 5): for one label, the best set of blocks that could take it is a minimum cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_UNIT = 2**14  # of the largest charge: the solver takes integers


@dataclass(frozen=True)
class PottsEnergy:
    """The energy of labellings of one grid.

    Attributes:
        unary: (labels, n, n), cost of every label at every block.
        charge: (labels, labels) >= 0, symmetric, 0 on the diagonal: cost of two neighbouring blocks.
    """

    unary: Floats
    charge: Floats

    def __call__(self, labels: Ints) -> Floats:
        """(k,) the energies of ``labels`` (k, n, n)."""
        alone = np.take_along_axis(self.unary, labels, axis=0).sum(axis=(1, 2))
        down = self.charge[labels[:, :-1], labels[:, 1:]].sum(axis=(1, 2))
        right = self.charge[labels[:, :, :-1], labels[:, :, 1:]].sum(axis=(1, 2))
        return np.asarray(alone + down + right)


def least_energy(energy: PottsEnergy) -> Ints:
    """(n, n): labels of nearly least energy: neither an expansion move nor a change of one block lowers it."""
    labels: Ints = energy.unary.argmin(axis=0)
    value = energy(labels[None])[0]
    while True:
        moved = np.concatenate((_expanded(energy, labels), _flipped(energy, labels)))
        values = energy(moved)
        if values.min() > value - 1e-9:
            return labels
        labels, value = moved[values.argmin()], values.min()


def _expanded(energy: PottsEnergy, labels: Ints) -> Ints:
    """(k, n, n): ``labels`` after the best move of each label that could gain by one, solved in one graph."""
    cost = energy.unary - np.take_along_axis(energy.unary, labels[None], axis=0)
    bound = np.full_like(cost, energy.charge.max())
    cuts = []
    for axis in (1, 2):
        here, there = _all_but(-1, axis), _all_but(0, axis)
        first, second = labels[here[1:]], labels[there[1:]]
        stay, lose, gain = energy.charge[first, second], energy.charge[:, first], energy.charge[:, second]
        cut = np.maximum(lose + gain - stay, 0)  # below 0 where the charges are no metric
        cost[here] += gain - stay
        cost[there] -= gain
        bound[here] += cut
        bound[there] += cut
        cuts.append(cut)
    open_ = (cost < bound).any(axis=(1, 2)) & (labels != np.arange(len(cost))[:, None, None]).any(axis=(1, 2))
    candidates = np.flatnonzero(open_)
    if not len(candidates):
        return np.empty((0, *labels.shape), dtype=np.int64)
    # A cost above what the neighbours charge decides by itself: cutting it short keeps the integers small.
    limited = np.clip(cost, -bound, bound)[candidates]
    takes = _least_cut(limited, [cut[candidates] for cut in cuts], _UNIT / energy.charge.max())
    return np.where(takes, candidates[:, None, None], labels)


def _flipped(energy: PottsEnergy, labels: Ints) -> Ints:
    """(1, n, n): ``labels`` after the best change of one block. Expansions miss some, where charges are no metric."""
    cost = energy.unary.copy()
    for axis in (1, 2):
        here, there = _all_but(-1, axis), _all_but(0, axis)
        cost[here] += energy.charge[:, labels[there[1:]]]
        cost[there] += energy.charge[:, labels[here[1:]]]
    cost -= np.take_along_axis(cost, labels[None], axis=0)
    label, row, col = np.unravel_index(cost.argmin(), cost.shape)
    flipped = labels[None].copy()
    flipped[0, row, col] = label
    return flipped


def _least_cut(cost: Floats, cuts: list[Floats], unit: float) -> NDArray[np.bool_]:
    """(k, n, n): which blocks switch on, where ``cost`` is paid for those that do, and ``cuts`` (below, right) for a
    block that is off before one that is on."""
    node = np.arange(cost.size).reshape(cost.shape) + 2  # after source (0) and sink (1)
    edges = [_edges(0, node, -cost * unit), _edges(node, 1, cost * unit)]
    for axis, cut in zip((1, 2), cuts, strict=True):
        edges.append(_edges(node[_all_but(0, axis)], node[_all_but(-1, axis)], cut * unit))
    tail, head, capacity = np.concatenate(edges, axis=1)
    size = cost.size + 2
    graph = coo_array((capacity, (tail, head)), shape=(size, size)).tocsr()
    left = graph - maximum_flow(graph, 0, 1).flow
    on = np.zeros(size, dtype=bool)
    on[breadth_first_order(left, 0, return_predecessors=False)] = True
    return on[2:].reshape(cost.shape)


def _edges(tail: Ints | int, head: Ints | int, capacity: Floats) -> NDArray[np.int32]:
    """(3, edges): those of positive capacity, rounded."""
    table = np.stack(np.broadcast_arrays(tail, head, np.rint(capacity))).reshape(3, -1).astype(np.int32)
    return table[:, table[2] > 0]


def _all_but(end: int, axis: int) -> tuple[slice, slice, slice]:
    """The index of (k, n, n) that leaves out the first (0) or last (-1) along ``axis``."""
    keep = [slice(None)] * 3
    keep[axis] = slice(1, None) if end == 0 else slice(None, -1)
    return keep[0], keep[1], keep[2]
