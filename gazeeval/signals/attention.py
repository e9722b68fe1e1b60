"""Where a network looks, and where it sees the image's class: the attention and the features of its last layer.

The functions work on tokens, of any grid; `LastLayer` applies them to what one forward pass of a network gave. Cards
``model-signals``, ``smmix``, ``tdattenmix`` (2) and (3), ``transmix``, ``tokenmix``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gazeeval.errors import UsageError
from gazeeval.models.absvit import cosine
from gazeeval.models.model import Model
from gazeeval.signals.base import Guide, TopDown
from gazeeval.signals.feature_map import patch_grid, reads_class_token


def class_token_attention(attention: Tensor, prefix: int) -> Tensor:
    """(n, N): what the class token attends to, mean over the heads; not normalised, so of a sum below 1.

    Args:
        attention: (n, heads, queries, prefix + N), softmax over the last dimension; query 0 is the class token's.
        prefix: tokens that belong to no patch; they come first.
    """
    return attention[:, :, 0, prefix:].mean(dim=1)


def patch_attention(attention: Tensor, prefix: int) -> Tensor:
    """(n, N): what each patch gets from all patches, mean over heads and queries (SMMix, released code).

    Of ``attention`` (n, heads, prefix + N, prefix + N) the rows and columns of the prefix are dropped, and nothing is
    normalised after that.
    """
    return attention[:, :, prefix:, prefix:].mean(dim=(1, 2))


def guidance(tokens: Tensor, wanted: Tensor) -> Tensor:
    """(n, N) in [0, 1]: how much ``tokens`` (n, N, D) resemble the classifier's rows ``wanted`` (n, D) of the classes.

    The cosine, cut off below 0; 0 for a token that is zero.
    """
    return cosine(tokens, wanted).clamp(0, 1)


def steered(bottom_up: Tensor, seen: Tensor, sigma: float, guide: Guide = "relative") -> Tensor:
    """(n, N), sum 1: ``b (1 + sigma g)``, where b is ``bottom_up`` (n, N) >= 0 divided by its sum, 1 / N if that is 0.

    Args:
        seen: (n, N) in [0, 1], the `guidance`.
        sigma: how strongly it steers; 0 gives b.
        guide: g is ``seen``, divided by its maximum in the image with ``relative``; with ``alone`` the result is
            ``seen`` divided by its sum, or 0 everywhere, unless sigma is 0.
    """
    total = bottom_up.sum(dim=1, keepdim=True)
    b = torch.where(total == 0, 1 / bottom_up.shape[1], bottom_up / total)
    if guide == "relative":
        seen = seen / seen.amax(dim=1, keepdim=True).clamp(min=1e-12)
    found = seen if guide == "alone" and sigma else b * (1 + sigma * seen)
    return found / found.sum(dim=1, keepdim=True).clamp(min=1e-12)


def evidence(tokens: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """(n, N) in [0, 1]: the probability of the classes ``labels`` (n,) if each of ``tokens`` (n, N, D) were classified.

    ``weight`` (classes, D) and ``bias`` (classes,) are the linear classifier's.
    """
    probability = linear(tokens, weight, bias).softmax(dim=2)
    return probability.gather(2, labels[:, None, None].expand(-1, tokens.shape[1], 1)).squeeze(2)


def bottom_up_note(model: Model) -> str:
    """One line for a report: what the bottom-up maps of ``model`` are."""
    if last_attention(model.network) is None:
        return f"bottom-up maps: L2 norm of the last features ({model.arch} has no attention that can be read)"
    return f"bottom-up maps: attention of the last block of {model.arch}, mean over heads and patches"


def top_down_note(model: Model) -> str:
    """One line for a report: how the image's class steers the maps of ``model``."""
    if looks_twice(model):
        return f"top-down maps: second pass of {model.arch}, the published procedure"
    return "top-down maps: bottom-up maps times 1 + sigma * cosine with the class, a reading of the paper's words"


def looks_twice(model: Model) -> bool:
    """Whether the network has a top-down pass of its own (AbSViT)."""
    return hasattr(model.network, "top_down")


def second_look(model: Model, x: Tensor, labels: Tensor, request: TopDown) -> Tensor:
    """(n, rows, cols) float32 in [0, 1]: the map of a network that `looks_twice` at normalised images ``x``."""
    network: Any = model.network
    with torch.no_grad():
        maps: Tensor = network.top_down(x, labels, sigma=request.sigma, gain=request.gain, threshold=request.threshold)
    size = x.shape[2], x.shape[3]
    return maps.reshape(-1, *patch_grid(network, maps.shape[1], size))


def last_attention(network: nn.Module) -> nn.Module | None:
    """The module that computes the last attention, known by its dropout ``attn_drop``; None if there is none."""
    found = [module for module in network.modules() if isinstance(getattr(module, "attn_drop", None), nn.Module)]
    return found[-1] if found else None


@contextmanager
def recording(attention: nn.Module | None) -> Iterator[list[Tensor]]:
    """Collects the matrix (n, heads, queries, keys) float32 of each call of ``attention``, before dropout.

    A fused kernel never makes the matrix, so it is switched off for this module alone.
    """
    matrices: list[Tensor] = []
    if attention is None:
        yield matrices
        return
    module: Any = attention
    hook = module.attn_drop.register_forward_pre_hook(lambda _, inputs: matrices.append(inputs[0].detach().float()))
    fused = getattr(module, "fused_attn", False)
    if fused:
        module.fused_attn = False
    try:
        yield matrices
    finally:
        hook.remove()
        if fused:
            module.fused_attn = True


@dataclass(frozen=True, eq=False)
class LastLayer:
    """What the last layer of a network showed in one forward pass. Maps are (n, rows, cols) float32.

    Attributes:
        size: (height, width) of the images.
        features: (n, channels, rows, cols) float32, before pooling.
        matrices: what was `recording` of the last attention.
    """

    model: Model
    size: tuple[int, int]
    features: Tensor
    matrices: list[Tensor]

    def class_attention(self) -> Tensor:
        """What the class token attends to. Raises UsageError where the classifier reads none, or it cannot be seen."""
        if not reads_class_token(self.model.network):
            raise UsageError(
                f"model {self.model.arch}: no attention of a class token, got a classifier that reads none. Use a ViT "
                "with a class token, or the method with attention=queries (transmix:attention=queries)."
            )
        return self._on_grid(class_token_attention(*self._attention()))

    def bottom_up(self) -> Tensor:
        """Attention among the patches; the L2 norm of the features where there is no attention at all.

        Raises:
            UsageError: the last attention is not among all patches: it is the class token's alone, or in windows.
        """
        if last_attention(self.model.network) is None:
            norm: Tensor = torch.linalg.vector_norm(self.features, dim=1)
            return norm
        attention, prefix = self._attention()
        if attention.shape[2] != attention.shape[3]:
            raise UsageError(
                f"model {self.model.arch}: no attention among patches in its last block, got the class token's alone. "
                "Use another network, or the method with attention=class (smmix:attention=class)."
            )
        return self._on_grid(patch_attention(attention, prefix))

    def top_down(self, labels: Tensor, request: TopDown) -> Tensor:
        """`bottom_up` maps `steered` by the classes ``labels`` (n,), sum 1.

        Raises:
            UsageError: as `bottom_up`, or the classifier is not one linear layer on pooled features.
        """
        weight, _ = self._classifier()
        seen = guidance(self._tokens(), weight[labels])
        return self._on_grid(steered(self.bottom_up().flatten(1), seen, request.sigma, request.guide))

    def class_evidence(self, labels: Tensor) -> Tensor:
        """The `evidence` of the classes ``labels`` (n,).

        Raises:
            UsageError: the classifier is not one linear layer on pooled features.
        """
        weight, bias = self._classifier()
        return self._on_grid(evidence(self._tokens(), weight, bias, labels))

    def _attention(self) -> tuple[Tensor, int]:
        """The last attention and its number of prefix tokens. Raises UsageError unless its keys are all patches."""
        n, _, rows, cols = self.features.shape
        prefix = getattr(self.model.network, "num_prefix_tokens", 0)
        keys = prefix + rows * cols
        for attention in self.matrices[-1:]:
            if attention.shape[0] == n and attention.shape[2:] in ((keys, keys), (1, keys)):
                return attention, prefix
        given = f"a matrix {tuple(self.matrices[-1].shape)}" if self.matrices else "no matrix"
        raise UsageError(
            f"model {self.model.arch}: no attention to all {rows}x{cols} patches, got {given} for a batch of {n} at "
            f"{self.size[0]}x{self.size[1]} px. {self._advice(rows, cols)}"
        )

    def _advice(self, rows: int, cols: int) -> str:
        window = getattr(last_attention(self.model.network), "window_size", None)
        if not isinstance(window, tuple):
            return "Use a ViT."
        side = min(window[0] * (self.size[0] // rows), window[1] * (self.size[1] // cols))
        return f"Pass --input-size {side}: one window then covers the image."

    def _classifier(self) -> tuple[Tensor, Tensor | None]:
        """Weight (classes, channels) and bias of the classifier, of the first where there are several (distilled DeiT).

        Raises:
            UsageError: it is not one linear layer on pooled features.
        """
        network: Any = self.model.network
        found = network.get_classifier() if hasattr(network, "get_classifier") else None
        classifier = found[0] if isinstance(found, tuple) else found
        between = getattr(network, "attn_pool", None), getattr(getattr(network, "head", None), "pre_logits", None)
        direct = all(isinstance(layer, nn.Identity | None) for layer in between)
        if not (direct and isinstance(classifier, nn.Linear) and classifier.in_features == self.features.shape[1]):
            raise UsageError(
                f"model {self.model.arch}: nothing to read a class from at each place, got a classifier that is not "
                f"one linear layer on its {self.features.shape[1]} pooled features. Use another network."
            )
        return classifier.weight.detach(), classifier.bias if classifier.bias is None else classifier.bias.detach()

    def _tokens(self) -> Tensor:
        """(n, N, channels): the features as the classifier expects them, after a norm that follows pooling."""
        found, network = self.features, self.model.network
        for norm in (getattr(network, "fc_norm", None), getattr(getattr(network, "head", None), "norm", None)):
            if norm is not None:
                found = norm(found) if type(norm).__name__.endswith("2d") else norm(found.movedim(1, -1)).movedim(-1, 1)
        return found.flatten(2).transpose(1, 2)

    def _on_grid(self, maps: Tensor) -> Tensor:
        return maps.reshape(-1, *self.features.shape[2:])
