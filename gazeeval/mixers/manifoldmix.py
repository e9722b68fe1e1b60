"""Manifold Mixup: two images are mixed inside the network, after a layer drawn for each pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError, did_you_mean
from gazeeval.mixers.base import Draws, FeatureMixer, beta_share, register_mixer, require_positive
from gazeeval.models.model import Model

_STAGES = (("layer1", "layer2"), ("stages.0", "stages.1"), ("layers.0", "layers.1"), ("s1", "s2"))


@dataclass(frozen=True)
class ManifoldMixDraws(Draws):
    """``lam`` (b,) float64, share of the source; ``layer`` (b,) int64, which of the layers that the option allows."""

    lam: Tensor
    layer: Tensor


@register_mixer("manifoldmix")
@dataclass(frozen=True)
class ManifoldMix(FeatureMixer[ManifoldMixDraws]):
    """Verma et al., "Manifold Mixup: Better Representations by Interpolating Hidden States", ICML 2019.

    ``mixed = lam * f(source) + (1 - lam) * f(target)``, f = the network up to a layer; the rest of the network goes on
    with the mixed features. lam ~ Beta(alpha, alpha), the layer is uniform on {0, 1, 2}.

    Symbols: the paper's lambda weighs the image of the batch as it came, here the target: ``1 - lam``.

    Options: ``alpha``, 2 for CIFAR and SVHN in the released code, 0.2 for Tiny-ImageNet. ``layer``: ``draw``, or the
    same for all pairs: ``0`` the input (then it is Mixup), ``1`` and ``2`` after the first and the second stage of a
    ResNet or the like, after a quarter and a half of the blocks of a transformer; or the name of a module of the
    network, ``layer3``, ``blocks.5``, to mix what it gives. Where it is drawn it is kept (``x_layer``).

    Deviations: lam and layer per pair, where the released code draws one of each per batch. The network is in eval
    mode, as for every method. The authors train residual networks; what stands for a stage elsewhere is our choice.

    No mixed image exists. The weight is the same at all places, so that as a mask it would scale both gaze densities
    alike, as Mixup's does: the score is 0 by construction and is shown as not applicable. Only accuracies are measured.
    """

    alpha: float = 2.0
    layer: str = "draw"

    def __post_init__(self) -> None:
        require_positive(self, "alpha")

    @property
    def _layers(self) -> tuple[str, ...]:
        return ("0", "1", "2") if self.layer == "draw" else (self.layer,)

    def draw(self, rng: PairRng, size: tuple[int, int]) -> ManifoldMixDraws:
        layer = torch.from_numpy(rng.integers("layer", len(self._layers)))
        return ManifoldMixDraws(beta_share(rng.uniform("lam"), self.alpha), layer)

    def share(self, draws: ManifoldMixDraws) -> Tensor:
        return draws.lam

    def extra(self, draws: ManifoldMixDraws) -> Mapping[str, Tensor]:
        """The layer of each pair, 0, 1 or 2, where it is drawn."""
        return {"layer": draws.layer} if self.layer == "draw" else {}

    def check(self, model: Model) -> None:
        """Raise UsageError, before a run, where ``model`` cannot be mixed at each of the layers. Tries black images."""
        count, size = len(self._layers), (model.geometry.height, model.geometry.width)
        black = torch.zeros(count, 3, *size, device=model.device)
        half = torch.full((count,), 0.5, dtype=torch.float64, device=model.device)
        self.logits(model, black, black, ManifoldMixDraws(half, torch.arange(count, device=model.device)))

    def logits(self, model: Model, source: Tensor, target: Tensor, draws: ManifoldMixDraws) -> Tensor:
        logits = source.new_empty(len(source), model.num_classes)
        for number, layer in enumerate(self._layers):
            rows = (draws.layer == number).nonzero().squeeze(1)
            if len(rows):
                both = torch.cat((target[rows], source[rows]))
                logits[rows] = _logits_mixed_at(layer, model, both, draws.lam[rows])
        return logits


def mix_features(both: Tensor, lam: Tensor) -> Tensor:
    """(b, ...): features ``both`` (2b, ...), of the targets, then of the sources, mixed by the sources' share (b,)."""
    target, source = both.chunk(2)
    return torch.lerp(target, source, lam.to(both.dtype).view(-1, *[1] * (both.ndim - 1)))


def _logits_mixed_at(layer: str, model: Model, both: Tensor, lam: Tensor) -> Tensor:
    """(b, classes) for images ``both`` (2b, 3, h, w), targets first: one pass, from ``layer`` on with half the rows."""
    if layer == "0":
        return model.logits(mix_features(both, lam))
    name = _stages(model)[int(layer) - 1] if layer in ("1", "2") else layer
    with _mixing(model, name, lam):
        return model.logits(both)


@contextmanager
def _mixing(model: Model, name: str, lam: Tensor) -> Iterator[None]:
    """What module ``name`` gives when it is next called is mixed; then, and at the end, all is as it was."""

    def mix(_module: nn.Module, _inputs: object, found: object) -> Tensor:
        hook.remove()  # a network may call a module again, with what is mixed already
        if not isinstance(found, Tensor) or len(found) != 2 * len(lam):
            given = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise _unfit(model, name, f"{given} from module {name} for {2 * len(lam)} images")
        called.append(name)
        return mix_features(found, lam)

    called: list[str] = []
    hook = _module(model, name).register_forward_hook(mix)
    try:
        yield
    finally:
        hook.remove()
    if not called:
        raise _unfit(model, name, f"module {name}, which the network does not call")


def _module(model: Model, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = {known: module for known, module in model.network.named_modules() if known}
    if name not in modules:
        raise _unfit(model, name, f"{name!r}{did_you_mean(name, modules)}")
    return modules[name]


def _stages(model: Model) -> tuple[str, str]:
    """Names of the modules after which layers 1 and 2 are. Raises UsageError where the network has no such parts."""
    modules = dict(model.network.named_modules())
    for first, second in _STAGES:
        if first in modules and second in modules:
            return first, second
    blocks = modules.get("blocks")
    if isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) > 1:
        if isinstance(blocks[0], nn.Sequential):  # as in EfficientNet: these are the stages
            return "blocks.0", "blocks.1"
        if len(blocks) >= 4:
            return f"blocks.{len(blocks) // 4 - 1}", f"blocks.{len(blocks) // 2 - 1}"
    raise _unfit(model, "1", "a network without stages that are known")


def _unfit(model: Model, layer: str, given: str) -> UsageError:
    parts = [
        f"{name}.{child}" for name, module in model.network.named_children() for child, _ in module.named_children()
    ]
    known = [name for name, _ in model.network.named_children()] + parts
    listed = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    return UsageError(
        f"method manifoldmix: model {model.arch}: layer, got {given}. "
        f"Name a module that gives one tensor, -m manifoldmix:layer=NAME, of: {listed}."
    )
