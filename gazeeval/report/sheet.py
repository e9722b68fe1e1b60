"""A contact sheet: a pair under many methods, or many pairs, each a picture over the bars of its label and its gaze."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

import numpy as np
from PIL import Image

from gazeeval.report.pictures import (
    COLOURS,
    GAP,
    INK,
    MARGIN,
    SOURCE,
    TARGET,
    TEXT,
    TITLE,
    WHITE,
    Colour,
    Floats,
    PairPicture,
    Pixels,
    overview,
    percent,
    share_bar,
    tiles,
    write,
)

COLUMNS = 7
LINE = TEXT + GAP // 2
NAME, NUMBER = 3 * TEXT, 4 * TEXT
"""px that a bar leaves on its left and on its right."""

LEGEND = (
    "White line: edge of the mask. Blue and vermilion: where people looked at what shows of source and target.",
    "Bars: how much of the label, and of the gaze, belongs to the source. Inconsistency: how far the two are apart.",
)
OTHERS = " Other colours: other images."


@dataclass(frozen=True)
class _Cell:
    """A picture, what stands over it, and what below: bars with their names and colours, and lines of text."""

    title: str
    pixels: Pixels
    lines: tuple[str, ...]
    bars: tuple[tuple[str, Floats], ...] = ()
    colours: Sequence[Colour] = ()
    ink: Colour = INK


def contact_sheet(rows: Sequence[PairPicture], title: str = "") -> Pixels:
    """The page (height, width, 3) uint8 with a cell per picture, `COLUMNS` in a line; all pictures have one size.

    Where all are of one pair, the title names its source and its target, which come first, and keep their colours in
    all mixes.

    Raises:
        UsageError: OpenCV cannot be imported.
    """
    pair = _usual(rows) if len({row.pair_id for row in rows}) == 1 else None
    cells = list(_cells(rows, pair))
    side, width, _ = cells[0].pixels.shape
    columns = min(COLUMNS, len(cells))
    across, down = width + GAP, 5 * LINE + side + GAP
    top = MARGIN + (1 + len(LEGEND)) * LINE + GAP
    size = 2 * MARGIN + columns * across - GAP, top + math.ceil(len(cells) / columns) * down
    page = Image.new("RGB", size, WHITE)
    room = page.width - 2 * MARGIN
    named = f"{title}: {pair.images}" if pair else title
    write(page, (MARGIN, MARGIN), named, TITLE, room=room)
    has_others = any({*cell.colours} - {SOURCE, TARGET} for cell in cells)
    for number, text in enumerate((LEGEND[0] + OTHERS * has_others, *LEGEND[1:]), 1):
        write(page, (MARGIN, MARGIN + number * LINE + GAP // 2), text, TEXT, room=room)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        _draw(page, cell, MARGIN + column * across, top + row * down)
    return np.asarray(page)


def _cells(rows: Sequence[PairPicture], pair: PairPicture | None) -> Iterator[_Cell]:
    if pair is None:
        for row in rows:
            yield _mixed(row, f"{row.method}, pair {row.pair_id}", _images(row))
        return
    for role, side, tile in zip(("source", "target"), pair.sides, tiles(pair), strict=False):
        if tile is not None:
            yield _Cell(role, tile.pixels, (side.name,), ink=tile.colour)
    for row in rows:
        yield _mixed(row, row.method, _images(pair))


def _usual(rows: Sequence[PairPicture]) -> PairPicture:
    """A mix of the images that most of them mix: some methods have partners of their own."""
    images = [_images(row) for row in rows]
    return rows[images.index(Counter(images).most_common(1)[0][0])]


def _images(row: PairPicture) -> tuple[str, ...]:
    """Ids of source and target."""
    return tuple(side.image_id for side in row.sides[:2])


def _mixed(row: PairPicture, title: str, images: tuple[str, ...]) -> _Cell:
    """``images``, if they are in the mix, in the colours of source and target and first in the bars."""
    places = {image: place for place, image in enumerate(images)}
    row = replace(row, sides=tuple(sorted(row.sides, key=lambda side: places.get(side.image_id, len(places)))))
    others = cycle(COLOURS[2:])
    colours = [COLOURS[places[side.image_id]] if side.image_id in places else next(others) for side in row.sides]
    label, gaze = row.shares
    return _Cell(title, overview(row, colours), (row.score,), (("label", label), ("gaze", gaze)), colours)


def _draw(page: Image.Image, cell: _Cell, left: int, top: int) -> None:
    height, width, _ = cell.pixels.shape
    write(page, (left, top), cell.title, TITLE, cell.ink, width)
    page.paste(Image.fromarray(cell.pixels), (left, top + LINE + GAP // 2))
    top += LINE + height + GAP
    for name, shares in cell.bars:
        write(page, (left, top), name, TEXT)
        share_bar(page, (left + NAME, top + TEXT // 2), width - NAME - NUMBER, shares, cell.colours)
        of_source = percent(shares[0] if cell.colours[0] == SOURCE else 0 * shares[0])
        write(page, (left + width - NUMBER + GAP // 2, top), of_source, TEXT)
        top += LINE
    for text in cell.lines:
        write(page, (left, top), text, TEXT, cell.ink, width)
        top += LINE
