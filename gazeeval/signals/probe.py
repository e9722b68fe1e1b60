"""Answers to the requests that only a network can give: one forward pass for all of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from gazeeval.errors import PluginError, UsageError
from gazeeval.models.model import Model
from gazeeval.models.preprocessing import imagenet_normalised
from gazeeval.signals.answer import SignalCache, answer, recall
from gazeeval.signals.base import FeatureMean, Features, Signal


def require_model(method: str, requests: Collection[Signal], model: Model | None) -> None:
    """Raise UsageError where ``method`` asks for what needs a network and there is none."""
    asked = sorted(repr(request) for request in requests if request.needs_model)
    if asked and model is None:
        raise UsageError(f"method {method}: needs a network for {', '.join(asked)}, got none. Pass --model CKPT.")


def check(method: str, requests: Collection[Signal], model: Model | None, cache: SignalCache | None = None) -> None:
    """Raise UsageError, before a run, unless ``model`` can give what ``method`` asks for.

    One black image is tried; ``cache`` keeps its answers, so that asking for several methods costs one pass.
    """
    require_model(method, requests, model)
    asked = {request for request in requests if request.needs_model}
    if model is None or not asked:
        return
    size = model.geometry.height, model.geometry.width
    black = torch.zeros(1, 3, *size, device=model.device)
    try:
        answers = probe(asked, model, black, black.new_zeros(1, dtype=torch.int64), keys=["black image"], cache=cache)
    except UsageError as error:
        raise UsageError(f"method {method}: {error}") from error
    for request, found in answers.items():
        if request.is_map and found[0].numel() == 1:
            raise UsageError(
                f"method {method}: model {model.arch}: {request!r}, got a single value for an image of "
                f"{size[0]}x{size[1]} px, which says nothing about places. Pass another --model or --input-size."
            )


def answer_all(
    requests: Collection[Signal],
    model: Model | None,
    images: Tensor,
    labels: Tensor,
    *,
    keys: Sequence[Hashable] | None = None,
    cache: SignalCache | None = None,
    batch_size: int | None = None,
) -> dict[Signal, Tensor]:
    """`answer` what needs only the images and `probe` for the rest; ``model`` may be None where there is no rest."""
    by_network = {request for request in requests if request.needs_model}
    normalise = model.normalise if model else imagenet_normalised
    answers = answer(set(requests) - by_network, images, normalise=normalise, keys=keys, cache=cache)
    if by_network and model:
        answers |= probe(by_network, model, images, labels, keys=keys, cache=cache, batch_size=batch_size)
    return answers


def probe(
    requests: Collection[Signal],
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    keys: Sequence[Hashable] | None = None,
    cache: SignalCache | None = None,
    batch_size: int | None = None,
) -> dict[Signal, Tensor]:
    """The answers (n, ...) to requests that need a network, from one forward pass per image, on the images' device.

    Args:
        images: (n, 3, h, w) float, RGB in [0, 1], on the model's device.
        labels: (n,) int64, the class of each image, for requests about it.
        keys: what names each image in ``cache``. With both, only what is not kept is computed.
        batch_size: images in one pass; None: all.

    Raises:
        PluginError: a request that a network does not answer.
        UsageError: the model has no feature map.

    The network works in eval mode; every module's train flag is as before afterwards.
    """
    return recall(requests, images, partial(_ask, requests, model, batch_size), keys, cache)


def _ask(requests: Collection[Signal], model: Model, batch_size: int | None, images: Tensor) -> dict[Signal, Tensor]:
    passes = torch.split(images, batch_size or len(images))
    with _evaluating(model.network), torch.inference_mode():
        maps = (_feature_map(model, part) for part in passes)
        parts = [{request: _read(request, features) for request in requests} for features in maps]
    return {request: torch.cat([part[request] for part in parts]) for request in requests}


def _read(request: Signal, features: Tensor) -> Tensor:
    if isinstance(request, FeatureMean):
        return features.mean(dim=1)
    if isinstance(request, Features):
        return features
    raise PluginError(f"signals: not answered by a network, got {request!r}. Ask for Features() or FeatureMean().")


def _feature_map(model: Model, images: Tensor) -> Tensor:
    """(n, channels, rows, cols) float32: what timm's ``forward_features`` gives, in one layout.

    Networks give (n, c, a, b); (n, a, b, c) where ``output_fmt`` says NHWC; or tokens (n, t, c), of which the first
    ``num_prefix_tokens`` belong to no place (card ``model-signals``, section 2).
    """
    network = model.network
    forward = getattr(network, "forward_features", None)
    found = forward(model.normalise(images)) if forward else None
    if isinstance(found, Tensor) and found.ndim == 4:
        channels_last = getattr(network, "output_fmt", None) == "NHWC"
        return (found.permute(0, 3, 1, 2) if channels_last else found).float()
    if isinstance(found, Tensor) and found.ndim == 3:
        tokens = found[:, getattr(network, "num_prefix_tokens", 0) :]
        rows, cols = _grid(network, tokens.shape[1], (images.shape[2], images.shape[3]))
        if rows * cols == tokens.shape[1]:
            return tokens.transpose(1, 2).reshape(len(tokens), -1, rows, cols).float()
    shape = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
    given = f"{shape} from forward_features" if forward else "a network without forward_features"
    raise UsageError(f"model {model.arch}: no map of features, got {given}. Use a CNN or a ViT of timm.")


def _grid(network: nn.Module, tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, cols) of the patches of an image of ``size``; where the network does not say, patches are square."""
    embed = getattr(network, "patch_embed", None)
    if embed is not None and hasattr(embed, "dynamic_feat_size"):
        rows, cols = embed.dynamic_feat_size(size)
        return rows, cols
    rows = max(1, round(math.sqrt(tokens * size[0] / size[1])))
    return rows, tokens // rows


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode for a while. Modules get back their own flags: some may have been frozen in a network that trains."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
