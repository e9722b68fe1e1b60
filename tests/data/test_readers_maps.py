"""Rendered gaze maps in the two layouts that exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeeval.data.readers.maps import LEVELS, gaze_map_paths, read_gaze_map
from gazeeval.errors import DataError, ImageError

IDS = ["001.Black_footed_Albatross/A_01.jpg", "002.Laysan/B_02.jpg", "010.Bird/C_03.jpg"]


def draw(path: Path, value: int = 255, size: tuple[int, int] = (4, 3), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(mode)).save(path)
    return path


@pytest.mark.parametrize("folders", ["001.Black_footed_Albatross,002.Laysan", "1,2", "001,002"])
@pytest.mark.parametrize("splits", [("train/", "val/"), ("", "")])
def test_mirrored_folders(folders: str, splits: tuple[str, str], tmp_path: Path) -> None:
    first, second = folders.split(",")
    gauss = tmp_path / "cub_gauss"
    a = draw(gauss / f"{splits[0]}{first}" / "A_01.png")
    b = draw(gauss / f"{splits[1]}{second}" / "B_02.jpg")
    for root in (gauss, tmp_path / "cub"):  # the folder itself, or the image folder beside it
        assert gaze_map_paths(IDS, root, layout="mirrored") == [[a], [b], []]
    assert gaze_map_paths([f"train/{IDS[0]}"], gauss, layout="mirrored") == [[a]]


def test_mirrored_matches_the_class_too(tmp_path: Path) -> None:
    draw(tmp_path / "3" / "A_01.png")
    b = draw(tmp_path / "2" / "B_02.png")
    assert gaze_map_paths(IDS, tmp_path, layout="mirrored") == [[], [b], []]


def test_two_maps_for_one_image_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "1" / "A_01.png")
    draw(tmp_path / "val" / "001" / "A_01.jpg")
    with pytest.raises(DataError, match="a second map beside"):
        gaze_map_paths(IDS, tmp_path, layout="mirrored")


def test_gmaps_folders(tmp_path: Path) -> None:
    expected = [draw(tmp_path / f"gmaps_{level}" / "A_01" / "A_01-map.png") for level in LEVELS]
    fg = draw(tmp_path / "gmaps_genus" / "B_02" / "B_02-mapfg.png")
    partly = draw(tmp_path / "gmaps_genus" / "C_03" / "C_03-map.png")  # lacks three levels
    assert gaze_map_paths(IDS, tmp_path, layout="gmaps") == [expected, [], []]
    assert gaze_map_paths(IDS, tmp_path, layout="gmaps", levels=["genus"]) == [[expected[1]], [], [partly]]
    assert gaze_map_paths(IDS, tmp_path, layout="gmaps", levels=["genus"], kind="mapfg") == [[], [fg], []]


def test_missing_folders_and_maps_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="maps: no such folder, nor maps_gauss beside it"):
        gaze_map_paths(IDS, tmp_path / "maps", layout="mirrored")
    draw(tmp_path / "gmaps_species" / "other" / "other-map.png")
    with pytest.raises(
        DataError, match=r"gmaps_specis: no such folder \(did you mean 'species'\?\), got levels species"
    ):
        gaze_map_paths(IDS, tmp_path, layout="gmaps", levels=["specis"])
    with pytest.raises(DataError, match="no map for any of 3 images, such as '001"):
        gaze_map_paths(IDS, tmp_path, layout="gmaps", levels=["species"])
    with pytest.raises(DataError, match="no map for any of 3 images"):
        gaze_map_paths(IDS, tmp_path, layout="mirrored")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_luminance_is_averaged_over_levels(mode: str, tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{value}.png", value, mode=mode) for value in (51, 255)]
    gaze = read_gaze_map(paths)
    assert gaze.shape == (3, 4)
    assert gaze.dtype == np.float32
    np.testing.assert_allclose(gaze, 0.6, atol=1e-6)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    ramp = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_gaze_map([tmp_path / "deep.png"]), ramp / 65535, rtol=1e-6)


def test_broken_and_unequal_maps_fail_their_image(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(draw(tmp_path / "whole.png", size=(64, 64)).read_bytes()[:60])
    with pytest.raises(ImageError, match=r"broken\.png: cannot be decoded"):
        read_gaze_map([broken])
    with pytest.raises(ImageError, match="levels of different sizes, got 4x3, 5x3"):
        read_gaze_map([draw(tmp_path / "a.png"), draw(tmp_path / "b.png", size=(5, 3))])
    with pytest.raises(ImageError, match=r"absent\.png"):
        read_gaze_map([tmp_path / "absent.png"])
