"""The bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gazeeval.cache import ByteCache


def test_what_was_used_longest_ago_goes_first() -> None:
    cache: ByteCache[str, bytes] = ByteCache(100, len)
    cache.put("a", bytes(40))
    cache.put("b", bytes(40))
    assert cache.get("a") is not None
    cache.put("c", bytes(40))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.nbytes == 80


def test_a_value_put_twice_counts_once_and_one_too_large_is_not_kept() -> None:
    cache: ByteCache[str, bytes] = ByteCache(100, len)
    for _ in range(3):
        cache.put("a", bytes(40))
    assert (len(cache), cache.nbytes) == (1, 40)
    cache.put("b", bytes(101))
    assert (len(cache), cache.nbytes) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60))))
def test_the_limit_holds_and_the_count_is_right(puts: list[tuple[int, int]]) -> None:
    cache: ByteCache[int, bytes] = ByteCache(100, len)
    for key, size in puts:
        cache.put(key, bytes(size))
        assert cache.nbytes <= 100
        assert cache.nbytes == sum(len(cache.get(k) or b"") for k in range(6))
