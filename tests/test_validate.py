"""Data sets with one mistake each, which the checks must name; and none where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from gazeeval.errors import DataError, SpecError, UsageError
from gazeeval.validation.finding import Finding, from_note
from gazeeval.validation.validate import LOADS, Validation, checks, validate

SCREEN = (1280, 720)
ALL_WELL = {"I107", "G116", "G117", "G120", "L101"}  # the checks that state facts

Change = Callable[["Made"], None]


class Made:
    """A data set on disk: 36 pictures of a noisy patch on grey, and five viewers' fixations on the patch.

    ``images`` and ``gaze`` are its tables, ``spec`` its spec; a test spoils one of them before ``write``.
    """

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(7)
        self.folder, self.exif, points = folder, Image.Exif(), []
        (folder / "images").mkdir(parents=True)
        self.pictures: dict[str, Image.Image] = {}
        for number in range(1, 37):
            width, height = (96 + number, 64) if number % 3 else (60, 90 + number)
            x, y = rng.uniform(0.15, 0.85, 2) * (width, height)
            pixels = np.full((height, width, 3), 127, np.uint8)
            top, left = max(0, int(y) - 9), max(0, int(x) - 9)
            patch = pixels[top : int(y) + 9, left : int(x) + 9]
            patch[:] = rng.integers(0, 256, patch.shape)
            name = f"{number:02d}.png"
            self.pictures[name] = Image.fromarray(pixels)
            for viewer in "abcde":
                at = np.clip(rng.normal((x, y), 4, (6, 2)), 0.5, (width - 0.5, height - 0.5))
                ms = rng.lognormal(5.5, 0.4, 6)
                points += [(name, number, viewer, *row, d, width, height) for row, d in zip(at, ms, strict=True)]
        columns = ["image", "number", "viewer", "x", "y", "ms", "w", "h"]
        self.gaze = pd.DataFrame(points, columns=columns)
        self.images = pd.DataFrame({"image": list(self.pictures), "label": ["ant", "bee", "cat"] * 12})
        self.spec: dict[str, Any] = {
            "name": "made",
            "images": {"layout": "csv", "index": "images.csv", "path": "images"},
            "gaze": {
                "format": "csv",
                "files": "gaze.csv",
                "columns": {"image": "image", "viewer": "viewer", "x": "x", "y": "y", "duration": "ms"},
                "origin": "upper-left",
                "pixel_origin": "corner",
            },
        }

    def names(self, **columns: str) -> None:
        self.spec["gaze"]["columns"] |= columns

    def on_screen(self) -> None:
        """The gaze as on a screen, where images were fitted and centred."""
        width, height = self.gaze["w"], self.gaze["h"]
        scale = np.minimum(SCREEN[0] / width, SCREEN[1] / height)
        self.gaze["x"] = self.gaze["x"] * scale + (SCREEN[0] - scale * width) / 2
        self.gaze["y"] = self.gaze["y"] * scale + (SCREEN[1] - scale * height) / 2

    def write(self) -> Path:
        for name, picture in self.pictures.items():
            picture.save(self.folder / "images" / name, exif=self.exif)
        self.images.to_csv(self.folder / "images.csv", index=False)
        self.gaze.to_csv(self.folder / "gaze.csv", index=False)
        path = self.folder / "made.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        return path


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "made")


def found(result: Validation, code: str) -> list[Finding]:
    return [finding for own, finding in result.findings if own == code]


def test_nothing_is_found_where_nothing_is_wrong(made: Made) -> None:
    made.names(width="w", height="h")
    result = validate(made.write())
    assert {code for code, _ in result.findings} == ALL_WELL
    assert {finding.level for _, finding in result.findings} == {"info"}
    assert set(result.passed) | {"G121", LOADS[0]} == set(checks())
    assert not result.not_done


def test_right_placement_is_supported(made: Made) -> None:
    made.on_screen()
    made.spec["gaze"]["frame"] = {"width": SCREEN[0], "height": SCREEN[1], "placement": "contain"}
    result = validate(made.write())
    (placement,) = found(result, "G114")
    assert placement.level == "info"
    assert "supports 'contain'" in placement.text
    assert not result.count("error") + result.count("warning")


def _origin(made: Made) -> None:
    made.spec["gaze"]["origin"] = "lower-left"


def _centre(made: Made) -> None:
    made.gaze["x"] -= made.gaze["w"] / 2
    made.gaze["y"] -= made.gaze["h"] / 2


def _not_centre(made: Made) -> None:
    made.spec["gaze"]["origin"] = "centre"


def _undeclared_origin(made: Made) -> None:
    made.spec["gaze"]["origin"] = None


def _base_by_size(made: Made) -> None:
    made.names(image="number", width="w", height="h")
    made.gaze["number"] -= 1
    made.spec["gaze"] |= {"image_key": "number", "image_id_base": 1}


def _base_of_numbers(made: Made) -> None:
    made.names(image="number")
    made.spec["gaze"] |= {"image_key": "number", "image_id_base": 0}


def _names_as_numbers(made: Made) -> None:
    made.spec["gaze"]["image_key"] = "number"


def _fractions(made: Made) -> None:
    made.gaze["x"] /= made.gaze["w"]
    made.gaze["y"] /= made.gaze["h"]


def _pixels(made: Made) -> None:
    made.gaze[["x", "y"]] *= 10
    made.spec["gaze"]["unit"] = "fraction"


def _percent(made: Made) -> None:
    _fractions(made)
    made.gaze[["x", "y"]] *= 100
    made.spec["gaze"]["unit"] = "fraction"


def _seconds(made: Made) -> None:
    made.gaze["ms"] /= 1000


def _negative(made: Made) -> None:
    made.gaze.loc[5, "ms"] = -1


def _zero(made: Made) -> None:
    made.gaze.loc[[5, 6], "ms"] = 0


def _unknown(made: Made) -> None:
    made.gaze.loc[[5, 6, 7], "ms"] = np.nan


def _too_small(made: Made) -> None:
    made.on_screen()
    made.spec["gaze"]["frame"] = {"width": SCREEN[0], "height": SCREEN[1], "placement": "native"}


def _no_placement(made: Made) -> None:
    made.on_screen()
    made.spec["gaze"]["frame"] = {"width": SCREEN[0], "height": SCREEN[1]}


def _screen(made: Made) -> None:
    made.on_screen()


def _x_for_y(made: Made) -> None:
    made.names(x="y", y="x")


def _width_for_height(made: Made) -> None:
    made.names(width="h", height="w")


def _whole(made: Made) -> None:
    made.gaze[["x", "y"]] = np.floor(made.gaze[["x", "y"]]).astype(int)


def _zero_based(made: Made) -> None:
    _whole(made)
    made.spec["gaze"]["pixel_origin"] = "one-based"
    made.gaze.loc[0, "x"] = 0


def _one_based(made: Made) -> None:
    _whole(made)
    made.gaze[["x", "y"]] += 1
    made.gaze.loc[0, "x"] = made.gaze["w"].iloc[0]
    made.spec["gaze"]["pixel_origin"] = "centre"


def _missing_class(made: Made) -> None:
    made.spec["images"]["classes"] = ["ant", "bee"]


def _spare_class(made: Made) -> None:
    made.spec["images"]["classes"] = ["ant", "bee", "cat", "dog"]


def _numbers_with_gaps(made: Made) -> None:
    made.images["label"] = [1, 2, 4] * 12


def _delimiter(made: Made) -> None:
    made.spec["gaze"]["delimiter"] = ";"


def _column(made: Made) -> None:
    made.names(duration="msec")


def _twice(made: Made) -> None:
    made.images.loc[1, "image"] = "01.png"


def _copy(made: Made) -> None:
    made.pictures["02.png"] = made.pictures["01.png"]


def _image_folder(made: Made) -> None:
    made.spec["images"]["path"] = "pictures"


def _gone(made: Made) -> None:
    made.images.loc[36] = ["37.png", "ant"]


def _no_gaze(made: Made) -> None:
    made.gaze = made.gaze[made.gaze["image"] != "03.png"]


def _no_image(made: Made) -> None:
    made.images = made.images[made.images["image"] != "03.png"]


def _mirrored(made: Made) -> None:
    made.exif[0x0112] = 2


def _gaze_file(made: Made) -> None:
    made.spec["gaze"]["files"] = "gase.csv"


def _stuck(made: Made) -> None:
    made.gaze.loc[1, ["x", "y"]] = made.gaze.loc[0, ["x", "y"]]


@pytest.mark.parametrize(
    ("spoil", "code", "level", "says"),
    [
        (_origin, "G116", "error", "turned upside down"),
        (_centre, "G112", "error", "'origin: centre'"),
        (_not_centre, "G112", "error", "'origin: upper-left'"),
        (_undeclared_origin, "G102", "error", "Where is (0, 0)?"),
        (_base_by_size, "G109", "error", "image numbers from 0?"),
        (_base_by_size, "G110", "error", "'image_id_base: 0'?"),
        (_base_of_numbers, "G110", "error", "'image_id_base: 1'?"),
        (_base_of_numbers, "G116", "error", "on the image before"),
        (_names_as_numbers, "G103", "error", "image_key"),
        (_fractions, "G112", "error", "100% of x and y are between 0 and 1: 'unit: fraction'?"),
        (_pixels, "G112", "error", "'unit: px'?"),
        (_percent, "G112", "error", "'unit: percent', or px?"),
        (_seconds, "G117", "error", "'time_unit: s'?"),
        (_negative, "G101", "error", "row 6, duration, got -1"),
        (_zero, "G117", "warning", "2 of 1,080 durations are 0"),
        (_unknown, "G117", "warning", "3 of 1,080 durations are unknown"),
        (_too_small, "G114", "error", "the gaze supports 'contain'"),
        (_no_placement, "G114", "error", "The smallest that fits is 'contain'"),
        (_screen, "G115", "error", "pixels of a screen?"),
        (_x_for_y, "G115", "error", "exchange the two in gaze.columns"),
        (_x_for_y, "G116", "error", "with x and y exchanged"),
        (_width_for_height, "G109", "error", "Width and height are exchanged"),
        (_whole, "G113", "warning", "'pixel_origin: centre'"),
        (_zero_based, "G113", "warning", "Whole pixels from 0"),
        (_one_based, "G113", "warning", "'pixel_origin: one-based'?"),
        (_missing_class, "I101", "error", "got 'cat'. Expected one of 'classes'"),
        (_spare_class, "I106", "warning", "label 3, dog"),
        (_numbers_with_gaps, "I106", "warning", "from 1 to 4 with 1 missing"),
        (_delimiter, "G101", "error", "gaze.delimiter"),
        (_column, "G101", "error", "did you mean 'ms'?"),
        (_twice, "I101", "error", "got '01.png' more than once"),
        (_copy, "I105", "warning", "02.png is 01.png"),
        (_image_folder, "I101", "error", "Check --root and images.path"),
        (_gone, "I102", "warning", "37.png"),
        (_no_gaze, "G108", "warning", "03.png"),
        (_no_image, "G107", "warning", "03.png"),
        (_mirrored, "I104", "warning", "36 of them a mirrored one"),
        (_mirrored, "G116", "error", "left and right exchanged"),
        (_gaze_file, "F101", "error", "no gase.csv in"),
        (_stuck, "G106", "warning", "at the same point as the one before"),
    ],
)
def test_mistakes_are_named(made: Made, spoil: Change, code: str, level: str, says: str) -> None:
    spoil(made)
    result = validate(made.write())
    findings = [finding for finding in found(result, code) if finding.level == level]
    assert findings, result.findings
    assert any(says in " ".join((it.text, it.first, it.advice)) for it in findings), findings
    assert all(it.count >= 1 for it in findings)
    assert code not in result.passed


def test_a_broken_file_is_named(made: Made) -> None:
    path = made.write()
    whole = (made.folder / "images" / "04.png").read_bytes()
    (made.folder / "images" / "04.png").write_bytes(whole[: len(whole) // 2])
    (broken,) = found(validate(path), "I103")
    assert (broken.level, broken.count) == ("error", 1)
    assert "04.png" in broken.first


def test_all_mistakes_are_listed_at_once(made: Made) -> None:
    for spoil in (_seconds, _one_based, _spare_class, _mirrored, _no_gaze):
        spoil(made)
    codes = {code for code, finding in validate(made.write()).findings if finding.level != "info"}
    assert {"G117", "G113", "I106", "I104", "G116", "G108"} <= codes


def test_checks_of_gaze_that_cannot_be_read_are_not_passed(made: Made) -> None:
    _delimiter(made)
    result = validate(made.write())
    assert {"G104", "G115", "G120"} <= set(result.not_done)
    assert "G103" in result.not_done
    assert {"I103", "G102"} <= set(result.passed)
    assert found(result, "L101")[0].level == "info"


def test_wrong_usage(made: Made, tmp_path: Path) -> None:
    made.spec["gaze"]["orign"] = "centre"
    with pytest.raises(SpecError, match="did you mean 'origin'"):
        validate(made.write())
    with pytest.raises(UsageError, match="Pass --root DIR"):
        validate("cub-gha")
    with pytest.raises(DataError, match="no such folder"):
        validate("cub-gha", tmp_path / "nowhere")


def test_settings_in_place_of_those_of_the_spec(made: Made) -> None:
    made.on_screen()
    made.spec["gaze"] |= {"origin": None, "frame": {"width": SCREEN[0], "height": SCREEN[1]}}
    result = validate(made.write(), placement="contain", origin="upper-left")
    assert not result.count("error") + result.count("warning")


def test_raw_samples(made: Made) -> None:
    made.gaze["t"] = np.tile(np.arange(6) * 0.02, 180)
    made.spec["gaze"] |= {"kind": "samples", "time_unit": "auto"}
    del made.spec["gaze"]["columns"]["duration"]
    made.names(time="t")
    unit, step = found(validate(made.write()), "G118")
    assert "taken as s" in unit.text
    assert step.text == "samples every 20 ms, 50 per second"
    made.spec["gaze"]["time_unit"] = "us"
    (wrong,) = found(validate(made.write()), "G118")
    assert (wrong.level, wrong.advice) == ("error", "Check gaze.time_unit (s, ms, us).")


def test_gaze_maps(made: Made) -> None:
    made.spec["gaze"] = {"format": "maps", "path": "maps", "layout": "mirrored"}
    path = made.write()
    maps = made.folder / "maps"
    shutil.copytree(made.folder / "images", maps)
    (maps / "01.png").unlink()
    Image.new("L", made.pictures["02.png"].size).save(maps / "02.png")
    (maps / "03.png").write_bytes((maps / "03.png").read_bytes()[:200])
    result = validate(path)
    assert found(result, "G108")[0].first == "01.png"
    unreadable, blank = found(result, "G121")
    assert (unreadable.level, blank.level) == ("error", "warning")
    assert "03.png" in unreadable.first
    assert blank.first == "02.png"
    assert not result.not_done


def test_codes_are_unique_and_named() -> None:
    assert all(name for name in checks().values())
    assert sorted(checks()) == sorted(set(checks()))


def test_a_note_becomes_a_finding() -> None:
    note = "no file for 1,201 of 5,000 images of images.txt (first: a/b.png): left out"
    assert from_note(note, "warning") == Finding(
        "warning", 1201, "no file for 1,201 of 5,000 images of images.txt: left out", "a/b.png"
    )


def test_demo_has_no_error() -> None:
    result = validate("demo")
    assert [code for code, finding in result.findings if finding.level == "warning"] == ["G108"]
    assert not result.count("error")


def test_real_gaze() -> None:
    """The known traps of CUB-GHA are found, and nothing worse (card gaze-datasets)."""
    root = Path(__file__).parents[2] / "shared" / "data"
    if not (root / "CUB_200_2011" / "images.txt").is_file():
        pytest.skip("the photographs and gaze of ../shared/data are not on this machine")
    result = validate("cub-gha", root)
    assert not result.count("error")
    assert [finding.count for finding in found(result, "G105")] == [7683, 7956, 7682]
    assert found(result, "G106")[0].count == 699
    assert found(result, "G119")[0].text.startswith("100.00%")
    assert "more than mirrored" in found(result, "G116")[0].text
    assert {"G109", "G110", "G115", "I103", "I104"} <= set(result.passed)
