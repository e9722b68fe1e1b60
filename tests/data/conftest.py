"""A CUB-like root of four small images with two viewing runs, and the photographs beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

SIZES = ((40, 30), (30, 40), (24, 24), (50, 20))
NAMES = ("001.Ani/a.png", "001.Ani/b.png", "002.Wren/c.png", "002.Wren/d.png")


@pytest.fixture
def cub_root(tmp_path: Path) -> Path:
    """Images 1-4 of classes 1-2; class 3 is listed without images. Image 4 has no gaze, gaze for 77 has no image."""
    folder = tmp_path / "CUB_200_2011"
    for (width, height), name in zip(SIZES, NAMES, strict=True):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), (200, 100, 50)).save(path)
    (folder / "images.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(NAMES, 1)))
    (folder / "classes.txt").write_text("1 001.Ani\n2 002.Wren\n3 003.Tern\n")
    (folder / "image_class_labels.txt").write_text("1 1\n2 1\n3 2\n4 2\n")
    (folder / "train_test_split.txt").write_text("1 1\n2 0\n3 1\n4 0\n")
    runs = tmp_path / "cub_gha"
    runs.mkdir()
    (runs / "Fixation_run1.txt").write_text("1,40,30,10,11,200,39,29,100\n2,30,40,5,6,300\n77,9,9,1,1,100\n")
    (runs / "Fixation_run2.txt").write_text("3,24,24,12,12,400\n1,40,30,0,0,150\n")
    return tmp_path


@pytest.fixture(scope="session")
def real_root() -> Path:
    root = Path(__file__).parents[3] / "shared" / "data"
    if not (root / "CUB_200_2011" / "images.txt").is_file():
        pytest.skip("the photographs and gaze of ../shared/data are not on this machine")
    return root
