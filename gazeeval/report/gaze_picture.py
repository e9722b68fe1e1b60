"""A picture of where people looked on one image, in its original frame and in that of the network input.

Made to see that gaze sits where it should: a mirrored or shifted spec shows at once. Circles are fixations, their area
is the duration, their colour the viewer (palette of Okabe & Ito, 2008); the veil is the density.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gazeeval.data.dataset import Dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.gaze import FixationGaze
from gazeeval.data.geometry import Geometry

Floats = NDArray[np.float64]
Colour = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = (
    *((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167)),
    *((230, 159, 0), (86, 180, 233), (240, 228, 66)),
)
"""Of viewers, in order; from the eighth on they come again."""

VEIL: Colour = (204, 0, 0)
WHITE, INK = (255, 255, 255), (34, 34, 34)
MARGIN, GAP, TEXT = 16, 12, 15
_FINE = 3  # circles are drawn so much larger, then reduced
_USUAL_MS = 250.0


@dataclass(frozen=True)
class Panel:
    """One frame of the image.

    Attributes:
        pixels: (h, w, 3) uint8.
        density: (h, w) of mass 1, or all zero.
        x, y: (k,) px, corner convention.
    """

    name: str
    pixels: NDArray[np.uint8]
    density: NDArray[np.float32]
    x: Floats
    y: Floats


def draw_gaze(
    dataset: Dataset, row: int, geometry: Geometry, recipe: GazeRecipe, *, numbers: bool = False, side: int = 480
) -> Image.Image:
    """The page: a row per frame, with the fixations on the left and the density on the right.

    Args:
        row: of the data set.
        geometry: how an image becomes the network input.
        recipe: of the density; a sigma in px of the network input is brought into the original frame.
        numbers: write the order of each viewer's fixations, from 1.
        side: px, the longer side of every picture.

    Raises:
        ImageError: the image cannot be read.
        UsageError: a sigma in degrees where the data set has no px_per_degree.
    """
    own = dataset.gaze.fixations.select(np.array([row])) if isinstance(dataset.gaze, FixationGaze) else None
    viewer = own.viewer if own else np.empty(0, np.int32)
    ms = own.duration_ms if own else np.empty(0, np.float32)
    rows = []
    for panel in _panels(dataset, row, geometry, recipe):
        zoom = side / max(panel.pixels.shape[:2])
        rows.append((panel, _circled(panel, viewer, ms, zoom, numbers), _veiled(panel, zoom)))
    lines = [dataset.image_ids[row], f"{dataset.class_names[dataset.labels[row]]}, density {recipe}"]
    return _page(lines, rows, dataset.gaze.viewers if len(viewer) else (), set(viewer.tolist()))


def _panels(dataset: Dataset, row: int, geometry: Geometry, recipe: GazeRecipe) -> list[Panel]:
    picture = dataset.read_image(row)
    whole = Geometry.stretch(picture.height, picture.width, "bilinear")
    scale = geometry.point_map(*dataset.sizes[[row]].T)
    sigma = recipe.sigma
    if sigma.unit == "px":
        sigma = Sigma(float(sigma.value / np.sqrt(scale.scale_x * scale.scale_y)[0]), "px")
    there = np.array([row])
    panels = []
    for name, frame, width in (("original image", whole, sigma), ("network input", geometry, recipe.sigma)):
        how = GazeRecipe(width, recipe.weight, recipe.border)
        density = dataset.gaze.density(there, frame, how, "cpu")[0].numpy()
        x, y, _ = dataset.gaze.points(row, frame).T
        described = f"{frame.width}x{frame.height}" if frame is whole else frame.describe()
        panels.append(Panel(f"{name}, {described}", frame.apply(picture), density, x, y))
    return panels


def _circled(
    panel: Panel, viewer: NDArray[np.int32], ms: NDArray[np.float32], zoom: float, numbers: bool
) -> Image.Image:
    """Fixations on the picture, enlarged by ``zoom``, the longer ones below."""
    page = _zoomed(panel.pixels, zoom * _FINE)
    overlay = Image.new("RGBA", page.size)
    draw, font = ImageDraw.Draw(overlay), ImageFont.load_default(11 * _FINE)
    long = max(page.size) / 40
    radius = np.clip(long * np.sqrt(np.nan_to_num(ms, nan=_USUAL_MS) / _USUAL_MS), long / 4, 4 * long)
    order = _order(viewer)
    for i in np.argsort(-radius, kind="stable"):
        x, y, r = panel.x[i] * zoom * _FINE, panel.y[i] * zoom * _FINE, float(radius[i])
        colour = COLOURS[viewer[i] % len(COLOURS)]
        draw.ellipse((x - r, y - r, x + r, y + r), (*colour, 130), (*WHITE, 255), width=_FINE)
        draw.ellipse((x - _FINE, y - _FINE, x + _FINE, y + _FINE), (*WHITE, 255))
    if numbers:
        for i, number in enumerate(order):
            at = panel.x[i] * zoom * _FINE, panel.y[i] * zoom * _FINE
            draw.text(at, f"{number}", WHITE, font, anchor="mm", stroke_width=2 * _FINE, stroke_fill=INK)
    return Image.alpha_composite(page.convert("RGBA"), overlay).convert("RGB").reduce(_FINE)


def _order(viewer: NDArray[np.int32]) -> list[int]:
    """(k,) place of each fixation among those of its viewer, from 1."""
    seen: dict[int, int] = {}
    places = []
    for code in viewer.tolist():
        seen[code] = seen.get(code, 0) + 1
        places.append(seen[code])
    return places


def _veiled(panel: Panel, zoom: float) -> Image.Image:
    """The picture in grey under a veil, thickest where the density is largest."""
    most = float(panel.density.max())
    veil = 0.85 * np.sqrt(panel.density / most)[..., None] if most > 0 else np.zeros((1, 1, 1))
    grey = np.broadcast_to(127.5 + panel.pixels.mean(axis=2, keepdims=True) / 2, panel.pixels.shape)
    return _zoomed(np.rint(grey + veil * (np.array(VEIL) - grey)).astype(np.uint8), zoom)


def _zoomed(pixels: NDArray[np.uint8], zoom: float) -> Image.Image:
    image = Image.fromarray(pixels)
    return image.resize((max(1, round(image.width * zoom)), max(1, round(image.height * zoom))))


def _page(
    lines: Sequence[str],
    rows: Sequence[tuple[Panel, Image.Image, Image.Image]],
    viewers: Sequence[str],
    shown: set[int],
) -> Image.Image:
    line = TEXT + GAP // 2
    width = max(left.width + GAP + right.width for _, left, right in rows)
    height = sum(left.height + line + GAP for _, left, _ in rows) + line * (len(lines) + bool(viewers))
    page = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), WHITE)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT)
    y = MARGIN
    for text in lines:
        draw.text((MARGIN, y), text, INK, font)
        y += line
    x = float(MARGIN)
    for code, name in enumerate(viewers):
        if code in shown:
            draw.ellipse((x, y + 3, x + TEXT - 3, y + TEXT), COLOURS[code % len(COLOURS)])
            draw.text((x + TEXT, y), name, INK, font)
            x += 2 * TEXT + font.getlength(name)
    y += line * bool(viewers)
    for panel, left, right in rows:
        draw.text((MARGIN, y + GAP // 2), panel.name, INK, font)
        page.paste(left, (MARGIN, y + line + GAP // 2))
        page.paste(right, (MARGIN + left.width + GAP, y + line + GAP // 2))
        y += left.height + line + GAP
    return page
