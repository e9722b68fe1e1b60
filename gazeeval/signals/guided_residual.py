"""The spectral residual detector that GuidedMixup brings along, for a batch of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from gazeeval.errors import UsageError
from gazeeval.signals.fine_grained import in_chunks, one_thread

SIDE = 128  # a higher image is looked at as a square of this size, in pixels
CPU_CHUNK = 8  # images at a time: the working set stays in the cache

_GREY = (0.2989, 0.587, 0.114)
_REACH = 3  # pixels to each side of the Gaussian's centre
_BELL = [math.exp(-(x**2) / (2 * 3**2)) for x in range(-_REACH, _REACH + 1)]
_GAUSS = [height / sum(_BELL) for height in _BELL]


def guided_residual(images_normalised: Tensor, *, antialias: bool = True) -> Tensor:
    """Spectral residual saliency as the released GuidedMixup code computes it, float32 (n, h, w) >= 0.

    Args:
        images_normalised: float (n, 3, h, w), RGB with the model's mean and standard deviation taken out, which gives
            the channels other weights than in [0, 1].
        antialias: how images higher than 128 px are made smaller: as torchvision does since 0.17, or as before.

    Raises:
        UsageError: a side is shorter than 4 pixels.

    With grey image ``g``, spectrum ``F`` and its magnitude ``m = sqrt(|F|**2 + 1e-10)``: the residual is
    ``R = exp(log m - box3x3(log m))`` and the map the amplitude of the inverse transform of ``F * R / m``, blurred
    (7 x 7, sigma 3). Images higher than 128 px pass through a square of 128 x 128. (Kang and Kim, AAAI 2023, after Hou
    and Zhang, CVPR 2007; card ``guidedmixup``.) `spectral_residual` is OpenCV's: 64 x 64, ``log(1 + m)``, squared.
    The map has no absolute scale; in float64 that of a flat image is constant.
    """
    with one_thread():
        return torch.cat([_residual_map(part, antialias) for part in in_chunks(images_normalised, CPU_CHUNK)])


def guided_blur(maps: Tensor) -> Tensor:
    """GuidedMixup's Gaussian: ``maps`` (n, h, w) filtered 7 x 7 with sigma 3, border reflected, edge not repeated.

    Raises:
        UsageError: a side is shorter than 4 pixels.
    """
    height, width = maps.shape[1:]
    if min(height, width) <= _REACH:
        raise UsageError(
            f"guidedmixup: image size, got {height}x{width} px. Use at least {_REACH + 1}x{_REACH + 1} px."
        )
    with one_thread():
        return torch.cat([_smooth(part) for part in in_chunks(maps, CPU_CHUNK)])


def _residual_map(images: Tensor, antialias: bool) -> Tensor:
    grey = (images * images.new_tensor(_GREY)[:, None, None]).sum(1).double()
    size = grey.shape[1], grey.shape[2]
    if size[0] > SIDE:
        grey = _resize(grey, (SIDE, SIDE), antialias)
    spectrum = torch.fft.fft2(grey)
    magnitude = (spectrum.abs().square() + 1e-10).sqrt()
    residual = (magnitude.log() - _box(magnitude.log())).exp()
    saliency = guided_blur(torch.fft.ifft2(spectrum * (residual / magnitude)).abs())
    return (_resize(saliency, size, antialias) if size[0] > SIDE else saliency).float()


def _smooth(maps: Tensor) -> Tensor:
    padded = pad(maps, [_REACH] * 4, mode="reflect")
    return _filter(_filter(padded, 1), 2)


def _filter(padded: Tensor, dim: int) -> Tensor:
    """The Gaussian along one axis. Shifted sums: a convolution may round to TF32, and is slow for a single channel."""
    size = padded.shape[dim] - 2 * _REACH
    total = padded.narrow(dim, 0, size) * _GAUSS[0]
    for start in range(1, len(_GAUSS)):
        total.add_(padded.narrow(dim, start, size), alpha=_GAUSS[start])
    return total


def _box(maps: Tensor) -> Tensor:
    """Mean of the 3 x 3 neighbours; the edge pixel is repeated."""
    return avg_pool2d(pad(maps, [1] * 4, mode="replicate"), 3, stride=1)


def _resize(maps: Tensor, size: tuple[int, int], antialias: bool) -> Tensor:
    return interpolate(maps.unsqueeze(1), size, mode="bilinear", align_corners=False, antialias=antialias).squeeze(1)
