"""Checks of gaze, and of gaze against images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.frame import Outside, check_placement, outside_share
from gazeeval.data.gaze_files import MISMATCHES_ALLOWED
from gazeeval.validation.evidence import CELLS, GazeEvidence, MapEvidence
from gazeeval.validation.finding import Finding, from_note

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

OUTSIDE_REFUSED = 0.05
PLAUSIBLE_FIXATION_MS = (20.0, 5000.0)  # of the median
ODD_DURATION_MS = 10_000.0
_MIN_IMAGES = 20
_HINTS, _CLEARLY = 3.0, 5.0  # standard errors
_CARRIED, _REPEATED, _TIME_UNIT = "the fixation that ended", "occur more than once", "unit of time taken"


def reader_notes(gaze: GazeEvidence) -> Iterator[Finding]:
    """What the reader left out, joined or changed."""
    elsewhere = _CARRIED, _REPEATED, _TIME_UNIT
    notes = (note for note in gaze.everything.notes if not any(phrase in note for phrase in elsewhere))
    yield from (from_note(note, "warning") for note in notes)


def carry_overs(gaze: GazeEvidence) -> Iterator[Finding]:
    """Fixations that began on the image shown before."""
    for note in gaze.everything.notes:
        if _CARRIED in note:
            advice = "They say nothing of the later image: 'carry_over: drop-first', or halve."
            kept = getattr(gaze.spec, "carry_over", "keep") == "keep"
            found = from_note(note.partition(": ")[2], "warning" if kept else "info")
            yield Finding(found.level, found.count, note, "", advice if kept else "")


def repeats(gaze: GazeEvidence) -> Iterator[Finding]:
    """Images shown more than once to one viewer, and fixations at the point of the one before."""
    for note in gaze.everything.notes:
        if _REPEATED in note:
            found = from_note(note.partition(": ")[2], "warning")
            yield Finding("warning", found.count, note, "", "Choose 'repeats: concat', first or last.")
    table, recording = gaze.everything, gaze.everything.recording()
    if table.kind != "fixations":
        return
    same = (np.diff(recording) == 0) & (np.diff(table.x) == 0) & (np.diff(table.y) == 0)
    again = np.flatnonzero(same) + 1
    for row in again[:1]:
        yield Finding(
            "warning",
            len(again),
            f"{len(again):,} of {len(table):,} fixations are at the same point as the one before",
            _row(gaze, int(row)),
            "Raw samples ('kind: samples'), or positions on a coarse grid?"
            + (" 'immediate_repeats: drop' leaves them out." if hasattr(gaze.spec, "immediate_repeats") else ""),
        )


def gaze_without_image(gaze: GazeEvidence) -> Iterator[Finding]:
    """Gaze on images that are not in the list."""
    keys = np.unique(gaze.everything.image[gaze.everyones < 0])
    for key in keys[:1]:
        total = len(np.unique(gaze.everything.image))
        yield Finding(
            "warning",
            len(keys),
            f"{len(keys):,} of {total:,} images with gaze are not in {gaze.images.index.listing}: left out",
            f"{gaze.everything.images[key]}",
            "Fine for a part of a data set; else check gaze.image_key and images.path.",
        )


def images_without_gaze(gaze: GazeEvidence | MapEvidence) -> Iterator[Finding]:
    """Images of the list that nobody looked at."""
    index = gaze.images.index
    if isinstance(gaze, MapEvidence):
        looked_at = gaze.source.has_gaze()
    else:
        looked_at = np.bincount(gaze.rows, minlength=len(index)) > 0
    bare = np.flatnonzero(~looked_at)
    for row in bare[:1]:
        text = f"{len(bare):,} of {len(index):,} images have no gaze: left out of split 'all'"
        yield Finding("warning", len(bare), text, index.ids[row])


def image_sizes(gaze: GazeEvidence) -> Iterator[Finding]:
    """The size that the gaze file claims for an image, against its file."""
    table, index = gaze.table, gaze.images.index
    if table.width is None or table.height is None:
        return
    claimed = np.stack((table.width, table.height), axis=1)
    wrong = (claimed != gaze.sizes).any(axis=1) & index.sized[gaze.rows]
    images, total = np.unique(gaze.rows[wrong]), len(np.unique(gaze.rows))
    for row in np.flatnonzero(wrong)[:1]:
        width, height = gaze.sizes[row]
        first = (
            f"{index.ids[gaze.rows[row]]} is {width}x{height}, the gaze file says {claimed[row][0]}x{claimed[row][1]}"
        )
        yield Finding(
            "error" if len(images) > MISMATCHES_ALLOWED * total else "warning",
            len(images),
            f"{len(images):,} of {total:,} images have another size than the gaze file says",
            first,
            _size_advice(gaze, claimed, wrong),
        )


def _size_advice(gaze: GazeEvidence, claimed: NDArray[np.int64], wrong: Bools) -> str:
    """What makes most of the sizes right that are wrong."""
    sizes, rows = gaze.images.index.sizes, gaze.rows[wrong]
    for shift in (-1, 1):
        shifted = rows + shift
        inside = (shifted >= 0) & (shifted < len(sizes))
        if (
            len(np.unique(sizes, axis=0)) > 1
            and (claimed[wrong][inside] == sizes[shifted[inside]]).all(axis=1).mean() > 0.9
        ):
            return _base_advice(gaze, shift)
    if (claimed[wrong] == sizes[rows][:, ::-1]).all(axis=1).mean() > 0.9:
        turned = (gaze.images.orientation[rows] >= 5).mean()
        if turned > 0.9:
            return "Width and height are exchanged where EXIF turns the image: 'exif: ignore'?"
        return "Width and height are exchanged: exchange the two in gaze.columns?"
    return "Gaze of other images, or resized images: use the original ones."


def _base_advice(gaze: GazeEvidence, shift: int) -> str:
    neighbour = "one before" if shift < 0 else "one after"
    if gaze.spec.image_key == "number":
        now = gaze.spec.image_id_base
        other = {0: 1, 1: 0}.get(now, "0 or 1") if isinstance(now, int) else "0 or 1"
        return f"It is that of the {neighbour}: image numbers from {other}? Set gaze.image_id_base ({now} now)."
    return f"It is that of the {neighbour}: the rows of images and gaze are out of step by one."


def base_of_ids(gaze: GazeEvidence) -> Iterator[Finding]:
    """Numbers of images that only fit when counted from the other base."""
    if gaze.spec.image_key != "number" or gaze.spec.image_id_base == "auto":
        return
    numbers, known = gaze.everything.images.astype(np.int64), gaze.images.index.numbers
    base = gaze.spec.image_id_base
    if base == 1 and numbers.min() == 0:
        yield Finding("error", 1, "image number 0 occurs, but gaze.image_id_base is 1", "0", "'image_id_base: 0'?")
    if base == 0 and numbers.min() > 0 and numbers.max() == known.max():
        text = f"image numbers run from {numbers.min()} to {numbers.max()}, the last of the list, but count from 0"
        yield Finding("error", 1, text, f"{numbers.max()}", "'image_id_base: 1'?")


def labels_agree(gaze: GazeEvidence) -> Iterator[Finding]:
    """Labels in gaze files against those of the images, up to their base."""
    if gaze.table.label is None:
        return
    table = gaze.table
    level = table.conditions.index("species") if "species" in table.conditions else None
    rows = np.flatnonzero(table.condition == level) if level is not None else np.arange(len(table))
    if not len(rows) or table.label is None:
        return
    difference = table.label[rows] - gaze.images.index.labels[gaze.rows[rows]]
    values, counts = np.unique(difference, return_counts=True)
    base, share = int(values[counts.argmax()]), counts.max() / len(rows)
    if share > 0.99:
        yield Finding(
            "info", len(rows), f"{share:.1%} of labels in the gaze files are those of the images, from {base}"
        )
        return
    first = rows[int(np.argmax(difference != base))]
    yield Finding(
        "error",
        int(len(rows) - counts.max()),
        f"labels in the gaze files are those of the images in {share:.1%} of rows only",
        f"{gaze.images.index.ids[gaze.rows[first]]}: {table.label[first]}",
        "Gaze of other images: check gaze.image_id_base and gaze.image_key.",
    )


def unit(gaze: GazeEvidence) -> Iterator[Finding]:
    """Positions as they are written, against the declared unit and origin."""
    x, y = _positions(gaze.everything.x, gaze.everything.y)
    if not len(x):
        return
    declared, both = gaze.spec.unit, np.concatenate((x, y))
    small, low, negative = (np.abs(both) <= 1).mean(), (np.abs(both) <= 100).mean(), (both < 0).mean()
    guess = ""
    whole = (both == np.rint(both)).all()
    if declared in {"px", "percent"} and small > 0.95 and not whole:
        guess = f"{small:.0%} of x and y are between 0 and 1: 'unit: fraction'?"
    elif declared == "fraction" and small < 0.9:
        guess = f"{1 - small:.0%} of x and y are above 1: " + (
            "'unit: percent', or px?" if low > 0.99 else "'unit: px'?"
        )
    elif declared == "percent" and low < 0.9:
        guess = f"{1 - low:.0%} of x and y are above 100: 'unit: px'?"
    origin = str(gaze.spec.origin)
    if guess:
        yield Finding("error", len(x), f"positions do not look like 'unit: {declared}'", _span(x, y), guess)
    if not origin.startswith("centre") and min((x < 0).mean(), (y < 0).mean()) > 0.2:
        guess = f"{negative:.0%} of x and y are negative: 'origin: centre', or centre-up?"
        yield Finding("error", len(x), f"positions do not look like 'origin: {origin}'", _span(x, y), guess)
    if origin.startswith("centre") and negative < 0.02:
        guess = f"only {negative:.1%} of x and y are negative: 'origin: upper-left', or lower-left?"
        yield Finding("error", len(x), f"positions do not look like 'origin: {origin}'", _span(x, y), guess)


def pixel_origin(gaze: GazeEvidence) -> Iterator[Finding]:
    """Whole pixels: where the first of them lies."""
    x, y = _positions(gaze.everything.x, gaze.everything.y)
    if gaze.spec.unit != "px" or not len(x) or not (x == np.rint(x)).all() or not (y == np.rint(y)).all():
        return
    least, declared = min(x.min(), y.min()), gaze.spec.pixel_origin
    if declared == "one-based" and least <= 0 and not str(gaze.spec.origin).startswith("centre"):
        zeros = int(((x <= 0) | (y <= 0)).sum())
        advice = "Whole pixels from 0 are 'pixel_origin: centre'."
        yield Finding("warning", zeros, "x or y is 0 or less, but pixels count from 1", _span(x, y), advice)
    if declared == "corner":
        advice = "Numbers of pixels mean their centres: 'pixel_origin: centre' (from 0) or one-based (from 1)?"
        yield Finding("warning", len(x), "all positions are whole numbers", _span(x, y), advice)
    if declared == "centre" and gaze.spec.frame is None and least >= 1 and str(gaze.spec.origin) == "upper-left":
        width, height = gaze.sizes.T
        last = (gaze.table.x == width) | (gaze.table.y == height)
        if last.any():
            advice = "'pixel_origin: one-based'?"
            text = f"no position is 0, and {last.sum():,} are at the width or height of their image"
            yield Finding("warning", int(last.sum()), text, _row(gaze, int(last.argmax()), matched=True), advice)


def placement(gaze: GazeEvidence) -> Iterator[Finding]:
    """How images lay in the frame, tested against where gaze fell."""
    frame = gaze.spec.frame
    known = ~np.isnan(gaze.frame_x) & ~np.isnan(gaze.frame_y)
    if frame is None or not known.any():
        return
    x, y, (width, height) = gaze.frame_x[known], gaze.frame_y[known], gaze.sizes[known].T
    if frame.placement is None:
        shares = outside_share(x, y, width, height, frame.width, frame.height)
        told = ", ".join(f"{name} {share.all:.1%}{_by_shape(share)}" for name, share in shares.items())
        supported = check_placement(x, y, width, height, frame.width, frame.height, "contain").supported
        hint = f" The smallest that fits is {supported!r}." if supported else ""
        text = f"gaze.frame.placement is not declared; gaze outside the image: {told}"
        yield Finding("error", 1, text, "", f"Choose one in the spec or with --placement.{hint}")
        return
    rows = gaze.rows[known]
    report = check_placement(x, y, width, height, frame.width, frame.height, frame.placement, image=rows)
    level = {"ok": "info", "warn": "warning", "refuse": "warning" if frame.force else "error"}[report.verdict]
    count = round(report.outside[report.declared].all * len(x))
    yield Finding(level, count, report.message)  # type: ignore[arg-type]  # a level


def _by_shape(share: Outside) -> str:
    if np.isnan(share.portrait) or np.isnan(share.landscape):
        return ""
    return f" (portrait {share.portrait:.1%}, landscape {share.landscape:.1%})"


def outside_image(gaze: GazeEvidence) -> Iterator[Finding]:
    """Points beside their image."""
    known = ~np.isnan(gaze.x) & ~np.isnan(gaze.y)
    rows = np.flatnonzero(known)
    x, y, sizes = gaze.x[known], gaze.y[known], gaze.sizes[known]
    outside = _outside(x, y, sizes)
    if not outside.any():
        return
    share, row = outside.mean(), int(rows[outside.argmax()])
    width, height = gaze.sizes[row]
    yield Finding(
        "error" if share > OUTSIDE_REFUSED and gaze.spec.frame is None else "warning",
        int(outside.sum()),
        f"{outside.sum():,} of {len(x):,} {gaze.table.kind} ({share:.1%}) lie outside their image: kept, for their "
        "tails reach into it",
        f"{gaze.images.index.ids[gaze.rows[row]]}: x {gaze.x[row]:.1f}, y {gaze.y[row]:.1f} in {width}x{height}",
        _outside_advice(x, y, sizes, share),
    )


def _outside_advice(x: Floats, y: Floats, sizes: NDArray[np.int64], share: float) -> str:
    if _outside(y, x, sizes).mean() < share / 4:
        return "With x and y exchanged hardly any would: exchange the two in gaze.columns?"
    if share <= OUTSIDE_REFUSED:
        return ""
    if min(x.min(), y.min()) > -1:
        right, bottom = np.percentile(x, 99.5), np.percentile(y, 99.5)
        return (
            f"Positions reach {right:.0f}, {bottom:.0f}: pixels of a screen? Declare its size and how images lay on it "
            "under gaze.frame."
        )
    return "Check gaze.origin, gaze.unit and gaze.frame."


def follows_pictures(gaze: GazeEvidence) -> Iterator[Finding]:
    """Whether people looked where the pictures have edges, more than if gaze were mirrored, exchanged or of neighbours.

    People look at things, and things have edges; whatever mirrors the gaze or takes it from another image loses
    that. The mean strength of edges under the gaze is compared image by image, in standard errors. The preference for
    the middle of an image is the same in all candidates.
    """
    known = ~np.isnan(gaze.x) & ~np.isnan(gaze.y)
    sizes, rows, x, y = gaze.images.index.sizes, gaze.rows[known], gaze.x[known], gaze.y[known]
    images, code = np.unique(rows, return_inverse=True)
    if len(images) < _MIN_IMAGES:
        return
    width, height = sizes[rows].T
    in_pixels = gaze.spec.frame is None and gaze.spec.unit == "px"
    other_x, other_y = (y, x) if in_pixels else (y / height * width, x / width * height)
    before, after = np.maximum(rows - 1, 0), np.minimum(rows + 1, len(sizes) - 1)
    candidates = {
        "left and right exchanged": (rows, width - x, y, "A mirrored axis, or EXIF? Check images.exif."),
        "turned upside down": (
            *(rows, x, height - y),
            "y from the other edge? Check gaze.origin (upper-left, lower-left).",
        ),
        "turned by 180 degrees": (rows, width - x, height - y, "Check gaze.origin and images.exif."),
        "with x and y exchanged": (rows, other_x, other_y, "Exchange x and y in gaze.columns?"),
        "on the image before": (before, x, y, "Numbers from the other base? Check gaze.image_id_base."),
        "on the image after": (after, x, y, "Numbers from the other base? Check gaze.image_id_base."),
    }

    def strength(rows: NDArray[np.int64], x: Floats, y: Floats) -> Floats:
        """(images,) mean over the gaze of each; nothing outside the picture."""
        column, row = np.floor(np.stack((x, y)) / sizes[rows].T * CELLS).astype(np.int64)
        inside = (column >= 0) & (column < CELLS) & (row >= 0) & (row < CELLS)
        edges = gaze.images.edges[rows, row.clip(0, CELLS - 1), column.clip(0, CELLS - 1)]
        means: Floats = np.bincount(code, np.where(inside, edges, 0)) / np.bincount(code)
        return means

    declared = strength(rows, x, y)
    better = {}
    for name, (*where, _) in candidates.items():
        gain = strength(*where) - declared
        better[name] = float(gain.mean() / max(gain.std() / np.sqrt(len(gain)), 1e-9))
    best = max(better, key=lambda name: better[name])
    text = f"edges under the gaze of {len(images):,} images, mean {declared.mean():.2f} of the whole image"
    if better[best] > _HINTS:
        yield Finding(
            "error" if better[best] > _CLEARLY else "warning",
            len(images),
            f"{text}: {best}, it would fall on more of them ({better[best]:.1f} standard errors)",
            "",
            f"{candidates[best][3]} Look at some images with gazeeval show.",
        )
    else:
        compared = "more than" if better[best] < -_HINTS else "not clearly more than"
        yield Finding("info", len(images), f"{text}, {compared} mirrored, exchanged or on neighbours")


def durations(gaze: GazeEvidence) -> Iterator[Finding]:
    """Unknown, zero and implausible durations; negative ones are refused by the reader (G101)."""
    table = gaze.everything
    duration = table.duration_ms
    unknown = np.isnan(duration)
    known = duration[~unknown]
    if not len(known):
        yield Finding("info", len(duration), "no durations: every fixation counts once")
        return
    if unknown.any():
        text = f"{unknown.sum():,} of {len(duration):,} durations are unknown: the median is used"
        yield Finding("warning", int(unknown.sum()), text, _row(gaze, int(unknown.argmax())))
    if (known == 0).any():
        text = f"{(known == 0).sum():,} of {len(duration):,} durations are 0: these {table.kind} count nothing"
        yield Finding("warning", int((known == 0).sum()), text, _row(gaze, int((duration == 0).argmax())))
    if table.kind == "samples":
        return
    median, (least, most) = float(np.median(known)), PLAUSIBLE_FIXATION_MS
    if not least <= median <= most:
        units = {"s": 1e3, "us": 1e-3, "ms": 1.0}
        fits = [name for name, scale in units.items() if 50 <= _as_written(gaze, median) * scale <= 1500]
        guess = f"'time_unit: {fits[0]}'?" if fits else "Check gaze.time_unit and the column of durations."
        text = f"the median duration is {median:.4g} ms, that of fixations is usually 150 to 400 ms"
        yield Finding("error", len(known), text, _row(gaze, int(np.flatnonzero(~unknown)[0])), guess)
    elif (known > ODD_DURATION_MS).any():
        text = f"{(known > ODD_DURATION_MS).sum():,} fixations last longer than {ODD_DURATION_MS / 1e3:.0f} s"
        first = _row(gaze, int((duration > ODD_DURATION_MS).argmax()))
        yield Finding("warning", int((known > ODD_DURATION_MS).sum()), text, first, "Blinks or lost track?")
    else:
        share = (known < 60).mean()
        low, high = np.percentile(known, (5, 95))
        text = f"durations: median {median:.0f} ms, 5-95 % {low:.0f} to {high:.0f} ms, {share:.1%} below 60 ms"
        yield Finding("info", len(known), text)


def _as_written(gaze: GazeEvidence, ms: float) -> float:
    return ms / {"s": 1e3, "us": 1e-3}.get(getattr(gaze.spec, "time_unit", "ms"), 1.0)


def time_steps(gaze: GazeEvidence) -> Iterator[Finding]:
    """The step of raw samples."""
    step = gaze.everything.duration_ms
    step = step[step > 0]
    if gaze.everything.kind != "samples" or not len(step):
        return
    for note in gaze.everything.notes:
        if _TIME_UNIT in note:
            yield Finding("info", len(step), note, "", "If not, declare gaze.time_unit.")
    median = float(np.median(step))
    if 0.5 <= median <= 200:
        yield Finding("info", len(step), f"samples every {median:.4g} ms, {1e3 / median:.0f} per second")
    else:
        text = f"samples every {median:.4g} ms; eye trackers take 5 to 2,000 per second, every 0.5 to 200 ms"
        yield Finding("error", len(step), text, "", "Check gaze.time_unit (s, ms, us).")


def inside_boxes(gaze: GazeEvidence) -> Iterator[Finding]:
    """Gaze that was cut to the bounding boxes of the objects."""
    if gaze.images.boxes is None:
        return
    x0, y0, x1, y1 = gaze.images.boxes[gaze.rows].T
    known = ~np.isnan(x0) & ~np.isnan(gaze.x)
    if not known.any():
        return
    inside = ((gaze.x >= x0) & (gaze.x <= x1 + 1) & (gaze.y >= y0) & (gaze.y <= y1 + 1))[known]
    share = inside.mean()
    text = f"{share:.2%} of {known.sum():,} {gaze.table.kind} lie inside the bounding box of the object"
    if share > 0.995:
        advice = "Gaze on the background was taken out before: what gaze says of it is no finding."
        yield Finding("warning", int(inside.sum()), text, "", advice)
    else:
        yield Finding("info", int(inside.sum()), text)


def viewers(gaze: GazeEvidence) -> Iterator[Finding]:
    """How much gaze there is, and of whom."""
    table = gaze.table
    per_image = np.bincount(gaze.rows)
    per_image = per_image[per_image > 0]
    who = np.unique(table.viewer[table.viewer >= 0])
    several = np.unique(np.stack((gaze.rows, table.viewer)), axis=1)[0]
    people = np.bincount(several)[np.bincount(several) > 0]
    told = f"{len(who):,} viewers, median {np.median(people):.0f} per image" if len(who) else "viewers unknown"
    text = f"{len(table):,} {table.kind} on {len(per_image):,} images, median {np.median(per_image):.0f} each; {told}"
    yield Finding("info", len(table), text)


def unreadable_maps(maps: MapEvidence) -> Iterator[Finding]:
    """Gaze maps that cannot be decoded, have another size, or are blank."""
    yield from (from_note(note, "warning") for note in maps.notes)
    for error in list(maps.broken.values())[:1]:
        yield Finding("error", len(maps.broken), f"maps of {len(maps.broken):,} images cannot be read", error)
    for row in maps.blank[:1]:
        text = f"maps of {len(maps.blank):,} images are black: no gaze"
        yield Finding("warning", len(maps.blank), text, maps.images.index.ids[row])


def _positions(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    known = ~np.isnan(x) & ~np.isnan(y)
    return x[known], y[known]


def _outside(x: Floats, y: Floats, sizes: NDArray[np.int64]) -> Bools:
    outside: Bools = (x < 0) | (y < 0) | (x > sizes[:, 0]) | (y > sizes[:, 1])
    return outside


def _span(x: Floats, y: Floats) -> str:
    return f"x {x.min():.4g} to {x.max():.4g}, y {y.min():.4g} to {y.max():.4g}"


def _row(gaze: GazeEvidence, row: int, *, matched: bool = False) -> str:
    """A row by its image and viewer."""
    table = gaze.table if matched else gaze.everything
    viewer = f", {table.viewers[table.viewer[row]]}" if table.viewer[row] >= 0 else ""
    return f"{table.images[table.image[row]]}{viewer}: x {table.x[row]:g}, y {table.y[row]:g}"
