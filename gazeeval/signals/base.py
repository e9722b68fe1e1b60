"""What a mixer can ask about the images: typed requests, answered once per distinct image, read per pair.

A mixer names its questions in ``needs()`` and reads the answers in ``place`` or ``weigh``::

    def needs(self):
        return {Saliency("fine_grained")}

    def place(self, pairs, signals, draws):
        saliency = signals.source(Saliency("fine_grained"))  # (b, h, w), one map per pair

The question is a value: two mixers that ask the same share the answer, and an image that serves in several
pairs is looked at once. Reading what was not declared raises :class:`UndeclaredSignalError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from gazeeval.errors import PluginError, UsageError, did_you_mean

Detector = Literal["fine_grained", "spectral_residual", "opencv_float", "guided_residual"]


class UndeclaredSignalError(PluginError, KeyError):
    """A mixer reads a signal that its ``needs()`` does not name."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


@dataclass(frozen=True)
class Signal:
    """A question about an image. Hashable and equal by its parameters; the subclasses are the questions.

    Attributes:
        needs_model: whether only a network can answer it.
        needs_label: whether it is about the image's class. Where the data set's classes are not the network's, the
            class that the network predicts stands in.
        needs_own_classes: whether the network must have the data set's classes, since the answer is about them.
        of_attention: whether the network that gives attention answers it, where it is another than the classifier.
        is_map: whether the answer is a map of importance, of no use where it is constant or not finite.
    """

    needs_model: ClassVar[bool] = False
    needs_label: ClassVar[bool] = False
    needs_own_classes: ClassVar[bool] = False
    of_attention: ClassVar[bool] = False
    is_map: ClassVar[bool] = False


@dataclass(frozen=True)
class Saliency(Signal):
    """A bottom-up saliency map, (n, h, w).

    Attributes:
        detector: ``fine_grained``: uint8 0..255, Montabone and Soto 2010 as in OpenCV, on 8-bit luminance.
            ``spectral_residual``: float32 in [0, 1], Hou and Zhang 2007 as in OpenCV, on 8-bit luminance.
            ``opencv_float``: uint8 0..255, what the released SaliencyMix code gets: OpenCV's fine-grained
            detector on the normalised float image. Needs an OpenCV with ``cv2.saliency``.
            ``guided_residual``: float32 >= 0 of no absolute scale, GuidedMixup's own spectral residual, on the
            normalised float image.

    Raises:
        UsageError: the detector is not known.
    """

    detector: Detector = "fine_grained"
    is_map: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = get_args(Detector)
        if self.detector not in known:
            raise UsageError(
                f"saliency: detector, got {self.detector!r}{did_you_mean(str(self.detector), known)}. "
                f"Known: {', '.join(known)}."
            )


@dataclass(frozen=True)
class GazeDensity(Signal):
    """The image's own gaze density, (n, h, w) float32, mass 1; all zero where the image has no gaze."""


@dataclass(frozen=True)
class CentrePrior(Signal):
    """Where people look anyway, (n, h, w) float32, mass 1: the mean density of all OTHER images of the data set."""


@dataclass(frozen=True)
class Features(Signal):
    """The network's last feature map before pooling, (n, channels, rows, cols) float32.

    Of a transformer the patch tokens, without class token, registers and the like, on their grid.
    """

    needs_model: ClassVar[bool] = True


@dataclass(frozen=True)
class FeatureMean(Signal):
    """Where the network is active: the mean over the channels of `Features`, (n, rows, cols) float32.

    A question of its own, not a reduction by whoever asks: an answer in the cache then takes a few hundred bytes per
    image instead of a few hundred thousand, and a constant answer is known to be of no use.
    """

    needs_model: ClassVar[bool] = True
    is_map: ClassVar[bool] = True


@dataclass(frozen=True)
class InputGradient(Signal):
    """How much the loss depends on each pixel, (n, h, w) float32 >= 0: ``sqrt(mean_c (dL/dx_c)**2)``.

    L is the cross entropy with the image's label, summed over the batch, x the normalised input, the network in eval
    mode: so that images do not influence each other. Not normalised; all users divide by the sum.
    """

    needs_model: ClassVar[bool] = True
    needs_label: ClassVar[bool] = True
    is_map: ClassVar[bool] = True


@dataclass(frozen=True)
class ClassMap(Signal):
    """Where the network sees the image's class, (n, rows, cols) float32: the class activation map on the feature grid.

    Exact (Zhou et al. 2016) where pooled features feed a linear classifier, else Grad-CAM (Selvaraju et al. 2017); the
    bias is left out, nothing is clipped or normalised. `gazeeval.signals.gradients.class_map_note` says which.
    """

    needs_model: ClassVar[bool] = True
    needs_label: ClassVar[bool] = True
    is_map: ClassVar[bool] = True


@dataclass(frozen=True)
class Logits(Signal):
    """What the network's classifier says, (n, classes) float32. Of the mixed image it is the pass that top-k needs."""

    needs_model: ClassVar[bool] = True
    needs_own_classes: ClassVar[bool] = True


@dataclass(frozen=True)
class ClassAttention(Signal):
    """What the class token of the last block attends to, (n, rows, cols) float32 >= 0.

    Mean over the heads of the softmax before dropout; the columns of prefix tokens are dropped and nothing is divided
    by the sum, which so is below 1 (TransMix, MixPro). UsageError where the classifier reads no such token.
    """

    needs_model: ClassVar[bool] = True
    is_map: ClassVar[bool] = True
    of_attention: ClassVar[bool] = True


@dataclass(frozen=True)
class BottomUp(Signal):
    """What the network looks at whatever the class, (n, rows, cols) float32 >= 0, of no absolute scale.

    Of a transformer the attention of the last block, mean over heads and patch queries, prefix tokens dropped (SMMix);
    of a network without attention the L2 norm of its last features. `gazeeval.signals.attention.bottom_up_note` says
    which.
    """

    needs_model: ClassVar[bool] = True
    is_map: ClassVar[bool] = True
    of_attention: ClassVar[bool] = True


Guide = Literal["relative", "raw", "alone"]


@dataclass(frozen=True)
class TopDown(Signal):
    """`BottomUp` attention steered by the image's class (TdAttenMix), (n, rows, cols) float32 >= 0.

    Which procedure depends on the network (card ``tdattenmix``): AbSViT's feedback pass, or attention times
    ``1 + sigma * g`` where g is the cosine of each patch's last features with the classifier's row of the class.

    Attributes:
        sigma: how strongly the class steers; 0 gives the `BottomUp` map, of sum 1.
        guide: ``relative``: g divided by its maximum in the image; ``raw``: as it is; ``alone``: the map is g itself.
            No part of AbSViT's procedure.
        gain: factor on AbSViT's class-conditioned prior.
        threshold: whether AbSViT's cosines below ``0.7 max + 0.3 min`` are cut off.
    """

    sigma: float = 1.0
    guide: Guide = "relative"
    gain: float = 1.0
    threshold: bool = True
    needs_model: ClassVar[bool] = True
    needs_label: ClassVar[bool] = True
    needs_own_classes: ClassVar[bool] = True
    is_map: ClassVar[bool] = True
    of_attention: ClassVar[bool] = True


@dataclass(frozen=True)
class ClassEvidence(Signal):
    """How probable the image's class is at each place, (n, rows, cols) float32 in [0, 1].

    The softmax over the classes of the classifier on each patch's last features (TokenMix without a teacher's maps).
    """

    needs_model: ClassVar[bool] = True
    needs_label: ClassVar[bool] = True
    needs_own_classes: ClassVar[bool] = True
    is_map: ClassVar[bool] = True
    of_attention: ClassVar[bool] = True


class Signals:
    """The answers for the distinct images of a batch, read per pair.

    Args:
        answers: for each request a tensor (n, ...), one row per distinct image.
        source, target: (b,) int64, the rows of each pair's images.
    """

    def __init__(self, answers: Mapping[Signal, Tensor], source: Tensor, target: Tensor) -> None:
        self._answers = answers
        self._source = source
        self._target = target
        self._read: set[tuple[Signal, bool]] = set()

    def of(self, source: Tensor, target: Tensor) -> Signals:
        """The same answers for other pairs, with nothing read yet."""
        return Signals(self._answers, source, target)

    def images(self, request: Signal) -> Tensor:
        """(n, ...): the answer for every distinct image. Raises UndeclaredSignalError."""
        try:
            return self._answers[request]
        except KeyError:
            declared = ", ".join(map(repr, self._answers)) or "nothing"
            raise UndeclaredSignalError(
                f"signals: not declared, got {request!r} where needs() has {declared}. Add it to needs()."
            ) from None

    def source(self, request: Signal) -> Tensor:
        """(b, ...): the answer for the source image of each pair. Raises UndeclaredSignalError."""
        answer = self.images(request)
        self._read.add((request, True))
        return answer[self._source]

    def target(self, request: Signal) -> Tensor:
        """(b, ...): the answer for the target image of each pair. Raises UndeclaredSignalError."""
        answer = self.images(request)
        self._read.add((request, False))
        return answer[self._target]

    def degenerate(self) -> tuple[Tensor, Tensor]:
        """(b,) bool each: pairs for which a map that was read so far is constant, and is not finite."""
        flat = torch.zeros_like(self._source, dtype=torch.bool)
        nonfinite = torch.zeros_like(flat)
        for request, of_source in self._read:
            if request.is_map:
                constant, wrong = _faults(self._answers[request])
                rows = self._source if of_source else self._target
                flat |= constant[rows]
                nonfinite |= wrong[rows]
        return flat, nonfinite

    def degenerate_mixes(self, requests: Iterable[Signal], shown: Tensor) -> tuple[Tensor, Tensor]:
        """(b,) bool each: mixes of which an image has a constant map among ``requests``, and one that is not finite.

        ``shown`` (b, n) bool: which of the distinct images each mix shows.
        """
        flat = torch.zeros_like(shown[:, 0])
        nonfinite = torch.zeros_like(flat)
        for request in requests:
            if request.is_map:
                constant, wrong = _faults(self._answers[request])
                flat |= (shown & constant).any(dim=1)
                nonfinite |= (shown & wrong).any(dim=1)
        return flat, nonfinite


def _faults(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) bool each: which maps are constant, and which are not finite."""
    values = maps.flatten(1)
    return values.amax(dim=1) == values.amin(dim=1), ~values.isfinite().all(dim=1)
