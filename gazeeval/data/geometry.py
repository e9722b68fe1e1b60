"""One geometry for an image and for the points on it: resize and centre crop, as timm's eval transform does.

Corner convention throughout: the first pixel spans [0, 1), its centre is 0.5, so a resize is a plain scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from gazeeval.errors import UsageError, did_you_mean

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class PointMap:
    """From pixels of ``n`` original images to pixels of the network input: x' = ax x + bx, y' = ay y + by.

    ``ax, bx, ay, by`` are (n,) float64; a horizontal flip has ax < 0.
    """

    ax: NDArray[np.float64]
    bx: NDArray[np.float64]
    ay: NDArray[np.float64]
    by: NDArray[np.float64]

    @classmethod
    def resized_crop(
        cls, left: ArrayLike, top: ArrayLike, crop_w: ArrayLike, crop_h: ArrayLike, out: tuple[int, int]
    ) -> PointMap:
        """One crop box per image, (n,) each in original pixels, resized to ``out`` = (height, width)."""
        ax = out[1] / np.atleast_1d(np.asarray(crop_w, np.float64))
        ay = out[0] / np.atleast_1d(np.asarray(crop_h, np.float64))
        return cls(ax, -np.asarray(left) * ax, ay, -np.asarray(top) * ay)

    @property
    def scale_x(self) -> NDArray[np.float64]:
        """(n,) input pixels per original pixel."""
        return np.abs(self.ax)

    @property
    def scale_y(self) -> NDArray[np.float64]:
        """(n,) input pixels per original pixel."""
        return np.abs(self.ay)

    def apply(
        self, x: NDArray[np.floating], y: NDArray[np.floating], index: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mapped points, float64. ``index``: the image of each point, broadcasts against x and y."""
        return self.ax[index] * x + self.bx[index], self.ay[index] * y + self.by[index]

    def flipped(self, width: int) -> PointMap:
        """This map followed by a mirror of the network input, x' = width - x."""
        return PointMap(-self.ax, width - self.bx, self.ay, self.by)


@dataclass(frozen=True)
class Geometry:
    """How an image becomes the network input.

    Attributes:
        height, width: the network input, pixels.
        mode: ``short`` keeps the aspect ratio and fits the short side, ``squash`` resizes both sides to
            ``resize`` (both then crop the centre), ``stretch`` resizes to the input itself.
        resize: (height, width) of the resize target; for a square ``short`` one number twice.
        interpolation: nearest, bilinear, bicubic or lanczos; PIL's, with antialiasing.
    """

    height: int
    width: int
    mode: Literal["short", "squash", "stretch"]
    resize: tuple[int, int]
    interpolation: str

    def __post_init__(self) -> None:
        if self.interpolation not in _FILTERS:
            known = ", ".join(_FILTERS)
            hint = did_you_mean(self.interpolation, _FILTERS)
            raise UsageError(f"geometry: interpolation, got {self.interpolation!r}{hint}. Use one of {known}.")
        if min(self.height, self.width) < 1:
            raise UsageError(f"geometry: input size, got {self.height}x{self.width}. Sides must be 1 pixel or more.")
        if self.resize[0] < self.height or self.resize[1] < self.width:
            raise UsageError(
                f"geometry: resize, got {self.resize[0]}x{self.resize[1]}, smaller than the crop of "
                f"{self.height}x{self.width}. Use a crop_pct of at most 1, or --geometry stretch."
            )

    @classmethod
    def from_config(
        cls, input_size: tuple[int, int], crop_pct: float, interpolation: str, crop_mode: str = "center"
    ) -> Geometry:
        """The geometry of timm's ``pretrained_cfg``; ``input_size`` is (height, width).

        Raises:
            UsageError: unknown crop mode or interpolation, crop_pct outside (0, 1].
        """
        if crop_mode not in ("center", "squash"):
            raise UsageError(f"geometry: crop_mode, got {crop_mode!r}. Use center or squash, or --geometry stretch.")
        if not crop_pct > 0:
            raise UsageError(f"geometry: crop_pct, got {crop_pct}. Use a number above 0 and at most 1.")
        height, width = input_size
        resize = (math.floor(height / crop_pct), math.floor(width / crop_pct))
        return cls(height, width, "squash" if crop_mode == "squash" else "short", resize, interpolation)

    @classmethod
    def stretch(cls, height: int, width: int, interpolation: str) -> Geometry:
        """The whole image resized to the input, without a crop; the aspect ratio is lost."""
        return cls(height, width, "stretch", (height, width), interpolation)

    def point_map(self, widths: NDArray[np.int64], heights: NDArray[np.int64]) -> PointMap:
        """The map of points for images of these original sizes, (n,) each."""
        new_w, new_h = self._resized(widths, heights)
        left, top = _centred(new_w, self.width), _centred(new_h, self.height)
        return PointMap(new_w / widths, -left.astype(np.float64), new_h / heights, -top.astype(np.float64))

    def resized_size(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(new_w, new_h, left, top) of one image: size after the resize, corner of the crop in it."""
        new_w, new_h = self._resized(np.array(width), np.array(height))
        left, top = _centred(new_w, self.width), _centred(new_h, self.height)
        return int(new_w), int(new_h), int(left), int(top)

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 from an RGB image: timm's eval transform, bit for bit, before normalisation."""
        return np.asarray(self._resize_and_crop(image, self.interpolation))

    def apply_map(self, gaze: NDArray[np.float32]) -> NDArray[np.float32]:
        """A gaze map of the original image's size under the same geometry: (h, w) float32, not normalised.

        Resized in float with an antialiased triangle filter; bicubic or Lanczos would make it negative.
        """
        return np.asarray(self._resize_and_crop(Image.fromarray(gaze), "bilinear"))

    def describe(self) -> str:
        """One line for headers and manifests: ``Resize 256, CenterCrop 224, bicubic``."""
        size = _size(self.height, self.width)
        if self.mode == "stretch":
            return f"Stretch {self.height}x{self.width}, {self.interpolation}"
        resize = f"{self.resize[0]}x{self.resize[1]}" if self.mode == "squash" else _size(*self.resize)
        return f"Resize {resize}, CenterCrop {size}, {self.interpolation}"

    def _resized(
        self, widths: NDArray[np.int64], heights: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Widths and heights after the resize, before the crop."""
        target_h, target_w = self.resize
        if self.mode != "short":
            return np.full_like(widths, target_w), np.full_like(heights, target_h)
        if target_h == target_w:  # torchvision's Resize(int): the long side is rounded down
            short = np.minimum(widths, heights)
            return target_w * widths // short, target_h * heights // short
        ratio = np.minimum(heights / target_h, widths / target_w)  # timm's ResizeKeepRatio: to the nearest
        return np.rint(widths / ratio).astype(np.int64), np.rint(heights / ratio).astype(np.int64)

    def _resize_and_crop(self, image: Image.Image, interpolation: str) -> Image.Image:
        new_w, new_h, left, top = self.resized_size(*image.size)
        resized = image.resize((new_w, new_h), _FILTERS[interpolation])
        return resized.crop((left, top, left + self.width, top + self.height))


def _centred(size: NDArray[np.int64], crop: int) -> NDArray[np.int64]:
    """First pixel of a centred crop; halves go to the even number, as Python's ``round`` has it."""
    return np.rint((size - crop) / 2).astype(np.int64)


def _size(height: int, width: int) -> str:
    return str(height) if height == width else f"{height}x{width}"
