"""The inconsistency of mixes that were kept, under several gaze recipes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gazeeval.metrics.inconsistency import gaze_shares, group_inconsistency
from gazeeval.references import GroupGaze
from gazeeval.robustness.inputs import Index
from gazeeval.robustness.kept import KeptPairs, View
from gazeeval.robustness.recipes import Gaze
from gazeeval.statistics.intervals import Floats
from gazeeval.types import GroupPlacement, PairBatch, Placement

CENTRE = "ref:centre"


def rescore(methods: Mapping[str, KeptPairs], gazes: Sequence[Gaze]) -> Iterator[dict[str, tuple[slice, Floats]]]:
    """Group after group: method -> which of its pairs, and their inconsistency (R, b) under R recipes.

    NaN where no gaze is visible. lam is that of the run, but for ``ref:centre``, whose lam is made of gaze.
    """
    for group in np.unique(np.concatenate([pairs.group for pairs in methods.values()])).tolist():
        views = {name: pairs.view(group, gazes[0].device) for name, pairs in methods.items() if group in pairs.group}
        drawn = _Drawn(np.unique(np.concatenate([_images(view) for view in views.values()])), gazes)
        found = {}
        for name, view in views.items():
            scores = drawn.centre(view) if name == CENTRE else drawn.scores(view, methods[name].lam[view.at])
            found[name] = view.at, scores.cpu().numpy()
        yield found


def _images(view: View) -> Index:
    return np.concatenate((view.source, view.target, view.images))


class _Drawn:
    """The gaze of ``images`` (n,) under R recipes."""

    def __init__(self, images: Index, gazes: Sequence[Gaze]) -> None:
        self._images = images
        self._gazes = gazes
        self._densities = [gaze.density(images) for gaze in gazes]
        each = [gaze.scaled(density, images) for gaze, density in zip(gazes, self._densities, strict=True)]
        self._maps = torch.stack(each, dim=2)  # (n, h, R, w): see _visible
        self._has_gaze = self._maps.amax(dim=(1, 3)) > 0
        self._picked: dict[bytes, Tensor] = {}

    def scores(self, view: View, lam: Floats) -> Tensor:
        """(R, b) float64 inconsistency of mixes with labels ``lam`` (b,)."""
        if isinstance(view.placement, GroupPlacement):
            return self._composed(view.placement, view.images)
        given = torch.from_numpy(lam).to(self._maps.device)
        return (given - self._lam_gaze(view.placement, view.source, view.target)).abs()

    def centre(self, view: View) -> Tensor:
        """The same with lam from where people look on other images."""
        assert isinstance(view.placement, Placement)  # CutMix's
        pairs = PairBatch(torch.empty(0), torch.empty(0), self._at(view.source), self._at(view.target))
        groups = [GroupGaze(pairs, self._images, density, view.placement) for density in self._densities]
        lam = [gaze.references.centre(group).lam for gaze, group in zip(self._gazes, groups, strict=True)]
        return (torch.stack(lam) - self._lam_gaze(view.placement, view.source, view.target)).abs()

    def _lam_gaze(self, placement: Placement, source: Index, target: Index) -> Tensor:
        """(R, b), NaN where an image has no gaze or nothing of any is visible."""
        seen_source, seen_target = placement.visibility()
        S, T = _visible(seen_source, self._of(source)), _visible(seen_target, self._of(target))
        known = self._has_gaze[self._at(source)] & self._has_gaze[self._at(target)]
        return torch.where(known, S / (S + T), torch.nan).T

    def _composed(self, placement: GroupPlacement, images: Index) -> Tensor:
        shares, maps = placement.shares(), self._maps[self._at(images)]
        return torch.stack([group_inconsistency(shares, gaze_shares(placement, one)) for one in maps.unbind(dim=2)])

    def _at(self, images: Index) -> Tensor:
        """Places of ``images`` among those that are drawn."""
        return torch.from_numpy(np.searchsorted(self._images, images)).to(self._maps.device)

    def _of(self, images: Index) -> Tensor:
        """(b, h, R, w) maps of ``images`` (b,); most methods ask for the same."""
        key = images.tobytes()
        if key not in self._picked:
            self._picked[key] = self._maps[self._at(images)]
        return self._picked[key]


def _visible(seen: Tensor, maps: Tensor) -> Tensor:
    """(b, R) float64: what is ``seen`` (b, h, w) of ``maps`` (b, h, R, w).

    Along a row in float32, from row to row in float64: off by 1e-7, for the time of one matrix product.
    """
    return (maps @ seen.unsqueeze(3)).squeeze(3).sum(dim=1, dtype=torch.float64)
