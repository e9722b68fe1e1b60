"""Pictures of mixed images: those that are mixed with where people looked, the mask, the mix, and what is left of gaze.

OpenCV draws on the images, Pillow lays out the page. What belongs to the source is blue and what belongs to the target
vermilion; these and the colours of further images are from the palette of Okabe & Ito (2008) for colour-blind readers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gazeeval.data.pairs import PairPlan
from gazeeval.engine import Engine, GroupMixes
from gazeeval.errors import UsageError
from gazeeval.metrics.inconsistency import gaze_shares
from gazeeval.report.files import replacing
from gazeeval.types import GroupPlacement, Mix, Placement

Pixels = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Colour = tuple[int, int, int]

SOURCE, TARGET = (0, 114, 178), (213, 94, 0)
COLOURS = (SOURCE, TARGET, (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
"""Of the images of a mix, source and target first; from the seventh on they come again."""

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
    """One image of a mix, in pixels of the network input (h, w).

    Attributes:
        image_id: in the data set.
        name: of its class.
        image: (h, w, 3) uint8 RGB.
        density: (h, w) where people looked; all zero where that is not known.
        points: (k, 3) x, y and ms (NaN unknown) of the fixations; none where gaze is a map.
        region: (h, w) bool, what of it a box cuts out (source) or covers (target), or what shows of one of several.
        weight: (h, w) in [0, 1], how much of each pixel of the mixed image shows it.
        seen: (h, w) what is left of the density in the mixed image, in the frame of the mixed image.
        label, gaze: its share of the label and of the visible gaze; NaN where there is none.
    """

    image_id: str
    name: str
    image: Pixels
    density: Floats
    points: Floats
    region: NDArray[np.bool_]
    weight: Floats
    seen: Floats
    label: float
    gaze: float


@dataclass(frozen=True)
class PairPicture:
    """One row of a sheet: a pair under one method.

    Attributes:
        mixed: (h, w, 3) uint8 RGB.
        sides: the images that show in it: source, target, and others where a method mixes more than two, the largest
            first; or only one.
        applicable: False where the score is 0 by construction, and shown as n/a.
    """

    pair_id: int
    method: str
    mixed: Pixels
    sides: tuple[Side, ...]
    applicable: bool = True

    @property
    def source(self) -> Side:
        return self.sides[0]

    @property
    def target(self) -> Side:
        return self.sides[1]

    @property
    def images(self) -> str:
        """The names of source and target without folder and ending."""
        return " + ".join(PurePosixPath(side.image_id).stem for side in self.sides[:2])

    @property
    def shares(self) -> tuple[Floats, Floats]:
        """Label and gaze (k,) of the images."""
        return np.array([side.label for side in self.sides]), np.array([side.gaze for side in self.sides])

    @property
    def inconsistency(self) -> float:
        """How far label and gaze are apart: |lam - lam_gaze| where there are two images; NaN unknown."""
        label, gaze = self.shares
        return float(np.abs(label - gaze).sum() / 2)

    @property
    def score(self) -> str:
        """The inconsistency in words."""
        return f"inconsistency {percent(self.inconsistency) if self.applicable else 'n/a'}"


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
    height, width, _ = _enlarged(rows[0].mixed).shape
    lefts = [MARGIN + column * (width + GAP) for column in range(len(COLUMNS))]
    tops = [MARGIN + TITLE + GAP + TEXT]
    for row in rows:
        tops.append(tops[-1] + 3 * GAP + TITLE + _lines(row) * (height + _foot(row)))
    page = Image.new("RGB", (lefts[-1] + width + MARGIN, tops[-1] + MARGIN), WHITE)
    write(page, (MARGIN, MARGIN), title, TITLE)
    for left, (name, colour) in zip(lefts, COLUMNS, strict=True):
        write(page, (left, tops[0] - TEXT), name, TEXT, colour, width)
    for row, top in zip(rows, tops, strict=False):
        _row(page, row, lefts, top + 2 * GAP)
    return np.asarray(page)


@dataclass(frozen=True)
class _Shown:
    """What shows of k images in one mix: ``images`` are rows of the group's, the rest is as in `Side`, for each."""

    images: list[int]
    region: Tensor
    weight: Tensor
    seen: Tensor
    label: Tensor
    gaze: Tensor


def _picture(engine: Engine, group: GroupMixes, row: int, method: str) -> PairPicture:
    pairs, made = group.mixes[method]
    named = int(pairs.source[row]), int(pairs.target[row])
    if isinstance(made, Mix):
        mixed, shown = made.image[row], _shown_of_pair(made, row, named, group.density)
    else:
        one = GroupPlacement(made.weights[row : row + 1])
        mixed, shown = one.blend(pairs.images)[0], _shown_of_several(one, named, group.density)
    sides = (
        Side(
            engine.dataset.image_ids[int(group.rows[image])],
            engine.dataset.class_names[int(pairs.labels[image])],
            _pixels(pairs.images[image]),
            _host(group.density[image]),
            engine.dataset.gaze.points(int(group.rows[image]), engine.geometry),
            region=_host(shown.region[number]),
            weight=_host(shown.weight[number]),
            seen=_host(shown.seen[number]),
            label=float(shown.label[number]),
            gaze=float(shown.gaze[number]),
        )
        for number, image in enumerate(shown.images)
    )
    return PairPicture(int(group.ids[row]), method, _pixels(mixed), tuple(sides), engine.methods[method].scores_gaze)


def _shown_of_pair(mix: Mix, row: int, named: tuple[int, int], density: Tensor) -> _Shown:
    """What shows of source and target ``named`` in mix ``row``, from the densities (n, h, w) of the group."""
    placement, mask = mix.placement[slice(row, row + 1)], mix.mask[row]
    boxes = placement.source_box, placement.target_box
    regions = [mask.new_zeros(mask.shape) if box is None else _inside(box, placement.size) for box in boxes]
    source_gaze, target_gaze = (density[image, None, None] for image in named)
    nothing = torch.zeros_like(source_gaze)
    seen = placement.blend(source_gaze, nothing), placement.blend(nothing, target_gaze)
    lam = mix.lam[row]
    lam_gaze = torch.full_like(lam, torch.nan) if mix.lam_gaze is None else mix.lam_gaze[row]
    return _Shown(
        list(named),
        torch.stack(regions) > 0,
        torch.stack((mask, 1 - mask)),
        torch.cat(seen)[:, 0],
        torch.stack((lam, 1 - lam)),
        torch.stack((lam_gaze, 1 - lam_gaze)),
    )


def _inside(box: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w) 1 inside ``box`` (1, 4)."""
    return Placement.from_boxes(box, size).mask[0]


def _shown_of_several(one: GroupPlacement, named: tuple[int, int], density: Tensor) -> _Shown:
    """What shows in ``one`` mix of any of a group's images: of the ``named`` two first, then of the others."""
    label, gaze = one.shares()[0], gaze_shares(one, density)[0]
    largest = label.argsort(descending=True, stable=True).tolist()
    images = [image for image in dict.fromkeys((*named, *largest)) if label[image] > 0]
    cells, (height, width) = one.weights[0, images], density.shape[1:]
    rows, columns = cells.shape[1:]
    weight = cells.repeat_interleave(height // rows, dim=1).repeat_interleave(width // columns, dim=2)
    return _Shown(images, weight > 0, weight, weight * density[images], label[images], gaze[images])


def _pixels(image: Tensor) -> Pixels:
    pixels: Pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return pixels


def _host(values: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = values.cpu().numpy()
    return array


# The page


def _lines(row: PairPicture) -> int:
    """Lines of tiles: images beyond the first two stand below."""
    return 1 + math.ceil(max(0, len(row.sides) - 2) / len(COLUMNS))


def _foot(row: PairPicture) -> int:
    """px below a tile, for its bar and its caption."""
    return GAP + BAR + max(len(_caption(row, side)) for side in row.sides) * (TEXT + GAP)


def _row(page: Image.Image, row: PairPicture, lefts: Sequence[int], top: int) -> None:
    images = {1: ", one image", 2: ""}.get(len(row.sides), f", {len(row.sides)} images")
    title = f"{row.method}, pair {row.pair_id}{images}"
    after, before = MARGIN + _length(title), page.width - MARGIN - _length(row.score)
    write(page, (MARGIN, top), title, TITLE)
    write(page, (before, top), row.score, TITLE)
    write(page, (after + GAP, top + TITLE - TEXT), row.images, TEXT, GREY, before - after - 2 * GAP)
    top += TITLE + GAP
    for number, tile in enumerate(tiles(row)):
        line, column = divmod(number, len(COLUMNS))
        if tile is not None:
            height, width, _ = tile.pixels.shape
            left, above = lefts[column], top + line * (height + _foot(row))
            page.paste(Image.fromarray(tile.pixels), (left, above))
            share_bar(page, (left, above + height + GAP), width, tile.shares, _colours(len(tile.shares)))
            for place, text in enumerate(tile.caption):
                at = left, above + height + GAP + BAR + GAP // 2 + place * (TEXT + GAP // 2)
                write(page, at, text, TEXT, tile.colour, width)


def share_bar(page: Image.Image, at: tuple[int, int], width: int, shares: Floats, colours: Sequence[Colour]) -> None:
    """The shares of the images (k,) in their ``colours``, one after the other; grey where they are unknown."""
    page.paste(GREY, (*at, at[0] + width, at[1] + BAR))
    if not np.isnan(shares).any():
        edges = (at[0] + np.rint(shares.cumsum() * width)).astype(int).tolist()
        for start, end, colour in zip([at[0], *edges], edges, colours, strict=False):
            page.paste(colour, (start, at[1], end, at[1] + BAR))


def write(
    page: Image.Image, at: tuple[float, int], text: str, size: int, colour: Colour = INK, room: float | None = None
) -> None:
    """``text`` with its upper left corner ``at`` (x, y), cut short where it is wider than ``room``."""
    font = _font(size)
    while room is not None and font.getlength(text) > room and len(text) > 2:
        text = f"{text.removesuffix('…')[:-1]}…"
    ImageDraw.Draw(page).text(at, text, fill=colour, font=font)


def _length(title: str) -> float:
    length: float = _font(TITLE).getlength(title)
    return length


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def percent(share: float) -> str:
    return "unknown" if math.isnan(share) else f"{100 * share:.1f} %"


# The tiles


@dataclass(frozen=True)
class Tile:
    """A picture, the shares (k,) of the images in the bar below it, and the lines of its caption."""

    pixels: Pixels
    shares: Floats
    caption: tuple[str, ...]
    colour: Colour = INK


def tiles(row: PairPicture) -> list[Tile | None]:
    """The pictures of a row, enlarged: two images, or one and nothing; mask; mix; gaze left; then the other images."""
    sides, count = row.sides, len(row.sides)
    colours, weights, whole = _colours(count), np.stack([side.weight for side in sides]), np.eye(count)
    pixels, (label, gaze) = weights.mean(axis=(1, 2)), row.shares
    whose = _enlarged(_whose(weights))
    mask = _rounded(np.tensordot(weights, np.array(colours), axes=(0, 0)))
    left, most = _faded(row.mixed), max(side.seen.max() for side in sides)
    for side, colour in zip(sides, colours, strict=True):
        left = _tinted(left, side.seen, colour, most)
    captions = ["pixels", "label", "gaze"]
    if count == 2:
        captions[0] = f"pixels: {percent(pixels[0])} source"
        captions[1:] = [f"label: lam {percent(label[0])}", f"gaze: lam_gaze {percent(gaze[0])}"]
    images = [
        Tile(_looked_at(side, colour), whole[number], _caption(row, side), colour)
        for number, (side, colour) in enumerate(zip(sides, colours, strict=True))
    ]
    return [
        *images[:2],
        *[None] * (2 - count),
        Tile(_enlarged(mask), pixels, (captions[0],)),
        Tile(_outlined(_enlarged(row.mixed), whose), label, (captions[1],)),
        Tile(_outlined(_enlarged(left), whose), gaze, (captions[2],)),
        *images[2:],
    ]


def overview(row: PairPicture, colours: Sequence[Colour]) -> Pixels:
    """The mixed image, enlarged, under the gaze on its images that is left in it, the edge of the mask drawn."""
    mixed, most = row.mixed, max(side.seen.max() for side in row.sides)
    for side, colour in zip(row.sides, colours, strict=True):
        mixed = _tinted(mixed, side.seen, colour, most)
    return _outlined(_enlarged(mixed), _enlarged(_whose(np.stack([side.weight for side in row.sides]))))


def _caption(row: PairPicture, side: Side) -> tuple[str, ...]:
    """Below an image: its class and, where lam and lam_gaze do not say it, its shares."""
    if len(row.sides) == 2:
        return (side.name,)
    return side.name, f"label {percent(side.label)}, gaze {percent(side.gaze)}"


def _looked_at(side: Side, colour: Colour) -> Pixels:
    tile = _enlarged(_tinted(side.image, side.density, colour, side.density.max()))
    tile = _outlined(tile, _enlarged((~side.region).astype(np.uint16)))
    return _circled(tile, side.points, colour, zoom=len(tile) // len(side.image))


def _whose(weights: Floats) -> NDArray[np.uint16]:
    """(h, w) which image has the largest weight (k, h, w), seen from the middle of its weights."""
    middle = (weights.min(axis=(1, 2), keepdims=True) + weights.max(axis=(1, 2), keepdims=True)) / 2
    whose: NDArray[np.uint16] = (weights - middle).argmax(axis=0).astype(np.uint16)
    return whose


def _colours(count: int) -> list[Colour]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _enlarged(image: NDArray[Any]) -> NDArray[Any]:
    """A map (h, w, ...) at the size of its tile."""
    zoom = max(1, round(TILE / max(image.shape[:2])))
    return image.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _tinted(image: Pixels, density: Floats, colour: Colour, most: float) -> Pixels:
    """``image`` under a veil of ``colour``, thickest where the density is ``most``, none where it is 0."""
    veil = 0.8 * np.sqrt(density / most)[..., None] if most > 0 else np.zeros((1, 1, 1))
    return _rounded(image + veil * (np.array(colour) - image))


def _faded(image: Pixels) -> Pixels:
    grey = image.mean(axis=2, keepdims=True)
    return _rounded(np.broadcast_to(127.5 + grey / 2, image.shape))


def _rounded(values: Floats) -> Pixels:
    return np.rint(values).astype(np.uint8)


def _outlined(tile: Pixels, whose: NDArray[np.uint16]) -> Pixels:
    """A white line where the number (h, w) changes, on the side of the lower one, and a dark one beyond it; none along
    the border."""
    cv2 = _opencv()
    kernel = np.ones((3, 3), np.uint8)
    tile = tile.copy()
    tile[cv2.erode(whose, kernel) != whose] = INK
    tile[cv2.dilate(whose, kernel, iterations=2) != whose] = WHITE
    return tile


def _circled(tile: Pixels, points: Floats, colour: Colour, *, zoom: int) -> Pixels:
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
