"""What a script calls beside `gazeeval.run.evaluate`: one mix at a time, and comparing finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers.base import AnyMixer, Draws, FeatureMixer, GroupMixer, parse_method
from gazeeval.models.model import Model
from gazeeval.report.files import Results, read_results
from gazeeval.signals.base import CentrePrior, GazeDensity, Signal, Signals
from gazeeval.signals.networks import Networks
from gazeeval.statistics.compare import comparisons
from gazeeval.types import Mix, PairBatch


def mix(
    method: str | AnyMixer,
    source: Tensor,
    target: Tensor,
    source_label: Tensor,
    target_label: Tensor,
    *,
    model: Model | None = None,
    attention_model: Model | None = None,
    seed: int = 0,
    draws: Draws | None = None,
    source_gaze: Tensor | None = None,
    target_gaze: Tensor | None = None,
) -> Mix:
    """Mix ``b`` pairs of images, as a run does.

    Args:
        method: a spec such as ``"cutmix:alpha=0.2"``, or a mixer.
        source, target: (b, 3, h, w) float RGB in [0, 1]; the source is pasted, the target is the canvas.
        source_label, target_label: (b,) int64.
        model, attention_model: answer what the method asks of a network; attention comes from the second, if given.
        seed: pair i gets the draws of pair i of a run with this seed.
        draws: draws to use instead, to replay a mix.
        source_gaze, target_gaze: (b, h, w) gaze densities of mass 1; with both, ``lam_gaze`` is filled.

    Raises:
        UsageError: images of different shapes or outside [0, 1], or a method that asks for what was not given.
    """
    mixer = parse_method(method) if isinstance(method, str) else method
    if isinstance(mixer, FeatureMixer | GroupMixer):
        raise UsageError(f"method {type(mixer).name}: makes no image of two, evaluate it in a run.")
    _check_images(source, target)
    count = len(source)
    order = torch.arange(2 * count, device=source.device)
    pairs = PairBatch(
        torch.cat((source, target)), torch.cat((source_label, target_label)), order[:count], order[count:]
    )
    gaze = None if source_gaze is None or target_gaze is None else torch.cat((source_gaze, target_gaze))
    networks = Networks(model, attention_model)
    signals = Signals(_answers(mixer, pairs, networks, gaze), pairs.source, pairs.target)
    if draws is None:
        ids = np.arange(count if mixer.scope == "pair" else 1)
        draws = mixer.draw(PairRng(seed, type(mixer).name, ids), pairs.size).to(source.device)
    placement = mixer.place(pairs, signals, draws)
    mixed = placement.blend(source, target)
    seen = Signals(networks.answer(mixer.needs_mixed(), mixed, None), order[:count], order[:count])
    labels = mixer.weigh(pairs, placement, signals, draws, seen)
    share = None if gaze is None else lam_gaze(placement, gaze[pairs.source], gaze[pairs.target])[0]
    return Mix(mixed, labels.lam, placement, labels.extra, share)


def compare(
    runs: Results | str | Path | Sequence[Results | str | Path],
    baseline: str | None = None,
    metric: str = "inconsistency",
    *,
    level: float = 0.95,
) -> pd.DataFrame:
    """The methods of finished runs, or of their folders, against each other.

    See `gazeeval.statistics.compare.comparisons` for the columns and for what is raised.
    """
    given = [runs] if isinstance(runs, Results | str | Path) else runs
    results = [each if isinstance(each, Results) else read_results(each) for each in given]
    return comparisons(results, baseline=baseline, metrics=[metric], level=level)


def _answers(mixer: AnyMixer, pairs: PairBatch, networks: Networks, gaze: Tensor | None) -> Mapping[Signal, Tensor]:
    requests = mixer.needs()
    networks.require(type(mixer).name, requests | mixer.needs_mixed())
    answers = networks.answer(requests - {GazeDensity(), CentrePrior()}, pairs.images, pairs.labels)
    if CentrePrior() in requests:
        raise UsageError(f"method {type(mixer).name}: centre prior, got no data set. Evaluate it in a run.")
    if GazeDensity() in requests:
        if gaze is None:
            raise UsageError(f"method {type(mixer).name}: gaze, got none. Pass source_gaze and target_gaze.")
        answers[GazeDensity()] = gaze
    return answers


def _check_images(source: Tensor, target: Tensor) -> None:
    if source.shape != target.shape or source.dim() != 4 or source.shape[1] != 3:
        raise UsageError(
            f"mix: images, got source {tuple(source.shape)} and target {tuple(target.shape)}. "
            "Give two float tensors (b, 3, h, w) of one shape."
        )
    for name, images in (("source", source), ("target", target)):
        low, high = float(images.min()), float(images.max())
        if not 0 <= low <= high <= 1:
            raise UsageError(
                f"mix: {name}, got values {low:g} .. {high:g}. Give RGB in [0, 1]; the model normalises on its own."
            )
