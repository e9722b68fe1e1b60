"""From the gaze part of a spec to a gaze source: read, match with the images, bring into image pixels."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.fixations import Fixations
from gazeeval.data.frame import check_placement, frame_to_image, outside_share, place
from gazeeval.data.gaze import FixationGaze, GazeSource, RenderedGaze
from gazeeval.data.images import ImageIndex
from gazeeval.data.pictures import size_or_none
from gazeeval.data.readers.aristo import infer_base, read_aristo
from gazeeval.data.readers.cub_gha import read_cub_gha
from gazeeval.data.readers.delimited import read_delimited
from gazeeval.data.readers.maps import gaze_map_paths
from gazeeval.data.readers.table import GazeTable, concat
from gazeeval.data.spec import AristoGaze, CsvGaze, CubGhaGaze, Frame, Gaze, MapsGaze, PointGaze
from gazeeval.errors import DataError, SpecError, did_you_mean

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MISMATCHES_ALLOWED = 0.01


@dataclass(frozen=True)
class LoadedGaze:
    """A gaze source, the files it came from, and counted sentences about what was odd or left out."""

    source: GazeSource
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def wanted_files(gaze: Gaze) -> list[tuple[str, ...]]:
    """What must be there below the root; each entry lists patterns of which one has to match."""
    match gaze:
        case MapsGaze():
            return [(gaze.path,)]
        case AristoGaze():
            return [(file,) for file in gaze.files.values()]
        case _:
            return [gaze.files]


def matching(root: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of the first pattern that matches anything, sorted."""
    for pattern in patterns:
        found = sorted(glob.glob(pattern, root_dir=root, recursive=True))
        if found:
            return [root / name for name in found]
    return []


def load_gaze(gaze: Gaze, root: Path, index: ImageIndex, spec: str) -> LoadedGaze:
    """The gaze of all images of ``index``; ``spec`` is the name of the spec in messages.

    Raises:
        DataError: files that cannot be read, belong to other images or contradict the declared frame.
        SpecError: the placement in the frame is not declared.
    """
    if isinstance(gaze, MapsGaze):
        return _load_maps(gaze, root, index)
    files, table = _read(gaze, root)
    table = _of_conditions(table, gaze.conditions, spec)
    rows = _rows(table, gaze, index, spec)
    notes = [*table.notes, *_unmatched(table, rows, index)]
    table, rows = table.take(rows >= 0), rows[rows >= 0]
    fits, size_notes = _claimed_sizes_fit(table, rows, index)
    table, rows = table.take(fits), rows[fits]
    x, y, placement_notes = _in_image_pixels(table, gaze, index.sizes[rows], rows, spec)
    duration, duration_notes = known_durations(table.duration_ms)
    viewers, viewer = named_viewers(table.viewers, table.viewer)
    fixations = Fixations.from_rows(
        rows,
        len(index),
        x,
        y,
        duration_ms=duration,
        viewer=viewer,
        viewers=viewers,
        condition=table.condition,
        conditions=table.conditions,
        kind=table.kind,
    )
    degrees = _px_per_degree(gaze, index.sizes)
    outside = _outside_note(x, y, index.sizes[rows], table.kind)
    all_notes = (*notes, *size_notes, *placement_notes, *duration_notes, *outside)
    return LoadedGaze(FixationGaze(fixations, index.sizes, degrees), tuple(files), all_notes)


def known_durations(duration_ms: Floats) -> tuple[Floats, list[str]]:
    """Durations without gaps: unknown ones get the median of the others, or 1 where none is known."""
    unknown = np.isnan(duration_ms)
    if not unknown.any():
        return duration_ms, []
    if unknown.all():
        return np.ones_like(duration_ms), ["no durations: every fixation counts once"]
    median = float(np.median(duration_ms[~unknown]))
    note = f"{unknown.sum():,} of {len(unknown):,} durations are unknown: the median, {median:.4g} ms, is used"
    return np.where(unknown, median, duration_ms), [note]


def named_viewers(viewers: tuple[str, ...], viewer: NDArray[np.int32]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Viewers without gaps: rows of nobody become a viewer of their own, so that all viewers add up to all gaze."""
    unknown = viewer < 0
    if not viewers or not unknown.any():
        return viewers, viewer
    return (*viewers, "(unknown)"), np.where(unknown, len(viewers), viewer).astype(np.int32)


def _read(gaze: PointGaze, root: Path) -> tuple[list[Path], GazeTable]:
    match gaze:
        case CubGhaGaze():
            files = matching(root, gaze.files)
            return files, read_cub_gha(files, carry_over=gaze.carry_over, repeats=gaze.repeats)
        case AristoGaze():
            levels = {level: root / file for level, file in gaze.files.items()}
            return list(levels.values()), read_aristo(levels, time_unit=gaze.time_unit)
        case CsvGaze():
            files = matching(root, gaze.files)
            columns = {str(ours): theirs for ours, theirs in gaze.columns.items()}
            options: dict[str, Any] = {"time_unit": gaze.time_unit, "delimiter": gaze.delimiter, "kind": gaze.kind}
            return files, concat([read_delimited(file, columns, **options) for file in files])


def _load_maps(gaze: MapsGaze, root: Path, index: ImageIndex) -> LoadedGaze:
    found = gaze_map_paths(index.ids, root / gaze.path, layout=gaze.layout, kind=gaze.kind, levels=gaze.levels)
    files = tuple(tuple(paths) for paths in found)
    other = [i for i, paths in enumerate(files) if paths and size_or_none(paths[0], "ignore") != tuple(index.sizes[i])]
    notes = [
        f"gaze maps of another size than their image: {len(other):,} (first: {files[i][0].name}), stretched to it"
        for i in other[:1]
    ]
    return LoadedGaze(RenderedGaze(files, index.sizes), tuple(path for paths in files for path in paths), tuple(notes))


def _of_conditions(table: GazeTable, wanted: tuple[str, ...] | None, spec: str) -> GazeTable:
    if wanted is None:
        return table
    for name in wanted:
        if name not in table.conditions:
            known = ", ".join(table.conditions) or "none"
            hint = did_you_mean(name, table.conditions)
            raise SpecError(f"{spec}: gaze.conditions: got {name!r}{hint}. The files have: {known}.")
    return table.take(np.isin(table.condition, [table.conditions.index(name) for name in wanted]))


def _rows(table: GazeTable, gaze: PointGaze, index: ImageIndex, spec: str) -> Ints:
    """(m,) row of the image in ``index``, -1 where it is not there."""
    row_of = _image_keys(gaze, index, spec)
    keys = _numbers(table, gaze, index) if gaze.image_key == "number" else table.image
    rows = np.array([row_of.get(key, -1) for key in keys.tolist()], dtype=np.int64)
    if not (rows >= 0).any():
        raise DataError(
            f"gaze images: {spec}: gaze.image_key, got keys such as {keys[:1].tolist()[0]!r}, but the images are "
            f"called {next(iter(row_of))!r}. Write 'image_key: path', 'name', 'stem' or 'number'."
        )
    return rows


def _image_keys(gaze: PointGaze, index: ImageIndex, spec: str) -> dict[Any, int]:
    match gaze.image_key:
        case "number":
            keys: list[Any] = index.numbers.tolist()
        case "path":
            keys = list(index.ids)
        case "name":
            keys = [PurePosixPath(name).name for name in index.ids]
        case "stem":
            keys = [PurePosixPath(name).stem for name in index.ids]
    row_of = {key: row for row, key in enumerate(keys)}
    if len(row_of) < len(keys):
        row = next(row for row, key in enumerate(keys) if row_of[key] != row)
        raise DataError(
            f"gaze images: {spec}: gaze.image_key, got {gaze.image_key!r}, but {keys[row]!r} is both "
            f"{index.ids[row]} and {index.ids[row_of[keys[row]]]}. Use 'image_key: path'."
        )
    return row_of


def _numbers(table: GazeTable, gaze: PointGaze, index: ImageIndex) -> Ints:
    """(m,) image numbers that count from 1, as ``images.txt`` does."""
    try:
        numbers = table.image.astype(np.int64)
    except ValueError as error:
        raise DataError(
            f"gaze images: {error}. Numbers are expected; else set gaze.image_key to path, name or stem."
        ) from None
    if gaze.image_id_base != "auto":
        return numbers + (1 - gaze.image_id_base)
    species = table.conditions.index("species") if "species" in table.conditions else -1
    level = table.condition == species
    if table.label is None or species < 0 or not level.any():
        return numbers + (1 - infer_base(numbers, len(index)))
    return numbers + (1 - infer_base(numbers[level], len(index), table.label[level], index.labels))


def _unmatched(table: GazeTable, rows: Ints, index: ImageIndex) -> list[str]:
    missing = set(table.image[rows < 0].tolist())
    if not missing:
        return []
    return [f"{len(missing):,} images have gaze but are not in {index.listing}: left out"]


def _claimed_sizes_fit(table: GazeTable, rows: Ints, index: ImageIndex) -> tuple[NDArray[np.bool_], list[str]]:
    """(m,) rows of images whose size is the one that the gaze file claims."""
    if table.width is None or table.height is None:
        return np.ones(len(rows), dtype=bool), []
    claimed = np.stack([table.width, table.height], axis=1)
    wrong = (claimed != index.sizes[rows]).any(axis=1) & index.sized[rows]
    images = np.unique(rows[wrong])
    if not len(images):
        return ~np.isin(rows, images), []
    first = int(np.flatnonzero(wrong)[0])
    width, height = index.sizes[rows[first]]
    example = (
        f"first: {index.ids[rows[first]]} is {width}x{height}, the gaze file says "
        f"{claimed[first][0]}x{claimed[first][1]}"
    )
    total = len(np.unique(rows))
    if len(images) > MISMATCHES_ALLOWED * total:
        raise DataError(
            f"image sizes: {len(images):,} of {total:,} images differ from the gaze file ({example}). "
            "Use the original images; if width and height are swapped, try 'exif: ignore'."
        )
    return ~np.isin(rows, images), [
        f"gaze of another image size: {len(images):,} of {total:,} images ({example}), left out"
    ]


def _in_image_pixels(
    table: GazeTable, gaze: PointGaze, sizes: Ints, rows: Ints, spec: str
) -> tuple[Floats, Floats, list[str]]:
    """Positions in original image pixels, corner convention, and what the placement test says."""
    width, height = sizes.T
    frame = gaze.frame
    frame_w, frame_h = (frame.width, frame.height) if frame else (width, height)
    if gaze.unit == "fraction":
        x, y = table.x * frame_w, table.y * frame_h
    else:
        shift = {"corner": 0.0, "centre": 0.5, "one-based": -0.5}[gaze.pixel_origin]
        x, y = table.x + shift, table.y + shift
    if gaze.origin == "lower-left":
        y = frame_h - y
    if frame is None:
        return x, y, []
    if frame.placement is None:
        raise SpecError(_placement_advice(x, y, sizes, frame, spec))
    report = check_placement(x, y, width, height, frame.width, frame.height, frame.placement, image=rows)
    if report.verdict == "refuse" and not frame.force:
        raise DataError(
            f"frame placement: {spec}: {report.message} "
            f"If it is right all the same, pass --placement force:{report.declared} or write 'force: true'."
        )
    notes = [report.message] if report.verdict != "ok" else []
    return *frame_to_image(x, y, width, height, frame.width, frame.height, frame.placement), notes


def _placement_advice(x: Floats, y: Floats, sizes: Ints, frame: Frame, spec: str) -> str:
    where = (x, y, sizes[:, 0], sizes[:, 1], frame.width, frame.height)
    outside = outside_share(*where)
    shares = ", ".join(f"{name} {share.all:.1%}" for name, share in outside.items())
    supported = check_placement(*where, "contain").supported
    hint = f" The smallest that fits is {supported!r}." if supported else ""
    return (
        f"{spec}: gaze.frame.placement: missing. How did an image lie in the {frame.width:g}x{frame.height:g} frame? "
        "Choose contain (letterbox), stretch, native (1:1, centred), cover, or a rectangle x0,y0,x1,y1, in the spec "
        f"or with --placement; results depend on it. Gaze beside the image: {shares}.{hint}"
    )


def _px_per_degree(gaze: PointGaze, sizes: Ints) -> Floats | None:
    """(n,) original pixels per degree: the frame's, divided by how much each image was enlarged on it."""
    if gaze.px_per_degree is None:
        return None
    if gaze.frame is None or gaze.frame.placement is None:
        return np.full(len(sizes), gaze.px_per_degree)
    frame = gaze.frame
    placed = place(sizes[:, 0], sizes[:, 1], frame.width, frame.height, gaze.frame.placement)
    return gaze.px_per_degree / np.sqrt(placed.scale_x * placed.scale_y)


def _outside_note(x: Floats, y: Floats, sizes: Ints, kind: str) -> list[str]:
    outside = (x < 0) | (y < 0) | (x > sizes[:, 0]) | (y > sizes[:, 1])
    if not outside.any():
        return []
    return [f"{outside.sum():,} of {len(x):,} {kind} lie outside their image: kept, for their tails reach into it"]
