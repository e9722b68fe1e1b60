"""Answers to the requests that need only the images: the saliency detectors. A cache keeps them on the host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence

import torch
from torch import Tensor

from gazeeval.cache import ByteCache
from gazeeval.errors import PluginError
from gazeeval.signals.base import Saliency, Signal
from gazeeval.signals.fine_grained import fine_grained
from gazeeval.signals.opencv import opencv_float
from gazeeval.signals.spectral_residual import spectral_residual

SignalCache = ByteCache[tuple[Hashable, Signal], Tensor]
"""Answers of images that come again, in host memory. One cache serves one geometry and one normalisation: the keys name
the images only."""


def signal_cache(max_bytes: int = 2**30) -> SignalCache:
    """An empty cache."""
    return ByteCache(max_bytes, lambda answer: answer.nbytes)


def answer(
    requests: Collection[Signal],
    images: Tensor,
    *,
    normalise: Callable[[Tensor], Tensor],
    keys: Sequence[Hashable] | None = None,
    cache: SignalCache | None = None,
) -> dict[Signal, Tensor]:
    """The answers (n, ...) to static requests, on the images' device.

    Args:
        requests: :class:`Saliency` requests; those that need a model or gaze are answered elsewhere.
        images: (n, 3, h, w) float, RGB in [0, 1].
        normalise: takes mean and standard deviation out of such images, as the model does.
        keys: what names each image in ``cache``. With both, only what is not kept is computed.

    Raises:
        PluginError: a request of another kind.
        UsageError: the installed OpenCV lacks a detector that was asked for.
    """
    if cache is None or not keys:
        return {request: _detect(request, images, normalise) for request in requests}
    return {request: _recall(request, images, normalise, keys, cache) for request in requests}


def _recall(
    request: Signal,
    images: Tensor,
    normalise: Callable[[Tensor], Tensor],
    keys: Sequence[Hashable],
    cache: SignalCache,
) -> Tensor:
    maps = {key: kept for key in keys if (kept := cache.get((key, request))) is not None}
    missing = [row for row, key in enumerate(keys) if key not in maps]
    if missing:
        fresh = _detect(request, images[missing], normalise).cpu()
        for row, found in zip(missing, fresh, strict=True):
            maps[keys[row]] = found
            cache.put((keys[row], request), found.clone())  # a view would keep its whole batch alive
    return torch.stack([maps[key] for key in keys]).to(images.device)


def _detect(request: Signal, images: Tensor, normalise: Callable[[Tensor], Tensor]) -> Tensor:
    if not isinstance(request, Saliency):
        raise PluginError(f"signals: not answered from the image alone, got {request!r}. Ask for Saliency(...).")
    if request.detector == "opencv_float":
        return opencv_float(normalise(images))
    detect = fine_grained if request.detector == "fine_grained" else spectral_residual
    return detect((255 * images).round().clamp(0, 255).to(torch.uint8))
