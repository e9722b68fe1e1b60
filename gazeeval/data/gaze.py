"""The gaze of a dataset, from points or from rendered maps, as densities over the network input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gazeeval.data.density import GazeRecipe, gaze_density
from gazeeval.data.fixations import Fixations
from gazeeval.data.geometry import Geometry
from gazeeval.data.readers.maps import read_gaze_map

Index = NDArray[np.int64]
Device = torch.device | str


class GazeSource(Protocol):
    """Gaze on n images. ``images`` is always (m,) int64, rows of the dataset in any order."""

    @property
    def viewers(self) -> tuple[str, ...]:
        """Names of viewers or viewing runs; empty where they are unknown."""

    def has_gaze(self) -> NDArray[np.bool_]:
        """(n,) whether anything is known of where people looked."""

    def n_fixations(self, images: Index) -> Index:
        """(m,) int64 fixations or samples; -1 where they cannot be counted."""

    def density(self, images: Index, geometry: Geometry, recipe: GazeRecipe, device: Device) -> Tensor:
        """(m, h, w) float32 of mass 1, or all zero where there is no gaze."""

    def viewer_maps(self, images: Index, geometry: Geometry, recipe: GazeRecipe, device: Device) -> Iterator[Tensor]:
        """One (m, h, w) float32 per viewer, in order, not normalised: their sum is proportional to the density."""

    def points(self, image: int, geometry: Geometry) -> NDArray[np.float64]:
        """(k, 3) x, y in pixels of the network input, and ms (NaN unknown), of one image; none where gaze is a map."""

    def select(self, images: Index) -> GazeSource:
        """The gaze of some images, in that order."""


@dataclass(frozen=True)
class FixationGaze:
    """Gaze given as points.

    sizes: (n, 2) int64 width, height of the original images. px_per_degree: (n,) float64 pixels of the original
    image per degree of visual angle, or None.
    """

    fixations: Fixations
    sizes: NDArray[np.int64]
    px_per_degree: NDArray[np.float64] | None = None

    @property
    def viewers(self) -> tuple[str, ...]:
        return self.fixations.viewers

    def has_gaze(self) -> NDArray[np.bool_]:
        return self.fixations.counts() > 0

    def n_fixations(self, images: Index) -> Index:
        return self.fixations.counts()[images]

    def density(self, images: Index, geometry: Geometry, recipe: GazeRecipe, device: Device) -> Tensor:
        points = self._in_input(images, geometry, recipe, device)
        return gaze_density(*points, geometry.height, geometry.width, border=recipe.border)

    def viewer_maps(self, images: Index, geometry: Geometry, recipe: GazeRecipe, device: Device) -> Iterator[Tensor]:
        part, rows = self.select(images), np.arange(len(images))
        for code in range(len(self.viewers)):
            own = replace(part, fixations=part.fixations.keep(part.fixations.viewer == code))
            points = own._in_input(rows, geometry, recipe, device)
            size = geometry.height, geometry.width
            yield gaze_density(*points, *size, border=recipe.border, normalise=False)

    def points(self, image: int, geometry: Geometry) -> NDArray[np.float64]:
        own = self.fixations.select(np.array([image]))
        mapped = geometry.point_map(*self.sizes[[image]].T).apply(own.x, own.y, own.image_index())
        return np.stack((*mapped, own.duration_ms), axis=1)

    def select(self, images: Index) -> FixationGaze:
        degrees = None if self.px_per_degree is None else self.px_per_degree[images]
        return FixationGaze(self.fixations.select(images), self.sizes[images], degrees)

    def _in_input(
        self, images: Index, geometry: Geometry, recipe: GazeRecipe, device: Device
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        """x, y, weight (m, k) and the sigmas (m,) in pixels of the network input, on the device."""
        rows = self.fixations.padded(images)
        width, height = self.sizes[images].T
        points = geometry.point_map(width, height)
        x, y = points.apply(rows.x, rows.y, np.arange(len(images))[:, None])
        weight = rows.valid if recipe.weight == "count" else rows.duration_ms
        degrees = None if self.px_per_degree is None else self.px_per_degree[images]
        # sigma is linear in pixels per degree: ask for one pixel, then scale image by image
        sigma = recipe.sigma.in_input(points, width, height, None if degrees is None else 1.0)
        if degrees is not None and recipe.sigma.unit == "deg":
            sigma = (sigma[0] * degrees, sigma[1] * degrees)
        on_device = [torch.from_numpy(np.asarray(v, np.float32)).to(device) for v in (x, y, weight, *sigma)]
        return on_device[0], on_device[1], on_device[2], (on_device[3], on_device[4])


@dataclass(frozen=True)
class RenderedGaze:
    """Gaze given as pictures: per image the files that are added up to its map, none where there is no gaze.

    Sigma, weighting and border are whatever was rendered: the recipe does not change these densities.
    """

    files: tuple[tuple[Path, ...], ...]
    sizes: NDArray[np.int64]

    @property
    def viewers(self) -> tuple[str, ...]:
        return ()

    def has_gaze(self) -> NDArray[np.bool_]:
        return np.array([bool(paths) for paths in self.files], dtype=bool)

    def n_fixations(self, images: Index) -> Index:
        return np.full(len(images), -1, dtype=np.int64)

    def density(self, images: Index, geometry: Geometry, recipe: GazeRecipe, device: Device) -> Tensor:
        maps = np.stack([self._map(int(image), geometry) for image in images])
        density = torch.from_numpy(maps).to(device).clamp_min(0)
        mass = density.sum((1, 2), keepdim=True)
        return density / torch.where(mass > 0, mass, 1)

    def viewer_maps(self, images: Index, geometry: Geometry, recipe: GazeRecipe, device: Device) -> Iterator[Tensor]:
        return iter(())

    def points(self, image: int, geometry: Geometry) -> NDArray[np.float64]:
        return np.empty((0, 3))

    def select(self, images: Index) -> RenderedGaze:
        return replace(self, files=tuple(self.files[i] for i in images), sizes=self.sizes[images])

    def _map(self, image: int, geometry: Geometry) -> NDArray[np.float32]:
        if not self.files[image]:
            return np.zeros((geometry.height, geometry.width), np.float32)
        gaze = read_gaze_map(self.files[image])
        width, height = self.sizes[image]
        if gaze.shape != (height, width):
            resized = Image.fromarray(gaze).resize((int(width), int(height)), Image.Resampling.BILINEAR)
            gaze = np.asarray(resized)
        return geometry.apply_map(gaze)
