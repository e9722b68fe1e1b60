"""What `gazeeval validate` looks at: images and gaze of a spec, read as far as they can be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from gazeeval.data.frame import frame_to_image
from gazeeval.data.gaze import RenderedGaze
from gazeeval.data.gaze_files import (
    check_declared,
    image_rows,
    in_frame_pixels,
    load_gaze,
    of_conditions,
    read_gaze,
    wanted_files,
)
from gazeeval.data.images import ImageIndex, list_images
from gazeeval.data.pictures import read_image
from gazeeval.data.readers.files import find_files
from gazeeval.data.readers.maps import read_gaze_map
from gazeeval.data.readers.table import GazeTable
from gazeeval.data.spec import CubImages, DatasetSpec, Images, MapsGaze, PointGaze
from gazeeval.errors import GazeEvalError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
T = TypeVar("T")

CELLS = 32  # rows and columns of the maps of edges


@dataclass(frozen=True)
class ImageEvidence:
    """n images whose files are there.

    Attributes:
        notes: of the list of images.
        broken: row -> why its file cannot be decoded.
        orientation: (n,) EXIF tag, 1 for upright or none.
        digests: of the files' bytes.
        edges: (n, 32, 32) float32, how much happens in each cell of the picture, mean 1; 0 where it cannot be decoded.
        boxes: (n, 4) x0, y0, x1, y1 px of the object, where the data set has them.
    """

    spec: Images
    index: ImageIndex
    notes: tuple[str, ...]
    broken: dict[int, str]
    orientation: Ints
    digests: tuple[str, ...]
    edges: NDArray[np.float32]
    boxes: Floats | None


@dataclass(frozen=True)
class GazeEvidence:
    """Gaze given as points.

    Attributes:
        spec: as declared.
        everything: (k) rows as written.
        everyones: (k,) row of the image in the list, -1 for none.
        table, rows: the m of them that have an image.
        frame_x, frame_y: (m,) px of the frame; x, y: of the original image, corner convention. NaN without a position.
    """

    spec: PointGaze
    images: ImageEvidence
    everything: GazeTable
    everyones: Ints
    table: GazeTable
    rows: Ints
    frame_x: Floats
    frame_y: Floats
    x: Floats
    y: Floats

    @property
    def sizes(self) -> Ints:
        """(m, 2) width, height of the image of each row."""
        return self.images.index.sizes[self.rows]


@dataclass(frozen=True)
class MapEvidence:
    """Gaze given as pictures: ``broken`` says of a row why they cannot be read, ``blank`` are rows without any gaze."""

    images: ImageEvidence
    source: RenderedGaze
    notes: tuple[str, ...]
    broken: dict[int, str]
    blank: Ints


@dataclass
class Evidence:
    """All of it; None what could not be read.

    ``tried`` are the codes of the steps of reading that were taken, ``failures`` code and reason of those that failed.
    """

    spec: DatasetSpec
    root: Path
    images: ImageEvidence | None = None
    points: GazeEvidence | None = None
    maps: MapEvidence | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)
    tried: set[str] = field(default_factory=lambda: {"F101"})


def collect(spec: DatasetSpec, name: str, root: Path) -> Evidence:
    """Read what the spec ``name`` describes; nothing is raised for what is wrong with the data."""
    found = Evidence(spec, root)

    def attempt(code: str, step: Callable[[], T]) -> T | None:
        found.tried.add(code)
        try:
            return step()
        except GazeEvalError as error:
            found.failures.append((code, str(error)))
            return None

    images = found.images = attempt("I101", lambda: _images(spec.images, root))
    gaze = spec.gaze
    absent = [patterns for patterns in wanted_files(gaze) if not find_files(root, patterns)]
    found.failures += [("F101", f"no {' or '.join(patterns)} in {root}") for patterns in absent]
    if absent:
        return found
    if isinstance(gaze, MapsGaze):
        found.maps = attempt("G101", lambda: _maps(gaze, root, images, name)) if images else None
        return found
    attempt("G102", lambda: check_declared(gaze, name))
    read = attempt("G101", lambda: read_gaze(gaze, root)[1])
    if read is not None and images is not None:
        table, index = read, images.index
        rows = attempt("G103", lambda: image_rows(table, gaze, index, name))
        scaled = gaze.unit != "deg" or gaze.px_per_degree is not None  # else G102 has said it
        if rows is not None and scaled:
            matched = rows
            found.points = attempt("G102", lambda: _points(gaze, images, table, matched, name))
    return found


def _images(images: Images, root: Path) -> ImageEvidence:
    index, notes = list_images(images, root)
    with ThreadPoolExecutor(2) as pool:  # Pillow decodes without the interpreter's lock
        seen = list(pool.map(lambda path: _look(path, images.exif), index.paths))
    return ImageEvidence(
        images,
        index,
        tuple(notes),
        {row: look.error for row, look in enumerate(seen) if look.error},
        np.array([look.orientation for look in seen], dtype=np.int64),
        tuple(look.digest for look in seen),
        np.stack([look.edges for look in seen]),
        _boxes(images, index, root),
    )


@dataclass(frozen=True)
class _Look:
    digest: str
    edges: NDArray[np.float32]
    orientation: int = 1
    error: str = ""


def _look(path: Path, exif: str) -> _Look:
    digest = str(path)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        picture = read_image(path, exif)
        with Image.open(path) as image:
            return _Look(digest, _edges(picture), int(image.getexif().get(ExifTags.Base.Orientation, 1)))
    except (GazeEvalError, OSError) as error:
        return _Look(digest, np.zeros((CELLS, CELLS), np.float32), error=str(error))


def _edges(picture: Image.Image) -> NDArray[np.float32]:
    """(32, 32) float32 strength of the brightness gradient, mean 1 (0 of a picture of one colour)."""
    grey = np.asarray(picture.convert("L").resize((2 * CELLS, 2 * CELLS), Image.Resampling.BOX), np.float32)
    strength = np.abs(np.gradient(grey)).sum(axis=0).reshape(CELLS, 2, CELLS, 2).mean(axis=(1, 3))
    edges: NDArray[np.float32] = (strength / max(float(strength.mean()), 1e-6)).astype(np.float32)
    return edges


def _boxes(images: Images, index: ImageIndex, root: Path) -> Floats | None:
    """Of CUB's ``bounding_boxes.txt``: number, x, y, width, height per line."""
    path = root / images.path / "bounding_boxes.txt"
    if not isinstance(images, CubImages) or not path.is_file():
        return None
    try:
        listed = {int(line[0]): line[1:5] for line in np.loadtxt(path, ndmin=2)}
        x, y, width, height = np.array([listed.get(number, [np.nan] * 4) for number in index.numbers.tolist()]).T
    except (ValueError, IndexError):  # a helper file of other making is no reason to stop
        return None
    return np.stack((x, y, x + width, y + height), axis=1)


def _points(gaze: PointGaze, images: ImageEvidence, read: GazeTable, everyones: Ints, name: str) -> GazeEvidence:
    chosen = of_conditions(read, gaze.conditions, name)
    if len(chosen) < len(read):
        assert gaze.conditions is not None
        everyones = everyones[np.isin(read.condition, [read.conditions.index(word) for word in gaze.conditions])]
    rows, table = everyones[everyones >= 0], chosen.take(everyones >= 0)
    sizes = images.index.sizes[rows]
    declared = gaze if gaze.origin else gaze.model_copy(update={"origin": "upper-left"})
    placed = in_frame_pixels(table, declared, sizes)
    x, y = placed.x, placed.y
    if gaze.frame is not None:
        how = gaze.frame.placement or "contain"
        x, y = frame_to_image(x, y, sizes[:, 0], sizes[:, 1], gaze.frame.width, gaze.frame.height, how)
    return GazeEvidence(gaze, images, chosen, everyones, table, rows, placed.x, placed.y, x, y)


def _maps(gaze: MapsGaze, root: Path, images: ImageEvidence, name: str) -> MapEvidence:
    loaded = load_gaze(gaze, root, images.index, name)
    assert isinstance(loaded.source, RenderedGaze)
    broken, blank = {}, []
    for row, files in enumerate(loaded.source.files):
        try:
            if files and not (read_gaze_map(files) > 0).any():
                blank.append(row)
        except GazeEvalError as error:
            broken[row] = str(error)
    return MapEvidence(images, loaded.source, loaded.notes, broken, np.array(blank, dtype=np.int64))
