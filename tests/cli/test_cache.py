"""`gazeeval cache`: the folder of parsed gaze is named, and can be emptied."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Command


def test_the_cache_is_shown_and_cleared(gazeeval: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZEEVAL_CACHE", str(tmp_path))
    (tmp_path / "gaze").mkdir()
    (tmp_path / "gaze" / "some.npz").write_bytes(bytes(2_000_000))
    assert gazeeval("cache").out == f"{tmp_path / 'gaze'}: 1 data sets, 2.0 MB\n"
    assert gazeeval("cache", "--clear").out == f"{tmp_path / 'gaze'}: 2.0 MB removed\n"
    assert gazeeval("cache").out == f"{tmp_path / 'gaze'}: 0 data sets, 0.0 MB\n"


def test_a_cache_that_is_off_says_so(gazeeval: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZEEVAL_CACHE", "off")
    assert gazeeval("cache").out == "off: GAZEEVAL_CACHE says so\n"
