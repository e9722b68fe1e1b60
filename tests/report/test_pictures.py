"""Sheets of pairs: what is drawn is what was mixed, and nothing is drawn where nothing is known."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import one_hot

from gazeeval.api import mix
from gazeeval.data.dataset import Dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.gaze import FixationGaze, RenderedGaze
from gazeeval.data.geometry import Geometry
from gazeeval.data.pairs import PairPlan, plan_pairs
from gazeeval.data.random import PairRng
from gazeeval.engine import Engine
from gazeeval.errors import UsageError
from gazeeval.mixers.base import Draws, GroupMixer, parse_method
from gazeeval.report import pictures
from gazeeval.report.pictures import Floats, PairPicture, Pixels, Side, pair_pictures, pair_sheet, save_pair_sheets
from gazeeval.run import evaluate
from gazeeval.signals.base import Signals
from gazeeval.types import GroupPlacement, PairBatch

SIZE = (112, 90)
METHODS = ("cutmix", "saliencymix", "mixup")
BOX = np.array([20, 0, 60, 50])
TOP = pictures.MARGIN + 2 * pictures.TITLE + pictures.TEXT + 4 * pictures.GAP
"""px above the tiles of a sheet's first row."""


def side(image: Pixels, weight: Floats, **changes: Any) -> Side:
    """An image without gaze, half of the label and of the gaze."""
    nothing, everywhere = np.zeros(SIZE, np.float32), np.zeros(SIZE, bool)
    return replace(
        Side("a.png", "a", image, nothing, np.empty((0, 3)), everywhere, weight, nothing, label=0.5, gaze=0.5),
        **changes,
    )


def picture(seed: int = 0, *, box: NDArray[np.int64] | None = None, mask: Floats | None = None) -> PairPicture:
    """Two noise images without gaze; with ``box``, pasted there."""
    source, target = np.random.default_rng(seed).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    region = np.zeros(SIZE, bool)
    if box is not None:
        region[box[1] : box[3], box[0] : box[2]] = True
    weight = region.astype(np.float32) if mask is None else mask
    sides = side(source, weight, region=region), side(target, 1 - weight, region=region)
    return PairPicture(7, "cutmix", np.where(weight[..., None] > 0, source, target), sides)


def changed(one: PairPicture, number: int, **changes: Any) -> PairPicture:
    """``one`` with another side ``number``."""
    sides = [replace(side, **changes) if i == number else side for i, side in enumerate(one.sides)]
    return replace(one, sides=tuple(sides))


def tiles(sheet: Pixels, row: int = 0, rows: int = 1, zoom: int = 2) -> list[Pixels]:
    """The five tiles of a row, found by the layout's constants."""
    height, width = SIZE[0] * zoom, SIZE[1] * zoom
    head = pictures.MARGIN + pictures.TITLE + pictures.GAP + pictures.TEXT
    step = (len(sheet) - head - pictures.MARGIN) // rows
    top = head + row * step + 3 * pictures.GAP + pictures.TITLE
    lefts = [pictures.MARGIN + column * (width + pictures.GAP) for column in range(5)]
    return [sheet[top : top + height, left : left + width] for left in lefts]


def enlarged(image: NDArray[Any]) -> NDArray[Any]:
    return image.repeat(2, axis=0).repeat(2, axis=1)


def near_change(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Pixels with another value of ``mask`` within ``reach`` pixels."""
    padded = np.pad(mask, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    changes: NDArray[np.bool_] = windows.any(axis=(2, 3)) != windows.all(axis=(2, 3))
    return changes


def engine(*methods: str, gaze: RenderedGaze | None = None) -> tuple[Engine, PairPlan]:
    """Twelve smooth images of several sizes with eight fixations each, in two groups."""
    rng = np.random.default_rng(1)
    shapes = [(60, 80), (72, 64), (64, 64)] * 4
    coarse = [Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)) for _ in shapes]
    images = [np.asarray(c.resize((w, h), Image.Resampling.BICUBIC)) for c, (h, w) in zip(coarse, shapes, strict=True)]
    fixations = {
        "image": np.arange(12).repeat(8),
        "x": rng.uniform(0, 60, 96),
        "y": rng.uniform(0, 60, 96),
        "duration_ms": rng.uniform(50, 600, 96),
    }
    dataset = Dataset.from_arrays(images, np.arange(12) % 3, fixations, ("one", "two", "three"))
    plan = plan_pairs(dataset.labels, group_size=6)
    mixers = {name: parse_method(name) for name in methods}
    recipe = GazeRecipe(Sigma.parse("3.5%"))
    geometry = Geometry.from_config((56, 48), 0.875, "bicubic")
    dataset = replace(dataset, gaze=gaze or dataset.gaze)
    return Engine(dataset, mixers, recipe, geometry, torch.device("cpu"), references=False, workers=0), plan


def test_a_pair_is_named_by_its_files() -> None:
    named = changed(changed(picture(), 0, image_id="birds/ani.7.jpg"), 1, image_id="auk.png")
    assert named.images == "ani.7 + auk"
    head = np.s_[pictures.TITLE + pictures.TEXT + pictures.MARGIN : TOP]
    assert not np.array_equal(pair_sheet([named])[head], pair_sheet([picture()])[head])


def test_images_stand_on_the_sheet_as_they_are() -> None:
    one = picture()
    source, target, _, mixed, _ = tiles(pair_sheet([one]))
    assert np.array_equal(source, enlarged(one.source.image))
    assert np.array_equal(target, enlarged(one.target.image))
    assert np.array_equal(mixed, enlarged(one.mixed))


@pytest.mark.parametrize("length", [224, 300])
def test_large_inputs_are_not_enlarged(length: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (length, length, 3), dtype=np.uint8)
    nothing = np.zeros((length, length), np.float32)
    one = Side("a.png", "a", image, nothing, np.empty((0, 3)), nothing > 0, nothing, nothing, 0.5, math.nan)
    sheet = pair_sheet([PairPicture(0, "mixup", image, (one, one))])
    assert sheet.shape[1] == 2 * pictures.MARGIN + 5 * length + 4 * pictures.GAP
    assert np.array_equal(sheet[TOP : TOP + length, pictures.MARGIN : pictures.MARGIN + length], image)


def test_a_row_per_picture_on_white() -> None:
    rows = [picture(seed, box=BOX) for seed in range(3)]
    sheet, alone = pair_sheet(rows, "title"), pair_sheet(rows[:1], "title")
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == alone.shape[1] == 2 * pictures.MARGIN + 5 * 2 * SIZE[1] + 4 * pictures.GAP
    head = pictures.MARGIN + pictures.TITLE + pictures.GAP + pictures.TEXT
    assert len(sheet) - head - pictures.MARGIN == 3 * (len(alone) - head - pictures.MARGIN)
    for number, row in enumerate(rows):
        expected = tiles(pair_sheet([row]))
        assert all(map(np.array_equal, tiles(sheet, number, 3), expected))
    border = np.ones(sheet.shape[:2], bool)
    border[pictures.MARGIN : -pictures.MARGIN, pictures.MARGIN : -pictures.MARGIN] = False
    assert (sheet[border] == 255).all()


def test_edges_are_drawn_where_the_mask_changes_and_nowhere_else() -> None:
    one = picture(box=BOX)
    source, target, _, mixed, left = tiles(pair_sheet([one]))
    inside = enlarged(one.source.weight > 0)
    at_change = near_change(inside, 1)
    for tile, image in ((source, one.source.image), (target, one.target.image), (mixed, one.mixed)):
        touched = np.any(tile != enlarged(image), axis=2)
        assert not touched[~near_change(inside, 2)].any()
        assert (tile[at_change & inside] == pictures.WHITE).all()
        assert (tile[at_change & ~inside] == pictures.INK).all()
    assert (left[at_change & inside] == pictures.WHITE).all()


def test_soft_masks_get_an_edge_half_way() -> None:
    mask = np.full(SIZE, 0.125, np.float32)
    mask[30:60, 20:50] = 0.375
    one = picture(mask=mask)
    mixed = tiles(pair_sheet([one]))[3]
    inside = enlarged(mask > 0.25)
    assert (mixed[near_change(inside, 1) & inside] == pictures.WHITE).all()


def test_the_mask_has_the_colours_of_its_images() -> None:
    mask = np.zeros(SIZE, np.float32)
    mask[:40], mask[40:80] = 1, 0.5
    shown = tiles(pair_sheet([picture(mask=mask)]))[2]
    half = np.rint((np.array(pictures.SOURCE) + pictures.TARGET) / 2)
    for row, colour in ((0, pictures.SOURCE), (100, half), (200, pictures.TARGET)):
        assert (shown[row] == colour).all()


def several(count: int) -> PairPicture:
    """A mix of ``count`` noise images without gaze, in columns of one width (or two) from the left."""
    images = np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)
    weights = np.eye(count, dtype=np.float32)[np.arange(SIZE[1]) * count // SIZE[1]].T[:, None].repeat(SIZE[0], axis=1)
    mixed = (weights[..., None] * images).sum(axis=0).astype(np.uint8)
    sides = (side(image, weight, region=weight > 0) for image, weight in zip(images, weights, strict=True))
    return PairPicture(7, "comixup", mixed, tuple(sides))


@pytest.mark.parametrize(("count", "lines"), [(3, 2), (7, 2), (8, 3)])
def test_more_than_two_images_stand_in_lines_below(count: int, lines: int) -> None:
    """Each with an edge around what shows of it."""
    one = several(count)
    sheet = pair_sheet([one])
    height, width = 2 * SIZE[0], 2 * SIZE[1]
    step = height + pictures.GAP + pictures.BAR + 2 * (pictures.TEXT + pictures.GAP)
    assert len(sheet) == TOP + lines * step + pictures.MARGIN
    places = [(0, 0), (0, 1), *(divmod(place, 5) for place in range(5, 3 + count))]
    for (line, column), image in zip(places, one.sides, strict=True):
        top, left = TOP + line * step, pictures.MARGIN + column * (width + pictures.GAP)
        tile = sheet[top : top + height, left : left + width]
        far = ~near_change(enlarged(image.region), 2)
        assert np.array_equal(tile[far], enlarged(image.image)[far])
        assert (tile[near_change(enlarged(image.region), 1) & enlarged(image.region)] == pictures.WHITE).all()


def test_shares_of_a_mix_have_the_colours_of_its_images() -> None:
    one = several(3)
    sides = (replace(part, label=share, gaze=math.nan) for part, share in zip(one.sides, (0.5, 0.2, 0.3), strict=True))
    sheet = pair_sheet([replace(one, sides=tuple(sides))])
    mask = tiles(sheet)[2]
    colours = pictures.COLOURS[:3]
    assert [mask[100, column].tolist() for column in (30, 90, 150)] == [list(colour) for colour in colours]
    first, width = pictures.MARGIN + 2 * (2 * SIZE[1] + pictures.GAP), 2 * SIZE[1]
    bars = sheet[TOP + 2 * SIZE[0] + pictures.GAP + 1, first:]
    thirds, halves, unknown = (bars[start : start + width] for start in range(0, 3 * width, width + pictures.GAP))
    for bar, shares in ((thirds, (1 / 3, 1 / 3, 1 / 3)), (halves, (0.5, 0.2, 0.3))):
        assert np.array_equal(bar, np.repeat(colours, np.rint(np.multiply(shares, width)).astype(int), axis=0))
    assert (unknown == pictures.GREY).all()


def test_a_mix_of_one_image_shows_it_once() -> None:
    one = several(1)
    first, second, mask, mixed, _ = tiles(pair_sheet([one]))
    assert np.array_equal(first, enlarged(one.source.image))
    assert np.array_equal(mixed, first)
    assert (second == 255).all()
    assert (mask == pictures.SOURCE).all()


def test_gaze_veils_its_image_in_its_colour() -> None:
    peak = np.zeros(SIZE, np.float32)
    peak[50, 40], peak[50, 41] = 1, 0.25
    one = changed(picture(), 0, density=peak, seen=peak)
    source, target, _, mixed, left = tiles(pair_sheet([one]))
    veiled = np.any(source != enlarged(one.source.image), axis=2)
    assert np.array_equal(veiled, enlarged(peak > 0))
    image, blue = one.source.image.astype(float), np.array(pictures.SOURCE)
    assert np.array_equal(source[101, 81], np.rint(image[50, 40] + 0.8 * (blue - image[50, 40])))
    assert np.array_equal(source[101, 83], np.rint(image[50, 41] + 0.4 * (blue - image[50, 41])))
    assert np.array_equal(target, enlarged(one.target.image))
    assert np.array_equal(mixed, enlarged(one.mixed))
    grey = np.all(left == left[..., :1], axis=2)
    assert np.array_equal(grey, enlarged(peak == 0))


def test_fixations_are_discs_of_their_duration() -> None:
    black = np.zeros((*SIZE, 3), np.uint8)
    points = np.array([[20.5, 30.5, 250.0], [60.5, 30.5, 1000.0], [20.5, 80.5, np.nan], [500.0, -300.0, 100.0]])
    tile = tiles(pair_sheet([changed(picture(), 1, image=black, points=points)]))[1]
    drawn = np.any(tile > 0, axis=2)
    areas = [int(drawn[part].sum()) for part in (np.s_[:130, :70], np.s_[:130, 70:], np.s_[130:, :])]
    assert areas[1] / areas[0] == pytest.approx(4, rel=0.25)
    assert areas[2] == areas[0]
    rows, columns = np.nonzero(drawn[:130, :70])
    assert (rows.mean(), columns.mean()) == pytest.approx((60.5, 40.5), abs=0.1)
    assert np.array_equal(tile[60, 40], np.rint(np.array(pictures.TARGET) / 2))


def test_pictures_hold_the_mixes_of_the_run() -> None:
    """`ge.mix` gives pair i the draws of pair i of a run, so mixing all pairs by hand gives the same bytes."""
    run, plan = engine(*METHODS)
    shown = dict(pair_pictures(run, plan, np.array([0, 1, len(plan) - 1])))
    assert list(shown) == [0, 1, len(plan) - 1]
    pixels = np.stack([run.geometry.apply(run.dataset.read_image(row)) for row in range(12)])
    images = torch.from_numpy(pixels).movedim(-1, 1) / 255
    gaze = run.dataset.gaze.density(np.arange(12), run.geometry, run.recipe, "cpu")
    for place, method in enumerate(METHODS):
        mixes = mix(
            method,
            images[plan.source],
            images[plan.target],
            torch.from_numpy(run.dataset.labels[plan.source]),
            torch.from_numpy(run.dataset.labels[plan.target]),
            source_gaze=gaze[plan.source],
            target_gaze=gaze[plan.target],
        )
        expected = (mixes.image * 255).round().to(torch.uint8).movedim(1, -1).numpy()
        assert mixes.lam_gaze is not None
        for pair_id, rows in shown.items():
            row = rows[place]
            assert (row.pair_id, row.method, row.applicable) == (pair_id, method, method != "mixup")
            assert (row.score == "inconsistency n/a") == (method == "mixup")
            assert np.array_equal(row.mixed, expected[pair_id])
            assert np.array_equal(row.source.image, pixels[plan.source[pair_id]])
            assert np.array_equal(row.source.weight, mixes.mask[pair_id].numpy())
            lam, lam_gaze = float(mixes.lam[pair_id]), float(mixes.lam_gaze[pair_id])
            assert (row.source.label, row.target.label) == (lam, 1 - lam)
            assert (row.source.gaze, row.target.gaze) == pytest.approx((lam_gaze, 1 - lam_gaze), abs=1e-6)


def test_pictures_hold_the_gaze_of_their_images() -> None:
    run, plan = engine("cutmix")
    assert isinstance(run.dataset.gaze, FixationGaze)
    known = run.dataset.gaze.fixations
    fixations = np.stack((known.x, known.y, known.duration_ms), axis=1).reshape(12, 8, 3)
    for pair_id, (row,) in pair_pictures(run, plan, np.arange(len(plan))):
        for side, image in zip(row.sides, (plan.source, plan.target), strict=True):
            own = image[[pair_id]]
            (density,) = run.dataset.gaze.density(own, run.geometry, run.recipe, "cpu").numpy()
            np.testing.assert_allclose(side.density, density, atol=1e-7)
            np.testing.assert_allclose(side.seen, density * side.weight, atol=1e-7)
            assert side.image_id == run.dataset.image_ids[own[0]]
            assert side.name == run.dataset.class_names[run.dataset.labels[own[0]]]
            width, height = run.dataset.sizes[own].T
            x0, y0, ms = fixations[own[0]].T
            x, y = run.geometry.point_map(width, height).apply(x0, y0, np.zeros(8, np.int64))
            assert side.points == pytest.approx(np.stack((x, y, ms), axis=1), rel=1e-6)
        seen = [side.seen.sum(dtype=np.float64) for side in (row.source, row.target)]
        assert row.source.gaze == pytest.approx(seen[0] / sum(seen), abs=1e-6)


@dataclass(frozen=True)
class Stripes(GroupMixer[Draws]):
    """Mix i shows images i, i + 1 and i + 2 of the group: a half, a third and a sixth, from left to right."""

    def draw(self, rng: PairRng, size: tuple[int, int]) -> Draws:
        return Draws()

    def compose(self, pairs: PairBatch, signals: Signals, draws: Draws) -> GroupPlacement:
        shown = torch.arange(len(pairs))[:, None] + torch.tensor([0, 0, 0, 1, 1, 2])
        return GroupPlacement(one_hot(shown % len(pairs.images), len(pairs.images)).mT[:, :, None].float())


def test_pictures_hold_mixes_of_several_images() -> None:
    """The two images that the table names come first, and the score of the shares is the table's."""
    run, plan = engine()
    run = replace(run, methods={"cutmix": parse_method("cutmix"), "stripes": Stripes()})
    rows = pd.concat([pd.DataFrame(dict(group.rows["stripes"])) for group in run.run(plan)]).set_index("pair_id")
    ids = [*run.dataset.image_ids]
    pixels = np.stack([run.geometry.apply(run.dataset.read_image(row)) for row in range(12)])
    for pair_id, (_, one) in pair_pictures(run, plan, np.arange(len(plan))):
        row = rows.loc[pair_id]
        assert one.method == "stripes"
        assert [side.label for side in one.sides] == pytest.approx([1 / 3, 1 / 2, 1 / 6])
        for side, name in zip(one.sides, (row["source_id"], row["target_id"]), strict=False):
            assert np.array_equal(side.image, pixels[ids.index(str(name))])
        assert one.inconsistency == pytest.approx(row["inconsistency"])
        assert one.score == f"inconsistency {100 * row['inconsistency']:.1f} %"
        kept = [float(side.seen.sum(dtype=np.float64)) for side in one.sides]
        assert kept[:2] == pytest.approx([row["gaze_kept_source"], row["gaze_kept_target"]])
        assert [side.gaze for side in one.sides] == pytest.approx(np.array(kept) / sum(kept))
        expected = sum(side.weight[..., None] * side.image for side in one.sides)
        assert np.array_equal(one.mixed, expected)
        assert pair_sheet([one]).dtype == np.uint8


def test_rendered_gaze_has_no_points_and_absent_gaze_no_share() -> None:
    sizes = engine("cutmix")[0].dataset.sizes
    run, plan = engine("cutmix", gaze=RenderedGaze(((),) * 12, sizes))
    ((_, rows),) = pair_pictures(run, plan, np.array([0]))
    assert rows[0].source.points.shape == (0, 3)
    assert math.isnan(rows[0].source.gaze)
    assert pair_sheet(rows).dtype == np.uint8


def test_save_images_writes_a_sheet_per_pair(tmp_path: Path) -> None:
    options = {"data": engine()[0].dataset, "num_pairs": 3, "references": False, "device": "cpu", "workers": 0}
    evaluate(["cutmix", "saliencymix"], save_images=2, out=tmp_path / "run", input_size=224, **options)
    names = [path.name for path in sorted((tmp_path / "run" / "images").iterdir())]
    assert names == ["000000.png", "000001.png"]
    with Image.open(tmp_path / "run" / "images" / "000001.png") as sheet:
        assert sheet.size[0] == 2 * pictures.MARGIN + 5 * 224 + 4 * pictures.GAP
    evaluate("cutmix", out=tmp_path / "plain", input_size=32, **options)
    assert not (tmp_path / "plain" / "images").exists()


def test_saved_sheets_are_the_drawn_ones(tmp_path: Path) -> None:
    run, plan = engine("cutmix", "mixup")
    save_pair_sheets(run, plan, 100, tmp_path / "images")
    assert len(list((tmp_path / "images").iterdir())) == len(plan)
    ((_, rows),) = pair_pictures(run, plan, np.array([3]))
    with Image.open(tmp_path / "images" / "000003.png") as sheet:
        assert np.array_equal(np.asarray(sheet), pair_sheet(rows, run.dataset.name))


def test_an_opencv_that_does_not_load_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    run, plan = engine("cutmix")
    with pytest.raises(UsageError, match=r"apt-get install libgl1 .*opencv-python-headless"):
        save_pair_sheets(run, plan, 1, tmp_path / "images")
    assert not (tmp_path / "images").exists()
