"""Answers to the requests that need only the images: the saliency detectors. A cache keeps them on the host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from gazeeval.cache import ByteCache
from gazeeval.errors import PluginError
from gazeeval.signals.base import Saliency, Signal
from gazeeval.signals.fine_grained import CPU_CHUNK, fine_grained, in_chunks, one_thread
from gazeeval.signals.guided_residual import guided_residual
from gazeeval.signals.opencv import opencv_float
from gazeeval.signals.spectral_residual import spectral_residual

SignalCache = ByteCache[tuple[Hashable, Signal], Tensor]
"""Answers of images that come again, in host memory. One cache serves one geometry, one normalisation and one network:
the keys name the images only."""


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
    answers: dict[Signal, Tensor] = {}
    for request in requests:
        answers |= recall([request], (images,), partial(_detect, request, normalise), keys, cache)
    return answers


def recall(
    requests: Collection[Signal],
    inputs: tuple[Tensor, ...],
    compute: Callable[..., Mapping[Signal, Tensor]],
    keys: Sequence[Hashable] | None,
    cache: SignalCache | None,
) -> dict[Signal, Tensor]:
    """The answers (n, ...) to ``requests``, from ``cache`` where it has all of an image's, else from ``compute``.

    ``compute`` is called at most once, with the rows of ``inputs``, (n, ...) each, that are missing, and answers all
    requests. Without ``cache`` or ``keys`` it is asked for everything.
    """
    if cache is None or not keys:
        return dict(compute(*inputs))
    asked = ((key, request) for key in keys for request in requests)
    known = {place: kept for place in asked if (kept := cache.get(place)) is not None}
    missing = [row for row, key in enumerate(keys) if any((key, request) not in known for request in requests)]
    if missing:
        computed = compute(*(rows[missing] for rows in inputs))
        for request, fresh in computed.items():
            for row, found in zip(missing, fresh.cpu(), strict=True):
                known[keys[row], request] = found
                cache.put((keys[row], request), found.clone())  # a view would keep its whole batch alive
        if len(missing) == len(keys):
            return dict(computed)  # already where they are wanted
    return {request: torch.stack([known[key, request] for key in keys]).to(inputs[0].device) for request in requests}


def _detect(request: Signal, normalise: Callable[[Tensor], Tensor], images: Tensor) -> dict[Signal, Tensor]:
    if not isinstance(request, Saliency):
        raise PluginError(f"signals: not answered from the image alone, got {request!r}. Ask for Saliency(...).")
    if request.detector == "opencv_float":
        return {request: opencv_float(normalise(images))}
    if request.detector == "guided_residual":
        return {request: guided_residual(normalise(images))}
    detect = fine_grained if request.detector == "fine_grained" else spectral_residual
    return {request: detect(_eight_bits(images))}


def _eight_bits(images: Tensor) -> Tensor:
    """Levels 0..255 of images in [0, 1], uint8; on the CPU a few at a time, so that what is in between stays in the
    cache."""
    with one_thread():
        parts = in_chunks(images, CPU_CHUNK)
        return torch.cat([(255 * part).round_().clamp_(0, 255).to(torch.uint8) for part in parts])
