"""What a command works on, as its options ask for it: images with gaze, and the networks that see them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from gazeeval.config import DataConfig
from gazeeval.data.dataset import Dataset, load_dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.geometry import Geometry
from gazeeval.models.demo import demo_checkpoint
from gazeeval.models.device import resolve_device
from gazeeval.models.model import Model, load_model
from gazeeval.models.passes import Passes
from gazeeval.signals.attention import bottom_up_note, looks_twice, top_down_note
from gazeeval.signals.base import BottomUp, ClassMap, Signal, TopDown
from gazeeval.signals.gradients import class_map_note
from gazeeval.signals.networks import Networks
from gazeeval.version import __version__

_SIDE, _CROP = 224, 0.875
_DEMO = (
    "demo data: drawn shapes and simulated gaze, these numbers say nothing about real images; "
    "pass --data and --model for your own"
)


@dataclass(frozen=True)
class Setting:
    """Data, gaze recipe, geometry and networks, loaded and checked.

    Attributes:
        recipe: how fixations become a density.
        geometry: how images become the network input (the model's own, or a stated one without a model).
        model: answers what is asked of a network; None: nothing is.
        attention_model: answers what is about attention in its place; None: the model does.
        batch_size: images in one pass of a network; None: all of a group.
    """

    dataset: Dataset
    recipe: GazeRecipe
    geometry: Geometry
    device: torch.device
    model: Model | None = None
    attention_model: Model | None = None
    batch_size: int | None = None

    @cached_property
    def networks(self) -> Networks:
        """Who answers what is asked."""
        passes = Passes(self.batch_size)
        return Networks(self.model, self.attention_model, len(self.dataset.class_names), passes)

    @property
    def warnings(self) -> list[str]:
        """What a reader of the numbers must know about the data, one sentence each."""
        return [*([_DEMO] if self.dataset.source == "demo" else []), *self.dataset.notes]

    def network_notes(self, requests: Collection[Signal]) -> list[str]:
        """What loading left out or renamed, and how the networks answer what can be answered in several ways."""
        notes: list[str] = []
        for network in (self.model, self.attention_model):
            if network is not None:
                kinds = {type(request) for request in requests if self.networks.asked(request) is network}
                notes += network.notes
                notes += [class_map_note(network)] if ClassMap in kinds else []
                bottom_up = BottomUp in kinds or (TopDown in kinds and not looks_twice(network))
                notes += [bottom_up_note(network)] if bottom_up else []
                notes += [top_down_note(network)] if TopDown in kinds else []
        return notes

    def header(self) -> str:
        """One line: what is measured on what."""
        points = int(self.dataset.gaze.n_fixations(np.arange(len(self.dataset))).clip(min=0).sum())
        model = self.model.describe() if self.model else f"none, {self.geometry.describe()}"
        attention = f"attention model {self.attention_model.describe()}  " if self.attention_model else ""
        return (
            f"gazeeval {__version__}  data {self.dataset.name} ({len(self.dataset)} images, {points} fixations)  "
            f"model {model}  {attention}device {self.device}"
        )

    def settings(self, config: DataConfig) -> dict[str, Any]:
        """The options as ``--config`` takes them back, with what the data decided: for ``config.yaml``."""
        options = config.plain()
        del options["out"]
        for name in ("model", "attention_model"):
            given = getattr(config, name)
            if isinstance(given, Model):
                options[name] = given.path
        if isinstance(config.data, Dataset):
            options["data"] = self.dataset.source
        return options | {"split": self.dataset.split, "sigma": str(self.recipe.sigma)}

    @property
    def identity(self) -> dict[str, Any]:
        """What of it decides the rows."""
        return {
            "version": __version__,
            "data": self.dataset.fingerprint,
            "split": self.dataset.split,
            "model": self.model.sha256 if self.model else None,
            "attention_model": self.attention_model.sha256 if self.attention_model else None,
            "geometry": self.geometry.describe(),
            "gaze": str(self.recipe),
            "gaze_choices": dict(self.dataset.choices),
        }

    @property
    def signature(self) -> dict[str, str]:
        """What of it to quote beside a number."""
        choices = [f"{name.replace('_', '-')}={value}" for name, value in self.dataset.choices.items()]
        attention = {"attention": _named(self.attention_model)} if self.attention_model else {}
        return {
            "data": f"{self.dataset.name}/{self.dataset.split}@{self.dataset.fingerprint[:8]}",
            "model": _named(self.model),
            **attention,
            "geometry": self.geometry.describe().replace(" ", ""),
            "gaze": ",".join([str(self.recipe), *choices]),
        }


def fingerprint(identity: Mapping[str, Any]) -> str:
    """12 hexadecimal digits: equal for equal rows, not of the moment."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def prepare_setting(config: DataConfig) -> Setting:
    """Load and check what ``config`` asks for. Raises UsageError."""
    device = resolve_device(config.device)
    dataset = _dataset(config)
    model, attention_model = _model(config, dataset), _attention_model(config)
    geometry = next((network.geometry for network in (model, attention_model) if network), _plain_geometry(config))
    recipe = GazeRecipe(_sigma(config.sigma, dataset), config.weight, config.border)
    return Setting(dataset, recipe, geometry, device, model, attention_model, config.batch_size)


def _named(model: Model | None) -> str:
    return f"{model.arch}@{model.sha256[:8]}" if model else "none"


def _dataset(config: DataConfig) -> Dataset:
    if isinstance(config.data, Dataset):
        return config.data
    return load_dataset(
        config.data,
        config.root,
        config.split,
        placement=config.placement,
        carry_over=config.carry_over,
        repeats=config.repeats,
        px_per_degree=config.px_per_degree,
        origin=config.origin,
    )


def _model(config: DataConfig, dataset: Dataset) -> Model | None:
    model = config.model
    if model is None and dataset.name == "demo":
        model = demo_checkpoint()
    if model is None or isinstance(model, Model):
        return model
    return load_model(
        str(model),
        arch=config.arch,
        device=config.device,
        weights_key=config.weights_key,
        unsafe_load=config.unsafe_load,
        input_size=config.input_size,
        crop_pct=config.crop_pct,
        mean=config.mean,
        std=config.std,
        geometry=config.geometry,
    )


def _attention_model(config: DataConfig) -> Model | None:
    model = config.attention_model
    if model is None or isinstance(model, Model):
        return model
    return load_model(str(model), arch=config.attention_arch, device=config.device, unsafe_load=config.unsafe_load)


def _plain_geometry(config: DataConfig) -> Geometry:
    side = config.input_size or _SIDE
    if config.geometry == "stretch":
        return Geometry.stretch(side, side, "bicubic")
    return Geometry.from_config((side, side), config.crop_pct or _CROP, "bicubic")


def _sigma(text: str | None, dataset: Dataset) -> Sigma:
    default = "1deg" if dataset.px_per_degree is not None else "3.5%"
    return Sigma.parse(text or default)
