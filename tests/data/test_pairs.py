"""The pair plan: every image where it should be, the same plan everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeeval.data.pairs import PairPlan, plan_pairs, read_pair_file, write_pair_file
from gazeeval.errors import UsageError

labelled = st.lists(st.integers(0, 4), min_size=4, max_size=60).filter(lambda labels: len(set(labels)) > 1)


@settings(max_examples=60, deadline=None)
@given(labelled, st.integers(2, 20), st.integers(0, 5))
def test_a_round_of_matching_uses_an_image_once_and_wastes_none_it_could_pair(
    drawn: list[int], group_size: int, seed: int
) -> None:
    labels = np.array(drawn)
    try:
        plan = plan_pairs(labels, group_size=group_size, seed=seed)
    except UsageError:
        return  # every group of this draw holds one class
    used = np.concatenate((plan.source, plan.target))
    assert len(np.unique(used)) == len(used)
    assert (labels[plan.source] != labels[plan.target]).all()
    assert len(used) + plan.unpaired == len(labels)


def test_an_exchange_leaves_nobody_over_unless_one_class_has_the_majority() -> None:
    for seed in range(50):
        labels = np.array([0] * 8 + [1] * 3 + [2] * 5)
        assert plan_pairs(labels, group_size=16, seed=seed).unpaired == 0
        labels = np.array([0] * 10 + [1] * 6)
        assert plan_pairs(labels, group_size=16, seed=seed).unpaired == 4


def test_cycle_makes_every_image_source_once_and_target_once() -> None:
    labels = np.arange(100) % 7
    plan = plan_pairs(labels, pairing="cycle", group_size=25)
    assert sorted(plan.source) == sorted(plan.target) == list(range(100))
    assert (labels[plan.source] != labels[plan.target]).all()


def test_same_and_any_labels() -> None:
    labels = np.arange(40) % 4
    same = plan_pairs(labels, label_rule="same", group_size=40)
    assert len(same) == 20
    assert (labels[same.source] == labels[same.target]).all()
    anything = plan_pairs(labels, label_rule="any", pairing="cycle")
    assert (anything.source != anything.target).all()


def test_more_pairs_than_a_round_take_further_rounds_and_start_alike() -> None:
    labels = np.arange(30) % 3
    short, long = plan_pairs(labels, 10, group_size=10), plan_pairs(labels, 100, group_size=10)
    assert (len(short), len(long), long.rounds) == (10, 100, 7)
    np.testing.assert_array_equal(short.source, long.source[:10])
    assert (np.diff(long.group) >= 0).all()
    for pairs in long.groups():
        assert len(np.union1d(long.source[pairs], long.target[pairs])) <= 10
    assert sum(len(long.source[pairs]) for pairs in long.groups()) == 100


def test_the_seed_decides() -> None:
    labels = np.arange(64) % 8
    first, again, other = (plan_pairs(labels, seed=seed).source.tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("options", [{"num_pairs": 0}, {"num_pairs": -3}, {"group_size": 1}])
def test_senseless_numbers_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="Give at least"):
        plan_pairs(np.arange(10), **options)  # type: ignore[arg-type]


def test_one_class_has_no_pairs_of_different_labels() -> None:
    with pytest.raises(UsageError, match="--labels any"):
        plan_pairs(np.zeros(10, dtype=np.int64))


def test_pair_files_round_trip_and_name_what_is_wrong(tmp_path: Path) -> None:
    ids = ("000005", "None", "a b", "x,y")
    plan = PairPlan(np.array([0, 2, 1]), np.array([1, 3, 0]), np.array([0, 0, 0]), "matching")
    path = tmp_path / "pairs.csv"
    write_pair_file(path, plan, ids)
    back = read_pair_file(path, ids, group_size=2)
    assert back.source.tolist() == [0, 2, 1]
    assert back.target.tolist() == [1, 3, 0]
    assert back.group.tolist() == [0, 1, 2]

    path.write_text("source_id,target_id\n000005,None\n000005,zebra\n")
    with pytest.raises(UsageError, match=r"pairs.csv:3: .*zebra"):
        read_pair_file(path, ids)
    path.write_text("source,target_id\n1,2\n")
    with pytest.raises(UsageError, match="'source_id' is missing \\(did you mean 'source'"):
        read_pair_file(path, ids)
    with pytest.raises(UsageError, match="cannot be read"):
        read_pair_file(tmp_path / "no.csv", ids)
