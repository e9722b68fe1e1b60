"""Where an image lay in the frame (screen) that gaze positions were recorded in: undo it, and test what was declared.

Formulas and the test: card ``gaze-datasets``, "Frame placement: declare it and test it". Everything is in the corner
convention: x in [0, W], pixel i covers [i, i + 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gazeeval.errors import DataError, did_you_mean

PLACEMENTS = ("contain", "stretch", "native", "cover")
Rectangle: TypeAlias = tuple[float, float, float, float]
Floats: TypeAlias = NDArray[np.float64]

SUPPORTED_BELOW = 0.02
REFUSED_ABOVE = 0.05
_MIN_IMAGES_FOR_SPREAD = 30


class Placed(NamedTuple):
    """Frame position = image position * scale + left (top)."""

    left: Floats
    top: Floats
    scale_x: Floats
    scale_y: Floats


class Outside(NamedTuple):
    """Share of gaze outside the placed image, 0-1; NaN where there is no gaze on such images. Squares: landscape."""

    all: float
    portrait: float
    landscape: float


@dataclass(frozen=True)
class PlacementReport:
    """What the gaze says about a declared placement.

    Attributes:
        declared: one of PLACEMENTS or "rectangle".
        outside: of every candidate; the declared rectangle is one of them.
        supported: the smallest candidate that leaves hardly any gaze outside, or None.
        verdict: "ok", "warn" or "refuse".
        message: one line for people, with the shares.
    """

    declared: str
    outside: Mapping[str, Outside]
    supported: str | None
    verdict: Literal["ok", "warn", "refuse"]
    message: str


def frame_pixels(
    x: ArrayLike,
    y: ArrayLike,
    width: ArrayLike,
    height: ArrayLike,
    *,
    origin: str = "upper-left",
    pixel_origin: str = "corner",
    unit: str = "px",
    px_per_unit: float = 1.0,
) -> tuple[Floats, Floats]:
    """Positions as a file has them, as px from the upper left corner of their frame, y down; float64.

    Args:
        width, height: px of the frame.
        origin: where (0, 0) is: "upper-left" and "centre" with y down, "lower-left" and "centre-up" with y up.
        pixel_origin: of whole pixels: "centre" numbers them from 0, "one-based" from 1; "corner" is continuous.
        unit: "px"; "fraction" or "percent" of the frame; "mm" or "deg", of which one is ``px_per_unit`` pixels (a
            degree: near the middle of the screen).
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    width, height = np.asarray(width, dtype=np.float64), np.asarray(height, dtype=np.float64)
    whole = {"fraction": 1.0, "percent": 100.0}.get(unit)
    shift = {"corner": 0.0, "centre": 0.5, "one-based": -0.5}[pixel_origin]
    x = x * (width / whole) if whole else x * px_per_unit + shift
    y = y * (height / whole) if whole else y * px_per_unit + shift
    x = x + width / 2 if origin.startswith("centre") else x
    match origin:
        case "lower-left":
            return x, height - y
        case "centre":
            return x, height / 2 + y
        case "centre-up":
            return x, height / 2 - y
    return x, y


def place(img_w: ArrayLike, img_h: ArrayLike, frame_w: float, frame_h: float, placement: str | Rectangle) -> Placed:
    """How images of ``img_w`` x ``img_h`` px lie in the frame; fields have the broadcast shape of the sizes, float64.

    ``placement``: "stretch" fills the frame, "contain" fits inside it (letterbox, centred), "native" keeps 1:1
    (centred), "cover" fills it and is cut (centred); or the rectangle (x0, y0, x1, y1) the image is stretched to.

    Raises:
        DataError: unknown name, or a rectangle without area.
    """
    w, h = np.broadcast_arrays(np.asarray(img_w, dtype=np.float64), np.asarray(img_h, dtype=np.float64))
    if not isinstance(placement, str):
        return _stretched(w, h, placement)
    fit_x, fit_y = frame_w / w, frame_h / h
    if placement == "stretch":
        return _stretched(w, h, (0, 0, frame_w, frame_h))
    if placement not in PLACEMENTS:
        raise DataError(
            f"frame placement: got {placement!r}{did_you_mean(placement, PLACEMENTS)}. "
            f"Declare one of {', '.join(PLACEMENTS)} or a rectangle x0, y0, x1, y1."
        )
    scale = {"contain": np.minimum(fit_x, fit_y), "native": np.ones_like(w), "cover": np.maximum(fit_x, fit_y)}
    s = scale[placement]
    return Placed((frame_w - s * w) / 2, (frame_h - s * h) / 2, s, s)


def frame_to_image(
    x: ArrayLike,
    y: ArrayLike,
    img_w: ArrayLike,
    img_h: ArrayLike,
    frame_w: float,
    frame_h: float,
    placement: str | Rectangle,
) -> tuple[Floats, Floats]:
    """Positions in the frame as positions in the original image, px, float64; ``placement`` as in :func:`place`.

    Gaze beside the image gets positions below 0 or above its size; nothing is clipped.
    """
    placed = place(img_w, img_h, frame_w, frame_h, placement)
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return (x - placed.left) / placed.scale_x, (y - placed.top) / placed.scale_y


def outside_share(
    x: ArrayLike,
    y: ArrayLike,
    img_w: ArrayLike,
    img_h: ArrayLike,
    frame_w: float,
    frame_h: float,
    candidates: Mapping[str, str | Rectangle] | None = None,
) -> dict[str, Outside]:
    """Share of gaze outside the placed image, for every candidate (default: all PLACEMENTS).

    Args:
        x, y: (m,) finite positions in the frame, px.
        img_w, img_h: (m,) size of the image of each position, or scalars.
        candidates: name to placement.
    """
    w, h = np.asarray(img_w, dtype=np.float64), np.asarray(img_h, dtype=np.float64)
    portrait = np.broadcast_to(h > w, np.shape(x))
    shares = {}
    for name, placement in (candidates or {name: name for name in PLACEMENTS}).items():
        ix, iy = frame_to_image(x, y, w, h, frame_w, frame_h, placement)
        outside = (ix < 0) | (ix >= w) | (iy < 0) | (iy >= h)
        shares[name] = Outside(_mean(outside), _mean(outside[portrait]), _mean(outside[~portrait]))
    return shares


def check_placement(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    img_w: NDArray[np.integer],
    img_h: NDArray[np.integer],
    frame_w: float,
    frame_h: float,
    declared: str | Rectangle,
    *,
    image: NDArray[np.integer] | None = None,
) -> PlacementReport:
    """Test a declared placement against where the gaze fell (rule of the card ``gaze-datasets``).

    A placement that is too small leaves gaze outside, one that is too large does not. So the supported candidate is the
    one with the smallest placed area among those with less than 2 % outside, in portrait images too. "refuse" if the
    declared one leaves more than 5 % outside, "warn" if it is not the supported one, else "ok".

    Args:
        x, y, img_w, img_h: (m,) per position, in frame px and image px. Positions that are not finite do not count.
        image: (m,) number of the image of each position; adds the second test, the spread of x against W/H, to the
            message if there are at least 30 images.

    Raises:
        DataError: unknown placement, or no finite position at all.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        raise DataError("frame placement: no gaze position is a number, nothing to test. Check the columns of x and y.")
    x, y, w, h = x[finite], y[finite], img_w[finite], img_h[finite]
    candidates: dict[str, str | Rectangle] = {name: name for name in PLACEMENTS}
    name = declared if isinstance(declared, str) else "rectangle"
    candidates[name] = declared
    outside = outside_share(x, y, w, h, frame_w, frame_h, candidates)
    area = {key: _mean(_placed_area(w, h, frame_w, frame_h, value)) for key, value in candidates.items()}
    passing = [
        key for key, share in outside.items() if not (share.all >= SUPPORTED_BELOW or share.portrait >= SUPPORTED_BELOW)
    ]
    smallest = min((area[key] for key in passing), default=np.nan)
    nearly = [key for key in passing if area[key] <= smallest * (1 + 1e-6)]
    supported = name if name in nearly else next(iter(nearly), None)
    if outside[name].all > REFUSED_ABOVE:
        verdict: Literal["ok", "warn", "refuse"] = "refuse"
    else:
        verdict = "ok" if name == supported else "warn"
    spread = "" if image is None else _spread_note(x, image[finite], w, h)
    return PlacementReport(name, outside, supported, verdict, _summary(name, outside, supported, verdict) + spread)


def _stretched(w: Floats, h: Floats, rectangle: Rectangle) -> Placed:
    x0, y0, x1, y1 = rectangle
    if not (x1 > x0 and y1 > y0):
        raise DataError(
            f"frame placement: got the rectangle {rectangle}. Declare x0, y0, x1, y1 with x1 > x0, y1 > y0."
        )
    return Placed(np.full_like(w, x0), np.full_like(h, y0), (x1 - x0) / w, (y1 - y0) / h)


def _mean(values: NDArray[np.bool_] | Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _placed_area(
    w: NDArray[np.integer], h: NDArray[np.integer], frame_w: float, frame_h: float, placement: str | Rectangle
) -> Floats:
    placed = place(w, h, frame_w, frame_h, placement)
    return placed.scale_x * w * placed.scale_y * h


def _summary(declared: str, outside: Mapping[str, Outside], supported: str | None, verdict: str) -> str:
    shares = ", ".join(
        f"{name} {share.all:.1%}" + ("" if np.isnan(share.portrait) else f" (portrait {share.portrait:.1%})")
        for name, share in outside.items()
    )
    found = f"the gaze supports {supported!r}" if supported else "no candidate has less than 2 % outside"
    advice = {
        "ok": "",
        "warn": " Check gaze.frame.placement, and report results under the alternative too.",
        "refuse": " Correct gaze.frame.placement.",
    }
    return f"declared frame placement {declared!r}: {found}; gaze outside the image: {shares}.{advice[verdict]}"


def _spread_note(
    x: NDArray[np.floating], image: NDArray[np.integer], w: NDArray[np.integer], h: NDArray[np.integer]
) -> str:
    """A wide image is wide on the screen under contain, so there the spread of x grows with W/H; not under stretch."""
    _, first, code, count = np.unique(image, return_index=True, return_inverse=True, return_counts=True)
    mean = np.bincount(code, x) / count
    spread = np.sqrt(np.bincount(code, (x - mean[code]) ** 2) / count)
    aspect = w[first] / h[first]
    enough = count >= 3
    if enough.sum() < _MIN_IMAGES_FOR_SPREAD or np.ptp(aspect[enough]) == 0 or np.ptp(spread[enough]) == 0:
        return ""
    r = np.corrcoef(spread[enough], aspect[enough])[0, 1]
    return (
        f" Spread of x against W/H over {enough.sum():,} images: r = {r:+.2f} "
        "(clearly positive under contain, near zero under stretch)."
    )
