"""Who answers what is asked about images: the image itself, the classifier, or the network that gives attention."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gazeeval.errors import UsageError
from gazeeval.models.model import Model
from gazeeval.models.passes import Passes
from gazeeval.models.preprocessing import imagenet_normalised
from gazeeval.signals.answer import SignalCache, answer
from gazeeval.signals.base import Signal
from gazeeval.signals.probe import probe


@dataclass(frozen=True)
class Networks:
    """The networks of a run.

    Attributes:
        classifier: classifies mixed images and answers what is asked of a network; None: nothing is.
        attention: answers what is about attention in its place; None: the classifier does.
        num_classes: of the data set; None: the labels are those of every network here.
        passes: how many images go through at once.
    """

    classifier: Model | None = None
    attention: Model | None = None
    num_classes: int | None = None
    passes: Passes = field(default_factory=Passes)

    @property
    def judge(self) -> Model | None:
        """The classifier, where its classes are the data set's: only then do accuracies make sense."""
        return self.classifier if self.knows_classes(self.classifier) else None

    def asked(self, request: Signal) -> Model | None:
        """The network that answers ``request``."""
        return (self.attention or self.classifier) if request.of_attention else self.classifier

    def knows_classes(self, model: Model | None) -> bool:
        """Whether the outputs of ``model`` are the classes of the data set."""
        return model is not None and self.num_classes in (None, model.num_classes)

    def answer(
        self,
        requests: Collection[Signal],
        images: Tensor,
        labels: Tensor | None,
        *,
        keys: Sequence[Hashable] | None = None,
        cache: SignalCache | None = None,
    ) -> dict[Signal, Tensor]:
        """The answers (n, ...) about ``images`` (n, 3, h, w) in [0, 1], on their device; see `answer` and `probe`.

        ``labels`` (n,) are classes of the data set. A network with other classes, or without labels, is asked about the
        class that it predicts itself. The network that gives attention sees the images at its own size.
        """
        by_image = {request for request in requests if not request.needs_model}
        normalise = self.classifier.normalise if self.classifier else imagenet_normalised
        answers = answer(by_image, images, normalise=normalise, keys=keys, cache=cache)
        for model in dict.fromkeys((self.classifier, self.attention)):
            theirs = {request for request in requests if request.needs_model and self.asked(request) is model}
            if model and theirs:
                seen = images if model is self.classifier else _at_size(images, model)
                known = labels if self.knows_classes(model) else None
                answers |= probe(theirs, model, seen, known, keys=keys, cache=cache, passes=self.passes)
        return answers

    def require(self, method: str, requests: Collection[Signal]) -> None:
        """Raise UsageError where ``method`` asks for what needs a network, or the data's classes, and none has it."""
        asked = sorted((request for request in requests if request.needs_model), key=repr)
        for request in asked:
            model = self.asked(request)
            if model is None:
                raise UsageError(
                    f"method {method}: needs a network for {', '.join(map(repr, asked))}, got none. Pass --model CKPT."
                )
            if request.needs_own_classes and not self.knows_classes(model):
                option = "--attention-model" if model is self.attention else "--model"
                raise UsageError(
                    f"method {method}: {request!r} is about the data set's classes, got {model.arch} "
                    f"with {model.num_classes} classes where there are {self.num_classes}. "
                    f"Pass {option} with a network for these classes."
                )

    def check(self, method: str, requests: Collection[Signal], cache: SignalCache | None = None) -> None:
        """Raise UsageError, before a run, unless the networks can give what ``method`` asks for.

        One black image is tried; ``cache`` keeps its answers, so that asking for several methods costs one pass.
        """
        self.require(method, requests)
        for request in sorted((request for request in requests if request.needs_model), key=repr):
            model = self.asked(request)
            assert model is not None  # just required
            size = model.geometry.height, model.geometry.width
            black = torch.zeros(1, 3, *size, device=model.device)
            label = black.new_zeros(1, dtype=torch.int64)
            try:
                found = probe({request}, model, black, label, keys=["black image"], cache=cache)[request]
            except UsageError as error:
                raise UsageError(f"method {method}: {error}") from error
            if request.is_map and found[0].numel() == 1:
                raise UsageError(
                    f"method {method}: model {model.arch}: {request!r}, got a single value for an image of "
                    f"{size[0]}x{size[1]} px, which says nothing about places. Pass another --model or --input-size."
                )


def _at_size(images: Tensor, model: Model) -> Tensor:
    size = model.geometry.height, model.geometry.width
    if images.shape[-2:] == size:
        return images
    return interpolate(images, size=size, mode="bilinear", antialias=True).clamp(0, 1)
