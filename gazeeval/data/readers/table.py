"""The table that every reader of gaze files returns, and what readers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.regular import require_regular
from gazeeval.errors import DataError

Kind = Literal["fixations", "samples"]
TimeUnit = Literal["auto", "s", "ms", "us"]
Floats: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int32]
Keys: TypeAlias = NDArray[np.int64] | NDArray[np.str_]

MS_PER_UNIT = {"s": 1e3, "ms": 1.0, "us": 1e-3}
PLAUSIBLE_STEP_MS = (0.5, 200.0)  # 5 to 2000 samples per second; the three units cannot be confused inside it


@dataclass(frozen=True)
class GazeTable:
    """One row per fixation or raw sample, in the order of the file.

    Attributes:
        image: (m,) int32, row of ``images``.
        images: (k,) int64 numbers or text, the images' keys as the files give them.
        x, y: (m,) float64 in the file's own frame, as written there (whole pixels stay whole). Raw samples: NaN where
            the tracker lost the eye.
        duration_ms, t_ms: (m,) float64, NaN where unknown. Raw samples: the duration is their time step.
        viewer: (m,) int32, row of ``viewers``, -1 unknown.
        condition: (m,) int32, row of ``conditions``, -1 none.
        label: (m,) int64 as in the file, or None.
        width, height: (m,) int64 px, the image size that the file claims, or None.
        carry_over: (m,) bool, the fixation began on the image shown before; or None where not looked for.
        notes: counted sentences about what was odd, joined, changed or left out.
    """

    image: Codes
    images: Keys
    x: Floats
    y: Floats
    duration_ms: Floats
    t_ms: Floats
    viewer: Codes
    condition: Codes
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
        columns: dict[str, Any] = {
            name: column[rows]
            for name, column in vars(self).items()
            if isinstance(column, np.ndarray) and name != "images"
        }
        return replace(self, **columns)

    def recording(self) -> NDArray[np.int64]:
        """(m,) a number for each image, condition and viewer: the rows of one are one viewing, in time."""
        number = self.image.astype(np.int64) * (len(self.conditions) + 1) + self.condition + 1
        return number * (len(self.viewers) + 1) + self.viewer + 1


def concat(tables: Sequence[GazeTable]) -> GazeTable:
    """One table of all rows; images, viewers and conditions are joined by name.

    A column that may be None is kept where every table has it. Raises DataError if there is no table, or if kinds or
    types of image keys differ.
    """
    if not tables:
        raise DataError("gaze files: none given. Name at least one in the spec.")
    if len(tables) == 1:
        return tables[0]
    if len({(table.kind, table.images.dtype.kind) for table in tables}) > 1:
        raise DataError(
            "gaze files: fixations and raw samples, or numbered and named images, are mixed. "
            "Declare one dataset spec for each."
        )
    images, image = join_codes([(t.images.tolist(), t.image) for t in tables])
    viewers, viewer = join_codes([(t.viewers, t.viewer) for t in tables])
    conditions, condition = join_codes([(t.conditions, t.condition) for t in tables])
    optional = ("label", "width", "height", "carry_over")
    shared = [name for name in optional if all(getattr(t, name) is not None for t in tables)]
    columns = ["x", "y", "duration_ms", "t_ms", *shared]
    return GazeTable(
        **{name: np.concatenate([getattr(t, name) for t in tables]) for name in columns},
        image=image,
        images=np.array(images, np.int64) if tables[0].images.dtype.kind == "i" else np.array(images, np.str_),
        viewer=viewer,
        condition=condition,
        viewers=tuple(viewers),
        conditions=tuple(conditions),
        kind=tables[0].kind,
        notes=tuple(note for table in tables for note in table.notes),
    )


def time_scale(unit: TimeUnit, recording: NDArray[np.integer], time: Floats, where: str) -> tuple[float, list[str]]:
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


def in_time_order(table: GazeTable, where: str, step_ms: float | None = None) -> GazeTable:
    """Raw samples with ``duration_ms`` = min(dt, 2 x step), dt to the next one (card ``gaze-datasets``, ARISTO 5).

    The step is ``step_ms``, or the median dt. A recording is one image, condition and viewer. Its last sample gets the
    step; samples of one moment (several viewers in one recording) share theirs; all NaN if no recording has two moments
    and the step is unknown. If a recording is not in time order, the rows come back sorted by recording and time, with
    a note that starts with ``where``.
    """
    recording = table.recording()
    by_file = np.argsort(recording, kind="stable")
    backwards = (np.diff(table.t_ms[by_file]) < 0) & (np.diff(recording[by_file]) == 0)
    table = replace(table, duration_ms=_steps(recording, table.t_ms, step_ms))
    if not backwards.any():
        return table
    mixed = len(np.unique(recording[by_file][1:][backwards]))
    note = f"{where}: {mixed:,} recordings were not in time order, sorted by time (several viewers in one recording?)"
    table = replace(table, notes=(*table.notes, note))
    return table.take(np.lexsort((table.t_ms, recording)))


def _steps(recording: NDArray[np.int64], t_ms: Floats, step_ms: float | None) -> Floats:
    order = np.lexsort((t_ms, recording))
    group, time = recording[order], t_ms[order]
    new = np.append(True, (np.diff(group) != 0) | (np.diff(time) > 0))
    moment = np.cumsum(new) - 1
    group, time = group[new], time[new]
    dt = np.append(np.where(np.diff(group) == 0, np.diff(time), np.nan), np.nan)
    known = np.isfinite(dt)
    if step_ms is None:
        step_ms = float(np.median(dt[known])) if known.any() else np.nan
    dt = np.minimum(np.where(known, dt, step_ms), 2 * step_ms)
    duration = np.empty(len(t_ms))
    duration[order] = (dt / np.bincount(moment))[moment]
    return duration


def read_text(path: Path, what: str, encoding: str = "utf-8", *, may_be_empty: bool = False) -> str:
    """The text of a file (with or without byte order mark); DataError if it is missing, empty or not such text."""
    data = read_bytes(path, what)
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeError as error:
        found = f"byte {data[error.start]:#04x} at position {error.start:,}" if hasattr(error, "start") else str(error)
        raise DataError(
            f"{what}: {path}: not {encoding.upper()} text, got {found}. Save it as UTF-8, or declare its encoding "
            "where the spec's format has 'encoding'."
        ) from None
    if not text.strip() and not may_be_empty:
        raise DataError(f"{what}: {path}: the file is empty. Fetch or export it again.")
    if "\0" in text:
        raise DataError(
            f"{what}: {path}: not {encoding.upper()} text, got a zero byte at position {text.index(chr(0)):,}. "
            "Save it as UTF-8 text; other text with zero bytes is often UTF-16."
        )
    return text


def read_bytes(path: Path, what: str, count: int = -1) -> bytes:
    """The file, or its first ``count`` bytes; or a DataError that names it."""
    try:
        require_regular(path)
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise DataError(
            f"{what}: {path}: cannot be read ({error.strerror}). Check the file name in the spec and --root."
        ) from None


def join_codes(parts: Sequence[tuple[Sequence[Any], Codes]]) -> tuple[list[Any], Codes]:
    """Names in order of first appearance, and the codes of all parts in them."""
    number: dict[Any, int] = {}
    joined = []
    for names, codes in parts:
        lookup = np.array([*(number.setdefault(name, len(number)) for name in names), -1], dtype=np.int32)
        joined.append(lookup[codes])  # code -1 reads the last entry, which is -1
    return list(number), np.concatenate(joined)
