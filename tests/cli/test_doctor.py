"""`gazeeval doctor`: says what there is, and what to do where something is missing or broken."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any

import pytest
import torch
from command import Command


def report(gazeeval: Command, code: int = 0) -> dict[str, Any]:
    done = gazeeval("doctor", "--json")
    assert done.code == code
    return {finding["what"]: finding for finding in json.loads(done.out)}


def test_a_sound_installation(gazeeval: Command) -> None:
    found = report(gazeeval)
    assert {"gazeeval", "Python", "torch", "timm", "numpy", "OpenCV", "extra parquet", "demo data", "memory"} <= set(
        found
    )
    assert found["torch"]["found"] == torch.__version__.partition("+")[0]
    assert "images" in found["demo data"]["found"]
    assert not [finding for finding in found.values() if finding["level"] == "broken"]


def test_the_text_has_a_line_for_everything_and_a_verdict(gazeeval: Command) -> None:
    lines = gazeeval("doctor").out.splitlines()
    assert lines[0].startswith("gazeeval ")
    assert any(line.startswith("devices ") and "cpu" in line for line in lines)
    assert lines[-1] == "gazeeval run has what it needs"


@pytest.mark.parametrize(("module", "level", "code"), [("cv2", "note", 0), ("timm", "broken", 1)])
def test_a_library_that_cannot_be_imported(
    gazeeval: Command, monkeypatch: pytest.MonkeyPatch, module: str, level: str, code: int
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # makes its import fail
    finding = report(gazeeval, code)["OpenCV" if module == "cv2" else module]
    assert finding["level"] == level
    assert "cannot be imported: " in finding["found"]
    assert "pip install" in finding["advice"]


def test_two_wheels_of_opencv_and_a_missing_extra(gazeeval: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version
    there = {"opencv-python": "5.0", "opencv-contrib-python": "5.0"}

    def version(name: str) -> str:
        if name == "pyarrow":
            raise metadata.PackageNotFoundError(name)
        return there.get(name) or known(name)

    monkeypatch.setattr(metadata, "version", version)
    found = report(gazeeval)
    assert "opencv-python 5.0, opencv-contrib-python 5.0" in found["OpenCV wheels"]["found"]
    assert found["OpenCV wheels"]["level"] == "note"
    assert found["extra parquet"] == {
        "what": "extra parquet",
        "found": "pyarrow is not installed",
        "level": "ok",
        "advice": "If you need it: pip install 'gazeeval[parquet]'",
    }


def test_a_check_that_fails_is_a_line_and_not_the_end(gazeeval: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> int:
        raise OSError("no such value")

    monkeypatch.setattr("os.sysconf", broken)
    assert report(gazeeval, 1)["machine"]["found"] == "OSError: no such value"
