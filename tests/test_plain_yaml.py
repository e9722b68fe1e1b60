"""YAML of plain values: what is refused, and that what is counted is what there is."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gazeeval import plain_yaml

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_plain_values_come_through(value: object) -> None:
    assert plain_yaml.load(yaml.safe_dump(value)) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [1]\nb: &b [" + "*a, " * 400 + "]\nc: [" + "*b, " * 400 + "]", "more than 100,000 values"),
        ("a: &a {k: 1}\nb: &b {<<: *a, c: *b}", "*b contains itself at line 2, column 19."),
        ("[" * 40 + "]" * 40, "more than 30 lists or mappings in each other at line 1, column 30."),
        ("a" * 1_000_001, "more than 1,000,000 characters, got 1,000,001."),
        ("a: 2020-99-99", "month must be in 1..12."),
        ("a: 1" + "0" * 30, "a whole number of more than 64 bits at line 1, column 4."),
        ("a: 1\na: 2", "the key 'a' stands twice at line 2, column 1."),
        ("a: *b", "found undefined alias 'b' at line 1, column 4."),
        ("a: !!python/name:os.system", "could not determine a constructor for the tag"),
        ("a: \0", "cannot be parsed."),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        plain_yaml.load(text)
    assert plain_yaml.problem(caught.value).startswith(problem)


def test_aliases_are_fine_in_moderation() -> None:
    assert plain_yaml.load("a: &a {x: 1}\nb: [*a, *a]\nc: {<<: *a, y: 2}") == {
        "a": {"x": 1},
        "b": [{"x": 1}, {"x": 1}],
        "c": {"x": 1, "y": 2},
    }
