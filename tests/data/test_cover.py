"""Covers of a distance matrix: exactly the released greedy one, the best sum, and as few left over as can be."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import cases, load

from gazeeval.data.cover import Distance, assignment, greedy_cycle, map_distances

MATRICES = [case for case in cases("pairing_") if case != "pairing_metrics"]
Floats = NDArray[np.float64]


def random_distances(count: int, seed: int) -> Floats:
    return map_distances(np.random.default_rng(seed).random((count, 5)))


def total(distance: NDArray[np.floating], partner: NDArray[np.int64]) -> float:
    paired = partner >= 0
    return float(distance[np.flatnonzero(paired), partner[paired]].sum(dtype=np.float64))


def cycles(partner: NDArray[np.int64]) -> list[int]:
    """Lengths of the cycles, of the images that have a partner."""
    left, found = set(np.flatnonzero(partner >= 0).tolist()), []
    while left:
        image, length = min(left), 0
        while image in left:
            left.remove(image)
            image, length = int(partner[image]), length + 1
        found.append(length)
    return found


@pytest.mark.parametrize("case", MATRICES)
def test_greedy_pairs_are_those_of_the_released_code(case: str) -> None:
    arrays = load(case)
    partner = greedy_cycle(arrays["distance"])
    np.testing.assert_array_equal(partner, arrays["greedy_pairs"])
    assert total(arrays["distance"], partner) == pytest.approx(float(arrays["greedy_sum"]), rel=1e-5)
    assert cycles(partner) == [len(partner)]


@pytest.mark.parametrize("case", MATRICES)
def test_no_cover_has_a_larger_sum_than_the_assignment(case: str) -> None:
    arrays = load(case)
    partner = assignment(arrays["distance"])
    assert sorted(partner) == list(range(len(partner)))
    assert (partner != np.arange(len(partner))).all()
    assert total(arrays["distance"], partner) == pytest.approx(float(arrays["assignment_sum"]), rel=1e-5)


@pytest.mark.parametrize("metric", ["l2", "l1", "cosine"])
def test_distances_between_maps(metric: Distance) -> None:
    arrays = load("pairing_metrics")
    distance = map_distances(arrays["saliency_norm"], metric)
    others = ~np.eye(len(distance), dtype=bool)
    np.testing.assert_allclose(distance[others], arrays[metric][others], rtol=1e-5)
    assert not np.diag(distance).any()


@pytest.mark.parametrize("case", [case for case in MATRICES if "saliency_norm" in load(case)])
def test_distances_of_the_stored_maps(case: str) -> None:
    arrays = load(case)
    distance = map_distances(arrays["saliency_norm"])
    np.testing.assert_allclose(distance, arrays["distance"], rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(distance, distance.T)


def test_distances_keep_the_digits_of_nearly_equal_maps() -> None:
    maps = np.full((2, 50_000), 1 / 50_000)
    maps[1, 7] += 1e-14
    assert map_distances(maps)[0, 1] == pytest.approx(1e-14, rel=1e-3)


@pytest.mark.parametrize("make", [greedy_cycle, assignment])
def test_one_image_has_no_partner_and_two_have_each_other(make) -> None:  # type: ignore[no-untyped-def]
    assert make(map_distances(np.ones((1, 4)))).tolist() == [-1]
    assert make(random_distances(2, 0)).tolist() == [1, 0]
    assert make(random_distances(2, 0), np.array([3, 3])).tolist() == [-1, -1]
    assert make(random_distances(2, 0), np.array([3, 4])).tolist() == [1, 0]


def test_the_distances_are_not_written_to() -> None:
    distance = random_distances(9, 1)
    before, labels = distance.copy(), np.arange(9) % 3
    for make in (greedy_cycle, assignment):
        make(distance)
        make(distance, labels)
    np.testing.assert_array_equal(distance, before)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=24), st.integers(0, 1000))
def test_labels_that_must_differ_leave_over_only_the_surplus_of_a_majority(drawn: list[int], seed: int) -> None:
    labels = np.array(drawn)
    distance = random_distances(len(labels), seed)
    surplus = max(0, 2 * int(np.bincount(labels).max()) - len(labels))
    partner = greedy_cycle(distance, labels)
    paired = partner >= 0
    assert (~paired).sum() == surplus
    assert set(partner[paired]) == set(np.flatnonzero(paired)), "each once in either role"
    assert cycles(partner) in ([], [paired.sum()]), "one cycle"
    assert (labels[partner[paired]] != labels[paired]).all()

    best = assignment(distance, labels)
    has = best >= 0
    assert (~has).sum() == surplus
    assert len(set(best[has])) == has.sum()
    assert (labels[best[has]] != labels[has]).all()
    if not surplus:
        assert total(distance, best) >= total(distance, partner) - 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_the_assignment_with_labels_is_the_best_of_all(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    distance, labels = rng.random((count, count)), rng.integers(0, 4, count)
    allowed = labels[:, None] != labels
    every = np.array(list(permutations(range(count))))
    valid = allowed[np.arange(count), every].sum(1)
    sums = np.where(allowed, distance, 0)[np.arange(count), every].sum(1)
    most = valid == valid.max()
    assert total(distance, assignment(distance, labels)) == pytest.approx(sums[most].max())


def test_the_walk_is_the_released_one_where_labels_never_stand_in_its_way() -> None:
    distance = random_distances(16, 3)
    np.testing.assert_array_equal(greedy_cycle(distance, np.arange(16)), greedy_cycle(distance))


def test_what_is_moved_goes_where_it_gains_most() -> None:
    """The walk 0 1 2 3 4 5 ends in two images of label 0. The last fits between 1 and 2 and between 2 and 3."""
    labels = np.array([9, 1, 2, 3, 0, 0])
    distance = np.zeros((6, 6))
    distance[[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]] = 9, 4, 4, 4, 1
    gains = {"1 2": (1, 2), "2 3": (2, 3)}
    for place, (before, after) in gains.items():
        favoured = distance.copy()
        favoured[before, 5] = favoured[5, after] = 3
        partner = greedy_cycle(favoured, labels)
        assert (partner[before], partner[5]) == (5, after), place
