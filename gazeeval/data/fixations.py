"""Where people looked: one row per fixation (or raw sample), as columns, sorted by image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeeval.errors import DataError

Kind = Literal["fixations", "samples"]


class Padded(NamedTuple):
    """Rows of ``n`` images side by side, (n, K) each, K = rows of the longest image.

    ``valid`` is False where an image has fewer rows; x, y, duration_ms are 0 there, viewer is -1.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    duration_ms: NDArray[np.float32]
    viewer: NDArray[np.int32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Fixations:
    """Gaze on ``n`` images: ``m`` rows sorted by image, in the order of the file inside an image.

    Attributes:
        offsets: (n + 1,) int64; rows ``offsets[i]:offsets[i + 1]`` belong to image ``i``.
        x, y: (m,) float32, pixels of the ORIGINAL image, corner convention (first pixel centred at 0.5).
        duration_ms: (m,) float32, NaN where unknown; of raw samples the time step.
        viewer: (m,) int32, index into ``viewers``, -1 unknown.
        viewers: names of the people or viewing runs.
        condition: (m,) int32, index into ``conditions``, -1 none.
        conditions: names of the tasks or hierarchy levels.
        kind: whether rows are fixations or raw samples of an eye tracker.
    """

    offsets: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    duration_ms: NDArray[np.float32]
    viewer: NDArray[np.int32]
    condition: NDArray[np.int32]
    viewers: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    kind: Kind = "fixations"

    @classmethod
    def from_rows(
        cls,
        image_index: ArrayLike,
        n_images: int,
        x: ArrayLike,
        y: ArrayLike,
        duration_ms: ArrayLike | None = None,
        *,
        viewer: ArrayLike | None = None,
        viewers: tuple[str, ...] = (),
        condition: ArrayLike | None = None,
        conditions: tuple[str, ...] = (),
        kind: Kind = "fixations",
    ) -> Fixations:
        """Rows in any order, (m,) each; sorted here by image, stably. Left out: unknown (NaN or -1).

        Raises:
            DataError: columns of different lengths, an image index outside [0, n_images), a position that is
                not finite, a negative or infinite duration, a code without a name.
        """
        image = np.asarray(image_index, np.int64).reshape(-1)
        columns = {
            "x": _column(x, np.float32),
            "y": _column(y, np.float32),
            "duration_ms": _column(_or_fill(duration_ms, len(image), np.nan), np.float32),
            "viewer": _column(_or_fill(viewer, len(image), -1), np.int32),
            "condition": _column(_or_fill(condition, len(image), -1), np.int32),
        }
        for name, values in columns.items():
            if len(values) != len(image):
                raise DataError(f"gaze rows: {name}, got {len(values)} values for {len(image)} rows. Give one per row.")
        _require((image >= 0) & (image < n_images), image, "image_index", f"Images count from 0 to {n_images - 1}.")
        for name in ("x", "y"):
            _require(np.isfinite(columns[name]), columns[name], name, "Positions are finite pixels of the image.")
        duration = columns["duration_ms"]
        known = ~((duration < 0) | np.isinf(duration))
        _require(known, duration, "duration_ms", "Durations are milliseconds >= 0, or NaN where unknown.")
        for name, names in (("viewer", viewers), ("condition", conditions)):
            code = columns[name]
            rule = f"Codes are -1 or an index into the {len(names)} names."
            _require((code >= -1) & (code < len(names)), code, name, rule)
        order = np.argsort(image, kind="stable")
        offsets = _offsets(np.bincount(image, minlength=n_images))
        rows = {name: values[order] for name, values in columns.items()}
        return cls(offsets, **rows, viewers=viewers, conditions=conditions, kind=kind)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.offsets) - 1

    def counts(self) -> NDArray[np.int64]:
        """(n,) rows of each image."""
        return np.diff(self.offsets)

    def image_index(self) -> NDArray[np.int64]:
        """(m,) image of each row."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.counts())

    def select(self, images: NDArray[np.int64]) -> Fixations:
        """The gaze of ``images`` (an image may occur twice), in that order."""
        counts = self.counts()[images]
        offsets = _offsets(counts)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[images] - offsets[:-1], counts)
        return self._take(rows, offsets)

    def keep(self, row_mask: NDArray[np.bool_]) -> Fixations:
        """The same images with only the rows where ``row_mask`` (m,) is True."""
        return self._take(np.flatnonzero(row_mask), _offsets(row_mask)[self.offsets])

    def padded(self, images: NDArray[np.int64]) -> Padded:
        """The rows of ``images`` as rectangular arrays with a mask."""
        counts = self.counts()[images]
        slots = np.arange(counts.max(initial=0))
        valid = slots < counts[:, None]
        rows = np.where(valid, self.offsets[images][:, None] + slots, 0)
        return Padded(
            np.where(valid, self.x[rows], np.float32(0)),
            np.where(valid, self.y[rows], np.float32(0)),
            np.where(valid, self.duration_ms[rows], np.float32(0)),
            np.where(valid, self.viewer[rows], np.int32(-1)),
            valid,
        )

    def _take(self, rows: NDArray[np.int64], offsets: NDArray[np.int64]) -> Fixations:
        return replace(
            self,
            offsets=offsets,
            x=self.x[rows],
            y=self.y[rows],
            duration_ms=self.duration_ms[rows],
            viewer=self.viewer[rows],
            condition=self.condition[rows],
        )


def _offsets(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Running totals with a leading 0."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _or_fill(values: ArrayLike | None, rows: int, fill: float) -> ArrayLike:
    return np.full(rows, fill) if values is None else values


def _column(values: ArrayLike, dtype: type[np.float32] | type[np.int32]) -> NDArray[Any]:
    return np.asarray(values).astype(dtype).reshape(-1)


def _require(good: NDArray[np.bool_], values: NDArray[Any], name: str, rule: str) -> None:
    """Raise for the first row that is not ``good``, naming it and counting the others."""
    bad = np.flatnonzero(~good)
    if len(bad):
        more = f" (and {len(bad) - 1} more rows)" if len(bad) > 1 else ""
        raise DataError(f"gaze rows: row {bad[0]}, {name}, got {values[bad[0]]}{more}. {rule}")
