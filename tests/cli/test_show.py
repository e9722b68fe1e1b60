"""`gazeeval show`: which image, which file. What is drawn: tests/report/test_gaze_picture.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image


def test_a_picture_is_written(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    shown = gazeeval("show", "--data", little, "--image", "03.png", "--input-size", 32, "-o", target)
    assert shown.code == 0
    assert shown.out.splitlines() == [str(target)]
    with Image.open(target) as page:
        assert page.format == "PNG"
        wide = np.asarray(page).astype(int)
    gazeeval("show", "--data", little, "--image", "03.png", "--input-size", 32, "--sigma", "20%", "-o", target)
    with Image.open(target) as page:
        assert (np.asarray(page).astype(int) != wide).any()


def test_the_end_of_a_path_will_do(gazeeval: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = gazeeval("show", "-d", "demo", "--image", "star_02.png", "--numbers", "--geometry", "stretch")
    assert shown.out.splitlines() == ["star_02-gaze.png"]
    assert (tmp_path / "star_02-gaze.png").is_file()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--image", "99.png"), "--image: got '99.png'"),
        (("--image", "03.png", "--sigma", "wide"), "--sigma: got 'wide'"),
        (("--image", "03.png", "--sigma", "1deg"), "px_per_degree"),
        (("--image", "03.png", "-o", "nowhere/sheet.png"), "--out: nowhere/sheet.png"),
        (("--image", "03.png", "--placement", "contain"), "--placement"),
        ((), "--image"),
    ],
)
def test_wrong_usage(gazeeval: Command, little: Path, options: tuple[str, ...], says: str) -> None:
    wrong = gazeeval("show", "--data", little, *options)
    assert wrong.code == 2
    assert says in wrong.err
