"""Mixers in training: a batch goes in, the mixed images with their labels come out.

What is trained with is what is measured: the mixers of a run draw, place and weigh, and what they ask is answered as in
a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, one_hot
from torch.utils.data import default_collate, get_worker_info

from gazeeval.data.cover import assignment, greedy_cycle, map_distances
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import AnyMixer, FeatureMixer, GroupMixer, Mixer, canonical_name, parse_method
from gazeeval.models.model import Colour, Model
from gazeeval.pairing import GRID, salient_mass
from gazeeval.signals.base import CentrePrior, GazeDensity, Saliency, Signal, Signals
from gazeeval.signals.batch import BatchSignals, unwrapped
from gazeeval.types import PairBatch

Pairing = Literal["random", "greedy", "optimal"]
Targets = Literal["soft", "tuple"]

_COVERS = {"greedy": greedy_cycle, "optimal": assignment}
_SALIENCY = Saliency("spectral_residual")  # what greedy and optimal pairs of a run look at
_RANK_BIT, _STEP_BIT = 48, 20  # of the number of a pair: 2**15 ranks, 2**28 steps, 2**20 rows


class MixTransform:
    """Mixes batches in a training loop, as `gazeeval run` mixes the pairs that it scores.

    ``mix = MixTransform("puzzlemix", model=model, p=0.5, alpha=1.0)``, then ``images, targets = mix(images, labels)``
    before the forward pass; `collate` is the ``collate_fn`` of a DataLoader. Row i of the result is made on the canvas
    of image i (the target), with its partner as the source. Each image is once source and once target; the labels of
    the two may be equal. Nothing is written to what is given, and a batch may have any size.

    Args:
        method: a spec such as ``"cutmix:alpha=0.2"`` or ``"file.py:Class"``, or a mixer.
        model: the network in training, for methods that ask one. `DistributedDataParallel` and `torch.compile` are
            taken off. It is asked in eval mode and is afterwards as it was: train flags, running statistics, gradients,
            hooks. A method that looks at the mixed image (transmix) costs one more forward pass. A `Model` of
            `load_model` works too: a teacher that is not in training, with a normalisation of its own.
        p: how likely a batch is mixed, drawn per batch as in the published trainings. All ranks decide alike, so that
            none waits for another.
        num_classes: None: what the model says.
        seed: of all draws, see below.
        pairing: ``random``, one cycle through the batch; ``greedy`` or ``optimal``, partners whose salient regions lie
            far apart (GuidedMixup, section 4.1), by the method's own maps where it has some, else by spectral residual.
            That copies 32 x 32 numbers per image to the host. With ``optimal`` most partners are mutual, so that a
            symmetric method makes the same image twice. ``"guidedmixup-sr:pairing=greedy"`` also says greedy.
        targets: ``soft`` returns ``(images, soft targets (b, classes))``; ``tuple`` returns ``(images, label_source,
            label_target, lam)`` with ``lam`` (b,) float32, the share of the SOURCE label (timm, torchvision: of the
            other), for a loss such as ``lam * loss(source) + (1 - lam) * loss(target)``.
        smoothing: of the soft targets; none unless asked for.
        mean, std: per channel, that the batch is normalised with; None: images are RGB in [0, 1], and a network in
            training takes them as they are. With them, signals see the images in [0, 1] as a run does, and the result
            is normalised as the batch was: images are mixed as given, so what is not blended is copied bit for bit.
        amp: the precision in which the network is asked, ``torch.bfloat16``; None: float32, also inside autocast, as
            in a run. Maps that are derivatives always are float32.
        options: of the method, as in its spec.

    Attributes:
        mixup_enabled: False: images stay as they are, with their own labels; the name that timm's training script sets.
        step: batches seen so far, by `__call__`.

    What row i of a batch draws depends on (seed, rank, step, i) alone: not on the device or on torch's generators; the
    partners depend on the size of the batch too. Rank 0 draws in its first batch what `gazeeval.mix` draws with the
    same seed. `state_dict` holds the step, so that a training that is resumed draws on. In the workers of a DataLoader,
    which count their own batches, the draws also depend on the worker's seed, which follows torch's generator; methods
    that ask a network do not work there.

    A batch of one image has no partner and stays unmixed. A method that mixes whole groups (comixup) takes the batch as
    its group, and has no ``tuple``.

    Raises:
        UsageError: an option makes no sense; a method that mixes inside the network (manifoldmix), whose images do not
            exist, or needs gaze (gazemix, centermix); a method that needs a network without ``model``. At the first
            batch: images outside [0, 1], labels that are no classes.
    """

    def __init__(
        self,
        method: str | AnyMixer,
        *,
        model: nn.Module | Model | None = None,
        p: float = 1.0,
        num_classes: int | None = None,
        seed: int = 0,
        pairing: Pairing = "random",
        targets: Targets = "soft",
        smoothing: float = 0.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        amp: torch.dtype | None = None,
        **options: object,
    ) -> None:
        self.mixer = _mixer(method, options)
        network = unwrapped(model) if isinstance(model, nn.Module) else model
        self.num_classes = getattr(network, "num_classes", None) if num_classes is None else num_classes
        self.p = p
        self.seed = seed
        self.pairing = "greedy" if pairing == "random" and self.mixer.pairing == "greedy" else pairing
        self.targets = targets
        self.smoothing = smoothing
        self.mixup_enabled = True
        self.step = 0
        self._signals = BatchSignals(network, self.num_classes, _colours(mean, std), amp)
        self._rank: int | None = None
        self._is_checked = False
        self._check_options()

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Images (b, 3, h, w) and labels (b,) int64, mixed; see ``targets``. Raises UsageError."""
        step, self.step = self.step, self.step + 1
        _check_shapes(images, labels)
        if len(images) and not self._is_checked:
            self._check_values(images, labels)
        chance = PairRng(self._seed, "training", [step << _STEP_BIT]).uniform("p")[0]
        if not self.mixup_enabled or len(images) < 2 or chance >= self.p:
            return self._result(images, labels, labels, torch.zeros_like(labels, dtype=torch.float32))
        ids = (self.rank << _RANK_BIT) + (step << _STEP_BIT) + np.arange(len(images))
        with torch.autocast(images.device.type, enabled=False):
            return self._mix(images, labels, ids)

    def collate(self, samples: Sequence[tuple[Any, Any]]) -> tuple[Tensor, ...]:
        """``collate_fn`` of a DataLoader of (image, label): what `__call__` makes of the batch."""
        images, labels = default_collate(list(samples))
        mixed: tuple[Tensor, ...] = self(images, labels)
        return mixed

    def state_dict(self) -> dict[str, int]:
        """The step. Seed and method are the caller's to give again."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where `state_dict` was taken."""
        self.step = state["step"]

    @property
    def rank(self) -> int:
        """Of this process among those that train together."""
        return _rank_now() or self._rank or 0

    def __getstate__(self) -> dict[str, Any]:
        """For a worker, which may know nothing of the process group."""
        return vars(self) | {"_rank": _rank_now()}

    @property
    def _seed(self) -> int:
        worker = get_worker_info()
        return self.seed if worker is None else self.seed + (worker.seed << 64)

    @property
    def _classes(self) -> int:
        assert self.num_classes is not None  # refused at the start, where it is needed
        return self.num_classes

    def _mix(self, images: Tensor, labels: Tensor, ids: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The batch as a group of a run: image i is the target of the pair ``ids[i]``."""
        mixer, target = self.mixer, torch.arange(len(images), device=images.device)
        plain = self._signals.plain(images)
        answers = self._signals.answer(mixer.needs() | self._pairing_needs(), plain, labels)
        source = self._partners(answers, ids).to(target.device, non_blocking=True)
        pairs, signals = PairBatch(plain, labels, source, target), Signals(answers, source, target)
        rng = PairRng(self._seed, type(mixer).name, ids if mixer.scope == "pair" else ids[:1])
        draws = mixer.draw(rng, pairs.size).to(target.device)
        if isinstance(mixer, GroupMixer):
            composed = mixer.compose(pairs, signals, draws)
            shares = composed.shares().float() @ one_hot(labels, self._classes).float()
            return composed.blend(images), _smoothed(shares, self.smoothing)
        placement = mixer.place(pairs, signals, draws)
        mixed = placement.blend_pairs(replace(pairs, images=images))
        asked = mixer.needs_mixed()
        seen = self._signals.answer(asked, self._signals.plain(mixed), None) if asked else {}
        lam = mixer.weigh(pairs, placement, signals, draws, Signals(seen, target, target)).lam
        return self._result(mixed, pairs.source_labels, labels, lam.float())

    def _result(self, images: Tensor, source: Tensor, target: Tensor, lam: Tensor) -> tuple[Tensor, ...]:
        if self.targets == "tuple":
            return images, source, target, lam
        return images, soft_targets(source, target, lam, self._classes, self.smoothing)

    @property
    def _has_maps(self) -> bool:
        """Whether the method has maps of its own to pair by."""
        return type(self.mixer).pairing_maps is not Mixer.pairing_maps

    def _pairing_needs(self) -> frozenset[Signal]:
        return frozenset() if self.pairing == "random" or self._has_maps else frozenset({_SALIENCY})

    def _partners(self, answers: Mapping[Signal, Tensor], ids: NDArray[np.int64]) -> Tensor:
        """(b,) int64 on the host, the source of each image of the batch."""
        if self.pairing == "random":
            order = PairRng(self._seed, "training", ids[:1]).permutation("pairing", len(ids))[0]
            partner = np.empty_like(order)
            partner[order] = np.roll(order, -1)
        else:
            grids = self._own_grids(answers) if self._has_maps else salient_mass(answers[_SALIENCY])
            partner = _COVERS[self.pairing](map_distances(grids.cpu().numpy()))
        return torch.from_numpy(partner)

    def _own_grids(self, answers: Mapping[Signal, Tensor]) -> Tensor:
        no_pairs = torch.empty(0, dtype=torch.int64)
        maps = self.mixer.pairing_maps(Signals(answers, no_pairs, no_pairs))
        return adaptive_avg_pool2d(maps, (min(maps.shape[1], GRID), min(maps.shape[2], GRID)))

    def _check_options(self) -> None:
        name, group = canonical_name(self.mixer), isinstance(self.mixer, GroupMixer)
        gaze = sorted(map(repr, self.mixer.needs() & {GazeDensity(), CentrePrior()}))
        if isinstance(self.mixer, FeatureMixer):
            wrong = "mixes inside the network, got a transform of images. Use mixup, or mix in your own forward pass"
        elif gaze:
            wrong = f"asks where people look, got no {gaze[0]}. Train with another method: this one is a reference"
        elif self.mixer.needs_model and self._signals.network is None:
            wrong = "needs a network, got none. Pass model=, the one in training"
        elif self.pairing not in get_args(Pairing) or (group and self.pairing != "random"):
            known = "random: the method chooses partners itself" if group else ", ".join(get_args(Pairing))
            wrong = f"pairing, got {self.pairing!r}. Give {known}"
        elif self.targets not in get_args(Targets) or (group and self.targets != "soft"):
            known = "soft: a mix has more than two images" if group else ", ".join(get_args(Targets))
            wrong = f"targets, got {self.targets!r}. Give {known}"
        elif not 0 <= self.p <= 1:
            wrong = f"p, got {self.p}. Give a number from 0 to 1"
        elif not 0 <= self.smoothing < 1 or (self.smoothing and self.targets == "tuple"):
            wrong = f"smoothing, got {self.smoothing} for {self.targets} targets. Give 0, or less than 1 for soft ones"
        elif self.num_classes is None and (self.targets == "soft" or self.mixer.needs_model):
            wrong = "num_classes, got none where no network says it. Pass num_classes="
        else:
            return
        raise UsageError(f"method {name}: {wrong}.")

    def _check_values(self, images: Tensor, labels: Tensor) -> None:
        """At the first batch only, as the answer has to come from the device."""
        low, high = (float(edge) for edge in images.aminmax())
        if self._signals.mean_std is None and not -0.2 <= low <= high <= 1.2:  # interpolation overshoots a little
            raise UsageError(
                f"MixTransform: images, got values {low:g} .. {high:g}. Give RGB in [0, 1], or the mean= and std= that "
                "they are normalised with."
            )
        first, last = (int(edge) for edge in labels.aminmax())
        if first < 0 or (self.num_classes is not None and last >= self.num_classes):
            raise UsageError(
                f"MixTransform: labels, got {first} .. {last} for {self.num_classes} classes. Give 0-based classes."
            )
        self._is_checked = True


def soft_targets(
    label_source: Tensor, label_target: Tensor, lam: Tensor, num_classes: int, smoothing: float = 0.0
) -> Tensor:
    """(b, num_classes) float32, rows of sum 1: ``lam`` for the class of the source, the rest for that of the target.

    Args:
        label_source, label_target: (b,) int64.
        lam: (b,), share of the source label.
        smoothing: what is spread evenly over all classes, as by ``label_smoothing`` of torch's cross entropy.
    """
    source, target = one_hot(label_source, num_classes).float(), one_hot(label_target, num_classes).float()
    return _smoothed(torch.lerp(target, source, lam.float().unsqueeze(1)), smoothing)


def _smoothed(targets: Tensor, smoothing: float) -> Tensor:
    return targets * (1 - smoothing) + smoothing / targets.shape[1]


def _mixer(method: str | AnyMixer, options: Mapping[str, object]) -> AnyMixer:
    if not options:
        return parse_method(method) if isinstance(method, str) else method
    if not isinstance(method, str):
        raise UsageError(f"MixTransform: options, got {', '.join(options)} beside a mixer. Set them on the mixer.")
    given = ",".join(f"{name}={value}" for name, value in options.items())
    return parse_method(method + ("," if "=" in method.rpartition(":")[2] else ":") + given)


def _colours(mean: Sequence[float] | None, std: Sequence[float] | None) -> tuple[Colour, Colour] | None:
    if mean is None and std is None:
        return None
    if mean is None or std is None or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise UsageError(f"MixTransform: mean and std, got {mean} and {std}. Give three numbers each, or neither.")
    (red, green, blue), (by_red, by_green, by_blue) = mean, std
    return (red, green, blue), (by_red, by_green, by_blue)


def _check_shapes(images: Tensor, labels: Tensor) -> None:
    floating = images.ndim == 4 and images.shape[1] == 3 and images.is_floating_point()
    if not floating or labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise UsageError(
            f"MixTransform: batch, got {images.dtype} {tuple(images.shape)} and {labels.dtype} {tuple(labels.shape)}. "
            "Give floating point images (b, 3, h, w) and int64 labels (b,)."
        )


def _rank_now() -> int | None:
    known = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_rank() if known else None
