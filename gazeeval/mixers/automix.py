"""AutoMix: a small network, trained together with the classifier, turns the features of two images into a mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from gazeeval.data.random import PairRng
from gazeeval.errors import CheckpointError, UsageError
from gazeeval.mixers.base import Draws, Mixer, beta_share, register_mixer, require_positive
from gazeeval.models import architecture, fit
from gazeeval.models.checkpoint import Checkpoint, read_checkpoint
from gazeeval.models.preprocessing import imagenet_normalised
from gazeeval.signals.base import Signals
from gazeeval.types import Labels, PairBatch, Placement

_KEYS = "mix_block.query.conv.weight and .bias, mix_block.value.weight and .bias, and backbone_k.*"
_PASS = 32


@dataclass(frozen=True)
class AutoMixDraws(Draws):
    """``lam`` (b,) float64, share of the source."""

    lam: Tensor


def _no_checkpoint() -> NoReturn:
    raise UsageError(
        "method automix: checkpoint, got none. A Mix Block that is not trained gives 0.5 everywhere, which is no "
        f"result. Pass -m automix:checkpoint=FILE, of OpenMixup, that holds {_KEYS}."
    )


@register_mixer("automix")
@dataclass(frozen=True)
class AutoMix(Mixer[AutoMixDraws]):
    """Liu et al., "AutoMix: Unveiling the Power of Mixup for Stronger Classifiers", ECCV 2022.

    ``mask = sigmoid(upsample(P v))`` with ``P = softmax over the source's places of q(target) . k(source) / sqrt(C')``
    and ``v = v(source)``: q, k and v are 1 x 1 convolutions (q = k) of the features of a network after one of its
    stages, trained with the classifier, where ``lam`` may be told as one more channel, ``1 - lam`` of the target's,
    ``lam`` of the source's. ``mixed = mask * source + (1 - mask) * target``; lam ~ Beta(alpha, alpha) is the label's
    share, whatever the mean of the mask, which is kept (``x_mask_mean``).

    Symbols: the paper's lambda is the share of the target, here ``1 - lam``.

    Options: ``checkpoint``, a file of OpenMixup with the Mix Block (``mix_block.*``) and the momentum network
    (``backbone_k.*``), a ResNet; ``arch``, its timm name, where the file does not say it. As trained: ``mask_layer``,
    0-based stage; ``upsampling``; ``lam_mul`` (SAMix), by which lam scales the features, 0 for not at all, with
    ``lam_residual`` as 1 + lam_mul * lam. Where one share is at most ``lam_margin`` the images are mixed as by Mixup.
    ``adjust``: rescale the mask so that its mean is lam. What else the block was made with shows in its weights.

    Deviations: one lam per pair, where the released code draws one per batch. Not done: to train the block; the
    convolutional value of SAMix, blocks with normalisation, and transformers, whose stored names are not timm's.
    Images are normalised as the file's ``pretrained_cfg`` says, else as for ImageNet.

    Raises:
        UsageError: no checkpoint is given, or one that cannot be used.
    """

    checkpoint: str = field(default_factory=_no_checkpoint)
    arch: str | None = None
    alpha: float = 2.0
    mask_layer: int = 2
    lam_margin: float = 0.08
    upsampling: Literal["nearest", "bilinear"] = "nearest"
    lam_mul: float = 0.0
    lam_residual: bool = False
    adjust: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "alpha")
        self._trained(torch.device("cpu"))  # mistakes show before a run

    def draw(self, rng: PairRng, size: tuple[int, int]) -> AutoMixDraws:
        return AutoMixDraws(beta_share(rng.uniform("lam"), self.alpha))

    def place(self, pairs: PairBatch, signals: Signals, draws: AutoMixDraws) -> Placement:
        trained = self._trained(pairs.images.device)
        features = trained.features(pairs.images)
        scale = self.lam_mul, self.lam_residual
        mask = mix_mask(features[pairs.target], features[pairs.source], draws.lam, trained.block, *scale)
        mask = enlarged(mask, pairs.size, self.upsampling).sigmoid()
        return Placement.from_mask(for_classifier(mask, draws.lam, self.lam_margin, adjust=self.adjust), "soft")

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: AutoMixDraws, mixed: Signals | None
    ) -> Labels:
        return Labels(draws.lam, {"mask_mean": placement.mask_share()})

    def _trained(self, device: torch.device) -> Trained:
        return _load(self.checkpoint, self.arch, self.mask_layer, device)


@dataclass(frozen=True, eq=False)
class MixBlock:
    """Weights (out, in, 1, 1) and biases (out,) of the convolutions; ``key`` only where it is not ``query``.

    They take ``channels`` features, or one more where lam is a channel; the key's and its query take both images'.
    """

    query: tuple[Tensor, Tensor]
    value: tuple[Tensor, Tensor]
    key: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """What a checkpoint gives: the Mix Block and the network whose ``stage`` (1-based) it was trained on.

    ``mean_std`` (2, 3, 1, 1) where the file states a normalisation.
    """

    block: MixBlock
    backbone: nn.Module
    stage: int
    mean_std: Tensor | None

    def features(self, images: Tensor) -> Tensor:
        """(n, channels, rows, cols) of images (n, 3, h, w) in [0, 1], a few at a time."""
        with torch.no_grad():
            return torch.cat([self._features(part) for part in torch.split(images, _PASS)])

    def _features(self, images: Tensor) -> Tensor:
        x = imagenet_normalised(images) if self.mean_std is None else (images - self.mean_std[0]) / self.mean_std[1]
        found: list[Tensor] = self.backbone.forward_intermediates(  # type: ignore[operator]
            x, indices=[self.stage], stop_early=True, intermediates_only=True
        )
        return found[0]


def mix_mask(
    target: Tensor, source: Tensor, lam: Tensor, block: MixBlock, lam_mul: float = 0.0, lam_residual: bool = False
) -> Tensor:
    """(b, rows, cols) float32: the block's answer before it is enlarged and put through the sigmoid.

    Args:
        target, source: (b, channels, rows, cols), the features of the images.
        lam: (b,), share of the source.
    """
    shape = target.shape[2:]
    share = lam.float().view(-1, 1, 1, 1)
    target, source = target.float(), source.float()
    if lam_mul:
        base = 1.0 if lam_residual else 0.0
        target, source = target * (base + lam_mul * (1 - share)), source * (base + lam_mul * share)
    if block.value[0].shape[1] == target.shape[1] + 1:
        target = torch.cat((target, (1 - share).expand(-1, 1, *shape)), dim=1)
        source = torch.cat((source, share.expand(-1, 1, *shape)), dim=1)
    value = conv2d(source, *block.value)
    if block.key:
        both = torch.cat((target, source), dim=1)
        query, key = conv2d(both, *block.query), conv2d(both, *block.key)
    else:
        query, key = conv2d(target, *block.query), conv2d(source, *block.query)
    likeness = torch.einsum("bct,bcs->bts", query.flatten(2), key.flatten(2)) / query.shape[1] ** 0.5
    return torch.einsum("bts,bs->bt", likeness.softmax(dim=2), value.flatten(1)).view(-1, *shape)


def enlarged(answer: Tensor, size: tuple[int, int], upsampling: Literal["nearest", "bilinear"]) -> Tensor:
    """(b, h, w) of ``size``, a multiple of that of ``answer`` (b, rows, cols). Raises UsageError otherwise."""
    rows, cols = answer.shape[1:]
    if size[0] % rows or size[1] % cols:
        raise UsageError(
            f"method automix: image size, got {size[0]}x{size[1]} px for {rows}x{cols} features. "
            "Give sides that are multiples of the network's stride, e.g. --input-size 224."
        )
    return interpolate(answer.unsqueeze(1), size, mode=upsampling).squeeze(1)


def for_classifier(mask: Tensor, lam: Tensor, margin: float, *, adjust: bool = False) -> Tensor:
    """The mask (b, h, w) that mixes for a classifier: lam everywhere where min(lam, 1 - lam) <= ``margin``.

    ``adjust`` shrinks what shows too much, source or target, so that the mean becomes lam.
    """
    share = lam.view(-1, 1, 1)
    constant = torch.minimum(share, 1 - share) <= margin
    share = share.float()
    if adjust:
        mean = mask.mean(dim=(1, 2), keepdim=True)
        mask = torch.where(mean > share, mask * share / mean, 1 - (1 - mask) * (1 - share) / (1 - mean))
    return torch.where(constant, share, mask)


@lru_cache(maxsize=4)
def _load(path: str, arch: str | None, mask_layer: int, device: torch.device) -> Trained:
    checkpoint = read_checkpoint(Path(path).expanduser())
    block = _block(checkpoint, device)
    backbone = _backbone(checkpoint, arch, mask_layer)
    taken, given = block.value[0].shape[1], backbone.feature_info[mask_layer + 1]["num_chs"]  # type: ignore[index]
    if taken not in (given, given + 1):
        raise CheckpointError(
            f"method automix: {path}: mask_layer, got {mask_layer}, which gives {given} features where the Mix Block "
            f"takes {taken}. Pass the stage that it was trained with."
        )
    colours = [checkpoint.pretrained_cfg.get(name) for name in ("mean", "std")]
    mean_std = torch.tensor(colours, device=device).view(2, 3, 1, 1) if all(colours) else None
    return Trained(block, backbone.to(device), mask_layer + 1, mean_std)


def _block(checkpoint: Checkpoint, device: torch.device) -> MixBlock:
    """The Mix Block of a file. Raises CheckpointError where it is missing, of another kind, or not trained."""
    prefix = "mix_block."
    state = {name.removeprefix(prefix): value for name, value in checkpoint.state.items() if name.startswith(prefix)}
    parts = {"query": "query.conv", "value": "value"} | ({"key": "key.conv"} if "key.conv.weight" in state else {})
    known = {f"{name}.{kind}" for name in parts.values() for kind in ("weight", "bias")}
    if known != state.keys():
        wrong = ", ".join(sorted(prefix + name for name in known ^ state.keys())[:4])
        what = "a Mix Block with other entries" if state else "no Mix Block"
        raise CheckpointError(f"method automix: {checkpoint.path}, got {what} ({wrong}). The file must hold {_KEYS}.")
    if not any(state[name].any() for name in known if name.endswith("bias")):
        raise CheckpointError(
            f"method automix: {checkpoint.path}, got a Mix Block that is not trained (biases of 0), whose mask of 0.5 "
            "everywhere is no result. Give one that is."
        )
    moved = {name: value.to(device) for name, value in state.items()}
    return MixBlock(**{part: (moved[f"{name}.weight"], moved[f"{name}.bias"]) for part, name in parts.items()})


def _backbone(checkpoint: Checkpoint, arch: str | None, mask_layer: int) -> nn.Module:
    prefix, arch = "backbone_k.", arch or checkpoint.arch
    if not arch:
        raise CheckpointError(
            f"method automix: {checkpoint.path} does not say its architecture. Pass automix:checkpoint=FILE,arch=NAME."
        )
    architecture.require_known(arch)
    state = {name.removeprefix(prefix): value for name, value in checkpoint.state.items() if name.startswith(prefix)}
    network = architecture.create_empty(arch, {"num_classes": 0})
    if wrong := fit.load_weights(network, state):
        raise CheckpointError(
            f"method automix: {checkpoint.path}: {prefix}* does not fit {arch}, got {wrong}. Pass another arch."
        )
    if not (hasattr(network, f"layer{mask_layer + 1}") and hasattr(network, "forward_intermediates")):
        raise UsageError(
            f"method automix: mask_layer, got {mask_layer} for {arch}. Name a ResNet and one of its stages, 0 to 3."
        )
    return network.requires_grad_(False)
