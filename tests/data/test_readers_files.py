"""Patterns of files: wildcards, and names in braces that paths say of their rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from gazeeval.data.readers.files import find_files, pattern_mistake


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("gaze/ann/cat/1.csv", "gaze/ann/cat/2.csv", "gaze/bob/dog/1.csv", "gaze/bob/note.txt", "all[1].csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("gaze/{viewer}/{image}.csv", [("ann", "cat/1"), ("ann", "cat/2"), ("bob", "dog/1")]),
        ("gaze/{viewer}/*/{image}.csv", [("ann", "1"), ("ann", "2"), ("bob", "1")]),
        ("gaze/{viewer}/**/{image}.csv", [("ann", "1"), ("ann", "2"), ("bob", "1")]),
        ("**/{viewer}/cat/{image}.csv", [("ann", "1"), ("ann", "2")]),
        ("gaze/b{viewer}/dog/?.csv", [("ob",)]),
        ("gaze/ann/c{image}/1.csv", [("at",)]),
        ("gaze/{viewer}/{image}.tsv", []),
    ],
)
def test_braces_take_parts_of_the_path(root: Path, pattern: str, found: list[tuple[str, ...]]) -> None:
    assert [tuple(file.fields.values()) for file in find_files(root, [pattern])] == found


def test_the_first_pattern_that_matches_is_used_sorted_by_name(root: Path) -> None:
    files = find_files(root, ["none/*.csv", "gaze/*/*/*.csv", "*.csv"])
    assert [file.name for file in files] == ["gaze/ann/cat/1.csv", "gaze/ann/cat/2.csv", "gaze/bob/dog/1.csv"]
    assert [file.path for file in files] == [root / file.name for file in files]
    assert [file.name for file in find_files(root, ["all[[]1].csv"])] == ["all[1].csv"]
    assert find_files(root, ["none"]) == []


@pytest.mark.parametrize(
    ("pattern", "mistake"),
    [
        ("a/{image}/{viewer}/{condition}.csv", None),
        ("a/[ab].csv", None),
        ("a/{img}.csv", "{img}"),
        ("a/{}.csv", "{}"),
        ("{image}/{image}.csv", "{image}"),
        ("[ab]/{image}.csv", "'['"),
    ],
)
def test_wrong_braces_are_named(pattern: str, mistake: str | None) -> None:
    found = pattern_mistake(pattern)
    assert (found or "").startswith(f"got {mistake}" if mistake else "")
    assert (found is None) == (mistake is None)
