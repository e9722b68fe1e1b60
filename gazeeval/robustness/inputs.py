"""What a run measured on: pairs of images with gaze. That of a finished run is loaded again, without its network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gazeeval.config import RunConfig
from gazeeval.data.dataset import Dataset, load_dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.geometry import Geometry
from gazeeval.data.pairs import read_pair_file
from gazeeval.errors import UsageError
from gazeeval.job import prepare
from gazeeval.models.device import resolve_device
from gazeeval.report.files import read_manifest

Index = NDArray[np.int64]

_READING = ("placement", "carry_over", "repeats", "px_per_degree", "origin")


@dataclass(frozen=True)
class Inputs:
    """Pairs of images with gaze.

    Attributes:
        config: the options that they came from.
        recipe, geometry: how gaze became densities over the network input.
        source, target: (m,) rows of ``dataset``; pair i is pair i of the run.
    """

    config: RunConfig
    dataset: Dataset
    recipe: GazeRecipe
    geometry: Geometry
    device: torch.device
    source: Index
    target: Index

    @property
    def gaze_settings(self) -> str:
        """How gaze was read and drawn: ``sigma=9px,weight=duration,border=renormalise,carry-over=keep``."""
        choices = (f"{name.replace('_', '-')}={value}" for name, value in self.dataset.choices.items())
        return ",".join([str(self.recipe), *choices])


def inputs_of_config(config: RunConfig) -> Inputs:
    """What a run with these options measures on. Raises UsageError."""
    job = prepare(config)
    engine, plan = job.engine, job.plan
    return Inputs(config, engine.dataset, engine.recipe, engine.geometry, engine.device, plan.source, plan.target)


def inputs_of_run(
    run: Path, *, data: Dataset | None = None, root: str | Path | None = None, device: str = "auto"
) -> Inputs:
    """What the run in the folder ``run`` measured on.

    Args:
        data: its data set, if that was made from arrays.
        root: where its files are now, if they were moved.

    Raises:
        DataError: this is no run folder, or the data are not there.
        UsageError: the data are others than those of the run.
    """
    manifest = read_manifest(run)
    options = {**manifest["config"], "device": device} | ({"root": root} if root is not None else {})
    config = RunConfig.of(options)
    dataset = data if data is not None else load_again(config)
    was = manifest["data"]["fingerprint"]
    if dataset.fingerprint != was:
        raise UsageError(
            f"{run}: images and gaze, got {dataset.fingerprint[:8]}, the run had {was[:8]}. "
            "Pass the data of the run, with --root where they were moved."
        )
    plan = read_pair_file(run / "pairs.csv", dataset.image_ids)
    return Inputs(
        config,
        dataset,
        GazeRecipe(Sigma.parse(config.sigma or ""), config.weight, config.border),
        parse_geometry(manifest["geometry"]),
        resolve_device(device),
        plan.source,
        plan.target,
    )


def load_again(config: RunConfig, **reading: str | None) -> Dataset:
    """The data set of ``config``, with some settings of how its gaze is read in place of those of the run."""
    given = {name: getattr(config, name) for name in _READING} | reading
    return load_dataset(config.data, config.root, config.split, **given)


def parse_geometry(text: str) -> Geometry:
    """Back from `Geometry.describe`, as it stands in the manifest."""
    *sizes, interpolation = text.split(", ")
    resize, (height, width) = _size(sizes[0]), _size(sizes[-1])
    if text.startswith("Stretch"):
        return Geometry.stretch(height, width, interpolation)
    # a square is said by one number of the mode "short", by two of "squash"
    squash = "x" in sizes[0] and resize[0] == resize[1]
    return Geometry(height, width, "squash" if squash else "short", resize, interpolation)


def _size(text: str) -> tuple[int, int]:
    """(height, width) from ``CenterCrop 224`` or ``Stretch 32x48``."""
    height, _, width = text.split()[1].partition("x")
    return int(height), int(width or height)
