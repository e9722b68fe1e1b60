"""The picture of the gaze on an image: everything sits where it should."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gazeeval.data.dataset import Dataset, load_dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.gaze import RenderedGaze
from gazeeval.data.geometry import Geometry
from gazeeval.report.gaze_picture import COLOURS, GAP, MARGIN, TEXT, VEIL, draw_gaze

SIDE, LINE = 200, TEXT + GAP // 2
RECIPE = GazeRecipe(Sigma(3, "px"))
INPUT = Geometry.from_config((40, 40), 1.0, "bicubic")  # of 80 x 40: the middle, from x = 20


def one_point(x: float, y: float, **columns: list[float] | list[str]) -> Dataset:
    grey = np.full((40, 80, 3), 127, np.uint8)
    return Dataset.from_arrays([grey], [0], {"image": [0], "x": [x], "y": [y], **columns})


def distance(page: Image.Image, box: tuple[int, int, int, int], colour: tuple[int, int, int]) -> NDArray[np.floating]:
    far: NDArray[np.floating] = np.abs(np.asarray(page.crop(box)).astype(float) - colour).sum(axis=2)
    return far


def frames(page: Image.Image, top: int) -> tuple[tuple[int, int, int, int], ...]:
    """Left and right picture of the original image, 200 x 100, and of the input, 200 x 200."""
    first, second = top + LINE + GAP // 2, top + 2 * LINE + GAP // 2 + GAP + 100
    lefts = MARGIN, MARGIN + SIDE + GAP
    return tuple((x, y, x + SIDE, y + high) for y, high in ((first, 100), (second, SIDE)) for x in lefts)


def middle(far: NDArray[np.floating], below: float) -> tuple[float, float]:
    """x, y of the middle of what is nearer than ``below``, px."""
    rows, columns = np.nonzero(far < below)
    return columns.mean() + 0.5, rows.mean() + 0.5


def test_gaze_is_drawn_where_it_is_in_both_frames() -> None:
    page = draw_gaze(one_point(50.0, 10.0), 0, INPUT, RECIPE, side=SIDE)
    original, veiled, network, network_veiled = frames(page, MARGIN + 2 * LINE)
    white = (255, 255, 255)
    assert np.allclose(middle(distance(page, original, white), 60), (125, 25), atol=1.5)
    assert np.allclose(middle(distance(page, network, white), 60), (150, 50), atol=1.5)
    for box, at in ((veiled, (125, 25)), (network_veiled, (150, 50))):
        far = distance(page, box, VEIL)
        assert np.allclose(middle(far, far.min() + 5), at, atol=3)


def test_viewers_have_colours_and_long_fixations_large_circles() -> None:
    columns = {
        "image": [0, 0],
        "x": [20.0, 60.0],
        "y": [20.0, 20.0],
        "duration_ms": [1000.0, 4000.0],
        "viewer": ["anna", "ben"],
    }
    dataset = Dataset.from_arrays([np.full((40, 80, 3), 127, np.uint8)], [0], columns)
    page = draw_gaze(dataset, 0, Geometry.stretch(40, 80, "bilinear"), RECIPE, side=SIDE)
    original = frames(page, MARGIN + 3 * LINE)[0]
    area = []
    for colour in COLOURS[:2]:
        shade = tuple(round(127 + (c - 127) * 130 / 255) for c in colour)
        area.append((distance(page, original, shade) < 12).sum())  # type: ignore[arg-type]  # three numbers
    assert area[0] > 100
    assert 3.5 < area[1] / area[0] < 5  # 4 times the duration, less the point in the middle and the rim


def test_numbers_are_drawn_if_asked_for() -> None:
    dataset = one_point(50.0, 10.0)
    plain, numbered = (draw_gaze(dataset, 0, INPUT, RECIPE, numbers=numbers) for numbers in (False, True))
    assert plain.size == numbered.size
    assert (np.asarray(plain) != np.asarray(numbered)).any()


def test_sigma_in_pixels_is_that_of_the_input_in_both_frames() -> None:
    """The input is half of the original, so a veil of the same width in it is twice as wide there."""
    dataset = one_point(40.0, 20.0)
    page = draw_gaze(dataset, 0, Geometry.stretch(20, 40, "bilinear"), RECIPE, side=SIDE)
    _, veiled, *_ = frames(page, MARGIN + 2 * LINE)
    below = (veiled[0], veiled[1] + 100 + LINE + GAP, veiled[2], veiled[3] + 100 + LINE + GAP)
    widths = [(distance(page, box, VEIL) < 250).sum() for box in (veiled, below)]
    assert np.isclose(widths[0], widths[1], rtol=0.15)


def test_an_image_without_gaze_and_gaze_as_maps() -> None:
    grey = [np.full((40, 80, 3), 127, np.uint8)] * 2
    dataset = Dataset.from_arrays(grey, [0, 0], {"image": [0], "x": [5.0], "y": [5.0]})
    page = draw_gaze(dataset, 1, INPUT, RECIPE, side=SIDE)
    for box in frames(page, MARGIN + 2 * LINE):
        assert np.ptp(np.asarray(page.crop(box))) <= 1
    demo = load_dataset("demo")
    bare = RenderedGaze(((),) * len(demo), demo.sizes)
    maps = Dataset(**{**vars(demo), "gaze": bare})
    assert draw_gaze(maps, 0, INPUT, RECIPE, side=SIDE).size[0] == 2 * SIDE + GAP + 2 * MARGIN
