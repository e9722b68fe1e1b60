"""Answers about the batches of a training loop: the network in training is asked, and left as it was."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.utils.data import get_worker_info

from gazeeval.data.geometry import Geometry
from gazeeval.errors import UsageError
from gazeeval.models.model import Colour, Model
from gazeeval.models.passes import Passes
from gazeeval.models.preprocessing import imagenet_normalised
from gazeeval.signals.answer import answer
from gazeeval.signals.base import Signal
from gazeeval.signals.networks import Networks

_NOT_NORMALISED = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class BatchSignals:
    """What is asked about batches, answered as in a run.

    Attributes:
        network: the one in training, without wrappers; or a `Model`, which normalises on its own.
        num_classes: of the labels.
        mean_std: that batches are normalised with; None: they are RGB in [0, 1].
        amp: the precision in which the network is asked; None: float32. Derivatives always are float32.
    """

    network: nn.Module | Model | None
    num_classes: int | None
    mean_std: tuple[Colour, Colour] | None = None
    amp: torch.dtype | None = None
    _passes: Passes = field(default_factory=Passes, repr=False)

    def plain(self, images: Tensor) -> Tensor:
        """(b, 3, h, w) float32 in [0, 1], of images as batches have them."""
        if self.mean_std is None:
            return images.float()
        mean, std = _on_device(self.mean_std, images.device).unbind()
        return images.float() * std + mean

    def answer(self, requests: Collection[Signal], images: Tensor, labels: Tensor | None) -> dict[Signal, Tensor]:
        """The answers (b, ...) about `plain` images, with classes (b,) or None where these are mixed.

        Raises:
            UsageError: the network cannot give what is asked for, or is on another device or in another process.
        """
        of_network = {request for request in requests if request.needs_model}
        answers = answer(set(requests) - of_network, images, normalise=self._normalised)
        if of_network:
            networks = Networks(self._as_model(images), passes=self._passes)
            # No cast of a weight made here is kept: some versions of torch would train with it, without a gradient.
            with torch.autocast(images.device.type, dtype=self.amp, enabled=self.amp is not None, cache_enabled=False):
                answers |= networks.answer(of_network, images, labels)
        return answers

    def _normalised(self, images: Tensor) -> Tensor:
        """What detectors see that want normalised images."""
        if isinstance(self.network, Model):
            return self.network.normalise(images)
        if self.mean_std is None:
            return imagenet_normalised(images) if self.network is None else images
        mean, std = _on_device(self.mean_std, images.device).unbind()
        return (images - mean) / std

    def _as_model(self, images: Tensor) -> Model:
        """The network as the toolkit sees it."""
        if get_worker_info():
            raise UsageError(
                "batch: asks the network in training, got a worker of a DataLoader, which has a copy at best. "
                "Mix in the training loop, not in collate_fn."
            )
        network = self.network
        assert network is not None  # nobody asks a network that is not there
        device = network.device if isinstance(network, Model) else next(network.parameters(), images).device
        if device != images.device:
            raise UsageError(f"batch: images on {images.device}, got a network on {device}. Move the batch first.")
        if isinstance(network, Model):
            return network
        assert self.num_classes is not None  # nor one whose classes nobody knows
        mean, std = self.mean_std or _NOT_NORMALISED
        return Model(
            network=network,
            arch=type(network).__name__,
            arch_origin="given",
            num_classes=self.num_classes,
            geometry=Geometry.stretch(images.shape[2], images.shape[3], "bilinear"),
            mean=mean,
            std=std,
            device=device,
            weights="in training",
            sha256="",
            path="",
        )


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside what distributes or compiles it."""
    while True:
        if isinstance(network, DistributedDataParallel | DataParallel):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):  # torch.compile
            network = inner
        else:
            return network


@lru_cache(maxsize=8)
def _on_device(mean_std: tuple[Colour, Colour], device: torch.device) -> Tensor:
    """(2, 3, 1, 1) float32, taken there once: a copy from the host would wait for the device at every batch."""
    return torch.tensor(mean_std, device=device).view(2, 3, 1, 1)
