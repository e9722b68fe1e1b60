"""docs/datasets.md: the odd data set is made here and read with the very YAML of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from gazeeval.data.dataset import Dataset, FixationGaze, load_dataset
from gazeeval.data.spec import bundled_specs, validate
from gazeeval.errors import DataError

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
SPECS: list[dict[str, Any]] = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
LAB, DETECT, THRESHOLDS, *SHAPES = SPECS

PICTURES = {"cat/felix": (800, 600), "dog/rex": (300, 400)}
SCREEN, PX_PER_MM, RATE = (1920, 1080), 3.616, 90
LOOKS = {  # viewer -> picture -> where the eye is, px of the photograph, for a third of a second each
    "anna": {"felix": [(400, 300), (100, 50)], "rex": [(150, 390)]},
    "ben": {"rex": [(10, 10)]},
}


def on_screen(picture: str, x: float, y: float) -> tuple[float, float]:
    """Millimetres from the lower left corner of the screen."""
    (width, height), (wide, high) = next(size for name, size in PICTURES.items() if name.endswith(picture)), SCREEN
    scale = min(wide / width, high / height)
    left, top = (wide - scale * width) / 2, (high - scale * height) / 2
    return (left + scale * x) / PX_PER_MM, (high - top - scale * y) / PX_PER_MM


def recording(picture: str, places: Sequence[tuple[float, float]]) -> list[list[str]]:
    """Fields of the samples: three of felix have no position, and at half time nothing is recorded for 200 ms."""
    rows = []
    places_of = np.repeat(np.array([on_screen(picture, *place) for place in places]), RATE // 3, axis=0)
    for i, (x, y) in enumerate(places_of):
        hole = 0.2 * (i >= len(places_of) // 2)
        lost = picture == "felix" and i in (2, 5, 8)
        fields = ["" if lost else f"{value:.2f}" for value in (x, y)]
        rows.append([picture, f"{i / RATE + hole:.4f}", *fields])
    return rows


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The folder of the page."""
    for name, size in PICTURES.items():
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", size).save(path)
    (tmp_path / "gaze").mkdir()
    head = next(text for language, text in BLOCKS if language == "csv").splitlines()[0]
    for viewer, looks in LOOKS.items():
        rows = [row for picture, places in looks.items() for row in recording(picture, places)]
        text = "\r\n".join([head, *(";".join(row).replace(".", ",") for row in rows)])
        (tmp_path / "gaze" / f"{viewer}.csv").write_text(text)
    return tmp_path


def load(lab: Path, **gaze: Any) -> Dataset:
    (lab / "lab.yaml").write_text(yaml.safe_dump(LAB | {"gaze": LAB["gaze"] | gaze}))
    return load_dataset(lab / "lab.yaml")


def points(data: Dataset) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """(image, viewer) -> the different places, rounded to pixels, in order."""
    assert isinstance(data.gaze, FixationGaze)
    gaze = data.gaze.fixations
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row, image in enumerate(gaze.image_index()):
        key = (Path(data.image_ids[image]).stem, gaze.viewers[gaze.viewer[row]])
        place = (round(float(gaze.x[row])), round(float(gaze.y[row])))
        if place not in found.setdefault(key, []):
            found[key].append(place)
    return found


EXPECTED = {(picture, viewer): places for viewer, looks in LOOKS.items() for picture, places in looks.items()}


def test_the_rows_of_the_page_are_like_those_made_here() -> None:
    shown = next(text for language, text in BLOCKS if language == "csv").splitlines()[1:]
    made = [";".join(row).replace(".", ",") for row in recording("felix", [(400, 300)])]
    pattern = re.compile(r"felix;0,0\d+;(\d{3},\d+;\d{3},\d+|;)")
    assert all(pattern.fullmatch(row) for row in [*shown, *made[:3]])


def test_the_odd_data_set_is_read_by_the_spec_of_the_page(lab: Path) -> None:
    data = load(lab)
    assert points(data) == EXPECTED
    assert isinstance(data.gaze, FixationGaze)
    gaze = data.gaze.fixations
    assert (gaze.kind, data.gaze.viewers, data.class_names) == ("samples", ("anna", "ben"), ("cat", "dog"))
    step = 1000 / RATE
    assert gaze.duration_ms.max() == pytest.approx(2 * step)  # at the hole of 200 ms
    assert np.median(gaze.duration_ms) == pytest.approx(step, rel=0.02)
    notes = next(text for _, text in BLOCKS if "have no position" in text)
    assert list(data.notes) == notes.splitlines()


@pytest.mark.parametrize("detect", [DETECT["gaze"], THRESHOLDS["gaze"]])
def test_fixations_are_found_with_the_lines_of_the_page(detect: dict[str, Any], lab: Path) -> None:
    data = load(lab, **detect)
    assert points(data) == EXPECTED
    assert isinstance(data.gaze, FixationGaze)
    assert data.gaze.fixations.kind == "fixations"
    assert any("fixations found in 120 samples, 3 of them without position" in note for note in data.notes)


def test_a_wrong_placement_is_noticed(lab: Path) -> None:
    frame = LAB["gaze"]["frame"] | {"placement": "native"}
    with pytest.raises(DataError, match=r"frame placement: .*supports 'contain'"):
        load(lab, frame=frame)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["gaze"]["format"])
def test_the_other_shapes_are_specs(shape: dict[str, Any]) -> None:
    validate({"name": "mine", "images": {"layout": "csv", "index": "images.csv"}, **shape}, "datasets.md")


def test_every_bundled_spec_is_listed() -> None:
    table = PAGE.partition("| name |")[2].partition("\n\n")[0]
    listed = {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}
    assert listed == set(bundled_specs())
