"""The table that every reader of gaze files returns, and what readers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gazeeval.errors import DataError

Kind = Literal["fixations", "samples"]
TimeUnit = Literal["auto", "s", "ms", "us"]
MS_PER_UNIT = {"s": 1e3, "ms": 1.0, "us": 1e-3}
PLAUSIBLE_STEP_MS = (0.5, 200.0)  # 5 to 2000 samples per second; the three units cannot be confused inside it


@dataclass(frozen=True)
class GazeTable:
    """One row per fixation or raw sample, in the order of the file.

    Attributes:
        image: (m,) int64 numbers or object strings, the image's key as the file gives it.
        x, y: (m,) float64 in the file's own frame, as written there (whole pixels stay whole).
        duration_ms, t_ms: (m,) float64, NaN where unknown. Raw samples: the duration is their time step.
        viewer: (m,) int32, row of ``viewers``, -1 unknown.
        condition: (m,) int32, row of ``conditions``, -1 none.
        label: (m,) int64 as in the file, or None.
        width, height: (m,) int64 px, the image size that the file claims, or None.
        carry_over: (m,) bool, the fixation began on the image shown before; or None where not looked for.
        notes: counted sentences about what was odd, joined, changed or left out.
    """

    image: NDArray[np.int64] | NDArray[np.object_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    duration_ms: NDArray[np.float64]
    t_ms: NDArray[np.float64]
    viewer: NDArray[np.int32]
    condition: NDArray[np.int32]
    viewers: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    label: NDArray[np.int64] | None = None
    width: NDArray[np.int64] | None = None
    height: NDArray[np.int64] | None = None
    carry_over: NDArray[np.bool_] | None = None
    kind: Kind = "fixations"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> GazeTable:
        """The table of some rows, by index or by mask."""
        columns: dict[str, Any] = {k: v[rows] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return replace(self, **columns)


def concat(tables: Sequence[GazeTable]) -> GazeTable:
    """One table of all rows; viewers and conditions are joined by name.

    A column that may be None is kept where every table has it. Raises DataError if there is no table, or if kinds or
    types of image keys differ.
    """
    if not tables:
        raise DataError("gaze files: none given. Name at least one in the spec.")
    if len({(table.kind, table.image.dtype.kind) for table in tables}) > 1:
        raise DataError(
            "gaze files: fixations and raw samples, or numbered and named images, are mixed. "
            "Declare one dataset spec for each."
        )
    viewers, viewer = _join_codes([(t.viewers, t.viewer) for t in tables])
    conditions, condition = _join_codes([(t.conditions, t.condition) for t in tables])
    optional = ("label", "width", "height", "carry_over")
    shared = [name for name in optional if all(getattr(t, name) is not None for t in tables)]
    columns = ["image", "x", "y", "duration_ms", "t_ms", *shared]
    return GazeTable(
        **{name: np.concatenate([getattr(t, name) for t in tables]) for name in columns},
        viewer=viewer,
        condition=condition,
        viewers=viewers,
        conditions=conditions,
        kind=tables[0].kind,
        notes=tuple(note for table in tables for note in table.notes),
    )


def time_scale(
    unit: TimeUnit, recording: NDArray[np.int64], time: NDArray[np.float64], where: str
) -> tuple[float, list[str]]:
    """Milliseconds per unit of ``time``, and what to say about it.

    "auto" takes the unit under which the median positive step inside a recording (m,) is plausible for a tracker.
    Raises DataError, which starts with ``where``, if there is none.
    """
    if unit != "auto":
        return MS_PER_UNIT[unit], []
    order = np.lexsort((time, recording))
    step = np.diff(time[order])[np.diff(recording[order]) == 0]
    step = step[step > 0]
    median = float(np.median(step)) if step.size else float("nan")
    least, most = PLAUSIBLE_STEP_MS
    for name, ms in MS_PER_UNIT.items():
        if least <= median * ms <= most:
            return ms, [
                f"unit of time taken as {name} (median step {median:.4g}, {1e3 / (median * ms):.0f} per second)"
            ]
    found = f"a median step of {median:.4g}" if step.size else "no two times of one recording"
    raise DataError(f"{where}: the unit of time cannot be inferred, got {found}. Declare gaze.time_unit: s, ms or us.")


def in_time_order(table: GazeTable, where: str) -> GazeTable:
    """Raw samples with ``duration_ms`` = min(dt, 2 x median dt), dt to the next one (card ``gaze-datasets``, ARISTO 5).

    A recording is one image, condition and viewer. Its last sample gets the median; samples of one moment (several
    viewers in one recording) share its step; all NaN if no recording has two moments. If a recording is not in time
    order, the rows come back sorted by recording and time, with a note that starts with ``where``.
    """
    recording = np.unique(table.image, return_inverse=True)[1].astype(np.int64)
    recording = recording * (len(table.conditions) + 1) + table.condition + 1
    recording = recording * (len(table.viewers) + 1) + table.viewer + 1
    by_file = np.argsort(recording, kind="stable")
    backwards = (np.diff(table.t_ms[by_file]) < 0) & (np.diff(recording[by_file]) == 0)
    table = replace(table, duration_ms=_steps(recording, table.t_ms))
    if not backwards.any():
        return table
    mixed = len(np.unique(recording[by_file][1:][backwards]))
    note = f"{where}: {mixed:,} recordings were not in time order, sorted by time (several viewers in one recording?)"
    table = replace(table, notes=(*table.notes, note))
    return table.take(np.lexsort((table.t_ms, recording)))


def _steps(recording: NDArray[np.int64], t_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.lexsort((t_ms, recording))
    group, time = recording[order], t_ms[order]
    new = np.append(True, (np.diff(group) != 0) | (np.diff(time) > 0))
    moment = np.cumsum(new) - 1
    group, time = group[new], time[new]
    step = np.append(np.where(np.diff(group) == 0, np.diff(time), np.nan), np.nan)
    known = np.isfinite(step)
    median = np.median(step[known]) if known.any() else np.nan
    step = np.minimum(np.where(known, step, median), 2 * median)
    duration = np.empty(len(t_ms))
    duration[order] = (step / np.bincount(moment))[moment]
    return duration


def read_text(path: Path, what: str) -> str:
    """The text of a UTF-8 file (with or without byte order mark); DataError if it is missing, empty or not text."""
    data = read_bytes(path, what)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{what}: {path}: not UTF-8 text, got byte {data[error.start]:#04x} at position {error.start:,}. "
            "Save it as UTF-8."
        ) from None
    if not text.strip():
        raise DataError(f"{what}: {path}: the file is empty. Fetch or export it again.")
    return text


def read_bytes(path: Path, what: str) -> bytes:
    """The file, or a DataError that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{what}: {path}: cannot be read ({error.strerror}). Check the file name in the spec and --root."
        ) from None


def _join_codes(
    parts: Sequence[tuple[tuple[str, ...], NDArray[np.int32]]],
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Names in order of first appearance, and the codes of all parts in them."""
    names = tuple(dict.fromkeys(name for part, _ in parts for name in part))
    joined = []
    for part, codes in parts:
        lookup = np.array([*(names.index(name) for name in part), -1], dtype=np.int32)
        joined.append(lookup[codes])  # code -1 reads the last entry, which is -1
    return names, np.concatenate(joined)
