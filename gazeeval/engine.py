"""The only loop: group after group, method after method.

The unit of all work is the group of images that the pair plan fixes. Everything but the network sees a whole group at
once, and the batch size only cuts the network's passes: so rows do not depend on batch size, workers or the other
methods of a run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.contract import check_pairs
from gazeeval.data.dataset import Dataset
from gazeeval.data.density import GazeRecipe
from gazeeval.data.geometry import Geometry
from gazeeval.data.loader import ImageLoader, LoadedImages
from gazeeval.data.pairs import PairPlan
from gazeeval.errors import GazeEvalError, MixerError, UsageError
from gazeeval.masks import Masks
from gazeeval.metrics.base import METRICS, Metric, MetricOptions
from gazeeval.mixers.base import AnyMixer, FeatureMixer
from gazeeval.mixers.cutmix import CutMix, CutMixDraws
from gazeeval.mixing import Group, Judge, mix_group
from gazeeval.references import GroupGaze, References
from gazeeval.rows import Columns, Outcome, joined, pair_columns, result_columns, with_status
from gazeeval.signals.answer import SignalCache, signal_cache
from gazeeval.signals.base import CentrePrior, GazeDensity, Signal, Signals
from gazeeval.signals.networks import Networks
from gazeeval.types import GroupPlacement, Labels, Mix, PairBatch

_GAZE: frozenset[Signal] = frozenset({GazeDensity(), CentrePrior()})


@dataclass(frozen=True)
class GroupResult:
    """What came out of one group.

    Attributes:
        rows: method -> one row per pair of the group, failed pairs included.
        failures: method, pair_id, stage, exception, message.
        masks: method -> what of each image shows, for methods that mix pixels otherwise than by one box.
        seconds: (stage, method) -> seconds; the method is empty for work that all share.
    """

    group: int
    rows: Mapping[str, Columns]
    failures: list[tuple[Any, ...]]
    masks: Mapping[str, Masks]
    seconds: Mapping[tuple[str, str], float]

    def __len__(self) -> int:
        """How many pairs the group has."""
        return len(next(iter(self.rows.values()))["pair_id"])


@dataclass(frozen=True)
class GroupMixes:
    """The readable pairs of one group and what the methods made of them.

    Attributes:
        ids: (b,) numbers of the pairs in the plan.
        rows: (n,) the distinct images, rows of the data set.
        density: (n, h, w) gaze of the distinct images, mass 1, or all zero without gaze.
        mixes: method -> the pairs that its rows name, and their mixed images with label, placement and ``lam_gaze``; or
            how much of each of the n images is where, for a method that mixes more than two. Methods that mix inside a
            network are left out.
    """

    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    density: Tensor
    mixes: Mapping[str, tuple[PairBatch, Mix | GroupPlacement]]


@dataclass(frozen=True)
class Engine:
    """Evaluates methods on pairs of one data set.

    Attributes:
        methods: canonical name -> mixer, in the order of the report.
        recipe: how fixations become a density.
        geometry: how images become the network input (the model's own, or a stated one without a model).
        networks: answer what methods ask of a network; the classifier also gives the top-k columns.
        amp: precision in which mixed images are looked at; None: float32.
        top_k: the K of the top-k columns, ascending.
        references: whether the reference rows are computed.
        workers: threads that read images.
        cache: answers to what methods ask about single images.
    """

    dataset: Dataset
    methods: Mapping[str, AnyMixer]
    recipe: GazeRecipe
    geometry: Geometry
    device: torch.device
    networks: Networks = field(default_factory=Networks)
    seed: int = 0
    top_k: tuple[int, ...] = (1, 2, 5)
    references: bool = True
    amp: torch.dtype | None = None
    workers: int = 2
    cache: SignalCache = field(default_factory=signal_cache, repr=False)

    @cached_property
    def loader(self) -> ImageLoader:
        """Reads the images. One for all who look at them: what it keeps is not read again."""
        return ImageLoader(self.dataset, self.geometry, workers=self.workers)

    def metrics(self) -> list[Metric]:
        """The metrics of this run, each with its columns."""
        return [METRICS[name](MetricOptions(self.top_k)) for name in METRICS]

    def reference_names(self) -> tuple[str, ...]:
        """The reference rows of this run."""
        return tuple(self._references.predictors()) if self.references else ()

    def check(self) -> None:
        """Raise UsageError, before any work, where a method asks for a signal that cannot be given."""
        refused: dict[str, UsageError] = {}
        for name, mixer in self.methods.items():
            try:
                self._check(name, mixer)
            except UsageError as error:
                refused[name] = error
        if refused:
            served = ", ".join(name for name in self.methods if name not in refused) or "none"
            raise UsageError(f"{next(iter(refused.values()))} Methods of this run that work as it is: {served}.")

    def _check(self, name: str, mixer: AnyMixer) -> None:
        of_mixed = mixer.needs_mixed()
        self.networks.check(name, mixer.needs() | of_mixed, self.cache)
        about_one = sorted(repr(request) for request in of_mixed if request.needs_label or request in _GAZE)
        if about_one:
            raise UsageError(f"method {name}: {about_one[0]} of a mixed image, which has not one label and no gaze.")
        if isinstance(mixer, FeatureMixer):
            if self.networks.judge is None:
                raise UsageError(
                    f"method {name}: mixes inside a network with the data set's classes, got "
                    f"{'one with others' if self.networks.classifier else 'none'}. Pass --model CKPT."
                )
            mixer.check(self.networks.judge)

    def run(self, plan: PairPlan, groups: Sequence[slice] | None = None) -> Iterator[GroupResult]:
        """Evaluate all methods on the pairs of ``plan``, a group at a time: all of them, or those of ``groups``."""
        self.check()
        slices = list(plan.groups()) if groups is None else groups
        loaded = self._read(plan, slices)
        for first, pairs in enumerate(slices):
            clock = _Clock()
            with clock("read"):
                images = next(loaded)
            yield self._evaluate(plan, pairs, images, clock, is_first=first == 0)

    def mixes(self, plan: PairPlan, ids: NDArray[np.int64]) -> Iterator[GroupMixes]:
        """The groups that hold the pairs ``ids``, mixed exactly as in `run`; pairs that cannot be read are left out."""
        self.check()
        slices = [pairs for pairs in plan.groups() if np.isin(np.arange(pairs.start, pairs.stop), ids).any()]
        for pairs, images in zip(slices, self._read(plan, slices), strict=True):
            readable = _readable(plan, pairs, images)
            if readable.any():
                group = self._prepare(plan, np.arange(pairs.start, pairs.stop)[readable], images, _Clock())
                drawn = {name: mixer for name, mixer in self.methods.items() if not isinstance(mixer, FeatureMixer)}
                mixes = {name: self._mix(name, mixer, group) for name, mixer in drawn.items()}
                yield GroupMixes(group.ids, group.rows, group.density, mixes)

    def _mix(self, name: str, mixer: AnyMixer, group: Group) -> tuple[PairBatch, Mix | GroupPlacement]:
        with _named(name, group):
            outcome = self._mixed(mixer, group)
            pairs = outcome.pairs or group.pairs
            if outcome.composed is not None:
                return pairs, outcome.composed
            assert outcome.placement is not None  # feature mixers are left out
            mixed = outcome.placement.blend(pairs.source_images, pairs.target_images)
            return pairs, Mix(mixed, outcome.labels.lam, outcome.placement, outcome.labels.extra, outcome.gaze[0])

    def _read(self, plan: PairPlan, slices: Sequence[slice]) -> Iterator[LoadedImages]:
        """The images of one group after the other."""
        return self.loader.read(np.union1d(plan.source[pairs], plan.target[pairs]) for pairs in slices)

    @cached_property
    def _references(self) -> References:
        return References(self.dataset, self.geometry, self.recipe, self.device)

    def _evaluate(
        self, plan: PairPlan, pairs: slice, images: LoadedImages, clock: _Clock, is_first: bool
    ) -> GroupResult:
        source, target, ids = plan.source[pairs], plan.target[pairs], np.arange(pairs.start, pairs.stop)
        readable = _readable(plan, pairs, images)
        number = int(plan.group[pairs.start])
        columns = pair_columns(self.dataset, number, ids, source, target)
        names = (*self.methods, *self.reference_names())
        rows: dict[str, Columns] = dict.fromkeys(names, _rows_at(columns, np.zeros_like(readable)))
        masks: dict[str, Masks] = {}
        if readable.any():
            group = self._prepare(plan, ids[readable], images, clock)
            known = _rows_at(columns, readable)
            for name, mixer in self.methods.items():
                with clock("method", name), _named(name, group):
                    if is_first:
                        check_pairs(mixer, *group.first(3), networks=self.networks)
                    outcome = self._mixed(mixer, group)
                    rows[name] = self._rows(known, group, outcome)
                    if (shown := outcome.irregular) is not None:
                        masks[name] = Masks(group.ids, group.rows, shown)
            if self.references:
                with clock("references"):
                    rows |= self._reference_rows(known, group)
        if not readable.all():
            reasons = _reasons(images, source[~readable], target[~readable])
            broken = _rows_at(columns, ~readable) | {"status": np.full(len(reasons), "failed"), "note": reasons}
            rows = {name: _in_order(joined((found, broken))) for name, found in rows.items()}
        return GroupResult(number, rows, _failures(rows), masks, clock.seconds)

    def _prepare(self, plan: PairPlan, ids: NDArray[np.int64], images: LoadedImages, clock: _Clock) -> Group:
        """The pairs ``ids`` of one group, all readable, on the device."""
        with clock("transfer"):
            pixels = torch.from_numpy(images.pixels).to(self.device, non_blocking=True)
            pairs = PairBatch(
                pixels.permute(0, 3, 1, 2).float().div_(255),
                torch.from_numpy(self.dataset.labels[images.rows]).to(self.device),
                torch.from_numpy(np.searchsorted(images.rows, plan.source[ids])).to(self.device),
                torch.from_numpy(np.searchsorted(images.rows, plan.target[ids])).to(self.device),
            )
        with clock("gaze"):
            density = self.dataset.gaze.density(images.rows, self.geometry, self.recipe, self.device)
        with clock("signals"):
            requests = {request for mixer in self.methods.values() for request in mixer.needs()}
            gaze: dict[Signal, Tensor] = {GazeDensity(): density}
            if CentrePrior() in requests:
                gaze[CentrePrior()] = self._references.priors(density)
            answers = self.networks.answer(
                requests - gaze.keys(),
                pairs.images,
                pairs.labels,
                keys=images.rows.tolist(),
                cache=self.cache,
            )
        signals = Signals({**answers, **gaze}, pairs.source, pairs.target)
        return Group(int(plan.group[ids[0]]), ids, images.rows, pairs, density, signals)

    def _mixed(self, mixer: AnyMixer, group: Group) -> Outcome:
        return mix_group(mixer, group, self.seed, Judge(self.networks, self.amp))

    def _reference_rows(self, known: Columns, group: Group) -> dict[str, Columns]:
        mixer = CutMix()
        draws: CutMixDraws = group.draw(mixer, self.seed)
        placement = mixer.place(group.pairs, group.signals, draws)
        gaze, visible = GroupGaze(group.pairs, group.rows, group.density, placement), group.gaze(placement)
        rows = {}
        for name, predict in self._references.predictors().items():
            prediction = predict(gaze)
            outcome = Outcome(Labels(prediction.lam), visible, placement, lam_draw=draws.lam, scores=prediction.scores)
            rows[name] = self._rows(known, group, outcome)
        return rows

    def _rows(self, known: Columns, group: Group, outcome: Outcome) -> Columns:
        if outcome.pairs is not None:
            source, target = (group.rows[rows.cpu().numpy()] for rows in (outcome.pairs.source, outcome.pairs.target))
            known = pair_columns(self.dataset, group.number, group.ids, source, target)
        metrics = self.metrics()
        results = result_columns(outcome.pairs or group.pairs, outcome, metrics, max(self.top_k))
        scored = [column for metric in metrics for column in metric.columns]
        return with_status(known | results, outcome.applicable, scored, own_partners=outcome.pairs is not None)


class _Clock:
    """Seconds per (stage, method)."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = {}

    @contextmanager
    def __call__(self, stage: str, method: str = "") -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage, method] = time.perf_counter() - start


@contextmanager
def _named(method: str, group: Group) -> Iterator[None]:
    """Say which method and pairs an error is about; the original error stays attached."""
    where = f"method {method}, pairs {group.ids[0]} to {group.ids[-1]}"
    try:
        yield
    except GazeEvalError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:
        raise MixerError(f"{where}: {type(error).__name__}: {error}") from error


def _readable(plan: PairPlan, pairs: slice, images: LoadedImages) -> NDArray[np.bool_]:
    return np.isin(plan.source[pairs], images.rows) & np.isin(plan.target[pairs], images.rows)


def _reasons(images: LoadedImages, source: NDArray[np.int64], target: NDArray[np.int64]) -> NDArray[Any]:
    pairs = zip(source.tolist(), target.tolist(), strict=True)
    return np.array([str(images.errors.get(s) or images.errors[t]) for s, t in pairs], dtype=object)


def _rows_at(columns: Columns, where: NDArray[Any]) -> Columns:
    return {name: column[where] for name, column in columns.items()}


def _in_order(columns: Columns) -> Columns:
    return _rows_at(columns, np.argsort(columns["pair_id"], kind="stable"))


def _failures(rows: Mapping[str, Columns]) -> list[tuple[Any, ...]]:
    stages = {
        "failed": ("read", "ImageError"),
        "flat_map": ("signals", "flat map"),
        "nonfinite": ("signals", "not finite"),
    }
    return [
        (name, pair, *stages[status], note)
        for name, columns in rows.items()
        if "status" in columns
        for pair, status, note in zip(columns["pair_id"], columns["status"], columns["note"], strict=True)
        if status in stages
    ]
