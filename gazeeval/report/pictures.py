"""Pictures of mixed pairs: both images with where people looked, the mask, the mix, and what is left of the gaze in it.

OpenCV draws on the images, Pillow lays out the page. What belongs to the source is blue and what belongs to the target
vermilion, two colours of the palette of Okabe & Ito (2008) for colour-blind readers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gazeeval.data.pairs import PairPlan
from gazeeval.engine import Engine, GroupMixes
from gazeeval.errors import UsageError
from gazeeval.report.files import replacing
from gazeeval.types import PairBatch

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Colour = tuple[int, int, int]

SOURCE, TARGET = (0, 114, 178), (213, 94, 0)
WHITE, INK, GREY = (255, 255, 255), (34, 34, 34), (105, 105, 105)
TILE = 224
"""px. Inputs are enlarged by the whole number that brings them nearest to this side, or left as they are."""

MARGIN, GAP, BAR, TITLE, TEXT = 24, 14, 8, 22, 18
COLUMNS = (
    ("source and its gaze", SOURCE),
    ("target and its gaze", TARGET),
    ("mask", INK),
    ("mixed image", INK),
    ("gaze left in the mix", INK),
)


@dataclass(frozen=True)
class Side:
    """One image of a pair, in pixels of the network input (h, w).

    Attributes:
        name: of its class.
        image: (h, w, 3) uint8 RGB.
        density: (h, w) where people looked; all zero where that is not known.
        seen: (h, w) what is left of the density in the mixed image, in the frame of the mixed image.
        points: (k, 3) x, y and ms (NaN unknown) of the fixations; none where gaze is a map.
        box: (4,) xyxy, half-open, of what is cut out here (source) or pasted over (target); or None.
    """

    name: str
    image: Pixels
    density: Floats
    seen: Floats
    points: Floats
    box: NDArray[np.int64] | None


@dataclass(frozen=True)
class PairPicture:
    """One row of a sheet: a pair under one method.

    Attributes:
        mixed: (h, w, 3) uint8 RGB.
        mask: (h, w) in [0, 1], 1 where the source shows.
        lam, lam_gaze: share of the source in the label and in the visible gaze; NaN where there is none.
    """

    pair_id: int
    method: str
    source: Side
    target: Side
    mixed: Pixels
    mask: Floats
    lam: float
    lam_gaze: float


def save_pair_sheets(engine: Engine, plan: PairPlan, count: int, folder: Path) -> None:
    """Draw the first ``count`` pairs of ``plan`` into ``folder``, a sheet each with a row per method.

    Pairs whose images cannot be read are left out. Raises UsageError if OpenCV cannot be imported.
    """
    _opencv()
    folder.mkdir(parents=True, exist_ok=True)
    for pair_id, rows in pair_pictures(engine, plan, np.arange(min(count, len(plan)))):
        with replacing(folder / f"{pair_id:06d}.png") as stream:
            Image.fromarray(pair_sheet(rows, engine.dataset.name)).save(stream, "PNG", optimize=True)


def pair_pictures(engine: Engine, plan: PairPlan, ids: NDArray[np.int64]) -> Iterator[tuple[int, list[PairPicture]]]:
    """The pairs ``ids`` of a run in ascending order, each with a picture per method: the mixes that the run scores."""
    for group in engine.mixes(plan, ids):
        for row in np.flatnonzero(np.isin(group.ids, ids)).tolist():
            yield int(group.ids[row]), [_picture(engine, group, row, method) for method in group.mixes]


def pair_sheet(rows: Sequence[PairPicture], title: str = "") -> Pixels:
    """The page (height, width, 3) uint8 with one row per picture; all of them have one size.

    Raises:
        UsageError: OpenCV cannot be imported.
    """
    height, width = (side * _zoom(rows[0].mask) for side in rows[0].mask.shape)
    lefts = [MARGIN + column * (width + GAP) for column in range(len(COLUMNS))]
    top = MARGIN + TITLE + GAP + TEXT
    step = 2 * GAP + TITLE + GAP + height + 2 * GAP + BAR + TEXT
    page = Image.new("RGB", (lefts[-1] + width + MARGIN, top + len(rows) * step + MARGIN), WHITE)
    _write(page, (MARGIN, MARGIN), title, TITLE)
    for left, (name, colour) in zip(lefts, COLUMNS, strict=True):
        _write(page, (left, top - TEXT), name, TEXT, colour, width)
    for number, row in enumerate(rows):
        _row(page, row, lefts, top + number * step + 2 * GAP)
    return np.asarray(page)


def _picture(engine: Engine, group: GroupMixes, row: int, method: str) -> PairPicture:
    pairs, mix = group.mixes[method]
    source, target = int(pairs.source[row]), int(pairs.target[row])
    placement = mix.placement[slice(row, row + 1)]
    source_gaze, target_gaze = group.density[source, None, None], group.density[target, None, None]
    nothing = torch.zeros_like(source_gaze)
    return PairPicture(
        int(group.ids[row]),
        method,
        _side(engine, group, pairs, source, placement.blend(source_gaze, nothing), placement.source_box),
        _side(engine, group, pairs, target, placement.blend(nothing, target_gaze), placement.target_box),
        _pixels(mix.image[row]),
        _host(placement.mask[0]),
        float(mix.lam[row]),
        math.nan if mix.lam_gaze is None else float(mix.lam_gaze[row]),
    )


def _side(engine: Engine, group: GroupMixes, pairs: PairBatch, image: int, seen: Tensor, box: Tensor | None) -> Side:
    """``image`` of the group; ``seen`` (1, 1, h, w) and ``box`` (1, 4) of one pair."""
    return Side(
        engine.dataset.class_names[int(pairs.labels[image])],
        _pixels(pairs.images[image]),
        _host(group.density[image]),
        _host(seen[0, 0]),
        engine.dataset.gaze.points(int(group.rows[image]), engine.geometry),
        None if box is None else _host(box[0]),
    )


def _pixels(image: Tensor) -> Pixels:
    pixels: Pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pixels


def _host(values: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = values.cpu().numpy()
    return array


# The page


def _row(page: Image.Image, row: PairPicture, lefts: Sequence[int], top: int) -> None:
    tiles = _tiles(row)
    height, width = tiles[0].shape[:2]
    score = f"inconsistency {_percent(abs(row.lam - row.lam_gaze))}"
    _write(page, (MARGIN, top), f"{row.method}, pair {row.pair_id}", TITLE)
    _write(page, (page.width - MARGIN - _font(TITLE).getlength(score), top), score, TITLE)
    top += TITLE + GAP
    captions = [
        (1.0, row.source.name, SOURCE),
        (0.0, row.target.name, TARGET),
        (row.mask.mean(), f"pixels: {_percent(row.mask.mean())} source", INK),
        (row.lam, f"label: lam {_percent(row.lam)}", INK),
        (row.lam_gaze, f"gaze: lam_gaze {_percent(row.lam_gaze)}", INK),
    ]
    for left, tile, (share, text, colour) in zip(lefts, tiles, captions, strict=True):
        page.paste(Image.fromarray(tile), (left, top))
        _share_bar(page, (left, top + height + GAP), width, share)
        _write(page, (left, top + height + GAP + BAR + GAP // 2), text, TEXT, colour, width)


def _share_bar(page: Image.Image, at: tuple[int, int], width: int, share: float) -> None:
    """The source's share in blue, the rest vermilion; grey where it is unknown."""
    known = not math.isnan(share)
    page.paste(TARGET if known else GREY, (*at, at[0] + width, at[1] + BAR))
    page.paste(SOURCE, (*at, at[0] + (round(share * width) if known else 0), at[1] + BAR))


def _write(
    page: Image.Image, at: tuple[float, int], text: str, size: int, colour: Colour = INK, room: int | None = None
) -> None:
    font = _font(size)
    while room is not None and font.getlength(text) > room and len(text) > 2:
        text = f"{text.removesuffix('…')[:-1]}…"
    ImageDraw.Draw(page).text(at, text, fill=colour, font=font)


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{100 * share:.1f} %"


# The tiles


def _tiles(row: PairPicture) -> list[Pixels]:
    """The five pictures of a row, enlarged."""
    zoom = _zoom(row.mask)
    inside = row.mask > (row.mask.min() + row.mask.max()) / 2
    ground = _faded(row.mixed)
    most = max(row.source.seen.max(), row.target.seen.max())
    left = _tinted(_tinted(ground, row.source.seen, SOURCE, most), row.target.seen, TARGET, most)
    return [
        _looked_at(row.source, SOURCE, zoom),
        _looked_at(row.target, TARGET, zoom),
        _enlarged(_between(TARGET, SOURCE, row.mask), zoom),
        _outlined(_enlarged(row.mixed, zoom), _enlarged(inside, zoom)),
        _outlined(_enlarged(left, zoom), _enlarged(inside, zoom)),
    ]


def _looked_at(side: Side, colour: Colour, zoom: int) -> Pixels:
    tile = _enlarged(_tinted(side.image, side.density, colour, side.density.max()), zoom)
    if side.box is not None:
        x0, y0, x1, y1 = side.box * zoom
        inside = np.zeros(tile.shape[:2], bool)
        inside[y0:y1, x0:x1] = True
        tile = _outlined(tile, inside)
    return _circled(tile, side.points, colour, zoom)


def _zoom(mask: Floats) -> int:
    nearest: int = round(TILE / max(mask.shape))
    return max(1, nearest)


def _enlarged(image: NDArray[Any], zoom: int) -> NDArray[Any]:
    return image.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _between(low: Colour, high: Colour, share: Floats) -> Pixels:
    """Colours (h, w, 3) from ``low`` at 0 to ``high`` at 1."""
    weight = share[..., None]
    return _rounded((1 - weight) * np.array(low) + weight * np.array(high))


def _tinted(image: Pixels, density: Floats, colour: Colour, most: float) -> Pixels:
    """``image`` under a veil of ``colour``, thickest where the density is ``most``, none where it is 0."""
    veil = 0.8 * np.sqrt(density / most)[..., None] if most > 0 else np.zeros((1, 1, 1))
    return _rounded(image + veil * (np.array(colour) - image))


def _faded(image: Pixels) -> Pixels:
    grey = image.mean(axis=2, keepdims=True)
    return _rounded(np.broadcast_to(127.5 + grey / 2, image.shape))


def _rounded(values: Floats) -> Pixels:
    return np.rint(values).astype(np.uint8)


def _outlined(tile: Pixels, inside: NDArray[np.bool_]) -> Pixels:
    """A white line along the edge of ``inside``, on its own side, and a dark one beyond; none along the border."""
    cv2 = _opencv()
    kernel, region = np.ones((3, 3), np.uint8), inside.astype(np.uint8)
    tile = tile.copy()
    tile[(cv2.dilate(region, kernel) > 0) & ~inside] = INK
    tile[inside & (cv2.erode(region, kernel, iterations=2) == 0)] = WHITE
    return tile


def _circled(tile: Pixels, points: Floats, colour: Colour, zoom: int) -> Pixels:
    """A disc at every fixation; its area is its duration, that of one with unknown duration 250 ms."""
    cv2 = _opencv()
    ms = np.nan_to_num(points[:, 2], nan=250.0)
    radius = np.maximum(np.sqrt(ms / 250) * max(tile.shape) / 36, 2)
    fine = 16  # OpenCV takes sixteenths of a pixel
    for (x, y), r in zip(points[:, :2] * zoom - 0.5, radius, strict=True):
        disc = (round(x * fine), round(y * fine)), round(r * fine)
        filled = cv2.circle(tile.copy(), *disc, colour, cv2.FILLED, cv2.LINE_AA, 4)
        tile = cv2.circle(cv2.addWeighted(tile, 0.5, filled, 0.5, 0), *disc, WHITE, 1, cv2.LINE_AA, 4)
    return tile


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise UsageError(
            f"pictures: OpenCV cannot be imported, got {error}. On Debian or Ubuntu: apt-get install libgl1 "
            "libglib2.0-0 libxcb1. Or swap the wheel: pip uninstall -y opencv-python && "
            "pip install opencv-python-headless."
        ) from error
    return cv2
