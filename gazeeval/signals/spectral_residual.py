"""Spectral residual saliency (Hou and Zhang, CVPR 2007) as OpenCV computes it, for a batch of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from gazeeval.errors import UsageError
from gazeeval.signals.fine_grained import ChannelOrder, in_chunks, luminance, one_thread

SIDE = 64  # the spectrum is taken of a square of this size, in pixels
CPU_CHUNK = 8  # images at a time: the working set stays in the cache

_GREY = {"r": 0.299, "g": 0.587, "b": 0.114}  # of float images; 8-bit ones have OpenCV's fixed point
_BOX = torch.ones(3, dtype=torch.float64)
_GAUSS = torch.exp(-(torch.arange(-2, 3, dtype=torch.float64) ** 2) / (2 * 8**2))


def spectral_residual(images: Tensor, *, order: ChannelOrder = "rgb") -> Tensor:
    """Spectral residual saliency, float32 (n, h, w) in [0, 1].

    Args:
        images: (n, 3, h, w) colour or (n, h, w) grey. uint8, or float32 on any scale; the scale matters, since the
            logarithm is of 1 + magnitude: the map of ``images / 255`` is another one.
        order: what the colour channels are.

    Raises:
        UsageError: another shape or dtype.

    With grey image ``g`` at 64 x 64, spectrum ``A e^(iP)`` and ``L = log(1 + A)``: the inverse transform of
    ``exp(L - box3x3(L)) e^(iP)``, its magnitude blurred (5 x 5, sigma 8), squared, divided by its maximum and
    resized to the image. The paper's own listing differs: ``log A``, blur after the square, minimum subtracted.
    Within 1e-4 of OpenCV, whose polar conversion is approximate. A flat image gives a nearly constant map.
    """
    _check(images)
    with one_thread():
        return torch.cat([_residual_map(part, order) for part in in_chunks(images, CPU_CHUNK)])


def _check(images: Tensor) -> None:
    shape_fits = images.ndim == 3 or (images.ndim == 4 and images.shape[1] == 3)
    if images.dtype not in (torch.uint8, torch.float32) or not shape_fits:
        raise UsageError(
            f"spectral_residual: images, got {images.dtype} {tuple(images.shape)}. "
            "Pass uint8 or float32, (n, 3, h, w) or (n, h, w)."
        )


def _residual_map(images: Tensor, order: ChannelOrder) -> Tensor:
    spectrum = torch.fft.fft2(_small_grey(images, order))
    log_magnitude = spectrum.abs().log1p()
    residual = (log_magnitude - _smooth(log_magnitude, _BOX)).exp()
    restored = torch.fft.ifft2(torch.polar(residual, spectrum.angle()))
    saliency = _smooth(restored.abs(), _GAUSS).square()
    saliency = (saliency / saliency.amax(dim=(1, 2), keepdim=True)).float()
    return _resize(saliency, (images.shape[-2], images.shape[-1]))


def _small_grey(images: Tensor, order: ChannelOrder) -> Tensor:
    """float64 (n, 64, 64); integers for 8-bit images, as OpenCV resizes them."""
    if images.dtype == torch.uint8:
        return (_resize(luminance(images, order).double(), (SIDE, SIDE)) + 0.5).floor()
    if images.ndim == 4:
        weights = images.new_tensor([_GREY[name] for name in order])
        images = (images * weights[:, None, None]).sum(1)
    return _resize(images.double(), (SIDE, SIDE))


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(maps.unsqueeze(1), size, mode="bilinear", align_corners=False).squeeze(1)


def _smooth(maps: Tensor, taps: Tensor) -> Tensor:
    """Filter with the same taps, normalised, along both axes; border reflected, edge pixel not repeated."""
    weights = (taps / taps.sum()).to(maps)
    padded = pad(maps.unsqueeze(1), [len(taps) // 2] * 4, mode="reflect")
    return conv2d(padded, torch.outer(weights, weights)[None, None]).squeeze(1)
