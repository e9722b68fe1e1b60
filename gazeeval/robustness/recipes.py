"""Gaze recipes to try: what may be chosen on the way from fixations to lam_gaze, and the gaze that comes of it.

The paper says neither how wide a fixation is nor how maps are scaled, and the score moves more with such choices than
it does between methods (card ``gaze-heatmaps``, sections 2 and 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from gazeeval.data.dataset import Dataset
from gazeeval.data.density import Border, GazeRecipe, Sigma, Weight
from gazeeval.data.gaze import FixationGaze, GazeSource
from gazeeval.data.geometry import Geometry
from gazeeval.data.readers.cub_gha import CarryOver
from gazeeval.errors import UsageError, did_you_mean
from gazeeval.references import References
from gazeeval.robustness.inputs import Index, Inputs, load_again

Normalise = Literal["mass", "raw", "peak"]

_READING = ("carry_over", "repeats", "placement")  # decided when the gaze is read
_DRAWING = ("sigma", "weight", "border", "viewers")  # decided when points are drawn


@dataclass(frozen=True)
class Recipe:
    """One way from gaze to lam_gaze, every choice as it is written on the command line.

    Attributes:
        sigma, weight, border: see `GazeRecipe`.
        viewers: ``all``, or a number: the first so many of the data set.
        carry_over, repeats, placement: how the gaze was read; None where the data set has no such choice.
        normalise: what the map of an image is divided by before S and T are taken: its ``mass`` (an image is an image),
            its ``peak``, or by nothing, ``raw``: an image that was looked at longer counts more.
    """

    sigma: str
    weight: str
    border: str
    viewers: str = "all"
    carry_over: str | None = None
    repeats: str | None = None
    placement: str | None = None
    normalise: str = "mass"

    @property
    def drawn(self) -> GazeRecipe:
        """How points become a density. Raises UsageError."""
        return GazeRecipe(Sigma.parse(self.sigma), self.weight, self.border)  # type: ignore[arg-type]  # it checks them

    def changes(self, base: Recipe) -> dict[str, str]:
        """The choices that differ from those of ``base``."""
        usual = asdict(base)
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    def label(self, base: Recipe) -> str:
        """``base``, ``sigma=5px`` or ``sigma=5px,weight=count``."""
        changed = (f"{name.replace('_', '-')}={value}" for name, value in self.changes(base).items())
        return ",".join(changed) or "base"


CHOICES = tuple(field.name for field in fields(Recipe))


def base_recipe(inputs: Inputs) -> Recipe:
    """The recipe of the run itself."""
    recipe, read = inputs.recipe, inputs.dataset.choices
    return Recipe(
        sigma=str(recipe.sigma),
        weight=recipe.weight,
        border=recipe.border,
        carry_over=read.get("carry_over"),
        repeats=read.get("repeats"),
        placement=read.get("placement"),
    )


def usual_choices(dataset: Dataset) -> dict[str, Sequence[str]]:
    """What is tried unless told otherwise: every choice that ``dataset`` has; of placements its gaze fits only one."""
    if not isinstance(dataset.gaze, FixationGaze):
        return {"normalise": ("mass", "peak")}
    viewers = len(dataset.gaze.viewers)
    return {
        "sigma": ("5px", "9px", "18px"),
        "weight": get_args(Weight),
        "border": get_args(Border),
        "viewers": ["all", *map(str, range(1, viewers))],
        "carry_over": get_args(CarryOver) if "carry_over" in dataset.choices else (),
        "normalise": get_args(Normalise),
    }


def recipes_of(base: Recipe, tried: Mapping[str, Sequence[str]], *, grid: bool = False) -> list[Recipe]:
    """``base``, and after it those with the values ``tried`` of each choice: one at a time, or all combinations.

    Raises:
        UsageError: nothing but ``base`` is left, or a value that makes no sense.
    """
    values = {name: tried[name] for name in CHOICES if tried.get(name)}
    if grid:
        changes = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
    else:
        changes = [{name: value} for name in values for value in values[name]]
    recipes = list(dict.fromkeys([base, *(_checked(replace(base, **change)) for change in changes)]))
    if len(recipes) == 1:
        raise UsageError("recipes: got none but that of the run. Name other values, such as --sigma 5px,9px,18px.")
    return recipes


def _checked(recipe: Recipe) -> Recipe:
    """The same, sigma written as `Sigma` does. Raises UsageError."""
    known = get_args(Normalise)
    if recipe.normalise not in known:
        hint = did_you_mean(recipe.normalise, known)
        raise UsageError(f"--normalise: got {recipe.normalise!r}{hint}. Use one of {', '.join(known)}.")
    return replace(recipe, sigma=str(recipe.drawn.sigma))


@dataclass(frozen=True)
class Gaze:
    """Gaze on the images of a run under one recipe.

    Attributes:
        dataset: read as the recipe says, with the gaze of its viewers; the images may be others than those of the run.
        rows: (n,) the row of ``dataset`` of each image of the run's data set, -1 for none.
        references: what predicts lam from the density of this gaze alone.
    """

    recipe: Recipe
    dataset: Dataset
    rows: Index
    references: References
    geometry: Geometry
    device: torch.device

    def density(self, images: Index) -> Tensor:
        """(m, h, w) float32 of mass 1 for rows (m,) of the run's data set; all zero without gaze."""
        return self._drawn(images, lambda rows: self.dataset.gaze.density(rows, *self._how))

    def scaled(self, density: Tensor, images: Index) -> Tensor:
        """(m, h, w) float32, scaled as the recipe says, from their ``density``: what S and T are taken from."""
        match self.recipe.normalise:
            case "raw":
                together = _as_one_viewer(self.dataset.gaze)
                return self._drawn(images, lambda rows: next(together.viewer_maps(rows, *self._how)))
            case "peak":
                peak = density.amax(dim=(1, 2), keepdim=True)
                return density / torch.where(peak > 0, peak, 1)
        return density

    @property
    def _how(self) -> tuple[Geometry, GazeRecipe, torch.device]:
        return self.geometry, self.recipe.drawn, self.device

    def _drawn(self, images: Index, draw: Callable[[Index], Tensor]) -> Tensor:
        rows = self.rows[images]
        maps = torch.zeros(len(images), self.geometry.height, self.geometry.width, device=self.device)
        maps[torch.from_numpy(rows >= 0)] = draw(rows[rows >= 0])
        return maps


class Gazes:
    """The gaze of a run under any recipe; what has to be read anew is read once."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._base = base_recipe(inputs)
        self._read: dict[tuple[object, ...], Dataset] = {}
        self._references: dict[Recipe, References] = {}  # they go over all images, whatever maps are divided by

    def __call__(self, recipe: Recipe) -> Gaze:
        """Raises UsageError where the data set does not have the choice, DataError where its gaze contradicts it."""
        changes, inputs = recipe.changes(self._base), self._inputs
        for name, value in changes.items():
            _require_choice(inputs.dataset, name, value)
        reading = {name: value for name, value in changes.items() if name in _READING}
        dataset = self._dataset(reading) if reading else inputs.dataset
        row_of = {image: row for row, image in enumerate(dataset.image_ids)}
        rows = np.array([row_of.get(image, -1) for image in inputs.dataset.image_ids])
        seen = replace(dataset, gaze=_of_first(dataset.gaze, recipe.viewers))
        references = self._references.setdefault(
            replace(recipe, normalise="mass"), References(seen, inputs.geometry, recipe.drawn, inputs.device)
        )
        return Gaze(recipe, seen, rows, references, inputs.geometry, inputs.device)

    def _dataset(self, reading: dict[str, str]) -> Dataset:
        key = tuple(reading.items())
        if key not in self._read:
            self._read[key] = load_again(self._inputs.config, **reading)
        return self._read[key]


def _require_choice(dataset: Dataset, name: str, value: str) -> None:
    points = isinstance(dataset.gaze, FixationGaze)
    viewers = len(dataset.gaze.viewers)
    why = ""
    if name in _READING and name not in dataset.choices:
        why = "has no such setting"
    elif not points and (name in _DRAWING or value == "raw"):
        why = "is given as maps, drawn already and of no known scale"
    elif name == "viewers" and not (value.isdecimal() and 1 <= int(value) <= viewers):
        why = f"is of {viewers} viewers" if viewers else "does not tell viewers apart"
    if why:
        option = f"--{name.replace('_', '-')}"
        raise UsageError(f"{option}: got {value!r}, but the gaze of {dataset.name} {why}. Leave the value out.")


def _of_first(gaze: GazeSource, viewers: str) -> GazeSource:
    if viewers == "all":
        return gaze
    assert isinstance(gaze, FixationGaze)  # others are refused
    return replace(gaze, fixations=gaze.fixations.keep(gaze.fixations.viewer < int(viewers)))


def _as_one_viewer(gaze: GazeSource) -> FixationGaze:
    """The same points by a single viewer, whose map is the plain sum of all."""
    assert isinstance(gaze, FixationGaze)  # others are refused
    together = replace(gaze.fixations, viewer=np.zeros_like(gaze.fixations.viewer), viewers=("all",))
    return replace(gaze, fixations=together)
