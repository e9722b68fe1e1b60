"""CUB-GHA run files: ``img_id,width,height,(x,y,duration_ms)*`` per line, no header, pixels of the original image.

Rong et al., BMVC 2021, repository yaorong0921/CUB-GHA. Two traps (card ``gaze-datasets``): run 1 shows some images more
than once, and in the other runs most lines start with the fixation that ended the line before.
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
from gazeeval.data.readers.table import GazeTable, concat, read_text
from gazeeval.errors import DataError, UsageError, did_you_mean

CarryOver = Literal["keep", "drop-first", "halve"]
Repeats = Literal["concat", "first", "last"]
Ints = NDArray[np.int64]

DISPLAY = (1920, 1080)  # the images were shown in a centred letterbox on this screen (card, "Placement recovered")
SAME_POINT_PX = 8.0  # whole-pixel rounding of both lines alone gives up to about 5 px on the display

_WHAT = "CUB-GHA run"
_NUMBERS = re.compile(r"\s*-?\d{1,9}\s*(?:,\s*-?\d{1,9}\s*)*", re.ASCII)


@dataclass(frozen=True)
class _Lines:
    """A parsed file: (k,) ``image``, ``width``, ``height``, ``count`` per line; ``fixations`` (m, 3) int64 x, y, ms."""

    image: Ints
    width: Ints
    height: Ints
    count: Ints
    fixations: Ints


def read_cub_gha(files: Sequence[Path], *, carry_over: CarryOver = "keep", repeats: Repeats = "concat") -> GazeTable:
    """All fixations of the run files; the viewer is the run ("run1" from ``Fixation_run1.txt``).

    ``image`` is the 1-based number of CUB's ``images.txt``; ``x``, ``y`` stay whole pixels (0-based) as in the file.

    Args:
        files: one per run.
        carry_over: what to do with a first fixation that began on the image before. "keep" leaves it in both lines,
            "drop-first" removes it from the later one, "halve" gives each of the two lines half of its duration.
        repeats: images that one run shows more than once: "concat" joins the lines, "first" or "last" keeps one.

    Raises:
        DataError: a file that is missing or empty, or a malformed line, named ``file:line``.
        UsageError: an unknown option value.
    """
    _check_option("carry_over", carry_over, get_args(CarryOver))
    _check_option("repeats", repeats, get_args(Repeats))
    viewers = [path.stem.removeprefix("Fixation_") for path in files]
    if len(set(viewers)) < len(viewers):
        raise DataError(f"{_WHAT}s: {', '.join(map(str, files))}: two files of one name. Name each run once.")
    return concat([_read_run(*run, carry_over, repeats) for run in zip(files, viewers, strict=True)])


def _read_run(path: Path, viewer: str, carry_over: CarryOver, repeats: Repeats) -> GazeTable:
    lines = _parse(path)
    carried = _carried_over(lines)
    line_of = np.repeat(np.arange(len(lines.count)), lines.count)
    first = np.zeros(len(line_of), dtype=bool)
    starts = np.cumsum(lines.count) - lines.count
    first[starts[carried]] = True
    x, y, duration = lines.fixations.T.astype(np.float64)
    keep, notes = _select_lines(lines.image, repeats)
    notes += _carry_over_notes(carried, carry_over)
    if empty := np.count_nonzero(lines.count == 0):
        notes.append(f"{empty:,} lines hold no fixation")
    if carry_over == "halve":
        shared = first | np.append(first[1:], False)  # the last fixation of a line stands right before the next first
        duration[shared] /= 2
    kept = keep[line_of]
    if carry_over == "drop-first":
        kept &= ~first
    table = GazeTable(
        image=lines.image[line_of],
        x=x,
        y=y,
        duration_ms=duration,
        t_ms=np.full(len(x), np.nan),
        viewer=np.zeros(len(x), dtype=np.int32),
        condition=np.full(len(x), -1, dtype=np.int32),
        viewers=(viewer,),
        width=lines.width[line_of],
        height=lines.height[line_of],
        carry_over=first,
    )
    return replace(table.take(kept), notes=tuple(f"{viewer}: {note}" for note in notes))


def _parse(path: Path) -> _Lines:
    """The numbers of a file; whatever does not fit the format is an error with its line."""
    text = [(number, line) for number, line in enumerate(read_text(path, _WHAT).splitlines(), 1) if line.strip()]
    numbers = [_split(line, path, number) for number, line in text]
    count = np.array([(len(row) - 3) // 3 for row in numbers])
    flat = np.array([value for row in numbers for value in row], dtype=np.int64)
    starts = np.cumsum(3 + 3 * count) - (3 + 3 * count)
    head = starts[:, None] + np.arange(3)
    is_head = np.zeros(len(flat), dtype=bool)
    is_head[head] = True
    image, width, height = flat[head].T
    fixations = flat[~is_head].reshape(-1, 3)
    lines = _Lines(image, width, height, count, fixations)
    _check_values(lines, path, [number for number, _ in text])
    return lines


def _split(line: str, path: Path, number: int) -> list[int]:
    fields = line.split(",")
    if not _NUMBERS.fullmatch(line):
        bad = next((i for i, field in enumerate(fields) if not _NUMBERS.fullmatch(field)), 0)
        raise _malformed(path, number, f"got {fields[bad][:40]!r} in field {bad + 1}", "whole numbers")
    if len(fields) < 3 or len(fields) % 3:
        raise _malformed(
            path,
            number,
            f"got {len(fields)} fields",
            "img_id,width,height and three more per fixation (x,y,duration_ms)",
        )
    return list(map(int, fields))


def _check_values(lines: _Lines, path: Path, numbers: list[int]) -> None:
    line_of = np.repeat(np.arange(len(lines.count)), lines.count)
    everyone = np.arange(len(lines.count))
    checks = (
        ("img_id", lines.image, everyone, 1),
        ("width", lines.width, everyone, 1),
        ("height", lines.height, everyone, 1),
        ("duration", lines.fixations[:, 2], line_of, 0),
    )
    for name, values, line, least in checks:
        bad = np.flatnonzero(values < least)
        if bad.size:
            raise _malformed(path, numbers[line[bad[0]]], f"got {name} {values[bad[0]]}", f"at least {least}")


def _malformed(path: Path, number: int, got: str, expected: str) -> DataError:
    return DataError(
        f"{_WHAT}: {path}:{number}, {got}, expected {expected}. "
        "Fetch the run file again; the merged Fixation.txt (display pixels) is another format."
    )


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


def _check_option(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{name}: got {value!r}{did_you_mean(value, known)}. Pass one of {', '.join(known)}.")
