"""CUB-GHA: the run files and the merged file of Rong et al., BMVC 2021, repository yaorong0921/CUB-GHA.

A run file has a line ``img_id,width,height,(x,y,duration_ms)*`` per viewing, in pixels of the original image. The
merged ``Fixation.txt`` has all runs of an image in one line, ``img_id,width,height,w,h,x0,y0,(x,y,duration_ms)*``, in
pixels of the display, where the image filled the rectangle of w x h at x0, y0. Neither has a header. Two traps of the
run files (card ``gaze-datasets``): run 1 shows some images more than once, and in the other runs most lines start with
the fixation that ended the line before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.frame import place
from gazeeval.data.readers.table import Floats, GazeTable, concat, read_text
from gazeeval.errors import DataError, UsageError, did_you_mean

CarryOver = Literal["keep", "drop-first", "halve"]
Repeats = Literal["concat", "first", "last"]
Ints = NDArray[np.int64]

DISPLAY = (1920, 1080)  # the images were shown in a centred letterbox on this screen (card, "Placement recovered")
SAME_POINT_PX = 8.0  # whole-pixel rounding of both lines alone gives up to about 5 px on the display

_WHAT = "CUB-GHA"
_NUMBERS = re.compile(r"\s*-?\d{1,9}\s*(?:,\s*-?\d{1,9}\s*)*", re.ASCII)


@dataclass(frozen=True)
class _Lines:
    """A parsed file: (k,) ``image``, ``width``, ``height``, ``count`` per line; ``fixations`` (m, 3) int64 x, y, ms.

    ``display`` (k, 4) int64 w, h, x0, y0 of a merged file, else None.
    """

    image: Ints
    width: Ints
    height: Ints
    count: Ints
    fixations: Ints
    display: Ints | None


def read_cub_gha(files: Sequence[Path], *, carry_over: CarryOver = "keep", repeats: Repeats = "concat") -> GazeTable:
    """All fixations of the run files, or of the merged file; its field count tells which it is.

    The viewer is the run ("run1" from ``Fixation_run1.txt``), unknown in the merged file. ``images`` are the 1-based
    numbers of CUB's ``images.txt``; ``x``, ``y`` stay whole pixels (0-based) as in a run file, and are brought from the
    display into the same pixels, no longer whole, from the merged file.

    Args:
        files: one per run, or the merged file alone.
        carry_over: what to do with a first fixation that began on the image before. "keep" leaves it in both lines,
            "drop-first" removes it from the later one, "halve" gives each of the two lines half of its duration.
        repeats: images that one run shows more than once: "concat" joins the lines, "first" or "last" keeps one.

    Raises:
        DataError: a file that is missing or empty, a malformed line, named ``file:line``, or runs beside their merger.
        UsageError: an unknown option value, or a ``carry_over`` for the merged file, which has no order of viewing.
    """
    _check_option("carry_over", carry_over, get_args(CarryOver))
    _check_option("repeats", repeats, get_args(Repeats))
    viewers = [path.stem.removeprefix("Fixation_") for path in files]
    if len(set(viewers)) < len(viewers):
        raise DataError(f"{_WHAT}: {', '.join(map(str, files))}: two files of one name. Name each run once.")
    lines = [_parse(path) for path in files]
    merged = [path for path, part in zip(files, lines, strict=True) if part.display is not None]
    if merged and len(files) > 1:
        raise DataError(f"{_WHAT}: {merged[0]} holds all runs, got {len(files) - 1} files beside it. Name it alone.")
    if merged and carry_over != "keep":
        raise UsageError(
            f"carry_over: got {carry_over!r}, but the order of viewing, which it takes, is not in {merged[0].name}. "
            "Use the run files."
        )
    if merged:
        return _merged(lines[0], repeats)
    return concat([_run(part, viewer, carry_over, repeats) for part, viewer in zip(lines, viewers, strict=True)])


def _run(lines: _Lines, viewer: str, carry_over: CarryOver, repeats: Repeats) -> GazeTable:
    carried = _carried_over(lines)
    first = np.zeros(len(lines.fixations), dtype=bool)
    starts = np.cumsum(lines.count) - lines.count
    first[starts[carried]] = True
    keep, notes = _select_lines(lines.image, repeats)
    notes += _carry_over_notes(carried, carry_over) + _empty_notes(lines)
    duration = lines.fixations[:, 2].astype(np.float64)
    if carry_over == "halve":
        shared = first | np.append(first[1:], False)  # the last fixation of a line stands right before the next first
        duration[shared] /= 2
    kept = keep[_line_of(lines)]
    if carry_over == "drop-first":
        kept &= ~first
    x, y = lines.fixations[:, :2].T.astype(np.float64)
    table = replace(
        _table(lines, x, y, duration), viewer=np.zeros(len(x), dtype=np.int32), viewers=(viewer,), carry_over=first
    )
    return replace(table.take(kept), notes=tuple(f"{viewer}: {note}" for note in notes))


def _merged(lines: _Lines, repeats: Repeats) -> GazeTable:
    assert lines.display is not None
    line = _line_of(lines)
    width, height, left, top = lines.display[line].T
    x, y, duration = lines.fixations.T.astype(np.float64)
    x = (x + 0.5 - left) * lines.width[line] / width - 0.5
    y = (y + 0.5 - top) * lines.height[line] / height - 0.5
    keep, notes = _select_lines(lines.image, repeats)
    return replace(_table(lines, x, y, duration).take(keep[line]), notes=(*notes, *_empty_notes(lines)))


def _line_of(lines: _Lines) -> Ints:
    """(m,) the line of each fixation."""
    return np.repeat(np.arange(len(lines.count)), lines.count)


def _table(lines: _Lines, x: Floats, y: Floats, duration: Floats) -> GazeTable:
    line = _line_of(lines)
    images, image = np.unique(lines.image, return_inverse=True)
    nobody = np.full(len(x), -1, dtype=np.int32)
    return GazeTable(
        image=image.astype(np.int32)[line],
        images=images,
        x=x,
        y=y,
        duration_ms=duration,
        t_ms=np.full(len(x), np.nan),
        viewer=nobody,
        condition=nobody,
        width=lines.width[line],
        height=lines.height[line],
    )


def _parse(path: Path) -> _Lines:
    """The numbers of a file; whatever does not fit the format is an error with its line."""
    text = [(number, line) for number, line in enumerate(read_text(path, _WHAT).splitlines(), 1) if line.strip()]
    head = 7 if text[0][1].count(",") % 3 == 0 else 3  # the first line decides: 6 + 3n commas, or 2 + 3n
    numbers = [_split(line, path, number, head) for number, line in text]
    count = np.array([(len(row) - head) // 3 for row in numbers])
    flat = np.array([value for row in numbers for value in row], dtype=np.int64)
    starts = np.cumsum(head + 3 * count) - (head + 3 * count)
    at_head = starts[:, None] + np.arange(head)
    is_head = np.zeros(len(flat), dtype=bool)
    is_head[at_head] = True
    image, width, height = flat[at_head[:, :3]].T
    display = flat[at_head[:, 3:]] if head == 7 else None
    lines = _Lines(image, width, height, count, flat[~is_head].reshape(-1, 3), display)
    _check_values(lines, path, [number for number, _ in text])
    return lines


def _split(line: str, path: Path, number: int, head: int) -> list[int]:
    fields = line.split(",")
    if not _NUMBERS.fullmatch(line):
        bad = next((i for i, field in enumerate(fields) if not _NUMBERS.fullmatch(field)), 0)
        raise _malformed(path, number, f"got {fields[bad][:40]!r} in field {bad + 1}", "whole numbers")
    if len(fields) < head or len(fields) % 3 != head % 3:
        names = "img_id,width,height" + (",w,h,x0,y0 of the display" if head == 7 else "")
        raise _malformed(
            path, number, f"got {len(fields)} fields", f"{names} and three more per fixation (x,y,duration_ms)"
        )
    return list(map(int, fields))


def _check_values(lines: _Lines, path: Path, numbers: list[int]) -> None:
    everyone = np.arange(len(lines.count))
    checks = [
        ("img_id", lines.image, everyone, 1),
        ("width", lines.width, everyone, 1),
        ("height", lines.height, everyone, 1),
        ("duration", lines.fixations[:, 2], _line_of(lines), 0),
    ]
    if lines.display is not None:
        checks += [("display size", lines.display[:, side], everyone, 1) for side in (0, 1)]
    for name, values, line, least in checks:
        bad = np.flatnonzero(values < least)
        if bad.size:
            raise _malformed(path, numbers[line[bad[0]]], f"got {name} {values[bad[0]]}", f"at least {least}")


def _malformed(path: Path, number: int, got: str, expected: str) -> DataError:
    return DataError(f"{_WHAT}: {path}:{number}, {got}, expected {expected}. Fetch the file again.")


def _carried_over(lines: _Lines) -> NDArray[np.bool_]:
    """(k,) lines whose first fixation continues the line before: same duration, same point of the display."""
    ends = np.cumsum(lines.count)
    carried = np.zeros(len(ends), dtype=bool)
    both = np.flatnonzero((lines.count[1:] > 0) & (lines.count[:-1] > 0)) + 1
    starts = ends - lines.count
    x0, y0, ms0 = _on_display(lines, both - 1, ends[both - 1] - 1)
    x1, y1, ms1 = _on_display(lines, both, starts[both])
    carried[both] = (ms0 == ms1) & (np.hypot(x1 - x0, y1 - y0) < SAME_POINT_PX)
    return carried


def _on_display(lines: _Lines, line: Ints, row: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64], Ints]:
    """Where fixations ``row`` of lines ``line`` were on the screen, px, and their durations."""
    placed = place(lines.width[line], lines.height[line], *DISPLAY, "contain")
    x, y, duration = lines.fixations[row].T
    return (x + 0.5) * placed.scale_x + placed.left, (y + 0.5) * placed.scale_y + placed.top, duration


def _select_lines(image: Ints, repeats: Repeats) -> tuple[NDArray[np.bool_], list[str]]:
    """(k,) lines to keep, and what to say about it."""
    keep = np.ones(len(image), dtype=bool)
    _, first, count = np.unique(image, return_index=True, return_counts=True)
    extra = len(image) - len(count)
    if not extra:
        return keep, []
    if repeats != "concat":
        last = len(image) - 1 - np.unique(image[::-1], return_index=True)[1]
        keep[:] = False
        keep[first if repeats == "first" else last] = True
    done = "kept and joined" if repeats == "concat" else f"only the {repeats} line of each kept"
    return keep, [f"{(count > 1).sum():,} images occur more than once ({extra:,} extra lines), {done}"]


def _carry_over_notes(carried: NDArray[np.bool_], policy: CarryOver) -> list[str]:
    if not carried.any():
        return []
    done = {"keep": "kept", "drop-first": "removed from the later line", "halve": "half of its duration in each"}
    return [
        f"{carried.sum():,} of {len(carried):,} lines ({carried.mean():.0%}) start with the fixation that ended "
        f"the line before, {done[policy]}"
    ]


def _empty_notes(lines: _Lines) -> list[str]:
    empty = np.count_nonzero(lines.count == 0)
    return [f"{empty:,} lines hold no fixation"] if empty else []


def _check_option(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{name}: got {value!r}{did_you_mean(value, known)}. Pass one of {', '.join(known)}.")
