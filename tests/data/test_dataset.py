"""Loading a dataset: matching of gaze and images, frames, splits, counted notes, and errors that say what to do."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gazeeval.data.dataset import Dataset, FixationGaze, RenderedGaze, list_datasets, load_dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.geometry import Geometry
from gazeeval.errors import DataError, ImageError, SpecError, UsageError

GEOMETRY = Geometry.stretch(20, 24, "bilinear")
RECIPE = GazeRecipe(Sigma(2.0, "px"))
Write = Callable[..., Path]


def points(data: Dataset) -> list[list[float]]:
    assert isinstance(data.gaze, FixationGaze)
    return list(map(list, zip(data.gaze.fixations.x.tolist(), data.gaze.fixations.y.tolist(), strict=True)))


def density(data: Dataset, images: list[int], recipe: GazeRecipe = RECIPE) -> torch.Tensor:
    return data.gaze.density(np.array(images), GEOMETRY, recipe, "cpu")


@pytest.fixture
def spec(tmp_path: Path) -> Write:
    """Writes a spec for two images of 40x30 and 20x60 px in class folders, and its gaze file."""
    for name, size in {"cat/a.png": (40, 30), "dog/b.png": (20, 60)}.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", size, (9, 9, 9)).save(path)

    def write(rows: str = "cat/a.png,10,6,100\ndog/b.png,5,6,300\n", **gaze: Any) -> Path:
        (tmp_path / "gaze.csv").write_text("image,x,y,ms\n" + rows)
        content = {
            "name": "mine",
            "images": {"layout": "folders", "path": "images"},
            "gaze": {
                "format": "csv",
                "files": "gaze.csv",
                "columns": {"image": "image", "x": "x", "y": "y", "duration": "ms"},
                "origin": "upper-left",
                "pixel_origin": "corner",
                **gaze,
            },
        }
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


# ------------------------------------------------------------------------------------------------ CUB-GHA


def test_cub_gha_keeps_all_with_gaze_and_counts_the_rest(cub_root: Path) -> None:
    data = load_dataset("cub-gha", cub_root)
    assert data.image_ids == ("001.Ani/a.png", "001.Ani/b.png", "002.Wren/c.png")
    assert data.labels.tolist() == [0, 0, 1]
    assert data.class_names == ("001.Ani", "002.Wren", "003.Tern")
    assert (data.name, data.split, data.source, len(data)) == ("cub-gha", "all", "cub-gha", 3)
    assert data.gaze.viewers == ("run1", "run2")
    assert data.gaze.n_fixations(np.array([2, 0])).tolist() == [1, 3]
    assert "1 images have gaze but are not in images.txt: left out" in data.notes
    assert "no gaze for 1 of 4 images: left out" in data.notes


def test_whole_pixels_are_meant_by_their_centre(cub_root: Path) -> None:
    assert points(load_dataset("cub-gha", cub_root))[:3] == [[10.5, 11.5], [39.5, 29.5], [0.5, 0.5]]


def test_the_other_place_of_the_run_files_is_found_too(cub_root: Path) -> None:
    (cub_root / "CUB-GHA").mkdir()
    (cub_root / "cub_gha").rename(cub_root / "CUB-GHA" / "data_5runs")
    assert len(load_dataset("cub-gha", cub_root)) == 3


def test_named_splits_keep_images_without_gaze(cub_root: Path) -> None:
    assert load_dataset("cub-gha", cub_root, "train").image_ids == ("001.Ani/a.png", "002.Wren/c.png")
    test = load_dataset("cub-gha", cub_root, "test")
    assert test.image_ids == ("001.Ani/b.png", "002.Wren/d.png")
    assert test.gaze.has_gaze().tolist() == [True, False]
    assert "no gaze for 1 of 4 images: pairs with them have no lam_gaze" in test.notes
    assert density(test, [1]).sum() == 0
    with pytest.raises(UsageError, match=r"^--split: got 'tset' \(did you mean 'test'\?\)\. Known: all, test, train\."):
        load_dataset("cub-gha", cub_root, "tset")


def test_options_reach_the_reader(cub_root: Path) -> None:
    run = cub_root / "cub_gha" / "Fixation_run1.txt"
    run.write_text("1,40,30,10,11,200,20,20,100\n1,40,30,1,1,50\n")
    assert load_dataset("cub-gha", cub_root).gaze.n_fixations(np.array([0])).tolist() == [4]
    first = load_dataset("cub-gha", cub_root, repeats="first")
    assert first.gaze.n_fixations(np.array([0])).tolist() == [3]
    assert first.fingerprint != load_dataset("cub-gha", cub_root).fingerprint


def test_a_wrong_root_says_what_is_missing_and_what_to_pass(cub_root: Path, tmp_path: Path) -> None:
    advice = r"Pass --root DIR, the folder that holds CUB_200_2011/ and cub_gha/\.$"
    with pytest.raises(DataError, match=rf"^data root: cub-gha, got none\. {advice}"):
        load_dataset("cub-gha")
    with pytest.raises(DataError, match=rf"nowhere, no such folder\. {advice}"):
        load_dataset("cub-gha", tmp_path / "nowhere")
    with pytest.raises(DataError, match=rf"got no CUB_200_2011/images\.txt in it\. {advice}"):
        load_dataset("cub-gha", cub_root / "cub_gha")
    for path in (cub_root / "cub_gha").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=rf"got no cub_gha/Fixation_run\*\.txt or CUB-GHA/.* in it\. {advice}"):
        load_dataset("cub-gha", cub_root)


def test_gaze_of_other_images_is_refused_by_its_sizes(cub_root: Path) -> None:
    run = cub_root / "cub_gha" / "Fixation_run1.txt"
    run.write_text("1,40,30,1,1,100\n2,40,30,5,6,300\n")
    message = r"^image sizes: 1 of 3 images .*first: 001\.Ani/b\.png is 30x40, the gaze file says 40x30"
    with pytest.raises(DataError, match=message):
        load_dataset("cub-gha", cub_root)


def test_a_single_image_of_another_size_is_left_out(cub_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gazeeval.data.gaze_files.MISMATCHES_ALLOWED", 0.5)
    (cub_root / "cub_gha" / "Fixation_run1.txt").write_text("1,40,30,1,1,100\n2,40,30,5,6,300\n")
    data = load_dataset("cub-gha", cub_root)
    assert data.image_ids == ("001.Ani/a.png", "002.Wren/c.png")
    assert any(note.startswith("gaze of another image size: 1 of 3 images") for note in data.notes)


def test_a_broken_image_stays_and_fails_when_read(cub_root: Path) -> None:
    path = cub_root / "CUB_200_2011" / "images" / "001.Ani" / "a.png"
    path.write_text("no image")
    data = load_dataset("cub-gha", cub_root)
    assert data.image_ids[0] == "001.Ani/a.png"
    assert any("cannot decode 1 of 4" in note and "a.png" in note for note in data.notes)
    with pytest.raises(ImageError, match=r"a\.png, cannot be decoded"):
        data.read_image(0)
    assert data.read_image(1).size == (30, 40)


def test_the_fingerprint_follows_spec_gaze_and_list_but_not_the_place(cub_root: Path, tmp_path: Path) -> None:
    before = load_dataset("cub-gha", cub_root).fingerprint
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("CUB_200_2011", "cub_gha"):
        (cub_root / name).rename(moved / name)
    assert load_dataset("cub-gha", moved).fingerprint == before
    assert load_dataset("cub-gha", moved, "train").fingerprint != before
    run = moved / "cub_gha" / "Fixation_run2.txt"
    run.write_text(run.read_text().replace("150", "151"))
    assert load_dataset("cub-gha", moved).fingerprint != before


# ------------------------------------------------------------------------------------------------ points


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, [[10, 6], [5, 6]]),
        ({"pixel_origin": "centre"}, [[10.5, 6.5], [5.5, 6.5]]),
        ({"pixel_origin": "one-based"}, [[9.5, 5.5], [4.5, 5.5]]),
        ({"origin": "lower-left"}, [[10, 24], [5, 54]]),
        ({"origin": "lower-left", "pixel_origin": "centre"}, [[10.5, 23.5], [5.5, 53.5]]),
        ({"frame": {"width": 80, "height": 60, "placement": "stretch"}}, [[5, 3], [1.25, 6]]),
        ({"frame": {"width": 80, "height": 60, "placement": [0, 0, 40, 30]}}, [[10, 6], [2.5, 12]]),
    ],
)
def test_points_come_out_in_image_pixels(spec: Write, change: dict[str, Any], expected: list[list[float]]) -> None:
    assert points(load_dataset(spec(**change))) == expected


def test_fractions_are_of_the_image_or_of_the_frame(spec: Write) -> None:
    rows = "cat/a.png,0.5,0.2,1\ndog/b.png,0.25,0.5,1\n"
    own = load_dataset(spec(rows, unit="fraction", origin="lower-left"))
    np.testing.assert_allclose(points(own), [[20, 24], [5, 30]], rtol=1e-6)
    frame = {"width": 100, "height": 60, "placement": "contain"}  # scale 2 and 1, left edge 10 and 40
    framed = load_dataset(spec(rows.replace("0.25", "0.45"), unit="fraction", frame=frame))
    np.testing.assert_allclose(points(framed), [[20, 6], [5, 30]], rtol=1e-6)


@pytest.mark.parametrize(
    ("key", "rows"), [("name", "a.png,1,1,1\n"), ("stem", "b,1,1,1\n"), ("number", "2,1,1,1\nx9,1,1,1\n")]
)
def test_images_are_found_by_the_declared_key(spec: Write, key: str, rows: str) -> None:
    path = spec(rows, image_key=key)
    if key == "number":
        with pytest.raises(DataError, match=r"gaze images: .*'x9'.*image_key to path, name or stem"):
            load_dataset(path)
        path = spec(rows.splitlines()[0] + "\n", image_key=key)
    assert len(load_dataset(path)) == 1


def test_numbers_may_count_from_zero(spec: Write) -> None:
    assert load_dataset(spec("0,1,1,1\n", image_key="number", image_id_base=0)).image_ids == ("cat/a.png",)


def test_keys_that_match_nothing_or_two_images(spec: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got keys such as 'a', but the images are called 'cat/a\.png'"):
        load_dataset(spec("a,1,1,1\n"))
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "dog" / "a.png")
    with pytest.raises(DataError, match=r"'a\.png' is both cat/a\.png and dog/a\.png\. Use 'image_key: path'"):
        load_dataset(spec("a.png,1,1,1\n", image_key="name"))


def test_points_outside_are_kept_and_counted(spec: Write) -> None:
    data = load_dataset(spec("cat/a.png,-3,5,100\ncat/a.png,4,5,100\n"))
    assert points(data) == [[-3, 5], [4, 5]]
    assert any(note.startswith("1 of 2 fixations lie outside their image: kept") for note in data.notes)


def test_unknown_durations_get_the_median_and_none_at_all_count_once(spec: Write) -> None:
    data = load_dataset(spec("cat/a.png,4,5,100\ncat/a.png,4,6,\ncat/a.png,4,7,300\n"))
    assert isinstance(data.gaze, FixationGaze)
    assert data.gaze.fixations.duration_ms.tolist() == [100, 200, 300]
    assert "1 of 3 durations are unknown: the median, 200 ms, is used" in data.notes
    bare = load_dataset(spec(columns={"image": "image", "x": "x", "y": "y"}))
    assert "no durations: every fixation counts once" in bare.notes


def test_only_the_conditions_asked_for(spec: Write) -> None:
    columns = {"image": "image", "x": "x", "y": "y", "condition": "ms"}
    data = load_dataset(spec("cat/a.png,1,1,free\ncat/a.png,2,2,search\n", columns=columns, conditions="search"))
    assert points(data) == [[2, 2]]
    with pytest.raises(SpecError, match=r"gaze\.conditions: got 'serch' \(did you mean 'search'\?\)\. The files have"):
        load_dataset(spec("cat/a.png,2,2,search\n", columns=columns, conditions="serch"))


def test_pixels_per_degree_of_a_frame_shrink_with_the_image(spec: Write) -> None:
    frame = {"width": 80, "height": 60, "placement": "contain"}
    data = load_dataset(spec("cat/a.png,40,30,1\ndog/b.png,40,30,1\n", frame=frame), px_per_degree=10)
    assert isinstance(data.gaze, FixationGaze)
    assert data.gaze.px_per_degree is not None
    np.testing.assert_allclose(data.gaze.px_per_degree, [5, 10])
    assert data.px_per_degree == 7.5
    by_degree = density(data, [0, 1], GazeRecipe(Sigma(0.5, "deg")))
    for row, original_px in enumerate((2.5, 5.0)):
        short_side = min(data.sizes[row])
        by_percent = density(data, [row], GazeRecipe(Sigma(float(100 * original_px / short_side), "%")))
        torch.testing.assert_close(by_degree[row], by_percent[0])


# ------------------------------------------------------------------------------------------------ ARISTO


@pytest.fixture
def aristo_root(cub_root: Path) -> Path:
    """Gaze in the corners of images that are letterboxed into 1280x720, as pickles of plain lists."""
    folder = cub_root / "dataset"
    folder.mkdir()
    x, y, ids = [], [], []
    for number, (width, height) in enumerate([(40, 30), (30, 40), (24, 24), (50, 20)], 1):
        scale = min(1280 / width, 720 / height)
        for u, v in [(0.01, 0.01), (0.99, 0.01), (0.01, 0.99), (0.99, 0.99)]:
            x.append((1280 - scale * width) / 2 + u * scale * width)
            y.append((720 - scale * height) / 2 + v * scale * height)
            ids.append(number)
    times = [100.0 + 10 * step for step in range(len(x))]
    labels = [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]
    for level in ("species", "genus", "family", "order"):
        rows = {"img_id": ids, "times": times, "x": x, "y": y, "hierarchy": [level] * len(x), "label": labels}
        (folder / f"{level}.pkl").write_bytes(pickle.dumps(rows))
    return cub_root


def test_aristo_wants_a_placement_and_says_what_the_gaze_suggests(aristo_root: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_dataset("aristo", aristo_root)
    message = str(caught.value)
    assert message.startswith("aristo.yaml: gaze.frame.placement: missing. How did an image lie in the 1280x720 frame?")
    assert "--placement" in message
    assert "contain 0.0%" in message
    assert "The smallest that fits is 'contain'." in message


def test_aristo_in_the_right_placement(aristo_root: Path) -> None:
    data = load_dataset("aristo", aristo_root, placement="contain")
    assert isinstance(data.gaze, FixationGaze)
    assert data.gaze.fixations.kind == "samples"
    np.testing.assert_allclose(points(data)[:2], [[0.4, 0.3], [39.6, 0.3]], rtol=1e-4)
    assert len(data) == 4
    assert not any("placement" in note for note in data.notes)


def test_aristo_refuses_a_placement_that_the_gaze_contradicts_unless_forced(aristo_root: Path) -> None:
    with pytest.raises(DataError, match=r"^frame placement: aristo\.yaml: .*--placement force:native"):
        load_dataset("aristo", aristo_root, placement="native")
    forced = load_dataset("aristo", aristo_root, placement="force:native")
    assert any("native" in note for note in forced.notes)
    assert any("stretch" in note for note in load_dataset("aristo", aristo_root, placement="stretch").notes)


# ------------------------------------------------------------------------------------------------ densities


def test_density_has_mass_one_and_viewers_add_up_to_it(cub_root: Path) -> None:
    data = load_dataset("cub-gha", cub_root)
    images = [2, 0, 1, 0]
    whole = density(data, images)
    torch.testing.assert_close(whole.sum((1, 2)), torch.ones(4))
    parts = list(data.gaze.viewer_maps(np.array(images), GEOMETRY, RECIPE, "cpu"))
    assert len(parts) == 2
    assert parts[1][2].sum() == 0  # run 2 has nothing on image 2
    total = sum(parts, torch.zeros(()))
    torch.testing.assert_close(total / total.sum((1, 2), keepdim=True), whole)
    torch.testing.assert_close(whole[1], whole[3], atol=1e-7, rtol=1e-5)


def test_gaze_of_nobody_in_particular_is_a_viewer_too(spec: Write) -> None:
    columns = {"image": "image", "x": "x", "y": "y", "viewer": "ms"}
    data = load_dataset(spec("cat/a.png,1,1,ann\ncat/a.png,30,20,\n", columns=columns))
    assert data.gaze.viewers == ("ann", "(unknown)")
    maps = list(data.gaze.viewer_maps(np.array([0]), GEOMETRY, RECIPE, "cpu"))
    total = sum(maps, torch.zeros(()))
    torch.testing.assert_close(total / total.sum(), density(data, [0]))


@pytest.mark.parametrize(("weight", "ratio"), [("duration", 3), ("count", 1)])
def test_density_weighs_by_duration_or_count(spec: Write, weight: Literal["duration", "count"], ratio: float) -> None:
    data = load_dataset(spec("cat/a.png,10,15,300\ncat/a.png,30,15,100\n"))
    seen = density(data, [0], GazeRecipe(Sigma(1.5, "px"), weight))[0]
    assert (seen[:, :12].sum() / seen[:, 12:].sum()).item() == pytest.approx(ratio, rel=1e-3)


@pytest.fixture
def mirrored_root(tmp_path: Path) -> Path:
    """images/ and images_gauss/ in splits; a map with a bright left half, one black, one missing, one half size."""
    for name in ("train/1/a", "train/2/b", "val/2/c", "val/10/d"):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(path)
    bright = np.zeros((30, 40), np.uint8)
    bright[:, :20] = 200
    maps = {"train/1/a": bright, "train/2/b": np.zeros_like(bright), "val/10/d": bright[::2, ::2]}
    for name, picture in maps.items():
        path = tmp_path / "images_gauss" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(picture).save(path)
    return tmp_path


def test_mirrored_gaze_images(mirrored_root: Path) -> None:
    data = load_dataset("gaze-images", mirrored_root)
    assert data.image_ids == ("train/1/a.png", "train/2/b.png", "val/10/d.png")
    assert data.class_names == ("1", "2", "10")
    assert isinstance(data.gaze, RenderedGaze)
    assert data.gaze.viewers == ()
    assert data.gaze.n_fixations(np.array([0])).tolist() == [-1]
    assert list(data.gaze.viewer_maps(np.array([0]), GEOMETRY, RECIPE, "cpu")) == []
    maps = density(data, [0, 1, 2])
    torch.testing.assert_close(maps.sum((1, 2)), torch.tensor([1.0, 0.0, 1.0]))
    assert maps[0, :, :12].sum() > 0.95
    assert maps[2, :, :12].sum() > 0.95
    assert any(note.startswith("gaze maps of another size than their image: 1 (first: d.png)") for note in data.notes)
    assert "no gaze for 1 of 4 images: left out" in data.notes
    assert load_dataset("gaze-images", mirrored_root, "val").gaze.has_gaze().tolist() == [False, True]


def test_options_of_points_do_not_apply_to_maps(mirrored_root: Path) -> None:
    with pytest.raises(
        UsageError, match=r"--px-per-degree: got 30\.0, but the gaze of gaze-images\.yaml \(format maps\)"
    ):
        load_dataset("gaze-images", mirrored_root, px_per_degree=30.0)


def test_aristo_maps_are_averaged_over_levels(cub_root: Path) -> None:
    for share, level in enumerate(("species", "genus", "family", "order")):
        folder = cub_root / "dataset" / f"gmaps_{level}" / "a"
        folder.mkdir(parents=True)
        Image.new("L", (40, 30), 50 + share).save(folder / "a-map.png")
    data = load_dataset("aristo-maps", cub_root)
    assert data.image_ids == ("001.Ani/a.png",)
    torch.testing.assert_close(density(data, [0])[0], torch.full((20, 24), 1 / 480))


# ------------------------------------------------------------------------------------------------ Dataset


def test_subset_takes_images_labels_and_gaze_along(cub_root: Path) -> None:
    data = load_dataset("cub-gha", cub_root)
    part = data.subset([2, 0])
    assert part.image_ids == ("002.Wren/c.png", "001.Ani/a.png")
    assert part.labels.tolist() == [1, 0]
    assert part.sizes.tolist() == [[24, 24], [40, 30]]
    assert [part.read_image(row).size for row in (0, 1)] == [(24, 24), (40, 30)]
    torch.testing.assert_close(density(part, [0, 1]), density(data, [2, 0]))
    assert part.fingerprint not in {data.fingerprint, data.subset([0, 2]).fingerprint}
    pickle.loads(pickle.dumps(part)).read_image(0)  # workers may be processes


def arrays(**change: Any) -> Dataset:
    given: dict[str, Any] = {
        "images": [np.zeros((30, 40, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)],
        "labels": [1, 0],
        "fixations": {"image": [1, 0, 1], "x": [1.0, 20.0, 2.0], "y": [1.0, 10.0, 2.0], "viewer": ["b", "a", "a"]},
    }
    return Dataset.from_arrays(**given | change)


def test_a_dataset_from_arrays() -> None:
    data = arrays(class_names=("cat", "dog"))
    assert (data.name, len(data), data.class_names, data.image_ids) == (
        "arrays",
        2,
        ("cat", "dog"),
        ("000000", "000001"),
    )
    assert data.sizes.tolist() == [[40, 30], [8, 8]]
    assert points(data) == [[20, 10], [1, 1], [2, 2]]
    assert data.gaze.viewers == ("a", "b")
    assert data.read_image(1).getpixel((0, 0)) == (255, 255, 255)
    assert data.notes == ("no durations: every fixation counts once",)
    assert data.fingerprint == arrays(class_names=("cat", "dog")).fingerprint != arrays(labels=[0, 0]).fingerprint


def test_a_dataset_from_one_tensor() -> None:
    images = torch.zeros(2, 3, 5, 7)
    images[1, 0] = 0.5
    data = arrays(images=images)
    assert data.sizes.tolist() == [[7, 5], [7, 5]]
    assert data.read_image(1).getpixel((6, 4)) == (128, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0]}, "labels: got 1 for 2 images"),
        ({"labels": [0, 2], "class_names": ["a", "b"]}, "labels: got 0 to 2 for 2 classes"),
        ({"images": [np.zeros((4, 4), np.uint8)] * 2}, r"images: row 0, got uint8 \(4, 4\)"),
        ({"images": [np.zeros((4, 4, 3))] * 2}, "images: row 0, got float64"),
        ({"fixations": {"image": [0], "x": [1.0]}}, "column 'y' is missing"),
        ({"fixations": {"image": [5], "x": [1.0], "y": [1.0]}}, "image_index, got 5"),
    ],
)
def test_arrays_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        arrays(**change)


def test_the_bundled_specs_are_listed_with_their_titles() -> None:
    assert list_datasets()["cub-gha"].title.startswith("CUB-GHA")


def test_real_cub_gha(real_root: Path) -> None:
    data = load_dataset("cub-gha", real_root)
    assert (len(data), len(data.class_names), set(data.labels.tolist())) == (424, 10, set(range(8)))
    assert "11,364 images have gaze but are not in images.txt: left out" in data.notes
    assert data.gaze.viewers == ("run1", "run2", "run3", "run4")
    assert not any("another size" in note or "outside" in note for note in data.notes)
    assert data.read_image(0).size == tuple(data.sizes[0])
