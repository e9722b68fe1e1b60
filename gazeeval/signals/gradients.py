"""What derivatives say about an image: which pixels the loss depends on, which places speak for a class.

The functions take what one forward pass gave, in whatever mode the network was, and keep its graph for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.functional import cross_entropy

from gazeeval.errors import UsageError
from gazeeval.models.model import Model
from gazeeval.signals.feature_map import as_map, forward_features, forward_head, reads_class_token


def input_gradient(logits: Tensor, x: Tensor, labels: Tensor) -> Tensor:
    """(n, h, w) float32: root mean square over the channels of the derivative of the loss by the pixels of ``x``.

    The loss is the cross entropy of ``logits`` (n, classes) and ``labels`` (n,), summed, so that the map of an image
    does not depend on the size of the batch.
    """
    # In double precision the derivative does not vanish where the class is almost certain, nor does its square.
    loss = cross_entropy(logits.double(), labels, reduction="sum")
    (derivative,) = grad(loss, x, retain_graph=True)
    return derivative.double().square().mean(dim=1).sqrt().float()


def class_map(logits: Tensor, seen: Tensor, labels: Tensor, layout: Callable[[Tensor], Tensor]) -> Tensor:
    """(n, rows, cols) float32: the features ``seen``, weighed per channel by what the class score gains from them.

    Weights as in Grad-CAM (Selvaraju et al., ICCV 2017, eq. 1), summed over the places instead of averaged: where the
    mean of the features feeds a linear classifier they are its row W[y], and the map is the class activation map of
    Zhou et al. (CVPR 2016, eq. 2), exactly. Without the ReLU of Grad-CAM and without the bias.

    Args:
        logits: (n, classes), whose graph leads to ``seen``.
        layout: makes (n, channels, rows, cols) of ``seen`` and of its derivative.
    """
    score = logits.gather(1, labels.unsqueeze(1)).sum()
    (derivative,) = grad(score, seen, retain_graph=True)
    weights = layout(derivative).sum(dim=(2, 3))
    return torch.einsum("nc,nchw->nhw", weights, layout(seen.detach()))


def watched_features(model: Model, x: Tensor) -> tuple[Tensor, Tensor]:
    """What ``forward_features`` gives, and the features that class maps are read from, both part of the graph.

    These are the same, except where the classifier reads a class token: the last features of the patches then feed
    nothing, so the tokens that enter the last block are taken, from which it still draws.

    Raises:
        UsageError: the network has no feature map, or reads a class token and has no blocks.
    """
    if not reads_class_token(model.network):
        found = forward_features(model, x).requires_grad_()
        return found, found
    with _entering(_last_block(model)) as tokens:
        found = forward_features(model, x)
    return found, tokens[0]


def class_map_note(model: Model) -> str:
    """One line for a report: what the class maps of ``model`` are."""
    if reads_class_token(model.network):
        return f"class maps: Grad-CAM of the patches that enter the last block ({model.arch} reads a class token)"
    if _pools_then_linear(model):
        return f"class maps: exact class activation maps ({model.arch} pools its features before a linear classifier)"
    return f"class maps: Grad-CAM of the last features ({model.arch} has no linear classifier on their mean)"


def _pools_then_linear(model: Model) -> bool:
    """Whether the logits are the mean over the places of ``W f + b``, tried on noise."""
    size = model.geometry.height, model.geometry.width
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(model.device)
    network = model.network
    with evaluating(network), torch.inference_mode():
        found = forward_features(model, model.normalise(noise))
        pooled = as_map(model, found, size).mean(dim=(2, 3))
        logits = forward_head(model, found)
        classifier = network.get_classifier()  # type: ignore[operator]
        weight, bias = (getattr(classifier, name, None) for name in ("weight", "bias"))
        if not isinstance(weight, Tensor) or weight.flatten(1).shape[1] != pooled.shape[1]:
            return False
        expected = nn.functional.linear(pooled, weight.flatten(1), bias)
        return bool((logits - expected).abs().max() <= 1e-4 * logits.abs().max())


def _last_block(model: Model) -> nn.Module:
    blocks = getattr(model.network, "blocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList):
        raise UsageError(
            f"model {model.arch}: no class map, got a class token and no blocks that it comes from. "
            "Use a CNN or a ViT of timm."
        )
    return blocks[-1]


@contextmanager
def _entering(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the first argument of each call of ``module``, as part of a graph."""
    collected: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: collected.append(inputs[0].requires_grad_()))
    try:
        yield collected
    finally:
        hook.remove()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode for a while. Modules get back their own flags: some may have been frozen in a network that trains."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
