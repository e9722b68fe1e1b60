"""From the gaze part of a spec to a gaze source: read, match with the images, bring into image pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.events import detect as detect_events
from gazeeval.data.events import idt, ivt, summarise
from gazeeval.data.fixations import Fixations
from gazeeval.data.frame import check_placement, frame_pixels, frame_to_image, outside_share, place
from gazeeval.data.gaze import FixationGaze, GazeSource, RenderedGaze
from gazeeval.data.images import ImageIndex
from gazeeval.data.parsed import parsed
from gazeeval.data.pictures import size_or_none
from gazeeval.data.readers.aristo import infer_base, read_aristo
from gazeeval.data.readers.cub_gha import read_cub_gha
from gazeeval.data.readers.delimited import Layout, read_delimited
from gazeeval.data.readers.files import GazeFile, find_files
from gazeeval.data.readers.maps import gaze_map_paths
from gazeeval.data.readers.matlab import load_mat
from gazeeval.data.readers.parquet import read_parquet
from gazeeval.data.readers.pysaliency import read_pysaliency
from gazeeval.data.readers.records import Lookup, load_json, read_records
from gazeeval.data.readers.table import GazeTable
from gazeeval.data.spec import (
    AristoGaze,
    CsvGaze,
    CubGhaGaze,
    Frame,
    Gaze,
    Ivt,
    MapsGaze,
    Origin,
    ParquetGaze,
    PointGaze,
    PysaliencyGaze,
    RecordsGaze,
)
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
        case PysaliencyGaze():
            return [gaze.files, (gaze.stimuli,)]
        case _:
            return [gaze.files]


def load_gaze(gaze: Gaze, root: Path, index: ImageIndex, spec: str) -> LoadedGaze:
    """The gaze of all images of ``index``; ``spec`` is the name of the spec in messages.

    Raises:
        DataError: files that cannot be read, belong to other images or contradict the declared frame.
        SpecError: something that the positions need is not declared: their origin, pixels per degree, the placement.
    """
    if isinstance(gaze, MapsGaze):
        return _load_maps(gaze, root, index)
    check_declared(gaze, spec)
    files, table = read_gaze(gaze, root)
    table = of_conditions(table, gaze.conditions, spec)
    if getattr(gaze, "immediate_repeats", "keep") == "drop":
        table = _without_repeats(table)
    rows = image_rows(table, gaze, index, spec)
    notes = [*table.notes, *_unmatched(table, rows, index)]
    table, rows = table.take(rows >= 0), rows[rows >= 0]
    fits, size_notes = _claimed_sizes_fit(table, rows, index)
    table, rows = table.take(fits), rows[fits]
    table = in_frame_pixels(table, gaze, index.sizes[rows])
    chosen, table, sample_notes = _usable(table, gaze)
    rows = rows[chosen]
    x, y, placement_notes = _in_image_pixels(table, gaze.frame, index.sizes[rows], rows, spec)
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
    all_notes = (*notes, *size_notes, *sample_notes, *placement_notes, *duration_notes, *outside)
    return LoadedGaze(FixationGaze(fixations, index.sizes, degrees), files, all_notes)


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
    """Viewers without gaps: those who looked at none of the images go, rows of nobody become a viewer of their own.

    So all viewers add up to all gaze.
    """
    used, code = np.unique(viewer, return_inverse=True)
    if not viewers or not len(used):
        return viewers, viewer
    names = tuple(viewers[i] for i in used if i >= 0)
    if used[0] >= 0:
        return names, code.astype(np.int32)
    return (*names, "(unknown)"), np.where(viewer < 0, len(names), code - 1).astype(np.int32)


def read_gaze(gaze: PointGaze, root: Path) -> tuple[tuple[Path, ...], GazeTable]:
    """The files of a spec and what is in them, as it is written there. Raises DataError for what cannot be read."""
    match gaze:
        case AristoGaze():
            levels = {level: root / file for level, file in gaze.files.items()}
            files = [GazeFile(path, gaze.files[level]) for level, path in levels.items()]
            parse = partial(read_aristo, levels, time_unit=gaze.time_unit)
        case CubGhaGaze():
            files = find_files(root, gaze.files)
            paths = [file.path for file in files]
            parse = partial(read_cub_gha, paths, carry_over=gaze.carry_over, repeats=gaze.repeats)
        case PysaliencyGaze():
            exports = find_files(root, gaze.files)
            files = [*exports, GazeFile(root / gaze.stimuli, gaze.stimuli)]
            options: dict[str, Any] = {"kind": gaze.kind, "time_unit": gaze.time_unit}
            parse = partial(read_pysaliency, exports, root / gaze.stimuli, **options)
        case _:
            files = find_files(root, gaze.files)
            parse = partial(_read_rows, gaze, files)
    return tuple(file.path for file in files), parsed(files, gaze.reading(), parse)


def _read_rows(gaze: CsvGaze | ParquetGaze | RecordsGaze, files: Sequence[GazeFile]) -> GazeTable:
    columns = {str(ours): theirs for ours, theirs in gaze.columns.items()}
    options: dict[str, Any] = {
        "where": gaze.where,
        "kind": gaze.kind,
        "time_unit": gaze.time_unit,
        "sampling_rate": gaze.sampling_rate,
    }
    match gaze:
        case CsvGaze():
            layout = Layout(gaze.delimiter, gaze.header, gaze.decimal, gaze.encoding, gaze.ignore)
            return read_delimited(files, columns, layout=layout, **options)
        case ParquetGaze():
            return read_parquet(files, columns, **options)
        case RecordsGaze():
            load = load_json if gaze.format == "json" else load_mat
            lookup = Lookup(**gaze.lookup.model_dump()) if gaze.lookup else None
            return read_records(
                files, load, columns, records=gaze.records, points=gaze.points, lookup=lookup, **options
            )


def _load_maps(gaze: MapsGaze, root: Path, index: ImageIndex) -> LoadedGaze:
    found = gaze_map_paths(index.ids, root / gaze.path, layout=gaze.layout, kind=gaze.kind, levels=gaze.levels)
    files = tuple(tuple(paths) for paths in found)
    other = [i for i, paths in enumerate(files) if paths and size_or_none(paths[0], "ignore") != tuple(index.sizes[i])]
    notes = [
        f"gaze maps of another size than their image: {len(other):,} (first: {files[i][0].name}), stretched to it"
        for i in other[:1]
    ]
    return LoadedGaze(RenderedGaze(files, index.sizes), tuple(path for paths in files for path in paths), tuple(notes))


def of_conditions(table: GazeTable, wanted: tuple[str, ...] | None, spec: str) -> GazeTable:
    if wanted is None:
        return table
    for name in wanted:
        if name not in table.conditions:
            known = ", ".join(table.conditions) or "none"
            hint = did_you_mean(name, table.conditions)
            raise SpecError(f"{spec}: gaze.conditions: got {name!r}{hint}. The files have: {known}.")
    return table.take(np.isin(table.condition, [table.conditions.index(name) for name in wanted]))


def _without_repeats(table: GazeTable) -> GazeTable:
    """Without the rows of a recording that are at the same point as the one before."""
    again = np.append(False, (np.diff(table.recording()) == 0) & (np.diff(table.x) == 0) & (np.diff(table.y) == 0))
    note = f"{again.sum():,} of {len(table):,} {table.kind} are at the same point as the one before: left out"
    return replace(table, notes=(*table.notes, note)).take(~again) if again.any() else table


def check_declared(gaze: PointGaze, spec: str) -> None:
    """What has no default, and which options may add to the spec."""
    if gaze.origin is None:
        raise SpecError(
            f"{spec}: gaze.origin: not declared. Where is (0, 0)? Choose {', '.join(get_args(Origin))}, in the spec or "
            "with --origin; a wrong choice mirrors all gaze."
        )
    needs = ["gaze.unit 'deg'"] if gaze.unit == "deg" else []
    detect = getattr(gaze, "detect", None)
    if detect and detect.threshold_unit == "deg":
        needs.append("gaze.detect, whose threshold is in degrees,")
    if needs and gaze.px_per_degree is None:
        raise SpecError(
            f"{spec}: gaze.px_per_degree: missing. {needs[0]} needs it: pixels of the frame (or the image) per degree "
            "of visual angle, in the spec or with --px-per-degree."
        )


def image_rows(table: GazeTable, gaze: PointGaze, index: ImageIndex, spec: str) -> Ints:
    """(m,) row of the image in ``index``, -1 where it is not there."""
    row_of = _image_keys(gaze, index, spec)
    if gaze.image_key == "number":
        keys = _numbers(table, gaze, index).tolist()
        found = [row_of.get(key, -1) for key in keys]
    else:
        keys = table.images.tolist()
        found = [row_of.get(_short(key, gaze.image_key), row_of.get(key, -1)) for key in map(str, keys)]
    rows = np.array(found, dtype=np.int64)[table.image]
    if not (rows >= 0).any():
        raise DataError(
            f"gaze images: {spec}: gaze.image_key, got keys such as {keys[0]!r}, but the images are "
            f"called {next(iter(row_of))!r}. Write 'image_key: path', 'path-stem', 'name', 'stem' or 'number'."
        )
    return rows


def _image_keys(gaze: PointGaze, index: ImageIndex, spec: str) -> dict[Any, int]:
    keys = (
        index.numbers.tolist() if gaze.image_key == "number" else [_short(name, gaze.image_key) for name in index.ids]
    )
    row_of = {key: row for row, key in enumerate(keys)}
    if len(row_of) < len(keys):
        row = next(row for row, key in enumerate(keys) if row_of[key] != row)
        raise DataError(
            f"gaze images: {spec}: gaze.image_key, got {gaze.image_key!r}, but {keys[row]!r} is both "
            f"{index.ids[row]} and {index.ids[row_of[keys[row]]]}. Use 'image_key: path'."
        )
    return row_of


def _short(name: str, key: str) -> str:
    """The part of an image's path that is its key; of a key in the gaze files, too, which may say more."""
    path = PurePosixPath(name)
    match key:
        case "path-stem":
            return path.with_suffix("").as_posix()
        case "name":
            return path.name
        case "stem":
            return path.stem
    return name


def _numbers(table: GazeTable, gaze: PointGaze, index: ImageIndex) -> Ints:
    """(k,) the images' numbers, which count from 1, as ``images.txt`` does."""
    try:
        numbers = table.images.astype(np.int64)
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
    return numbers + (1 - infer_base(numbers[table.image[level]], len(index), table.label[level], index.labels))


def _unmatched(table: GazeTable, rows: Ints, index: ImageIndex) -> list[str]:
    missing = len(np.unique(table.image[rows < 0]))
    return [f"{missing:,} images have gaze but are not in {index.listing}: left out"] if missing else []


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


def in_frame_pixels(table: GazeTable, gaze: PointGaze, sizes: Ints) -> GazeTable:
    """The table with positions in px of the frame (or of the image, where it is its own), y down."""
    width, height = (gaze.frame.width, gaze.frame.height) if gaze.frame else sizes.T
    px_per_unit = {"mm": gaze.px_per_mm, "deg": gaze.px_per_degree}.get(gaze.unit) or 1.0
    how = {"origin": str(gaze.origin), "pixel_origin": gaze.pixel_origin, "unit": gaze.unit}
    x, y = frame_pixels(table.x, table.y, width, height, px_per_unit=px_per_unit, **how)
    return replace(table, x=x, y=y)


def _usable(table: GazeTable, gaze: PointGaze) -> tuple[Ints, GazeTable, list[str]]:
    """Fixations found among samples where the spec asks for it, else the rows that have a position.

    The rows of ``table`` that they come from (fixations: that they begin with), their table, and what to say.
    """
    detect = getattr(gaze, "detect", None)
    lost = np.isnan(table.x) | np.isnan(table.y)
    if detect is None:
        chosen = np.flatnonzero(~lost)
        notes = [f"{lost.sum():,} of {len(table):,} samples have no position (blinks, lost track): left out"]
        return chosen, table.take(chosen), notes if lost.any() else []
    chosen = np.lexsort((table.t_ms, table.recording()))
    samples = table.take(chosen)
    unit = float(gaze.px_per_degree or 1) if detect.threshold_unit == "deg" else 1.0
    if isinstance(detect, Ivt):
        threshold, per, find = detect.velocity_threshold, "/s", ivt
    else:
        threshold, per, find = detect.dispersion_threshold, "", idt
    search = partial(find, threshold=threshold * unit, min_duration_ms=detect.min_duration_ms)
    events = detect_events(search, samples.recording(), samples.x, samples.y, samples.t_ms, detect.max_gap_ms)
    rule = f"{detect.method.upper()}, {threshold:g} {detect.threshold_unit}{per}, {detect.min_duration_ms:g} ms"
    if not len(events.first):
        raise DataError(
            f"gaze.detect: no fixation in {len(table):,} samples ({rule}). Check gaze.time_unit, the unit of the "
            "positions and the threshold, or write 'detect: none'."
        )
    x, y, duration = summarise(events, samples.x, samples.y, samples.t_ms).T
    found = replace(samples.take(events.first), x=x, y=y, duration_ms=duration, kind="fixations")
    note = f"{len(found):,} fixations found in {len(table):,} samples, {lost.sum():,} of them without position ({rule})"
    return chosen[events.first], found, [note]


def _in_image_pixels(
    table: GazeTable, frame: Frame | None, sizes: Ints, rows: Ints, spec: str
) -> tuple[Floats, Floats, list[str]]:
    """Positions in original image pixels, corner convention, and what the placement test says."""
    x, y = table.x, table.y
    width, height = sizes.T
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
    outside, exchanged = _outside(x, y, sizes), _outside(y, x, sizes)
    if not outside:
        return []
    swap = "; with x and y exchanged none would: check the columns" if not exchanged else ""
    return [f"{outside:,} of {len(x):,} {kind} lie outside their image: kept, for their tails reach into it{swap}"]


def _outside(x: Floats, y: Floats, sizes: Ints) -> int:
    return int(np.count_nonzero((x < 0) | (y < 0) | (x > sizes[:, 0]) | (y > sizes[:, 1])))
