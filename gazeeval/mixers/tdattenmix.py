"""TdAttenMix: SMMix's move of a square, steered by the images' classes and labelled by attention as well as area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._tokens import SquareDraws, SquareMixer, unit_mass
from gazeeval.mixers.base import Scope, register_mixer, require_positive
from gazeeval.signals.base import BottomUp, Guide, Signal, Signals, TopDown
from gazeeval.types import Labels, PairBatch, Placement, mass


@dataclass(frozen=True)
class TdAttenMixDraws(SquareDraws):
    """``beta`` (b,) float64, weight of attention in the label: drawn where the option says so, else the option."""

    beta: Tensor


@register_mixer("tdattenmix-bottomup")
@dataclass(frozen=True)
class TdAttenMixBottomUp(SquareMixer[TdAttenMixDraws]):
    """Wang, Gu and Lu, "TdAttenMix: Top-Down Attention Guided Mixup", AAAI 2025, without its top-down part.

    The images are mixed as by SMMix, the square with most attention of the source over the one with least of the
    target. The label also counts attention (eq. 10 to 14, per pair)::

        lam_area = k**2 / S**2
        lam_attn = a_s / (a_s + a_t)
        lam      = (1 - beta) * lam_area + beta * lam_attn

    where a_s is the attention inside the source's square, a_t that outside the target's: what stays visible of each.

    Symbols: S is ``side``; the paper's lambda is ``lam``, the code's three are shares of the target, ``1 - lam``.

    Options: ``beta=random`` draws it uniformly from [0, 1] (column ``x_beta``). ``normalize=sum`` divides each map by
    its sum first, so that two images count alike whatever the scale of their maps; ``none`` is the literal formula.
    ``size_per=group`` draws k (and beta) once for all pairs of a group.

    Deviations: those of SMMix, of which the released code of TdAttenMix is a descendant. It has no bottom-up method;
    the paper says that it is SMMix's map. Where both maps show nothing, ``lam_attn`` is ``lam_area``.

    Raises:
        UsageError: for ``beta`` outside [0, 1].
    """

    beta: float | Literal["random"] = 0.5
    normalize: Literal["sum"] | None = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta != "random" and not 0 <= self.beta <= 1:
            raise UsageError(f"method {type(self).name}: beta, got {self.beta}. Give a number from 0 to 1, or random.")

    @property
    def request(self) -> Signal:
        return BottomUp()

    def draw(self, rng: PairRng, size: tuple[int, int]) -> TdAttenMixDraws:
        k = self.draw_k(rng, size)
        if self.beta == "random":
            return TdAttenMixDraws(k, torch.from_numpy(rng.uniform("beta")))
        return TdAttenMixDraws(k, torch.full(k.shape, self.beta, dtype=torch.float64))

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: TdAttenMixDraws, mixed: Signals | None
    ) -> Labels:
        source, target = self.maps(signals)
        source_box, target_box = self.squares(source, target, draws)
        tokens = Placement.from_boxes(target_box, (self.side, self.side), source_box)
        area, beta = tokens.mask_share(), draws.beta.expand(len(pairs))
        attn = self.attention_share(source, target, tokens, area)
        drawn = {"beta": beta} if self.beta == "random" else {}
        return Labels((1 - beta) * area + beta * attn, {"lam_area": area, "lam_attn": attn, **drawn})

    def attention_share(self, source: Tensor, target: Tensor, tokens: Placement, area: Tensor) -> Tensor:
        """(b,) float64: the source's share of the attention (b, side, side) that is visible in ``tokens``."""
        if self.normalize == "sum":
            source, target = unit_mass(source), unit_mass(target)
        seen_source, seen_target = tokens.visibility()
        a_s, a_t = mass(source * seen_source), mass(target * seen_target)
        return torch.where(a_s + a_t == 0, area, a_s / (a_s + a_t))


@register_mixer("tdattenmix")
@dataclass(frozen=True)
class TdAttenMix(TdAttenMixBottomUp):
    """Wang, Gu and Lu, "TdAttenMix: Top-Down Attention Guided Mixup", AAAI 2025.

    Images and label as in tdattenmix-bottomup, from maps of attention that the class of each image steers: the paper
    adds ``sigma`` times a guidance, from the features and the classifier's row of the class, to the values of the
    attention (eq. 3 to 5).

    Symbols: ``sigma`` is the paper's balance factor, ``task_param`` of the released code; the others as there.

    Options: ``sigma=0`` is tdattenmix-bottomup. ``guide``, ``gain`` and ``threshold`` say how the maps are steered, see
    `gazeeval.signals.base.TopDown`. The rest as in tdattenmix-bottomup.

    ``compat=official-code`` repeats what the released code does, faults included, for audits of published numbers, with
    a group for its batch: one k; one ``lam`` for all pairs, from sums over all of them; maps as they come, whatever
    ``normalize`` says; and what counts as attention of the source is the TARGET's map at the place of the source's
    square, since the code does not flip its maps as it flips its images. Where all maps show nothing that is 0 / 0: the
    pairs get the status ``nonfinite``.

    Deviations: those of tdattenmix-bottomup, and whose maps. The released code takes them, whatever network it trains,
    from an AbSViT with the classes of ImageNet, also for labels of other data; here they come from the network under
    evaluation, or from ``--attention-model``, which must have the classes of the data. With an AbSViT checkpoint the
    procedure is the code's. For other networks none is published: theirs is a reading of the paper's words, not
    established by it, and with ``sigma=0`` it gives SMMix's map, as the paper asks.

    Raises:
        UsageError: for a negative ``sigma``.
    """

    sigma: float = 1.0
    guide: Guide = "relative"
    gain: float = 1.0
    threshold: bool = True
    compat: Literal["official-code"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "gain")
        if not self.sigma >= 0:
            raise UsageError(f"method {type(self).name}: sigma, got {self.sigma}. Give 0 or a number above.")

    @property
    def scope(self) -> Scope:
        return "group" if self.compat else super().scope

    @property
    def request(self) -> Signal:
        return TopDown(self.sigma, self.guide, self.gain, self.threshold) if self.sigma else BottomUp()

    def attention_share(self, source: Tensor, target: Tensor, tokens: Placement, area: Tensor) -> Tensor:
        if not self.compat:
            return super().attention_share(source, target, tokens, area)
        a_s, a_t = (mass(target * seen).sum() for seen in tokens.visibility())
        return (a_s / (a_s + a_t)).expand(len(area))
