"""`gazeeval validate`: the table, the JSON and the exit codes. The checks: tests/test_validate.py."""

from __future__ import annotations

import json
from pathlib import Path

from command import Command


def spoilt(spec: Path, old: str, new: str) -> Path:
    path = spec.with_name("spoilt.yaml")
    path.write_text(spec.read_text().replace(old, new))
    return path


def test_nothing_wrong(gazeeval: Command, little: Path) -> None:
    shown = gazeeval("validate", little, "--strict")
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == "0 errors, 0 warnings"
    assert "content hash" in shown.out
    assert not shown.err


def test_errors(gazeeval: Command, little: Path) -> None:
    shown = gazeeval("validate", spoilt(little, "unit: px", "unit: fraction"))
    assert shown.code == 3
    line = next(line for line in shown.out.splitlines() if line.startswith("G112"))
    assert line.split()[:3] == ["G112", "error", "24"]
    assert "'unit: percent', or px?" in shown.out
    assert max(map(len, shown.out.splitlines()[2:-3])) <= 120


def test_warnings_are_wrong_only_if_strict(gazeeval: Command, little: Path) -> None:
    (little.parent / "00.png").unlink()
    assert gazeeval("validate", little).code == 0
    shown = gazeeval("validate", little, "--strict")
    assert shown.code == 3
    assert "I102" in shown.out


def test_json(gazeeval: Command, little: Path) -> None:
    shown = gazeeval("validate", spoilt(little, "gaze.csv", "gase.csv"), "--json")
    assert shown.code == 3
    content = json.loads(shown.out)
    assert content["dataset"] == "little"
    (error,) = [finding for finding in content["findings"] if finding["level"] == "error"]
    assert error["code"] == "F101"
    assert error["check"] == "files of gaze are there"
    assert "gase.csv" in error["text"]
    assert "I103" in content["passed"]
    assert "G115" in content["not_done"]


def test_wrong_usage(gazeeval: Command, little: Path) -> None:
    wrong = gazeeval("validate", spoilt(little, "origin: upper-left", "orign: middle"), "--json")
    assert wrong.code == 2
    assert not wrong.out
    assert any("spoilt.yaml: gaze.orign: unknown field (did you mean 'origin'?)" in line for line in wrong.errors)
    assert gazeeval("validate", "cub-gah").code == 2
    assert gazeeval("validate", "cub-gha").code == 2
    assert gazeeval("validate", little, "--root", little.parent / "nowhere").code == 2
