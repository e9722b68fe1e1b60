"""Reference rows: what needs no method at all, on CutMix's placements. Every table carries them.

Without them a number cannot be read: a content-free centre prior beats the box area that CutMix trains with, and one
viewer against the others is as near as a human comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.data.dataset import Dataset
from gazeeval.data.density import GazeRecipe
from gazeeval.data.geometry import Geometry
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.types import PairBatch, Placement, mass

_CHUNK = 64


@dataclass(frozen=True)
class GroupGaze:
    """One group's pairs with their gaze: ``rows`` (n,) of the data set, ``density`` (n, h, w), CutMix's placement."""

    pairs: PairBatch
    rows: NDArray[np.int64]
    density: Tensor
    placement: Placement


@dataclass(frozen=True)
class Prediction:
    """A reference's ``lam`` (b,) float64 and, where it is not scored as ``|lam - lam_gaze|``, its own columns."""

    lam: Tensor
    scores: dict[str, Tensor]


class References:
    """Predicts lam without looking at the mixed image. The mean density of the data set is computed at most once."""

    def __init__(self, dataset: Dataset, geometry: Geometry, recipe: GazeRecipe, device: torch.device) -> None:
        self._gaze = dataset.gaze
        self._geometry = geometry
        self._recipe = recipe
        self._device = device
        self._with_gaze = np.flatnonzero(dataset.gaze.has_gaze())

    def predictors(self) -> Mapping[str, Callable[[GroupGaze], Prediction]]:
        """Name of the row -> how its lam comes about. ``ref:viewer`` only where viewers are known."""
        known = {"ref:constant": self.constant, "ref:area": self.area, "ref:centre": self.centre}
        return known | ({"ref:viewer": self.viewer} if len(self._gaze.viewers) > 1 else {})

    def constant(self, group: GroupGaze) -> Prediction:
        """lam = 1/2, whatever the images."""
        return Prediction(torch.full_like(group.placement.mask_share(), 0.5), {})

    def area(self, group: GroupGaze) -> Prediction:
        """lam = the source's share of the pixels: CutMix's own label."""
        return Prediction(group.placement.mask_share(), {})

    def centre(self, group: GroupGaze) -> Prediction:
        """lam from the mean density of all other images in place of the pair's own: where people look anyway."""
        source, target = (group.density[rows] for rows in (group.pairs.source, group.pairs.target))
        prior = (self._total.float() - source).sub_(target).clamp_(min=0)
        lam, _, _ = lam_gaze(group.placement, prior, prior)
        return Prediction(lam, {})

    def viewer(self, group: GroupGaze) -> Prediction:
        """lam_gaze from one viewer against lam_gaze from the others, the mean over viewers (card ``statistics``, 5)."""
        maps = self._gaze.viewer_maps(group.rows, self._geometry, self._recipe, self._device)
        seen = group.placement.visibility()
        each = torch.stack([_masses(one, group.pairs, *seen) for one in maps])
        alone, rest = _share(each), _share(each.sum(dim=0, keepdim=True) - each)
        both = alone.isfinite() & rest.isfinite()
        alone, rest = torch.where(both, alone, torch.nan), torch.where(both, rest, torch.nan)
        delta = alone - rest
        scores = {"inconsistency": delta.abs().nanmean(dim=0), "delta": delta.nanmean(dim=0)}
        return Prediction(alone.nanmean(dim=0), scores)

    def priors(self, density: Tensor) -> Tensor:
        """(n, h, w) float32 of mass 1: for each image with ``density`` (n, h, w), the mean density of all others."""
        others = (self._total - density.double()).clamp(min=0)
        return (others / others.sum(dim=(1, 2), keepdim=True)).float()

    @cached_property
    def _total(self) -> Tensor:
        """(h, w) float64, the sum of all densities."""
        total = torch.zeros(self._geometry.height, self._geometry.width, dtype=torch.float64, device=self._device)
        for start in range(0, len(self._with_gaze), _CHUNK):
            images = self._with_gaze[start : start + _CHUNK]
            total += self._gaze.density(images, self._geometry, self._recipe, self._device).sum(0, dtype=torch.float64)
        return total


def _masses(maps: Tensor, pairs: PairBatch, seen_source: Tensor, seen_target: Tensor) -> Tensor:
    """(4, b) float64: visible and whole mass of the source, then of the target, of ``maps`` (n, h, w)."""
    whole, source, target = mass(maps), pairs.source, pairs.target
    visible_source, visible_target = mass(seen_source * maps[source]), mass(seen_target * maps[target])
    return torch.stack((visible_source, whole[source], visible_target, whole[target]))


def _share(each: Tensor) -> Tensor:
    """lam_gaze (viewers, b) from visible and whole masses (viewers, 4, b); NaN where an image has no gaze."""
    source, whole_source, target, whole_target = each.unbind(dim=1)
    # the rest of a sole viewer is rounding, not gaze
    tiny = 1e-6 * each.amax(dim=0)
    known = (whole_source > tiny[1]) & (whole_target > tiny[3])
    S, T = source / whole_source, target / whole_target
    return torch.where(known, S / (S + T), torch.nan)
