"""Contact sheets: which cells stand where, and what belongs to which image has one colour throughout."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gazeeval.report import pictures, sheet
from gazeeval.report.pictures import COLOURS, PairPicture, Pixels, Side, overview
from gazeeval.report.sheet import COLUMNS, contact_sheet

SIZE = (112, 90)
HEIGHT, WIDTH = 224, 180
TOP = pictures.MARGIN + 3 * sheet.LINE + pictures.GAP
ABOVE = sheet.LINE + pictures.GAP // 2
"""px of a cell over its picture."""


def picture(*images: str, method: str = "mine", pair: int = 7, labels: tuple[float, ...] = ()) -> PairPicture:
    """Columns of one width (or two) of grey ``images`` that people looked at in the middle row."""
    count = len(images)
    owner = np.eye(count, dtype=np.float32)[np.arange(SIZE[1]) * count // SIZE[1]]
    weights = owner.T[:, None].repeat(SIZE[0], axis=1)
    density = np.zeros(SIZE, np.float32)
    density[50:60] = 1 / (10 * SIZE[1])
    grey = np.full((*SIZE, 3), 128, np.uint8)
    sides = [
        Side(image, image, grey, density, np.empty((0, 3)), weight > 0, weight, density * weight, label, 1 / count)
        for image, weight, label in zip(images, weights, labels or (1 / count,) * count, strict=True)
    ]
    return PairPicture(pair, method, grey, tuple(sides))


def cell(page: Pixels, number: int) -> Pixels:
    """The picture of a cell."""
    row, column = divmod(number, COLUMNS)
    top = TOP + row * (5 * sheet.LINE + HEIGHT + pictures.GAP) + ABOVE
    left = pictures.MARGIN + column * (WIDTH + pictures.GAP)
    return page[top : top + HEIGHT, left : left + WIDTH]


def bars(page: Pixels, number: int) -> list[NDArray[Any]]:
    """The bars (width, 3) of label and gaze below a cell."""
    row, column = divmod(number, COLUMNS)
    top = TOP + row * (5 * sheet.LINE + HEIGHT + pictures.GAP) + sheet.LINE + HEIGHT + pictures.GAP
    left = pictures.MARGIN + column * (WIDTH + pictures.GAP) + sheet.NAME
    middle = top + pictures.TEXT // 2 + pictures.BAR // 2
    width = WIDTH - sheet.NAME - sheet.NUMBER
    return [page[middle + line * sheet.LINE, left : left + width] for line in (0, 1)]


def shares(bar: NDArray[Any]) -> dict[tuple[int, ...], float]:
    """Colour -> its share of a bar."""
    found, counts = np.unique(bar, axis=0, return_counts=True)
    return dict(zip(map(tuple, found.tolist()), (counts / len(bar)).tolist(), strict=True))


def test_a_pair_comes_after_its_two_images() -> None:
    one, other = picture("a", "b", method="one"), picture("a", "b", method="other", labels=(0.25, 0.75))
    page = contact_sheet([one, other], "title")
    assert page.dtype == np.uint8
    assert page.shape[1] == 2 * pictures.MARGIN + 4 * (WIDTH + pictures.GAP) - pictures.GAP
    images = [tile.pixels for tile in pictures.tiles(one)[:2] if tile]
    drawn = [*images, overview(one, COLOURS[:2]), overview(other, COLOURS[:2])]
    for number, expected in enumerate(drawn):
        assert np.array_equal(cell(page, number), expected), number
    assert (page[: pictures.MARGIN] == 255).all()
    assert (page[:, -pictures.MARGIN :] == 255).all()


def test_several_pairs_stand_alone_in_lines() -> None:
    rows = [picture("a", "b", pair=number) for number in range(COLUMNS + 2)]
    page = contact_sheet(rows)
    assert page.shape[:2] == (
        TOP + 2 * (5 * sheet.LINE + HEIGHT + pictures.GAP),
        2 * pictures.MARGIN + COLUMNS * (WIDTH + pictures.GAP) - pictures.GAP,
    )
    for number, row in enumerate(rows):
        assert np.array_equal(cell(page, number), overview(row, COLOURS[:2]))
    assert (cell(page, len(rows)) == 255).all()


def test_bars_hold_label_and_gaze() -> None:
    label, gaze = bars(contact_sheet([picture("a", "b", labels=(0.25, 0.75))]), 2)
    assert shares(label) == pytest.approx({pictures.SOURCE: 0.25, pictures.TARGET: 0.75}, abs=0.02)
    assert shares(gaze) == pytest.approx({pictures.SOURCE: 0.5, pictures.TARGET: 0.5}, abs=0.02)


def test_gaze_that_is_not_known_has_a_grey_bar() -> None:
    one = picture("a", "b")
    one = replace(one, sides=tuple(replace(side, gaze=math.nan) for side in one.sides))
    label, gaze = bars(contact_sheet([one]), 2)
    assert shares(gaze) == {pictures.GREY: 1.0}
    assert pictures.GREY not in shares(label)


@pytest.mark.parametrize(
    ("images", "colours"),
    [
        (("b", "a"), (pictures.SOURCE, pictures.TARGET)),  # a method that names its largest image last
        (("c", "b"), (pictures.TARGET, COLOURS[2])),
        (("c", "d"), COLOURS[2:4]),
        (("c", "a", "b"), COLOURS[:3]),
        (("a",), (pictures.SOURCE,)),
    ],
)
def test_images_keep_their_colours_under_all_methods(
    images: tuple[str, ...], colours: tuple[tuple[int, int, int], ...]
) -> None:
    usual, other = picture("a", "b"), picture(*images, method="other")
    page = contact_sheet([other, usual, usual])
    label, _ = bars(page, 2)
    starts = np.flatnonzero(np.any(np.diff(label, axis=0, prepend=0) != 0, axis=1))
    assert [tuple(label[start].tolist()) for start in starts] == list(colours)
    of_image = dict(zip(sorted(images), colours, strict=True))
    tinted = cell(page, 2)[110, [WIDTH * (2 * n + 1) // (2 * len(images)) for n in range(len(images))]]
    for pixel, image in zip(tinted.astype(int), images, strict=True):
        assert pixel.tolist() == np.rint(128 + 0.8 * (np.array(of_image[image]) - 128)).tolist()


def test_the_gaze_is_tinted_with_its_image_and_the_edge_drawn() -> None:
    drawn = overview(picture("a", "b"), COLOURS[:2])
    middle = WIDTH // 2
    assert (drawn[10, middle - 1] == pictures.WHITE).all()
    assert (drawn[10, middle] == pictures.INK).all() or (drawn[10, middle - 2] == pictures.INK).all()
    assert (drawn[10, 20] == 128).all()
    blue, vermilion = drawn[110, 20].astype(int), drawn[110, -20].astype(int)
    assert blue[2] > 128 > blue[0]
    assert vermilion[0] > 128 > vermilion[2]
