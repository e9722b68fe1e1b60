"""OpenCV's fine-grained saliency (after Montabone and Soto 2010), for a batch of 8-bit images, bit for bit.

Each pixel of the blurred luminance is compared with the mean of six square surrounds: where it is brighter it
counts for the *on* map, where it is darker for the *off* map.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gazeeval.errors import UsageError

ChannelOrder = Literal["rgb", "bgr"]

SURROUNDS = (12, 24, 48, 28, 56, 112)  # half-widths in pixels
CPU_CHUNK = 2  # images at a time: the working set stays in the cache

_GREY = {"r": 9798, "g": 19235, "b": 3735}  # OpenCV's fixed point, in 1 / 2**15


class CentreSurround(NamedTuple):
    """Three uint8 maps (n, h, w)."""

    on: Tensor
    off: Tensor
    out: Tensor


def fine_grained(images_u8: Tensor, *, order: ChannelOrder = "rgb") -> Tensor:
    """Fine-grained saliency, uint8 (n, h, w) in 0..255, as ``cv2.saliency`` gives it (times 255).

    Args:
        images_u8: uint8, (n, 3, h, w) colour or (n, h, w) grey.
        order: what the colour channels are. Only "rgb" on RGB images and "bgr" on BGR images give the luminance.

    Raises:
        UsageError: another shape or dtype.

    The map has no absolute scale: a faint pattern is stretched to 255, a flat image is zero everywhere.
    Identical to OpenCV while the grey values of an image sum to less than 2**24, that is up to 224 x 224 at any
    brightness; beyond that OpenCV rounds its own running sums and single levels differ.
    """
    with one_thread():
        return torch.cat([maps.out for maps in _maps(images_u8, order)])


def centre_surround(images_u8: Tensor, *, order: ChannelOrder = "rgb") -> CentreSurround:
    """The on map, the off map and the saliency. Arguments and errors as for :func:`fine_grained`."""
    with one_thread():
        return CentreSurround(*map(torch.cat, zip(*_maps(images_u8, order), strict=True)))


def luminance(images_u8: Tensor, order: ChannelOrder = "rgb") -> Tensor:
    """The grey values 0..255 of 8-bit images as float32 (n, h, w), rounded as OpenCV does."""
    planes = images_u8.float()
    if planes.ndim == 3:
        return planes
    first, second, third = (_GREY[name] for name in order)
    total = planes[:, 0] * first  # every sum is an integer below 2**24: float32 is exact
    total.add_(planes[:, 1], alpha=second).add_(planes[:, 2], alpha=third)
    return total.add_(2**14).div_(2**15).floor_()


def in_chunks(images: Tensor, size: int) -> tuple[Tensor, ...]:
    """``size`` images at a time; on an accelerator all at once."""
    return torch.split(images, size if images.device.type == "cpu" else max(len(images), 1))


@contextmanager
def one_thread() -> Iterator[None]:
    """No threads inside torch's operations: where these are short, threads on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check(images: Tensor) -> None:
    if images.dtype != torch.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[1] == 3)):
        raise UsageError(
            f"fine_grained: images, got {images.dtype} {tuple(images.shape)}. Pass uint8 (n, 3, h, w) or (n, h, w)."
        )


def _maps(images: Tensor, order: ChannelOrder) -> Iterator[CentreSurround]:
    _check(images)
    counts = _surround_counts(images.shape[-2], images.shape[-1], images.device)
    for part in in_chunks(images, CPU_CHUNK):
        yield _centre_surround(luminance(part, order), counts)


def _centre_surround(grey: Tensor, counts: list[Tensor]) -> CentreSurround:
    height, width = grey.shape[1:]
    if height * width == 1:  # no surround, no contrast
        return CentreSurround(*grey.new_zeros(3, *grey.shape, dtype=torch.uint8))
    grey = _blur(_blur(grey))
    integral, top, left = _padded_integral(grey)
    on = torch.zeros_like(grey, dtype=torch.int16)
    both = torch.zeros_like(on)
    for half, count in zip(SURROUNDS, counts, strict=True):
        dy, dx = min(half, height), min(half, width)
        y1, y2 = (slice(s, s + height) for s in (top - dy + 1, top + dy + 1))
        x1, x2 = (slice(s, s + width) for s in (left - dx + 1, left + dx + 1))
        # OpenCV's order of the four terms: in float32 it decides the last bit (first sum up to 2**25)
        surround = integral[:, y2, x2] + integral[:, y1, x1]
        surround -= integral[:, y2, x1]
        surround -= integral[:, y1, x2]
        contrast = (grey - surround.sub_(grey).div_(count)).to(torch.int16)  # towards zero
        both += contrast
        on += contrast.clamp_min_(0)
    on8, off8 = _stretch(on), _stretch(on - both)
    # a map's maximum is 255 unless it is zero: OpenCV's last division, by the larger maximum, changes nothing
    return CentreSurround(on8, off8, on8 + off8)


def _blur(grey: Tensor) -> Tensor:
    """Gaussian 3 x 3 with reflected border (edge pixel not repeated), rounded to integers."""
    return _blur_axis(_blur_axis(grey, 1), 2).add_(8).div_(16).floor_()


def _blur_axis(grey: Tensor, dim: int) -> Tensor:
    last = grey.shape[dim] - 1
    out = grey * 2
    out.narrow(dim, 1, last).add_(grey.narrow(dim, 0, last))
    out.narrow(dim, 0, last).add_(grey.narrow(dim, 1, last))
    out.select(dim, 0).add_(grey.select(dim, min(1, last)))
    out.select(dim, last).add_(grey.select(dim, max(last - 1, 0)))
    return out


def _padded_integral(grey: Tensor) -> tuple[Tensor, int, int]:
    """The integral image, continued as windows cut at the border need it; with the place of its (0, 0)."""
    n, height, width = grey.shape
    top, left = (min(max(SURROUNDS), side) - 1 for side in (height, width))
    padded = grey.new_zeros(n, top + height + top + 2, left + width + left + 2)
    inside = padded[:, top + 1 : top + 1 + height, left + 1 : left + 1 + width]
    inside.copy_(grey.cumsum(2).cumsum_(1))
    padded[:, top + 1 + height :, :] = padded[:, top + height, None, :]
    padded[:, :, left + 1 + width :] = padded[:, :, left + width, None]
    return padded, top, left


def _surround_counts(height: int, width: int, device: torch.device) -> list[Tensor]:
    """Pixels of each surround without its centre, float32 (h, w), per scale."""
    rows = torch.arange(height, device=device)
    cols = torch.arange(width, device=device)
    return [(torch.outer(_extent(rows, half, height), _extent(cols, half, width)) - 1).float() for half in SURROUNDS]


def _extent(at: Tensor, half: int, length: int) -> Tensor:
    return (at + half + 1).clamp(max=length) - (at - half + 1).clamp(min=0)


def _stretch(total: Tensor) -> Tensor:
    """Scaled to 0..255 by the map's own maximum, rounded down; float32 is exact for the 6 * 255 possible sums."""
    peak = total.amax(dim=(1, 2), keepdim=True).clamp_min(1)
    return (total / peak).mul_(255).to(torch.int16).to(torch.uint8)  # by way of int16: the direct way is slow
