"""Answers to the requests that only a network can give: one forward pass for all of them."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from contextlib import nullcontext
from functools import cached_property, partial

import torch
from torch import Tensor

from gazeeval.errors import PluginError, UsageError
from gazeeval.models.model import Model
from gazeeval.models.passes import Passes
from gazeeval.signals.answer import SignalCache, recall
from gazeeval.signals.attention import LastLayer, last_attention, looks_twice, recording, second_look
from gazeeval.signals.base import (
    BottomUp,
    ClassAttention,
    ClassEvidence,
    ClassMap,
    FeatureMean,
    Features,
    InputGradient,
    Logits,
    Signal,
    TopDown,
)
from gazeeval.signals.feature_map import as_map, forward_features, forward_head
from gazeeval.signals.gradients import class_map, evaluating, input_gradient, watched_features


def probe(
    requests: Collection[Signal],
    model: Model,
    images: Tensor,
    labels: Tensor | None,
    *,
    keys: Sequence[Hashable] | None = None,
    cache: SignalCache | None = None,
    passes: Passes | None = None,
) -> dict[Signal, Tensor]:
    """The answers (n, ...) to requests that need a network, on the images' device.

    All requests share one forward pass per image; those that are derivatives add one pass back each.

    Args:
        images: (n, 3, h, w) float, RGB in [0, 1], on the model's device.
        labels: (n,) int64, the class of each image, for requests about it; None: the class that the network predicts,
            where a request does not need the data set's own.
        keys: what names each image in ``cache``. With both, only what is not kept is computed.
        passes: cuts the images; None: all go through at once.

    Raises:
        PluginError: a request that a network does not answer.
        UsageError: the model has no feature map or no attention of the kind that is asked for, or a request is about a
            class that the model does not have.

    The network works in eval mode; every module's train flag is as before afterwards, and parameters get no gradient,
    whether they ask for one or not.
    """
    own = sorted(repr(request) for request in requests if request.needs_own_classes and request.needs_label)
    if labels is None and own:
        raise UsageError(
            f"model {model.arch}: {', '.join(own)}: reads the classifier's row of an image's class, got no labels. "
            "This needs a network with the data set's classes."
        )
    if labels is not None and any(request.needs_label for request in requests):
        _check_labels(model, labels)
    inputs = (images,) if labels is None else (images, labels)
    return recall(requests, inputs, partial(_ask, frozenset(requests), model, passes or Passes()), keys, cache)


def _check_labels(model: Model, labels: Tensor) -> None:
    lowest, highest = (int(edge) for edge in labels.aminmax())
    if lowest < 0 or highest >= model.num_classes:
        raise UsageError(
            f"labels: classes that model {model.arch} does not have, got {lowest} to {highest} where it has "
            f"0 to {model.num_classes - 1}. Pass another --model."
        )


def _ask(
    requests: frozenset[Signal], model: Model, passes: Passes, images: Tensor, labels: Tensor | None = None
) -> dict[Signal, Tensor]:
    def look(part: slice) -> dict[Signal, Tensor]:
        one = _Pass(requests, model, images[part], None if labels is None else labels[part])
        return {request: one.read(request) for request in requests}

    derivatives = not requests.isdisjoint((InputGradient(), ClassMap()))
    precision = torch.autocast(images.device.type, enabled=False) if derivatives else nullcontext()
    with evaluating(model.network), torch.inference_mode(not derivatives), precision:
        parts = passes.map(look, len(images))
    return {request: torch.cat([part[request] for part in parts]) for request in requests}


class _Pass:
    """One forward pass; what a request reads first is kept for the others."""

    def __init__(self, requests: frozenset[Signal], model: Model, images: Tensor, labels: Tensor | None) -> None:
        self._requests = requests
        self._model = model
        self._x = model.normalise(images).detach().requires_grad_(InputGradient() in requests)
        self._labels = labels

    def read(self, request: Signal) -> Tensor:
        """(n, ...): the answer to ``request``. Raises PluginError."""
        match request:
            case Features():
                found = self._features
            case FeatureMean():
                found = self._features.mean(dim=1)
            case InputGradient():
                found = input_gradient(self._logits, self._x, self._classes)
            case ClassMap():
                found = class_map(self._logits, self._forward[1], self._classes, self._layout)
            case Logits():
                found = self._logits.detach().float()
            case ClassAttention():
                found = self._last.class_attention()
            case BottomUp():
                found = self._last.bottom_up()
            case TopDown(sigma=sigma) if sigma and looks_twice(self._model):
                found = second_look(self._model, self._x.detach(), self._classes, request)
            case TopDown():
                found = self._last.top_down(self._classes, request)
            case ClassEvidence():
                found = self._last.class_evidence(self._classes)
            case _:
                raise PluginError(
                    f"signals: not answered by a network, got {request!r}. Ask for Features() or the like."
                )
        return found

    @cached_property
    def _forward(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The last features as the network gives them, those that class maps are read from, and the last attention."""
        attends = any(isinstance(request, ClassAttention | BottomUp | TopDown) for request in self._requests)
        with recording(last_attention(self._model.network) if attends else None) as matrices:
            if ClassMap() in self._requests:
                return *watched_features(self._model, self._x), matrices
            found = forward_features(self._model, self._x)
            return found, found, matrices

    @cached_property
    def _features(self) -> Tensor:
        return self._layout(self._forward[0].detach())

    @cached_property
    def _last(self) -> LastLayer:
        return LastLayer(self._model, self._size, self._features, self._forward[2])

    @cached_property
    def _logits(self) -> Tensor:
        if self._requests <= {InputGradient(), Logits()}:  # need no feature map, so the network may be without
            return self._model.network(self._x)  # type: ignore[no-any-return]
        return forward_head(self._model, self._forward[0])

    @cached_property
    def _classes(self) -> Tensor:
        # The clone can be part of a graph even if the caller is in inference mode.
        return self._logits.argmax(dim=1) if self._labels is None else self._labels.clone()

    @property
    def _size(self) -> tuple[int, int]:
        return self._x.shape[2], self._x.shape[3]

    def _layout(self, found: Tensor) -> Tensor:
        return as_map(self._model, found, self._size)
