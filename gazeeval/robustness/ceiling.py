"""The human ceiling: how near one viewer's lam_gaze comes to that of the others (card ``statistics``, section 5).

Everything follows from a few numbers per pair and viewer: how much of the viewer's gaze on source and target is visible
in CutMix's mixed image, and how much there is. Gaze of several viewers is their sum, so any number of them needs no
further look at the maps.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from gazeeval.config import RunConfig
from gazeeval.data.dataset import Dataset
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.cutmix import CutMix
from gazeeval.report.files import conform
from gazeeval.robustness.inputs import Inputs, inputs_of_config, inputs_of_run
from gazeeval.robustness.tables import FILES
from gazeeval.signals.base import Signals
from gazeeval.statistics.intervals import Floats, mean_interval
from gazeeval.statistics.reliability import icc, mean_r, spearman_brown, within_var
from gazeeval.types import PairBatch, mass

_CHUNK = 64  # pairs at a time


def ceiling(run: str | Path | None = None, **options: Any) -> pd.DataFrame:
    """How well viewers agree on lam_gaze, on CutMix's mixes: one row per measure, the columns of ceiling.csv.

    Args:
        run: folder of a finished run, whose pairs and gaze recipe are taken. The options ``root`` (where the data are
            now), ``data`` (a `Dataset` made from arrays) and ``device`` go with it.
        options: without ``run`` those of a run that say which data, gaze and pairs: ``data``, ``root``, ``sigma``,
            ``num_pairs`` ..., see `gazeeval.config.RunConfig`.

    Raises:
        UsageError: viewers are unknown, or there is only one; or wrong options.
    """
    if run is not None:
        return measure(inputs_of_run(Path(run), **options))
    return measure(inputs_of_config(RunConfig.of({"method": "cutmix", "references": False, **options})))


def measure(inputs: Inputs, *, progress: bool = False) -> pd.DataFrame:
    """`ceiling` of given pairs. Raises UsageError."""
    viewers = inputs.dataset.gaze.viewers
    _require_several(inputs.dataset)
    masses = viewer_masses(inputs, progress=progress)
    rows = pd.DataFrame([*_means(masses, viewers, inputs), *_reliability(masses)])
    if not rows["n"].max():
        raise UsageError(
            f"viewers: {inputs.dataset.name}, got none of {len(inputs.source)} pairs whose images two of them have "
            "looked at. Take more pairs, or other data."
        )
    named = rows.assign(dataset=inputs.dataset.name, split=inputs.dataset.split, gaze=inputs.gaze_settings)
    return conform(named, FILES["ceiling.csv"])


def viewer_masses(inputs: Inputs, *, progress: bool = False) -> Floats:
    """(K, 4, m) float64 for K viewers: of CutMix's mix of each pair the visible gaze of the source, all of it, the
    visible gaze of the target, all of it; in one unknown unit per image.
    """
    starts = range(0, len(inputs.source), _CHUNK)
    shown = tqdm(starts, unit="chunk", disable=None if progress else True, file=sys.stderr)
    return np.concatenate([_chunk_masses(inputs, slice(start, start + _CHUNK)) for start in shown], axis=2)


def _chunk_masses(inputs: Inputs, part: slice) -> Floats:
    source, target = inputs.source[part], inputs.target[part]
    rows, index = np.unique([source, target], return_inverse=True)
    of_source, of_target = torch.from_numpy(index.reshape(2, -1)).to(inputs.device)
    seen_source, seen_target = _cutmix(inputs, part, of_source, of_target)
    maps = inputs.dataset.gaze.viewer_maps(rows, inputs.geometry, inputs.recipe, inputs.device)

    def masses(one: Tensor) -> Tensor:
        whole = mass(one)
        visible = mass(seen_source * one[of_source]), mass(seen_target * one[of_target])
        return torch.stack((visible[0], whole[of_source], visible[1], whole[of_target]))

    return torch.stack([masses(one) for one in maps]).cpu().numpy()


def _cutmix(inputs: Inputs, part: slice, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """What CutMix shows of source and target, (b, h, w) each, with the draws of the run."""
    height, width = inputs.geometry.height, inputs.geometry.width
    no_images = torch.empty(0, 3, height, width, device=inputs.device)  # CutMix does not look at them
    mixer, pairs = CutMix(), PairBatch(no_images, torch.empty(0), source, target)
    ids = np.arange(part.start, part.start + len(source))
    draws = mixer.draw(PairRng(inputs.config.seed, mixer.name, ids), pairs.size).to(inputs.device)
    return mixer.place(pairs, Signals({}, source, target), draws).visibility()


def _share(masses: Floats) -> Floats:
    """lam_gaze (..., m) from masses (..., 4, m); NaN where an image has no gaze or nothing of any is visible."""
    seen_source, source, seen_target, target = np.moveaxis(masses, -2, 0)
    with np.errstate(invalid="ignore"):
        S, T = seen_source / source, seen_target / target
        return np.asarray(S / (S + T))


@dataclass(frozen=True)
class _Against:
    """|lam_gaze of one viewer - lam_gaze of others| of m pairs.

    ``others`` (K, m): of each viewer against all others. ``some`` (K - 1, m): against 1, 2, ... others, mean over the
    viewers; of complete pairs only, NaN elsewhere.
    """

    others: Floats
    some: Floats

    @classmethod
    def of(cls, masses: Floats) -> _Against:
        K, _, m = masses.shape
        others, some = np.empty((K, m)), np.zeros((K - 1, m))
        for viewer in range(K):
            following = np.roll(masses, -viewer - 1, axis=0)[:-1]
            away = np.abs(_share(np.cumsum(following, axis=0)) - _share(masses[viewer]))
            others[viewer] = away[-1]
            some += away / K
        some[:, ~_complete(masses)] = np.nan
        return cls(others, some)


def _complete(masses: Floats) -> NDArray[np.bool_]:
    """(m,) whether every viewer has looked at both images."""
    return np.asarray(~np.isnan(_share(masses)).any(axis=0))


def _means(masses: Floats, viewers: tuple[str, ...], inputs: Inputs) -> Iterator[dict[str, Any]]:
    """The measures that are means over pairs."""
    K, against = len(viewers), _Against.of(masses)

    def row(measure: str, values: Floats, count: int, viewer: str | None = None) -> dict[str, Any]:
        level, method = inputs.config.ci, inputs.config.ci_method
        mean = mean_interval(values, inputs.source, inputs.target, level=level, method=method)
        found = {"measure": measure, "viewer": viewer, "viewers": count, "n": mean.n, "estimate": mean.mean}
        return found | {"ci_low": mean.low, "ci_high": mean.high, "ci_level": level, "unit": "fraction"}

    for name, values in zip(viewers, against.others, strict=True):
        yield row("leave_one_out", values, K - 1, name)
    yield row("leave_one_out", pd.DataFrame(against.others).mean().to_numpy(), K - 1)  # leaves out who did not look
    curve = [row("one_against", values, k) for k, values in enumerate(against.some, start=1)]
    if curve[0]["n"]:
        yield from curve
    if curve[0]["n"] and K > 2:
        limit = limit_of(np.array([point["estimate"] for point in curve]))
        yield {"measure": "one_against", "n": curve[0]["n"], "estimate": limit, "unit": "fraction"}


def limit_of(curve: Floats) -> float:
    """What the mean differences ``curve`` (k,) of one viewer from 1, 2, ... k others tend to.

    The mean square is ``s^2 (1 + 1/k)``. The square of the mean absolute difference is likewise taken for linear in
    1/k, with a slope of its own, since the shape of the errors changes on the way.
    """
    k = np.arange(1, len(curve) + 1)
    intercept = float(np.polynomial.polynomial.polyfit(1 / k, curve**2, 1)[0])
    return math.sqrt(max(intercept, 0))


def _reliability(masses: Floats) -> Iterator[dict[str, Any]]:
    """The measures of complete pairs as a whole; none where there are fewer than two of them."""
    values, K = _share(masses).T[_complete(masses)], len(masses)
    if len(values) < 2:
        return
    r, variance, (single, mean) = mean_r(values), within_var(values), icc(values)
    found = [("mean_r", 1, r, "1"), ("icc", 1, single, "1"), ("icc", K, mean, "1")]
    found += [("within_variance", 1, variance, "fraction^2")]
    for k in range(1, K + 1):
        found += [
            ("reliability", k, float(spearman_brown(r, k)), "1"),
            ("noise", k, math.sqrt(variance / k), "fraction"),
        ]
    for measure, count, estimate, unit in found:
        yield {"measure": measure, "viewers": count, "n": len(values), "estimate": estimate, "unit": unit}


def _require_several(dataset: Dataset) -> None:
    count = len(dataset.gaze.viewers)
    if count < 2:
        got = "a single one" if count else "none that the gaze tells apart"
        raise UsageError(
            f"viewers: {dataset.name}, got {got}. A ceiling compares viewers: name their column in the spec, or take "
            "data with several."
        )
