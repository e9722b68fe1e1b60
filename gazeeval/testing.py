"""The conformance suite for mixers: ours pass it, run it on yours."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import torch
from torch import Tensor

from gazeeval.contract import check_pairs
from gazeeval.errors import MixerError
from gazeeval.mixers.base import AnyMixer
from gazeeval.models.model import Model, load_model
from gazeeval.signals.base import CentrePrior, GazeDensity, Signal, Signals
from gazeeval.signals.networks import Networks
from gazeeval.types import PairBatch

SIZES = ((112, 112), (112, 224))
"""(height, width) of the images a mixer is tried on; one is not square."""


def check_mixer(
    mixer: AnyMixer,
    *,
    sizes: tuple[tuple[int, int], ...] = SIZES,
    device: str = "cpu",
    model: Model | None = None,
) -> None:
    """Raise MixerError, saying what is wrong, unless ``mixer`` keeps the contract.

    ``model`` answers what the mixer asks of a network; None: a small one on ``device`` with seeded random weights, a
    transformer where it asks about attention.

    Checked on seeded images of several sizes: what `gazeeval.contract.check_pairs` checks; that the mixer is a frozen,
    comparable dataclass; and that numpy's global generator is left alone.
    """
    if not dataclasses.is_dataclass(mixer) or pickle.loads(pickle.dumps(mixer)) != mixer:
        raise MixerError("contract: a mixer must be a frozen dataclass, equal by its fields.")
    for seed, size in enumerate(sizes):
        network = model or example_network(mixer, size, device)
        pairs, signals = example_pairs(mixer, size, seed, device, network)
        state = str(np.random.get_state())
        check_pairs(mixer, pairs, signals, seed, Networks(network))
        if state != str(np.random.get_state()):
            raise MixerError("contract: it draws from numpy's global generator; draw from rng only.")


def example_pairs(
    mixer: AnyMixer,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    device: str = "cpu",
    model: Model | None = None,
) -> tuple[PairBatch, Signals]:
    """Six pairs over five seeded images of (height, width) ``size``, with the signals that ``mixer`` asks for."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(5, 3, 5, 5, generator=generator)
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1).to(device)
    source, target = torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 3]], device=device)
    pairs = PairBatch(images, torch.arange(5, device=device), source, target)
    network = model or example_network(mixer, size, device)
    return pairs, Signals(_answers(mixer, pairs, network), source, target)


def example_network(mixer: AnyMixer, size: tuple[int, int], device: str = "cpu") -> Model | None:
    """A small network with seeded random weights for images of ``size`` that gives what ``mixer`` asks for."""
    if not mixer.needs_model:
        return None
    attends = any(request.of_attention for request in mixer.needs() | mixer.needs_mixed())
    return load_model("test_vit" if attends else "test_resnet", pretrained=False, device=device, input_size=size)


def _answers(mixer: AnyMixer, pairs: PairBatch, model: Model | None) -> dict[Signal, Tensor]:
    asked = mixer.needs() - {GazeDensity(), CentrePrior()}
    answers = Networks(model).answer(asked, pairs.images, pairs.labels)
    bright = pairs.images.mean(dim=1)
    density = bright / bright.sum(dim=(1, 2), keepdim=True)
    return answers | {GazeDensity(): density, CentrePrior(): density.mean(dim=0, keepdim=True).expand_as(density)}
