from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import create_transform

from gazeeval.data.geometry import Geometry, PointMap
from gazeeval.errors import UsageError

ORACLE = Path(__file__).parents[1] / "oracle"
TRANSFORMS = sorted(ORACLE.glob("heatmap_transform_*.npz"))
SIZES = [(501, 347), (333, 500), (224, 224), (97, 640), (1000, 231), (60, 41)]  # width, height


def photo(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_there_are_oracles() -> None:
    assert len(TRANSFORMS) == 6


@pytest.mark.parametrize("path", TRANSFORMS, ids=lambda path: path.stem)
def test_points_agree_with_the_oracle(path: Path) -> None:
    case = np.load(path)
    width, height, out = int(case["width"]), int(case["height"]), int(case["out"])
    if case["mode"] == 0:
        short = int(case["resize"])
        geometry = Geometry(out, out, "short", (short, short), "bilinear")
        expected = tuple(int(case[name]) for name in ("new_w", "new_h", "left", "top"))
        assert geometry.resized_size(width, height) == expected
        points = geometry.point_map(np.array([width]), np.array([height]))
    else:
        left, top, crop_w, crop_h = (case[name] for name in ("left", "top", "crop_w", "crop_h"))
        points = PointMap.resized_crop(left, top, crop_w, crop_h, (out, out))
    if case["flip"]:
        points = points.flipped(out)
    x, y = points.apply(case["x"], case["y"], np.zeros(len(case["x"]), np.int64))
    np.testing.assert_allclose(x, case["x_out"], atol=5e-3)
    np.testing.assert_allclose(y, case["y_out"], atol=5e-3)
    np.testing.assert_allclose(points.scale_x, case["scale_x"], rtol=1e-6)
    np.testing.assert_allclose(points.scale_y, case["scale_y"], rtol=1e-6)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize(
    ("input_size", "crop_pct", "interpolation"),
    [
        ((224, 224), 0.875, "bicubic"),
        ((224, 224), 0.95, "bilinear"),
        ((97, 97), 0.9, "lanczos"),
        ((64, 64), 1.0, "nearest"),
        ((96, 160), 0.875, "bicubic"),
        ((161, 96), 0.9, "bilinear"),
    ],
)
def test_images_are_bit_equal_to_timm(
    size: tuple[int, int], crop_mode: str, input_size: tuple[int, int], crop_pct: float, interpolation: str
) -> None:
    image = photo(*size)
    theirs = create_transform(
        (3, *input_size),
        is_training=False,
        interpolation=interpolation,
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        normalize=False,
    )(image)
    ours = Geometry.from_config(input_size, crop_pct, interpolation, crop_mode).apply(image)
    assert ours.dtype == np.uint8
    np.testing.assert_array_equal(ours, theirs.numpy().transpose(1, 2, 0))


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry.from_config((224, 224), 0.875, "bicubic"),
        Geometry.from_config((96, 160), 0.9, "bicubic"),
        Geometry.from_config((160, 160), 0.9, "bicubic", "squash"),
        Geometry.stretch(120, 200, "bicubic"),
    ],
    ids=Geometry.describe,
)
def test_a_blob_on_a_map_moves_as_its_point_does(geometry: Geometry) -> None:
    width, height, x, y = 301, 260, 161.3, 110.8
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    blob = np.exp(-((columns - x) ** 2 + (rows[:, None] - y) ** 2) / (2 * 9**2)).astype(np.float32)
    moved = geometry.apply_map(blob).astype(np.float64)
    assert moved.shape == (geometry.height, geometry.width)
    assert moved.min() >= 0
    points = geometry.point_map(np.array([width]), np.array([height]))
    new_x, new_y = points.apply(np.array([x]), np.array([y]), np.array([0]))
    centre_x = (moved * (np.arange(geometry.width) + 0.5)).sum() / moved.sum()
    centre_y = (moved * (np.arange(geometry.height) + 0.5)[:, None]).sum() / moved.sum()
    assert centre_x == pytest.approx(new_x[0], abs=0.01)
    assert centre_y == pytest.approx(new_y[0], abs=0.01)


def test_point_map_of_many_images_is_that_of_each() -> None:
    geometry = Geometry.from_config((224, 224), 0.875, "bicubic")
    widths, heights = np.array(SIZES, np.int64).T
    together = geometry.point_map(widths, heights)
    for i, (width, height) in enumerate(SIZES):
        new_w, new_h, left, top = geometry.resized_size(width, height)
        assert together.ax[i] == new_w / width
        assert together.ay[i] == new_h / height
        assert (together.bx[i], together.by[i]) == (-left, -top)


def test_points_of_padded_images_take_their_own_map() -> None:
    points = Geometry.stretch(100, 200, "bilinear").point_map(np.array([50, 400]), np.array([100, 100]))
    x, y = points.apply(np.array([[10, 20], [10, 20]]), np.full((2, 2), 7.0), np.array([[0], [1]]))
    np.testing.assert_array_equal(x, [[40, 80], [5, 10]])
    np.testing.assert_array_equal(y, 7)


def test_two_flips_are_none() -> None:
    points = Geometry.stretch(100, 200, "bilinear").point_map(np.array([50]), np.array([80]))
    again = points.flipped(200).flipped(200)
    np.testing.assert_array_equal(
        (again.ax, again.bx, again.ay, again.by), (points.ax, points.bx, points.ay, points.by)
    )
    assert points.flipped(200).ax[0] < 0
    np.testing.assert_array_equal(points.flipped(200).scale_x, points.scale_x)


def test_describe() -> None:
    assert Geometry.from_config((224, 224), 0.875, "bicubic").describe() == "Resize 256, CenterCrop 224, bicubic"
    squash = Geometry.from_config((224, 224), 0.875, "bilinear", "squash")
    assert squash.describe() == "Resize 256x256, CenterCrop 224, bilinear"
    wide = Geometry.from_config((96, 160), 1.0, "bicubic")
    assert wide.describe() == "Resize 96x160, CenterCrop 96x160, bicubic"
    assert Geometry.stretch(224, 224, "bicubic").describe() == "Stretch 224x224, bicubic"


@pytest.mark.parametrize("crop_pct", [1.1, 0.0, -1.0, float("nan"), float("inf")])
def test_impossible_crop_pct(crop_pct: float) -> None:
    with pytest.raises(UsageError, match=r"crop_pct of at most 1|crop_pct, got"):
        Geometry.from_config((224, 224), crop_pct, "bicubic")


def test_border_mode_names_the_alternative() -> None:
    with pytest.raises(UsageError, match=r"crop_mode, got 'border'.*--geometry stretch"):
        Geometry.from_config((224, 224), 0.9, "bicubic", "border")


def test_misspelt_interpolation() -> None:
    with pytest.raises(UsageError, match="did you mean 'bicubic'"):
        Geometry.from_config((224, 224), 0.9, "bicubik")


def test_no_pixels() -> None:
    with pytest.raises(UsageError, match="input size, got 0x224"):
        Geometry.stretch(0, 224, "bicubic")
