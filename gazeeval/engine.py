"""The only loop: group after group, method after method.

The unit of all work is the group of images that the pair plan fixes. Everything but the network sees a whole group at
once, and the batch size only cuts the network's passes: so rows do not depend on batch size, workers or the other
methods of a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.contract import check_pairs
from gazeeval.data.dataset import Dataset
from gazeeval.data.density import GazeRecipe
from gazeeval.data.geometry import Geometry
from gazeeval.data.loader import ImageLoader, LoadedImages
from gazeeval.data.pairs import PairPlan
from gazeeval.data.random import PairRng
from gazeeval.errors import GazeEvalError, MixerError, UsageError
from gazeeval.metrics.base import METRICS, Metric, MetricOptions
from gazeeval.metrics.inconsistency import gaze_shares, group_inconsistency, lam_gaze
from gazeeval.mixers.base import AnyMixer, D, FeatureMixer, GroupMixer, Mixer
from gazeeval.mixers.cutmix import CutMix, CutMixDraws
from gazeeval.models.model import Model
from gazeeval.pairing import own_sources
from gazeeval.references import GroupGaze, References
from gazeeval.rows import Outcome, pair_columns, result_columns, with_status
from gazeeval.signals.answer import SignalCache, signal_cache
from gazeeval.signals.base import CentrePrior, GazeDensity, Signal, Signals
from gazeeval.signals.probe import answer_all, check
from gazeeval.types import GroupPlacement, Labels, Mix, PairBatch, Placement


@dataclass(frozen=True)
class GroupResult:
    """What came out of one group.

    Attributes:
        rows: method -> one row per pair of the group, failed pairs included.
        failures: method, pair_id, stage, exception, message.
        seconds: (stage, method) -> seconds; the method is empty for work that all share.
    """

    group: int
    rows: Mapping[str, pd.DataFrame]
    failures: pd.DataFrame
    seconds: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class GroupMixes:
    """The readable pairs of one group and what the methods made of them.

    Attributes:
        ids: (b,) numbers of the pairs in the plan.
        rows: (n,) the distinct images, rows of the data set.
        density: (n, h, w) gaze of the distinct images, mass 1, or all zero without gaze.
        mixes: method -> the pairs, and their mixed images with label, placement and ``lam_gaze``.
    """

    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    density: Tensor
    mixes: Mapping[str, tuple[PairBatch, Mix]]


@dataclass(frozen=True)
class Engine:
    """Evaluates methods on pairs of one data set.

    Attributes:
        methods: canonical name -> mixer, in the order of the report.
        recipe: how fixations become a density.
        geometry: how images become the network input (the model's own, or a stated one without a model).
        model: answers what methods ask of a network, and gives the top-k columns; None leaves these empty.
        top_k: the K of the top-k columns, ascending.
        references: whether the reference rows are computed.
        batch_size: images in one pass of the network; None: all of a group.
        workers: threads that read images.
        cache: answers to what methods ask about single images.
    """

    dataset: Dataset
    methods: Mapping[str, AnyMixer]
    recipe: GazeRecipe
    geometry: Geometry
    device: torch.device
    model: Model | None = None
    seed: int = 0
    top_k: tuple[int, ...] = (1, 2, 5)
    references: bool = True
    batch_size: int | None = None
    workers: int = 2
    cache: SignalCache = field(default_factory=signal_cache, repr=False)

    @cached_property
    def loader(self) -> ImageLoader:
        """Reads the images. One for all who look at them: what it keeps is not read again."""
        return ImageLoader(self.dataset, self.geometry, workers=self.workers)

    @property
    def judge(self) -> Model | None:
        """The model, where its classes are the data set's: only then do accuracies make sense."""
        fits = self.model is not None and self.model.num_classes == len(self.dataset.class_names)
        return self.model if fits else None

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
                check(name, mixer.needs(), self.model, self.cache)
                if isinstance(mixer, FeatureMixer) and self.judge is None:
                    raise UsageError(
                        f"method {name}: mixes inside a network with the data set's classes, got "
                        f"{'one with others' if self.model else 'none'}. Pass --model CKPT."
                    )
                if mixer.needs_mixed():
                    raise UsageError(
                        f"method {name}: signals of the mixed image, which nothing gives yet. Leave it out."
                    )
            except UsageError as error:
                refused[name] = error
        if refused:
            served = ", ".join(name for name in self.methods if name not in refused) or "none"
            raise UsageError(f"{next(iter(refused.values()))} Methods of this run that work as it is: {served}.")

    def run(self, plan: PairPlan) -> Iterator[GroupResult]:
        """Evaluate all methods on the pairs of ``plan``, a group at a time."""
        self.check()
        slices = list(plan.groups())
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
                pairwise = {
                    name: mixer
                    for name, mixer in self.methods.items()
                    if not isinstance(mixer, FeatureMixer | GroupMixer)
                }
                mixes = {name: self._mix(name, mixer, group) for name, mixer in pairwise.items()}
                yield GroupMixes(group.ids, group.rows, group.density, mixes)

    def _mix(self, name: str, mixer: AnyMixer, group: _Group) -> tuple[PairBatch, Mix]:
        with _named(name, group):
            outcome = self._outcome(mixer, group)
            pairs = outcome.pairs or group.pairs
            assert outcome.placement is not None  # feature and group mixers are left out
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
        rows: dict[str, pd.DataFrame] = dict.fromkeys(names, columns[:0])
        if readable.any():
            group = self._prepare(plan, ids[readable], images, clock)
            known = columns[readable].reset_index(drop=True)
            for name, mixer in self.methods.items():
                with clock("method", name), _named(name, group):
                    if is_first:
                        check_pairs(mixer, *group.first(3), model=self.judge)
                    rows[name] = self._rows(known, group, self._outcome(mixer, group))
            if self.references:
                with clock("references"):
                    rows |= self._reference_rows(known, group)
        broken = columns[~readable].assign(status="failed", note=_reasons(images, source[~readable], target[~readable]))
        if len(broken):
            rows = {name: pd.concat((frame, broken)).sort_values("pair_id") for name, frame in rows.items()}
        return GroupResult(number, rows, _failures(rows), clock.seconds)

    def _prepare(self, plan: PairPlan, ids: NDArray[np.int64], images: LoadedImages, clock: _Clock) -> _Group:
        """The pairs ``ids`` of one group, all readable, on the device."""
        with clock("transfer"):
            pixels = torch.from_numpy(images.pixels).to(self.device, non_blocking=True)
            pairs = PairBatch(
                pixels.permute(0, 3, 1, 2).float() / 255,
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
            answers = answer_all(
                requests - gaze.keys(),
                self.model,
                pairs.images,
                pairs.labels if self.judge else None,
                keys=images.rows.tolist(),
                cache=self.cache,
                batch_size=self.batch_size,
            )
        signals = Signals({**answers, **gaze}, pairs.source, pairs.target)
        return _Group(int(plan.group[ids[0]]), ids, images.rows, pairs, density, signals)

    def _outcome(self, mixer: AnyMixer, group: _Group) -> Outcome:
        if mixer.pairing != "run":
            group = group.with_sources(own_sources(mixer.pairing_maps(group.signals), group.pairs))
        signals = group.signals.of(group.pairs.source, group.pairs.target)
        draws = group.draw(mixer, self.seed)
        if isinstance(mixer, FeatureMixer):
            outcome = self._mixed_inside(mixer, group, draws)
        elif isinstance(mixer, GroupMixer):
            outcome = self._composed(mixer.compose(group.pairs, signals, draws), group)
        else:
            placement = mixer.place(group.pairs, signals, draws)
            labels = mixer.weigh(group.pairs, placement, signals, draws, None)
            mixed = partial(_mixed, placement, group.pairs)
            outcome = Outcome(
                labels,
                group.gaze(placement),
                placement,
                pairs=None if mixer.pairing == "run" else group.pairs,
                probabilities=self._judged(mixed, len(placement)),
            )
        flat, nonfinite = signals.degenerate()
        by_class = any(request.needs_label for request in mixer.needs())
        return replace(
            outcome,
            lam_draw=getattr(draws, "lam", None),
            flat=flat,
            nonfinite=nonfinite,
            applicable=mixer.scores_gaze,
            label_from="prediction" if by_class and self.judge is None else "dataset",
        )

    def _mixed_inside(self, mixer: FeatureMixer[D], group: _Group, draws: D) -> Outcome:
        pairs, judge = group.pairs, self.judge
        assert judge is not None  # `check` refuses it otherwise
        logits = [
            mixer.logits(judge, pairs.images[pairs.source[part]], pairs.images[pairs.target[part]], draws[part])
            for part in self._passes(len(pairs))
        ]
        labels = Labels(mixer.share(draws))
        nothing = torch.full_like(labels.lam, torch.nan)
        return Outcome(labels, (nothing,) * 3, probabilities=torch.cat(logits).softmax(dim=1))

    def _composed(self, placement: GroupPlacement, group: _Group) -> Outcome:
        """The whole mix is scored, its two largest images are named: the target has the larger share.

        A mix of one image names it twice: all of it is the target.
        """
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
        return Outcome(
            Labels(lam, {"pair_inconsistency": apart, "label_elsewhere": 1 - o_target - o_source}),
            (lam_gaze_, S, T),
            pairs=replace(group.pairs, source=source, target=target),
            n_images=(shares > 0).sum(dim=1),
            scores={"inconsistency": group_inconsistency(shares, gaze)},
            probabilities=self._judged(partial(_composed, placement, group.pairs), len(placement)),
        )

    def _reference_rows(self, known: pd.DataFrame, group: _Group) -> dict[str, pd.DataFrame]:
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

    def _rows(self, known: pd.DataFrame, group: _Group, outcome: Outcome) -> pd.DataFrame:
        if outcome.pairs is not None:
            source, target = (group.rows[rows.cpu().numpy()] for rows in (outcome.pairs.source, outcome.pairs.target))
            known = pair_columns(self.dataset, group.number, group.ids, source, target)
        metrics = self.metrics()
        results = result_columns(outcome.pairs or group.pairs, outcome, metrics, max(self.top_k))
        scored = [column for metric in metrics for column in metric.columns]
        frame = pd.concat((known, results), axis=1)
        return with_status(frame, outcome.applicable, scored, own_partners=outcome.pairs is not None)

    def _judged(self, mixed: Callable[[slice], Tensor], count: int) -> Tensor | None:
        """(b, classes) softmax of the network on the ``mixed`` images, in passes of the batch size."""
        if self.judge is None:
            return None
        return torch.cat([self.judge.logits(mixed(part)) for part in self._passes(count)]).softmax(dim=1)

    def _passes(self, count: int) -> list[slice]:
        step = self.batch_size or count
        return [slice(start, start + step) for start in range(0, count, step)]


@dataclass(frozen=True)
class _Group:
    """One group on the device: what all methods share."""

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
        ids = self.ids if mixer.scope == "pair" else [self.number]
        return mixer.draw(PairRng(seed, type(mixer).name, ids), self.pairs.size).to(self.pairs.images.device)

    def with_sources(self, source: Tensor) -> _Group:
        """Other pairs (b,) of the same images, with the same targets."""
        return replace(self, pairs=replace(self.pairs, source=source))

    def first(self, count: int) -> tuple[PairBatch, Signals]:
        """Its first pairs with their signals."""
        pairs = replace(self.pairs, source=self.pairs.source[:count], target=self.pairs.target[:count])
        return pairs, self.signals.of(pairs.source, pairs.target)


def _mixed(placement: Placement, pairs: PairBatch, part: slice) -> Tensor:
    return placement[part].blend_pairs(replace(pairs, source=pairs.source[part], target=pairs.target[part]))


def _composed(placement: GroupPlacement, pairs: PairBatch, part: slice) -> Tensor:
    return GroupPlacement(placement.weights[part]).blend(pairs.images)


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
def _named(method: str, group: _Group) -> Iterator[None]:
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


def _reasons(images: LoadedImages, source: NDArray[np.int64], target: NDArray[np.int64]) -> list[str]:
    pairs = zip(source.tolist(), target.tolist(), strict=True)
    return [str(images.errors.get(s) or images.errors[t]) for s, t in pairs]


def _failures(rows: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    stages = {
        "failed": ("read", "ImageError"),
        "flat_map": ("signals", "flat map"),
        "nonfinite": ("signals", "not finite"),
    }
    found = [
        (name, row.pair_id, *stages[str(row.status)], row.note)
        for name, frame in rows.items()
        for row in frame[frame["status"].isin(list(stages))].itertuples()
    ]
    return pd.DataFrame(found, columns=["method", "pair_id", "stage", "exception", "message"])
