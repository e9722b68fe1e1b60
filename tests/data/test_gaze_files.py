"""From files to fixations on images: every published layout, units and origins, samples, what is left out and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from gazeeval.data.dataset import Dataset, FixationGaze, load_dataset
from gazeeval.data.fixations import Fixations
from gazeeval.data.frame import frame_pixels
from gazeeval.data.gaze_files import named_viewers
from gazeeval.errors import DataError, SpecError


def fixations(data: Dataset) -> Fixations:
    assert isinstance(data.gaze, FixationGaze)
    return data.gaze.fixations


def points(data: Dataset) -> list[tuple[float, float]]:
    gaze = fixations(data)
    return list(zip(gaze.x.tolist(), gaze.y.tolist(), strict=True))


def viewers(data: Dataset) -> list[str]:
    gaze = fixations(data)
    return [gaze.viewers[code] for code in gaze.viewer]


def images(folder: Path, sizes: dict[str, tuple[int, int]], index: Path | None = None) -> None:
    """Pictures, and with ``index`` the table of them."""
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)
    if index is not None:
        rows = "".join(f"{name},{row % 2}\n" for row, name in enumerate(sizes))
        (index / "images.csv").write_text("image,label\n" + rows)


# ------------------------------------------------------------------------------------------------ published data sets


def test_cub_gha_merged(cub_root: Path) -> None:
    lines = "1,40,30,1440,1080,240,0,240,0,100,1679,1079,200\n2,30,40,810,1080,555,0,555,0,300\n"
    (cub_root / "cub_gha" / "Fixation.txt").write_text(lines)
    data = load_dataset("cub-gha-merged", cub_root)
    pixel = 40 / 1440
    expected = [(pixel / 2, pixel / 2), (40 - pixel / 2, 30 - pixel / 2), (15 / 810, 20 / 1080)]
    np.testing.assert_allclose(points(data), expected, rtol=1e-4)
    assert (data.gaze.viewers, fixations(data).duration_ms.tolist()) == ((), [100, 200, 300])


@pytest.mark.parametrize("name", ["cub-vw", "cub-sw"])
def test_cub_of_karessli(name: str, cub_root: Path) -> None:
    folder = cub_root / "Gaze_Datasets" / name.upper()
    folder.mkdir(parents=True)
    rows = "189,1,3,0.0110,12.5,4.25,3.24\n189,0,3,0.2184,23.0,20.0,3.20\n2,1,1,0.0,-60.7,10.1,2.5\n"
    (folder / f"{name.upper()}-processedGaze.csv").write_text(rows)
    data = load_dataset(name, cub_root)
    assert points(data) == [(pytest.approx(-60.7), pytest.approx(10.1)), (12.5, 4.25), (23, 20)]
    assert (viewers(data), data.image_ids) == (["1", "1", "0"], ("001.Ani/a.png", "002.Wren/c.png"))
    np.testing.assert_allclose(fixations(data).duration_ms, [0, 11, 218.4])
    assert any(note.startswith("1 of 3 samples lie outside their image: kept") for note in data.notes)


def test_gaze_cifar_10(tmp_path: Path) -> None:
    images(tmp_path / "images", {"cat/0001.png": (32, 32), "dog/0001.png": (32, 32), "dog/0002.png": (32, 32)})
    for name, text in {"cat/0001": "(112.0, 56.0)\n(0.0, 217.0)\n", "dog/0001": "(7.0, 7.0)\n", "dog/0002": ""}.items():
        path = tmp_path / "gaze" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with pytest.raises(SpecError, match=r"gaze-cifar-10\.yaml: gaze\.origin: not declared\. .* or with --origin"):
        load_dataset("gaze-cifar-10", tmp_path)
    upper = load_dataset("gaze-cifar-10", tmp_path, origin="upper-left")
    assert points(upper) == [(16, 8), (0, 31), (1, 1)]
    lower = load_dataset("gaze-cifar-10", tmp_path, origin="lower-left")
    assert points(lower) == [(16, 24), (0, 1), (1, 31)]
    assert upper.fingerprint != lower.fingerprint
    assert {"1 of 3 gaze files are empty", "no gaze for 1 of 3 images: left out"} <= set(upper.notes)
    assert fixations(upper).kind == "samples"


COCO = {"000000000007.jpg": (640, 480), "000000000009.jpg": (640, 480)}


def test_salicon(tmp_path: Path) -> None:
    images(tmp_path / "images", COCO, tmp_path)
    content = {
        "images": [{"id": int(name[:-4]), "file_name": name} for name in COCO],
        "annotations": [{"image_id": 9, "worker_id": 3, "fixations": [[1, 640], [480, 1]]}],
    }
    (tmp_path / "fixations_train2014.json").write_text(json.dumps(content))
    data = load_dataset("salicon", tmp_path)
    assert points(data) == [(639.5, 0.5), (0.5, 479.5)]
    assert (viewers(data), data.image_ids) == (["3", "3"], ("000000000009.jpg",))
    assert "no durations: every fixation counts once" in data.notes
    content["annotations"] = [{"image_id": 9, "worker_id": 3, "fixations": [[640, 1], [600, 480]]}]
    (tmp_path / "fixations_train2014.json").write_text(json.dumps(content))
    exchanged = load_dataset("salicon", tmp_path).notes
    assert any(note.endswith("with x and y exchanged none would: check the columns") for note in exchanged)


def test_salicon_mat(tmp_path: Path) -> None:
    images(tmp_path / "images", COCO, tmp_path)
    people = np.empty((1, 2), dtype=[("location", object), ("timestamp", object)])
    people[0, 0] = (np.array([[1, 2], [640, 480]]), np.array([[5], [15]]))
    people[0, 1] = (np.array([[3, 4]]), np.array([[5]]))
    (tmp_path / "fixations" / "train").mkdir(parents=True)
    savemat(tmp_path / "fixations" / "train" / "000000000007.mat", {"gaze": people})
    data = load_dataset("salicon-mat", tmp_path)
    assert points(data) == [(0.5, 1.5), (639.5, 479.5), (2.5, 3.5)]
    assert (viewers(data), fixations(data).duration_ms.tolist()) == (["1", "1", "2"], [10, 10, 10])


def test_coco_search_and_freeview(tmp_path: Path) -> None:
    images(tmp_path / "images", dict.fromkeys(COCO, (1400, 1050)), tmp_path)
    scanpath = {"name": "000000000007.jpg", "subject": 2, "X": [140, 1539, 840], "Y": [0, 1049, 525], "T": [200, 1, 2]}
    search = [{**scanpath, "task": "cup", "condition": "present"}, {**scanpath, "task": "car", "condition": "absent"}]
    (tmp_path / "coco_search18_fixations_TP_train_split1.json").write_text(json.dumps(search))
    (tmp_path / "COCOFreeView_fixations_trainval.json").write_text(json.dumps([scanpath]))
    places = [(0, 0), (1399, 1049), (700, 525)]
    with pytest.raises(SpecError, match=r"coco-search18\.yaml: gaze\.frame\.placement: missing"):
        load_dataset("coco-search18", tmp_path)
    data = load_dataset("coco-search18", tmp_path, placement="contain")
    assert (points(data), fixations(data).conditions) == (places * 2, ("cup", "car"))
    free = load_dataset("coco-freeview", tmp_path, placement="contain")
    assert (points(free), viewers(free)) == (places, ["2"] * 3)
    assert fixations(free).duration_ms.tolist() == [200, 1, 2]


def test_cat2000(tmp_path: Path) -> None:
    images(tmp_path / "Stimuli", {"Action/001.jpg": (192, 108), "Art/001.jpg": (192, 108)}, tmp_path)
    recordings = np.empty((1, 2), dtype=[("image", object), ("viewer", object), ("data", object)])
    recordings[0, 0] = (2, "ABC", np.array([[1.0, 1.0], [1, 1], [192, 108], [1, 1]]))
    recordings[0, 1] = (1, "DEF", np.array([[10.0, 20.0]]))
    savemat(tmp_path / "recordings.mat", {"recordings": recordings})
    data = load_dataset("cat2000", tmp_path)
    assert points(data) == [(9.5, 19.5), (0.5, 0.5), (191.5, 107.5), (0.5, 0.5)]
    assert viewers(data) == ["DEF", "ABC", "ABC", "ABC"]
    assert "1 of 5 fixations are at the same point as the one before: left out" in data.notes


def test_pascal_s(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    images(tmp_path / "datasets/imgs/pascal", {"1.jpg": (50, 40), "2.jpg": (50, 40)}, tmp_path)
    path = tmp_path / "datasets" / "fixations" / "pascalFix.mat"
    path.parent.mkdir()
    with h5py.File(path, "w", userblock_size=512) as file:
        file["#refs#/a"], file["#refs#/b"] = np.array([[1.0], [2], [12]]), np.array([[40.0, 4], [50, 5], [1, 2]])
        references = [[file["#refs#/a"].ref, file["#refs#/b"].ref]]
        file["fixCell"] = np.array(references, dtype=h5py.ref_dtype)
        file["fixCell"].attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    data = load_dataset("pascal-s", tmp_path)
    assert (points(data), viewers(data)) == ([(1.5, 0.5), (49.5, 39.5), (4.5, 3.5)], ["12", "1", "2"])


def test_mit1003(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    images(tmp_path / "MIT1003" / "stimuli", {"a.jpeg": (50, 40), "b.jpeg": (50, 40)}, tmp_path)
    with h5py.File(tmp_path / "MIT1003" / "stimuli.hdf5", "w") as file:
        file.attrs["type"] = np.bytes_("FileStimuli")
        file["filenames"] = [b"stimuli/a.jpeg", b"stimuli/b.jpeg"]
    with h5py.File(tmp_path / "MIT1003" / "fixations.hdf5", "w") as file:
        file.attrs["type"] = np.bytes_("FixationTrains")
        trains = {
            "xs": [[1.0, 2.0]],
            "ys": [[3.0, 4.0]],
            "ts": [[0.1, 0.5]],
            "ns": [1],
            "subjects": [7],
            "lengths": [2],
        }
        for name, values in trains.items():
            file[f"train_{name}"] = values
        file["scanpath_fixation_attributes/durations"] = [[0.25, 0.3]]
    data = load_dataset("mit1003", tmp_path)
    assert (points(data), viewers(data), data.image_ids) == ([(1, 3), (2, 4)], ["7", "7"], ("b.jpeg",))
    np.testing.assert_allclose(fixations(data).duration_ms, [250, 300])


# ------------------------------------------------------------------------------------------------ a table of one's own

Write = Callable[..., Path]


@pytest.fixture
def spec(tmp_path: Path) -> Write:
    """Writes a spec for two images of 40x30 and 20x60 px, and its gaze file."""
    images(tmp_path / "images", {"cat/a.png": (40, 30), "dog/b.png": (20, 60)})

    def write(rows: str, header: str = "image,x,y,t", **gaze: Any) -> Path:
        (tmp_path / "gaze.csv").write_text(f"{header}\n{rows}")
        columns = {"image": "image", "x": "x", "y": "y"}
        content = {
            "name": "mine",
            "images": {"layout": "folders", "path": "images"},
            "gaze": {
                **{"format": "csv", "files": "gaze.csv", "columns": columns},
                **{"origin": "upper-left", "pixel_origin": "corner"},
                **gaze,
            },
        }
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize(
    ("gaze", "row", "expected"),
    [
        ({"unit": "percent"}, "25,50", (10, 15)),
        ({"unit": "percent", "origin": "lower-left"}, "25,90", (10, 3)),
        ({"unit": "mm", "px_per_mm": 2.0}, "5,6", (10, 12)),
        ({"unit": "mm", "px_per_mm": 2.0, "origin": "lower-left"}, "5,6", (10, 18)),
        ({"unit": "deg", "px_per_degree": 4.0, "origin": "centre"}, "-1,2", (16, 23)),
        ({"unit": "deg", "px_per_degree": 4.0, "origin": "centre-up"}, "-1,2", (16, 7)),
        ({"origin": "centre"}, "0,0", (20, 15)),
        (
            {"unit": "mm", "px_per_mm": 2.0, "frame": {"width": 80, "height": 60, "placement": "contain"}},
            "20,15",
            (20, 15),
        ),
        ({"unit": "percent", "frame": {"width": 80, "height": 60, "placement": [0, 0, 40, 30]}}, "25,25", (20, 15)),
    ],
)
def test_units_and_origins(spec: Write, gaze: dict[str, Any], row: str, expected: tuple[float, float]) -> None:
    data = load_dataset(spec(f"cat/a.png,{row},0\n", **gaze))
    np.testing.assert_allclose(points(data), [expected], rtol=1e-6)


def test_degrees_need_to_be_told_in_pixels(spec: Write) -> None:
    path = spec("cat/a.png,0,0,0\n", unit="deg", origin="centre")
    with pytest.raises(SpecError, match=r"mine\.yaml: gaze\.px_per_degree: missing\. gaze\.unit 'deg' needs it"):
        load_dataset(path)
    assert points(load_dataset(path, px_per_degree=5.0)) == [(20, 15)]


corner = st.floats(-50, 50)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(corner, corner, st.sampled_from(["px", "fraction", "percent", "mm", "deg"]), st.floats(0.1, 9))
def test_origins_agree_on_one_point(x: float, y: float, unit: str, scale: float) -> None:
    width, height = 64.0, 48.0
    size = {"px": (1.0, 1.0), "fraction": (width, height), "percent": (width / 100, height / 100)}
    per_x, per_y = size.get(unit, (scale, scale))
    places = {
        "upper-left": (x / per_x, y / per_y),
        "lower-left": (x / per_x, (height - y) / per_y),
        "centre": ((x - width / 2) / per_x, (y - height / 2) / per_y),
        "centre-up": ((x - width / 2) / per_x, (height / 2 - y) / per_y),
    }
    for origin, place in places.items():
        found = frame_pixels(
            *place, width, height, origin=origin, unit=unit, px_per_unit=scale if unit in "mmdeg" else 1
        )
        np.testing.assert_allclose(found, (x, y), atol=1e-9)


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("path-stem", "cat/a"),
        ("path-stem", "cat/a.jpg"),
        ("stem", "a"),
        ("stem", "somewhere/a.jpg"),
        ("name", "x/a.png"),
    ],
)
def test_keys_that_say_less_or_more_than_the_path(spec: Write, key: str, row: str) -> None:
    assert load_dataset(spec(f"{row},1,1,0\n", image_key=key)).image_ids == ("cat/a.png",)


def test_a_stem_with_dots_is_found(spec: Write, tmp_path: Path) -> None:
    (tmp_path / "images" / "cat" / "a.png").rename(tmp_path / "images" / "cat" / "a.1.png")
    assert len(load_dataset(spec("a.1,1,1,0\n", image_key="stem"))) == 1


def test_viewers_and_conditions_from_paths(spec: Write, tmp_path: Path) -> None:
    path = spec("", files="gaze/{condition}/{viewer}_{image}.csv", columns={"x": "x", "y": "y"}, image_key="stem")
    for name in ("free/ann_a", "free/bob_a", "search/bob_b"):
        file = tmp_path / "gaze" / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x,y\n1,2\n")
    data = load_dataset(path)
    assert (viewers(data), fixations(data).conditions) == (["ann", "bob", "bob"], ("free", "search"))


def test_a_viewer_of_other_images_is_no_viewer() -> None:
    names, codes = named_viewers(("ann", "bob", "eve"), np.array([2, 0, 2], dtype=np.int32))
    assert (names, codes.tolist()) == (("ann", "eve"), [1, 0, 1])
    names, codes = named_viewers(("ann", "bob", "eve"), np.array([2, -1, 2], dtype=np.int32))
    assert (names, codes.tolist()) == (("eve", "(unknown)"), [0, 1, 0])


# ------------------------------------------------------------------------------------------------ samples

TIMED = {"image": "image", "x": "x", "y": "y", "time": "t"}


def samples(*dwells: tuple[float, float], step: float = 10.0, image: str = "cat/a.png") -> str:
    """Rows of an eye that stays 10 samples at each place; NaN: lost."""
    places = np.repeat(np.array(dwells), 10, axis=0)
    return "".join(f"{image},{x},{y},{i * step:g}\n" for i, (x, y) in enumerate(places))


def test_lost_samples_are_counted_and_the_time_before_them_is_not_stretched(spec: Write) -> None:
    data = load_dataset(spec(samples((5, 5), (np.nan, 5), (20, 20)), kind="samples", columns=TIMED))
    assert (fixations(data).kind, len(points(data))) == ("samples", 20)
    assert fixations(data).duration_ms.tolist() == [10] * 20
    assert "10 of 30 samples have no position (blinks, lost track): left out" in data.notes


@pytest.mark.parametrize(
    "detect",
    [
        {"method": "ivt", "velocity_threshold": 100, "threshold_unit": "px"},
        {"method": "idt", "dispersion_threshold": 2, "threshold_unit": "px", "min_duration_ms": 60},
        {"method": "ivt", "velocity_threshold": 10},
        "idt",
    ],
)
def test_fixations_are_found_among_samples(spec: Write, detect: Any) -> None:
    rows = samples((5, 5), (np.nan, 5), (20, 20)) + samples((8, 8), image="dog/b.png")
    degrees = {} if isinstance(detect, dict) and "threshold_unit" in detect else {"px_per_degree": 10}
    enough = {"min_duration_ms": 60} if detect == "idt" else {}
    detect = {"method": "idt", **enough} if detect == "idt" else detect
    data = load_dataset(spec(rows, kind="samples", columns=TIMED, detect=detect, **degrees))
    gaze = fixations(data)
    assert points(data) == [(5, 5), (20, 20), (8, 8)]
    assert (gaze.kind, gaze.counts().tolist()) == ("fixations", [2, 1])
    assert set(gaze.duration_ms.tolist()) <= {80, 90}
    assert any(
        note.startswith("3 fixations found in 40 samples, 10 of them without position (I") for note in data.notes
    )


def test_detection_in_a_frame_is_in_its_pixels(spec: Write) -> None:
    frame = {"width": 400, "height": 300, "placement": "contain"}
    detect = {"method": "idt", "dispersion_threshold": 15, "threshold_unit": "px", "min_duration_ms": 60}
    rows = samples((50, 50), (60, 50), (200, 150))
    data = load_dataset(spec(rows, kind="samples", columns=TIMED, detect=detect, frame=frame))
    assert points(data) == [(5.5, 5), (20, 15)]


def test_what_detection_needs(spec: Write) -> None:
    options: dict[str, Any] = {"kind": "samples", "columns": TIMED, "detect": "ivt"}
    with pytest.raises(
        SpecError, match=r"px_per_degree: missing\. gaze\.detect, whose threshold is in degrees, needs it"
    ):
        load_dataset(spec(samples((5, 5)), **options))
    with pytest.raises(DataError, match=r"gaze\.detect: no fixation in 10 samples \(IVT, 30 deg/s, 60 ms\)\. Check"):
        load_dataset(spec(samples((5, 5), step=1), **options), px_per_degree=10.0)


def test_samples_of_a_known_rate(spec: Write) -> None:
    data = load_dataset(spec(samples((5, 5)), kind="samples", sampling_rate=90))
    np.testing.assert_allclose(fixations(data).duration_ms, 1000 / 90, rtol=1e-6)
