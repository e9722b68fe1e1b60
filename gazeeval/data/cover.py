"""Covers of a group: each image gets a partner, so that the distance between the two, summed over all, is large.

The distance is that of saliency maps: images far apart show what matters in different places (Kang and Kim,
GuidedMixup, AAAI 2023, section 4.1; card ``pairing``). A cover is an array (n,): the partner of each image, -1 where it
has none. No image is its own partner, and none is the partner of two.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform

Distance = Literal["l2", "l1", "cosine"]
Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

_SCIPY_NAMES: dict[Distance, Literal["euclidean", "cityblock", "cosine"]]
_SCIPY_NAMES = {"l2": "euclidean", "l1": "cityblock", "cosine": "cosine"}


def map_distances(maps: NDArray[np.floating], metric: Distance = "l2") -> Floats:
    """(n, n) distances between maps (n, ...) of mass 1, from differences in float64, exactly symmetric.

    ``l2`` is the root of the summed squares, ``l1`` the sum of absolute differences, ``cosine`` 1 - the cosine.
    """
    flat = np.reshape(maps, (len(maps), -1)).astype(np.float64)
    distance: Floats = squareform(pdist(flat, _SCIPY_NAMES[metric]))
    return distance


def greedy_cycle(distance: NDArray[np.floating], labels: Indices | None = None) -> Indices:
    """One cycle through all images, each going to the farthest that is left (GuidedMixup, Algorithm 1).

    Args:
        distance: (n, n), finite. The first index wins ties, as in the released code.
        labels: (n,), where only images of different labels may be partners: the walk takes an image of the same label
            when no other is left, and such images are then moved to where they fit best.

    Images have no partner only where one label has more than half of them: as few as any cover must leave over.
    """
    order = _walk(_scores(distance, labels))
    if labels is not None:
        order = _mended(order, labels, distance)
    partner = np.full(len(distance), -1)
    if len(order) > 1:
        partner[order] = np.roll(order, -1)
    return partner


def assignment(distance: NDArray[np.floating], labels: Indices | None = None) -> Indices:
    """The cover of the largest sum; as few images as possible are left over where ``labels`` (n,) must differ.

    An upper bound rather than a pairing to train with: as distances are symmetric, nearly all partners are mutual, and
    a symmetric mixer makes the same image of both.
    """
    _, partner = linear_sum_assignment(_scores(distance, labels), maximize=True)
    alone = _forbidden(len(distance), labels)[np.arange(len(distance)), partner]
    return np.where(alone, -1, partner)


def _forbidden(count: int, labels: Indices | None) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = np.eye(count, dtype=bool) if labels is None else labels[:, None] == labels
    return same


def _scores(distance: NDArray[np.floating], labels: Indices | None) -> Floats:
    """The distances, and for forbidden pairs one that outweighs all allowed ones together."""
    lowest = distance.min() - 2.0 * len(distance) * (np.ptp(distance) or 1.0)
    return np.where(_forbidden(len(distance), labels), lowest, distance)


def _walk(scores: Floats) -> Indices:
    order = [int(scores.argmax()) // len(scores)]
    free = np.ones(len(scores), dtype=bool)
    while len(order) < len(scores):
        free[order[-1]] = False
        order.append(int(np.where(free, scores[order[-1]], -np.inf).argmax()))
    return np.array(order)


def _mended(order: Indices, labels: Indices, distance: NDArray[np.floating]) -> Indices:
    """The cycle with images moved, at least loss, until neighbours differ in label; what fits nowhere is left out.

    Every move leaves fewer neighbours of one label. Where no label has the majority, a cycle with two neighbours of one
    label also has two neighbours of other labels, between which the image fits.
    """
    while len(order) and (same := labels[order] == labels[np.roll(order, -1)]).any():
        place = (int(same.argmax()) + 1) % len(order)
        image, order = order[place], np.delete(order, place)
        following = np.roll(order, -1)
        gain = distance[order, image] + distance[image, following] - distance[order, following]
        fits = (labels[order] != labels[image]) & (labels[following] != labels[image])
        if fits.any():
            order = np.insert(order, int(np.where(fits, gain, -np.inf).argmax()) + 1, image)
    return order
