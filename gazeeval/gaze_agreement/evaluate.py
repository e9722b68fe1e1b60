"""Scores every map that mixers rely on against the gaze of every image.

Two rows stand beside them always. ``ref:centre``, the mean density of all other images, is what a map must beat to
know anything about its image. ``ref:viewer``, the density of all viewers but one scored on the gaze of that one, mean
over the viewers, is as near as people come to each other (card ``statistics``, section 6). That direction, as in the
saliency benchmarks, because the density of a single viewer is so narrow that KL and information gain only see what it
leaves out; with a narrow sigma they still do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from gazeeval.data.dataset import Dataset
from gazeeval.data.density import GazeRecipe
from gazeeval.data.gaze import FixationGaze
from gazeeval.data.geometry import Geometry
from gazeeval.data.loader import ImageLoader, LoadedImages
from gazeeval.errors import DataError, UsageError
from gazeeval.gaze_agreement import scores
from gazeeval.gaze_agreement.pool import FixationPool
from gazeeval.gaze_agreement.scores import FixatedPixels
from gazeeval.references import References
from gazeeval.signals.base import (
    BottomUp,
    ClassAttention,
    ClassEvidence,
    ClassMap,
    FeatureMean,
    InputGradient,
    Saliency,
    Signal,
    TopDown,
)
from gazeeval.signals.networks import Networks
from gazeeval.types import mass

Index = NDArray[np.int64]
KlForm = Literal["benchmark", "pysaliency"]
Shuffled = Literal["other-images", "other-classes"]

MAPS: Mapping[str, Signal] = {
    "fine_grained": Saliency("fine_grained"),
    "spectral_residual": Saliency("spectral_residual"),
    "guided_residual": Saliency("guided_residual"),
    "input_gradient": InputGradient(),
    "class_map": ClassMap(),
    "feature_mean": FeatureMean(),
    "bottom_up": BottomUp(),
    "top_down": TopDown(1.0),
    "class_attention": ClassAttention(),
    "class_evidence": ClassEvidence(),
}
"""What can be scored, by name; maps on a grid of their own are resized to the network input, bilinearly."""

CENTRE, VIEWER = "ref:centre", "ref:viewer"

_GROUP = 64  # images in memory at a time
_COLUMNS = ("nss", "auc", "sauc", "cc", "sim", "kl", "ig", "flat", "mass_on_zero", "nonfinite")


class Gaze(NamedTuple):
    """What the maps of ``n`` images are scored against.

    Attributes:
        density: (n, h, w) of sum 1, or all zero where nobody looked.
        centre: (n, h, w) made with `scores.FLOOR`, the mean density of all other images.
        fixations: their pixels; None where gaze is given as maps.
        negatives: (n, h, w) fixations of other images, likewise.
    """

    density: Tensor
    centre: Tensor
    fixations: FixatedPixels | None = None
    negatives: Tensor | None = None


def score(maps: Tensor, gaze: Gaze, kl_form: KlForm = "benchmark") -> dict[str, Tensor]:
    """Every score that ``gaze`` allows of maps (n, h, w), (n,) float64 each, and ``flat`` and ``mass_on_zero``.

    Maps are made densities before any floor is added, so that no score depends on their scale.
    """
    p, q = scores.density(maps), gaze.density
    floored = scores.density(p, scores.FLOOR)
    found = {
        "cc": scores.cc(maps, q),
        "sim": scores.sim(p, q),
        "kl": scores.kl(p, q) if kl_form == "benchmark" else scores.kl(floored, scores.density(q, scores.FLOOR), eps=0),
        "mass_on_zero": scores.mass_on_zero(p, q),
        "flat": scores.is_flat(maps).double(),
    }
    if gaze.fixations is not None:
        found |= {
            "nss": scores.nss(maps, gaze.fixations),
            "auc": scores.auc(maps, gaze.fixations),
            "sauc": scores.auc(maps, gaze.fixations, gaze.negatives),
            "ig": scores.information_gain(floored, gaze.fixations, gaze.centre),
        }
    return found


def usable(maps: Mapping[str, Signal], networks: Networks) -> tuple[dict[str, Signal], dict[str, str]]:
    """The maps that ``networks`` can give, and for each of the others why they cannot."""
    given, refused = {}, {}
    for name, request in maps.items():
        try:
            networks.check(name, {request})
            given[name] = request
        except UsageError as error:
            refused[name] = str(error).removeprefix(f"method {name}: ")
    return given, refused


@dataclass(frozen=True)
class Agreement:
    """Scores maps of the images of one data set.

    Attributes:
        maps: name -> request, in the order of the report; all of them `usable`.
        recipe, geometry, device, networks: as in a run.
        kl_form: see `gazeeval.gaze_agreement.scores.kl`.
        shuffled: whose fixations are the negatives of shuffled AUC: those of all other images, as is usual, or only of
            images of other classes.
        workers: threads that read images.
    """

    dataset: Dataset
    maps: Mapping[str, Signal]
    recipe: GazeRecipe
    geometry: Geometry
    device: torch.device
    networks: Networks = field(default_factory=Networks)
    kl_form: KlForm = "benchmark"
    shuffled: Shuffled = "other-images"
    workers: int = 2

    @property
    def has_points(self) -> bool:
        """Whether gaze is given as fixations, not as maps: without them there is no NSS, AUC, sAUC and IG."""
        return isinstance(self.dataset.gaze, FixationGaze)

    def names(self) -> tuple[str, ...]:
        """The maps that are scored, references last."""
        return (*self.maps, CENTRE, *([VIEWER] if len(self.dataset.gaze.viewers) > 1 else []))

    def run(self) -> Iterator[pd.DataFrame]:
        """One row per map and image, a group of images at a time: the columns of ``agreement.csv`` that vary in a run.

        Raises:
            DataError: fewer than two images have gaze, so that there is no centre prior.
        """
        has_gaze = self.dataset.gaze.has_gaze()
        if has_gaze.sum() < 2:
            raise DataError(
                f"gaze: {self.dataset.name}, got {has_gaze.sum()} images that have any. Give two or more, as each is "
                "compared with where people look on the others."
            )
        groups = np.split(np.arange(len(self.dataset)), range(_GROUP, len(self.dataset), _GROUP))
        loader = ImageLoader(self.dataset, self.geometry, workers=self.workers, cache_bytes=0)
        for rows, images in zip(groups, loader.read(rows[has_gaze[rows]] for rows in groups), strict=True):
            yield self._group(rows, images)

    def _group(self, rows: Index, images: LoadedImages) -> pd.DataFrame:
        names = self.names()
        values = np.full((len(names), len(_COLUMNS), len(rows)), np.nan)
        if len(images.rows):
            values[:, :, np.searchsorted(rows, images.rows)] = self._scores(images).cpu().numpy()
        known = pd.DataFrame(
            {
                "image_id": [self.dataset.image_ids[row] for row in rows],
                "label": self.dataset.labels[rows],
                **self._fixation_counts(rows),
                "note": [str(images.errors.get(int(row), "")) for row in rows],
            }
        )
        frames = [
            known.assign(map=name, **dict(zip(_COLUMNS, columns, strict=True)))
            for name, columns in zip(names, values, strict=True)
        ]
        return _with_status(pd.concat(frames, ignore_index=True))

    def _scores(self, images: LoadedImages) -> Tensor:
        """(maps, columns, n) float64 on the device: `_COLUMNS` of readable images."""
        density = self.dataset.gaze.density(images.rows, self.geometry, self.recipe, self.device)
        gaze = Gaze(density, scores.density(self._references.priors(density), scores.FLOOR))
        viewers = None
        if isinstance(self.dataset.gaze, FixationGaze):
            fixations, viewers = fixated_pixels(self.dataset.gaze, images.rows, self.geometry)
            negatives = self._pool.others(images.rows).to(self.device)
            gaze = gaze._replace(fixations=fixations.to(self.device), negatives=negatives)
        rows = [self._score(maps, gaze) for maps in chain(self._maps(images), [gaze.centre])]
        if VIEWER in self.names() and viewers is not None:
            rows.append(self._viewer(images.rows, gaze, viewers.to(self.device)))
        return torch.stack(rows)

    def _maps(self, images: LoadedImages) -> Iterator[Tensor]:
        """(n, h, w) for each of ``maps``."""
        channels_last = torch.from_numpy(images.pixels).to(self.device, non_blocking=True)
        pixels = channels_last.permute(0, 3, 1, 2).float().div_(255)
        labels = torch.from_numpy(self.dataset.labels[images.rows]).to(self.device)
        answers = self.networks.answer(set(self.maps.values()), pixels, labels)
        for request in self.maps.values():
            found = answers[request].float().unsqueeze(1)
            yield interpolate(found, pixels.shape[2:], mode="bilinear", align_corners=False).squeeze(1)

    def _score(self, maps: Tensor, gaze: Gaze) -> Tensor:
        """(columns, n) float64; maps that are not finite have no scores."""
        wrong = ~mass(maps).isfinite()
        found = score(maps.masked_fill(wrong.view(-1, 1, 1), 0), gaze, self.kl_form)
        missing = torch.full_like(found["cc"], torch.nan)
        columns = torch.stack([found.get(name, missing) for name in _COLUMNS[:-1]])
        return torch.cat((columns.masked_fill(wrong, torch.nan), wrong.double().unsqueeze(0)))

    def _viewer(self, rows: Index, gaze: Gaze, viewers: Tensor) -> Tensor:
        """(columns, n): the density of the other viewers scored on the gaze of one, mean over the viewers."""
        assert gaze.fixations is not None
        source = self.dataset.gaze
        total = sum(one.double() for one in source.viewer_maps(rows, self.geometry, self.recipe, self.device))
        assert isinstance(total, Tensor)
        tiny = 1e-6 * mass(total)  # what subtraction leaves of nobody is rounding, not gaze
        each = []
        for code, one in enumerate(source.viewer_maps(rows, self.geometry, self.recipe, self.device)):
            alone, rest = one.double(), (total - one).clamp(min=0)
            known = (mass(alone) > tiny) & (mass(rest) > tiny)
            own = gaze._replace(density=scores.density(alone), fixations=gaze.fixations.only(viewers == code))
            found = self._score(rest, own)
            each.append(found.masked_fill(~known, torch.nan))
        return torch.stack(each).nanmean(dim=0)

    def _fixation_counts(self, rows: Index) -> dict[str, NDArray[np.float64]]:
        """Fixations inside and outside the frame; NaN where gaze is given as maps."""
        if not isinstance(self.dataset.gaze, FixationGaze):
            return {}
        inside = fixated_pixels(self.dataset.gaze, rows, self.geometry)[0].counts().numpy()
        return {"n_fixations": inside, "n_outside": self.dataset.gaze.n_fixations(rows) - inside}

    @cached_property
    def _references(self) -> References:
        return References(self.dataset, self.geometry, self.recipe, self.device)

    @cached_property
    def _pool(self) -> FixationPool:
        assert isinstance(self.dataset.gaze, FixationGaze)
        n = len(self.dataset)
        groups = np.split(np.arange(n), range(_GROUP, n, _GROUP))
        pixels = [fixated_pixels(self.dataset.gaze, rows, self.geometry)[0] for rows in groups]
        owner = np.arange(n) if self.shuffled == "other-images" else self.dataset.labels
        return FixationPool(pixels, owner, self.geometry.height, self.geometry.width)


def fixated_pixels(gaze: FixationGaze, images: Index, geometry: Geometry) -> tuple[FixatedPixels, Tensor]:
    """On the host, the pixels of the network input that ``images`` (n,) were fixated at, and by whom: (n, k) codes of
    viewers, -1 unknown. Every fixation or sample counts once, however long it was.
    """
    rows = gaze.fixations.padded(images)
    x, y = geometry.point_map(*gaze.sizes[images].T).apply(rows.x, rows.y, np.arange(len(images))[:, None])
    valid, viewers = torch.from_numpy(rows.valid), torch.from_numpy(rows.viewer)
    positions = torch.from_numpy(x), torch.from_numpy(y)
    return FixatedPixels.of(*positions, valid, geometry.height, geometry.width), viewers


def _with_status(frame: pd.DataFrame) -> pd.DataFrame:
    """With ``status`` and ``note`` for what is missing; until then the note says why an image cannot be read."""
    no_gaze = frame["sim"].isna()  # which needs nothing but gaze
    outside = frame["nss"].isna() & ("n_fixations" in frame)
    cases = (
        ("ok", "no fixation in the frame, only near it: no nss, auc, sauc, ig", outside),
        ("no_gaze", "no gaze in the frame", no_gaze),
        ("no_gaze", "fewer than two viewers with gaze in the frame", no_gaze & frame["map"].eq(VIEWER)),
        ("nonfinite", "the map is not finite", frame.pop("nonfinite") > 0),
        ("failed", frame["note"], frame["note"].ne("")),
    )
    status, note = pd.Series("ok", frame.index), pd.Series("", frame.index)
    for name, why, where in cases:  # the last that holds counts
        status, note = status.mask(where, name), note.mask(where, why)
    flat = frame["flat"].gt(0).where(frame["flat"].notna())
    return frame.assign(flat=flat, status=status, note=note)
