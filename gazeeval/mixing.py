"""One mixer on one group: from images, signals and draws to what is written in the rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.metrics.inconsistency import gaze_shares, group_inconsistency, lam_gaze
from gazeeval.mixers.base import AnyMixer, D, FeatureMixer, GroupMixer, Mixer
from gazeeval.pairing import own_sources
from gazeeval.rows import Outcome
from gazeeval.signals.base import Logits, Signal, Signals
from gazeeval.signals.networks import Networks
from gazeeval.types import GroupPlacement, Labels, PairBatch, Placement


@dataclass(frozen=True)
class Group:
    """One group on the device: what all methods share.

    Attributes:
        ids: (b,) numbers of the pairs in the plan.
        rows: (n,) the distinct images, rows of the data set.
        density: (n, h, w) their gaze, mass 1, or all zero without gaze.
    """

    number: int
    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    pairs: PairBatch
    density: Tensor
    signals: Signals

    def gaze(self, placement: Placement) -> tuple[Tensor, Tensor, Tensor]:
        """lam_gaze and the visible gaze of source and target, (b,) float64 each."""
        return lam_gaze(placement, self.density[self.pairs.source], self.density[self.pairs.target])

    def draw(self, mixer: Mixer[D], seed: int) -> D:
        """The draws of ``mixer`` for these pairs, or for the group where it draws once for all of them."""
        ids = self.ids if mixer.scope == "pair" else [self.number]
        return mixer.draw(PairRng(seed, type(mixer).name, ids), self.pairs.size).to(self.pairs.images.device)

    def with_sources(self, source: Tensor) -> Group:
        """Other pairs (b,) of the same images, with the same targets."""
        return replace(self, pairs=replace(self.pairs, source=source))

    def first(self, count: int) -> tuple[PairBatch, Signals]:
        """Its first pairs with their signals."""
        pairs = replace(self.pairs, source=self.pairs.source[:count], target=self.pairs.target[:count])
        return pairs, self.signals.of(pairs.source, pairs.target)


@dataclass(frozen=True)
class Judge:
    """The networks that look at mixed images, with ``amp`` in that precision where it is enough (autocast)."""

    networks: Networks
    amp: torch.dtype | None = None

    def look(
        self, mixed: Callable[[slice], Tensor], count: int, requests: frozenset[Signal] = frozenset()
    ) -> tuple[Tensor | None, dict[Signal, Tensor]]:
        """(b, classes) softmax, None without a network of the data set's classes, and the answers (b, ...) to
        ``requests``, from one pass over the ``mixed`` images, which are made part by part."""
        asked = requests | ({Logits()} if self.networks.judge else set())
        if not asked:
            return None, {}
        with self.precision():
            parts = self.networks.passes.map(lambda part: self.networks.answer(asked, mixed(part), None), count)
        answers = {request: torch.cat([part[request] for part in parts]).float() for request in asked}
        return answers[Logits()].softmax(dim=1) if self.networks.judge else None, answers

    def precision(self) -> AbstractContextManager[None]:
        """Where the networks work in ``amp``."""
        return nullcontext() if self.amp is None else torch.autocast(self._device_type, self.amp)

    @property
    def _device_type(self) -> str:
        network = self.networks.classifier or self.networks.attention
        return network.device.type if network else "cpu"


def mix_group(mixer: AnyMixer, group: Group, seed: int, judge: Judge) -> Outcome:
    """What ``mixer`` makes of the pairs of ``group``."""
    if mixer.pairing != "run":
        group = group.with_sources(own_sources(mixer.pairing_maps(group.signals), group.pairs))
    signals = group.signals.of(group.pairs.source, group.pairs.target)
    draws = group.draw(mixer, seed)
    if isinstance(mixer, FeatureMixer):
        outcome = _inside(mixer, group, draws, judge)
    elif isinstance(mixer, GroupMixer):
        outcome = _composed(mixer, group, signals, draws, judge)
    else:
        outcome = _placed(mixer, group, signals, draws, judge)
    by_class = any(request.needs_label for request in mixer.needs())
    return replace(
        outcome,
        lam_draw=getattr(draws, "lam", None),
        applicable=mixer.scores_gaze,
        label_from="prediction" if by_class and judge.networks.judge is None else "dataset",
    )


def _placed(mixer: Mixer[D], group: Group, signals: Signals, draws: D, judge: Judge) -> Outcome:
    pairs = group.pairs
    placement = mixer.place(pairs, signals, draws)
    probabilities, answers = judge.look(partial(_blended, placement, pairs), len(pairs), mixer.needs_mixed())
    each = torch.arange(len(pairs), device=pairs.source.device)
    mixed = Signals(answers, each, each)
    labels = mixer.weigh(pairs, placement, signals, draws, mixed)
    (flat, nonfinite), (flat_mixed, nonfinite_mixed) = signals.degenerate(), mixed.degenerate()
    return Outcome(
        labels,
        group.gaze(placement),
        placement,
        pairs=None if mixer.pairing == "run" else pairs,
        probabilities=probabilities,
        flat=flat | flat_mixed,
        nonfinite=nonfinite | nonfinite_mixed,
    )


def _blended(placement: Placement, pairs: PairBatch, part: slice) -> Tensor:
    return placement[part].blend_pairs(replace(pairs, source=pairs.source[part], target=pairs.target[part]))


def _inside(mixer: FeatureMixer[D], group: Group, draws: D, judge: Judge) -> Outcome:
    pairs, model = group.pairs, judge.networks.judge
    assert model is not None  # the engine refuses such a run

    def look(part: slice) -> Tensor:
        source, target = (pairs.images[rows[part]] for rows in (pairs.source, pairs.target))
        return mixer.logits(model, source, target, draws[part])

    with judge.precision():
        logits = judge.networks.passes.map(look, len(pairs))
    labels = Labels(mixer.share(draws), mixer.extra(draws))
    nothing = torch.full_like(labels.lam, torch.nan)
    return Outcome(labels, (nothing,) * 3, probabilities=torch.cat(logits).float().softmax(dim=1))


def _composed(mixer: GroupMixer[D], group: Group, signals: Signals, draws: D, judge: Judge) -> Outcome:
    """The whole mix is scored, its two largest images are named: the target has the larger share.

    A mix of one image names it twice: all of it is the target.
    """
    placement = mixer.compose(group.pairs, signals, draws)
    shares, seen = placement.shares(), placement.visible_gaze(group.density)
    gaze = gaze_shares(placement, group.density)
    (o_target, o_source), (target, source) = (found.unbind(1) for found in shares.topk(2, dim=1))
    single = o_source == 0
    (g_source, S), (g_target, T) = (
        [part.gather(1, rows[:, None]).squeeze(1) for part in (gaze, seen)] for rows in (source, target)
    )
    S, source = torch.where(single, 0, S), torch.where(single, target, source)
    lam, lam_gaze_ = o_source / (o_source + o_target), g_source / (g_source + g_target)
    apart = torch.where(single, torch.nan, (lam - lam_gaze_).abs())
    flat, nonfinite = signals.degenerate_mixes(mixer.needs(), shares > 0)
    return Outcome(
        Labels(lam, {"pair_inconsistency": apart, "label_elsewhere": 1 - o_target - o_source}),
        (lam_gaze_, S, T),
        composed=placement,
        pairs=replace(group.pairs, source=source, target=target),
        n_images=(shares > 0).sum(dim=1),
        scores={"inconsistency": group_inconsistency(shares, gaze)},
        probabilities=judge.look(partial(_blended_group, placement, group.pairs), len(placement))[0],
        flat=flat,
        nonfinite=nonfinite,
    )


def _blended_group(placement: GroupPlacement, pairs: PairBatch, part: slice) -> Tensor:
    return GroupPlacement(placement.weights[part]).blend(pairs.images)
