"""The draws: a known generator, keyed by seed, stream and pair and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gazeeval.data.random import PairRng, philox4x32


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers published with Random123 for philox4x32, 10 rounds
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    words = philox4x32(np.array(counter, dtype=np.uint64)[:, None], np.array(key, dtype=np.uint64))
    assert words[:, 0].tolist() == expected


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=8), st.integers(0, 2**31), st.integers(1, 5))
def test_a_row_depends_on_its_pair_alone(ids: list[int], seed: int, width: int) -> None:
    together = PairRng(seed, "cutmix", ids).uniform("x", width)
    apart = np.concatenate([PairRng(seed, "cutmix", [i]).uniform("x", width) for i in ids])
    np.testing.assert_array_equal(together, apart)


def test_streams_seeds_and_methods_differ_except_the_shared_streams() -> None:
    ids = np.arange(100)
    base = PairRng(0, "cutmix", ids)
    assert not np.array_equal(base.uniform("lam"), base.uniform("centre"))
    assert not np.array_equal(base.uniform("lam"), PairRng(1, "cutmix", ids).uniform("lam"))
    np.testing.assert_array_equal(base.uniform("lam"), PairRng(0, "mixup", ids).uniform("lam"))
    assert not np.array_equal(base.uniform("own"), PairRng(0, "mixup", ids).uniform("own"))


def test_uniform_is_uniform() -> None:
    draws = PairRng(3, "cutmix", np.arange(20_000)).uniform("lam", 3)
    assert draws.shape == (20_000, 3)
    assert 0 <= draws.min() < draws.max() < 1
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.quantile(draws, [0.1, 0.9]), [0.1, 0.9], atol=0.01)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.03


def test_integers_and_permutations() -> None:
    rng = PairRng(0, "fmix", np.arange(1000))
    assert set(np.unique(rng.integers("i", 7))) == set(range(7))
    order = rng.permutation("p", 9)
    assert (np.sort(order, axis=1) == np.arange(9)).all()
    assert len(np.unique(order[:, 0])) == 9
