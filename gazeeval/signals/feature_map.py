"""A network's last feature map in one layout, (n, channels, rows, cols), whatever layout the network has."""

from __future__ import annotations

import math

from torch import Tensor, nn

from gazeeval.errors import UsageError
from gazeeval.models.model import Model


def forward_features(model: Model, x: Tensor) -> Tensor:
    """What timm's ``forward_features`` gives for normalised images; UsageError unless it is one tensor."""
    forward = getattr(model.network, "forward_features", None)
    if forward is None:
        raise _no_map(model, "a network without forward_features")
    found = forward(x)
    if not isinstance(found, Tensor):
        raise _no_map(model, f"{type(found).__name__} from forward_features")
    return found


def forward_head(model: Model, found: Tensor) -> Tensor:
    """(n, classes): the logits that timm's ``forward_head`` gives for what `forward_features` gave."""
    forward = getattr(model.network, "forward_head", None)
    if forward is None:
        raise UsageError(
            f"model {model.arch}: no logits from features, got a network without forward_head. "
            "Use a CNN or a ViT of timm."
        )
    logits: Tensor = forward(found)
    return logits


def as_map(model: Model, found: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, channels, rows, cols) float32: features of images of (height, width) ``size``, or their gradient.

    Networks give (n, c, a, b); (n, a, b, c) where ``output_fmt`` says NHWC; or tokens (n, t, c), of which the first
    ``num_prefix_tokens`` belong to no place (card ``model-signals``, section 2). Anything else raises UsageError.
    """
    network = model.network
    if found.ndim == 4:
        channels_last = getattr(network, "output_fmt", None) == "NHWC"
        return (found.permute(0, 3, 1, 2) if channels_last else found).float()
    if found.ndim == 3:
        tokens = found[:, getattr(network, "num_prefix_tokens", 0) :]
        rows, cols = patch_grid(network, tokens.shape[1], size)
        if rows * cols == tokens.shape[1]:
            return tokens.transpose(1, 2).reshape(len(tokens), -1, rows, cols).float()
    raise _no_map(model, f"a tensor {tuple(found.shape)} from forward_features")


def patch_grid(network: nn.Module, tokens: int, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, cols) of the patches of an image of ``size``; where the network does not say, patches are square."""
    embed = getattr(network, "patch_embed", None)
    if embed is not None and hasattr(embed, "dynamic_feat_size"):
        rows, cols = embed.dynamic_feat_size(size)
        return rows, cols
    rows = max(1, round(math.sqrt(tokens * size[0] / size[1])))
    return rows, tokens // rows


def reads_class_token(network: nn.Module) -> bool:
    """Whether the classifier reads a class token, and not the patches."""
    return getattr(network, "global_pool", None) == "token"


def _no_map(model: Model, given: str) -> UsageError:
    return UsageError(f"model {model.arch}: no map of features, got {given}. Use a CNN or a ViT of timm.")
