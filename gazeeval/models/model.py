"""The network as the toolkit sees it: images in [0, 1] go in, logits come out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gazeeval.data.geometry import Geometry
from gazeeval.errors import CheckpointError, UsageError
from gazeeval.models import architecture, fit
from gazeeval.models.checkpoint import Checkpoint, read_checkpoint
from gazeeval.models.demo import DEMO_MODELS, demo_checkpoint
from gazeeval.models.device import resolve_device

Colour = tuple[float, float, float]
Origin = Literal["given", "stored", "timm"]

_LARGEST = 8192  # side of an input, px: beyond it is no network but a mistake that takes all memory
FILE_SUFFIXES = (".pt", ".pth", ".safetensors", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier with everything that decides its output.

    Attributes:
        network: in eval mode on ``device``, its parameters not asking for gradients.
        arch, arch_origin: timm's name, and whether the user gave it, the file stored it or it was the model's name.
        num_classes: outputs of the network.
        geometry: how an image becomes the network input.
        mean, std: normalisation per channel, for images in [0, 1].
        weights: where the weights come from: a key of the file, "plain", or a description.
        sha256: of the file; of the weights for a timm name.
        path: the file or the timm name, as given.
        notes: what was left out or renamed while loading.
    """

    network: nn.Module
    arch: str
    arch_origin: Origin
    num_classes: int
    geometry: Geometry
    mean: Colour
    std: Colour
    device: torch.device
    weights: str
    sha256: str
    path: str
    notes: tuple[str, ...] = ()

    @cached_property
    def _mean_std(self) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False):  # gradients will pass, even if the first call is under inference mode
            mean, std = torch.tensor([self.mean, self.std], device=self.device).view(2, 1, 3, 1, 1).unbind()
        return mean, std

    def normalise(self, images: Tensor) -> Tensor:
        """Network input from (b, 3, h, w) images in [0, 1]; gradients pass through."""
        mean, std = self._mean_std
        return (images - mean).div_(std)

    def logits(self, images: Tensor) -> Tensor:
        """(b, num_classes) float32 from (b, 3, h, w) images in [0, 1] on the device, without gradients."""
        with torch.inference_mode():
            return self.network(self.normalise(images)).float()  # type: ignore[no-any-return]

    def describe(self) -> str:
        """One line for the header: architecture, classes, weights, geometry."""
        return (
            f"{self.arch} ({self.arch_origin}), {self.num_classes} classes, {self.weights}, "
            f"sha256 {self.sha256[:8]}, {self.geometry.describe()}"
        )


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A network and where it comes from; ``config`` is in the words of timm's ``pretrained_cfg``."""

    network: nn.Module
    arch: str
    arch_origin: Origin
    weights: str
    sha256: str
    config: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def load_model(
    name_or_path: str | Path,
    *,
    arch: str | None = None,
    device: str = "auto",
    weights_key: str | None = None,
    unsafe_load: bool = False,
    input_size: int | tuple[int, int] | None = None,
    crop_pct: float | None = None,
    mean: Colour | None = None,
    std: Colour | None = None,
    geometry: Literal["eval", "stretch"] = "eval",
    pretrained: bool = True,
) -> Model:
    """Load a checkpoint file, a network by its timm name (``resnet18``, ``hf-hub:owner/name``), or a demo network.

    The demo networks are ``demo``, a small ResNet, and ``demo-vit``, a small transformer, both for the demo data.

    The architecture is the one given, else the one that the file states; it is never guessed. Preprocessing is the
    file's own ``pretrained_cfg`` completed by timm's configuration of the architecture, then what is given here.

    Args:
        arch, weights_key, unsafe_load: for files only; see ``read_checkpoint`` for the last two.
        input_size: pixels, (height, width) or the side of a square.
        crop_pct: share of the resized image that the crop keeps.
        geometry: "stretch" resizes the whole image to the input instead of the transform of the evaluation.
        pretrained: for a timm name: published weights, or weights drawn from a fixed seed.

    Raises:
        CheckpointError: the file or the weights cannot be used; the message says why and what to do.
        UsageError: a value of an option makes no sense.
        GazeEvalError: no such device.
    """
    place = resolve_device(device)
    size = None if input_size is None else _channels_first(input_size)
    asked = {"input_size": size, "crop_pct": crop_pct, "mean": mean, "std": std}
    asked = {field: value for field, value in asked.items() if value is not None}
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in DEMO_MODELS and not path.is_file():
        path = demo_checkpoint(name)
    if _means_file(name, path):
        loaded = _from_file(read_checkpoint(path, weights_key=weights_key, unsafe_load=unsafe_load), arch, asked)
    elif arch or weights_key:
        raise UsageError(f"model: {name} is a timm name. Leave out --arch and --weights-key: they are for files.")
    else:
        loaded = _from_timm(name, pretrained, asked)
    return _finish(loaded, {**loaded.config, **asked}, geometry, place, name)


def _means_file(name: str, path: Path) -> bool:
    if architecture.on_hub(name):
        return False
    return path.is_file() or "/" in name or "\\" in name or path.suffix.lower() in FILE_SUFFIXES


def _from_file(checkpoint: Checkpoint, given: str | None, asked: Mapping[str, Any]) -> _Loaded:
    arch, origin = _architecture(checkpoint, given)
    # Arguments stored with one architecture mean nothing for another.
    args = checkpoint.model_args if arch == (checkpoint.arch or arch) else {}
    own = {field: value for field, value in checkpoint.pretrained_cfg.items() if value is not None}
    if size := args.get("img_size") or own.get("input_size"):
        own["input_size"] = _channels_first(size)
    config = {**architecture.data_config(architecture.timm_config(arch)), **own}
    args = {**args, **_size_argument(arch, {**config, **asked}["input_size"], args)}
    args["num_classes"] = architecture.class_count(arch, checkpoint.state) or checkpoint.num_classes
    network = architecture.create_empty(arch, args)
    state = fit.adapted(network, checkpoint.state, resize="input_size" in asked)
    notes = checkpoint.notes if state is checkpoint.state else (*checkpoint.notes, "adapted by timm's converter")
    if wrong := fit.load_weights(network, state):
        cause = fit.likely_cause(arch, wrong, checkpoint.state, Path(checkpoint.path).stem)
        raise CheckpointError(f"checkpoint: {checkpoint.path}: weights do not fit {arch}, got {wrong}. {cause}")
    return _Loaded(network, arch, origin, checkpoint.weights, checkpoint.sha256, config, notes)


def _architecture(checkpoint: Checkpoint, given: str | None) -> tuple[str, Origin]:
    if given:
        architecture.require_known(given)
        return given, "given"
    if checkpoint.arch and architecture.is_known(checkpoint.arch):
        return checkpoint.arch, "stored"
    says = f"says {checkpoint.arch!r}, which timm has not" if checkpoint.arch else "does not say its architecture"
    advice = fit.advice(checkpoint.state, Path(checkpoint.path).stem)
    raise CheckpointError(f"checkpoint: {checkpoint.path}: {says}. {advice}")


def _size_argument(arch: str, input_size: Sequence[int] | None, args: Mapping[str, Any]) -> dict[str, Any]:
    """The argument that makes a network for another input size, where the architecture is bound to one."""
    config = architecture.timm_config(arch)
    free = args.get("dynamic_img_size") or not config.get("fixed_input_size")
    if input_size is None or free or tuple(config["input_size"]) == tuple(input_size):
        return {}
    return {"img_size": tuple(input_size[1:])}


def _from_timm(name: str, pretrained: bool, asked: Mapping[str, Any]) -> _Loaded:
    args: dict[str, Any] = {}
    if not architecture.on_hub(name):
        architecture.require_known(name)
        args = _size_argument(name, asked.get("input_size"), {})
    if pretrained or architecture.on_hub(name):
        network = architecture.fetch(name, args, pretrained=pretrained)
    else:
        network = architecture.create(name, args)
    config: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    weights = f"timm weights {config.get('tag', '')}".strip() if pretrained else "random (timm name, no weights)"
    arch = config.get("architecture") or name
    return _Loaded(network, arch, "timm", weights, _state_sha256(network), architecture.data_config(config))


def _state_sha256(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _finish(loaded: _Loaded, config: Mapping[str, Any], mode: str, device: torch.device, path: str) -> Model:
    try:
        geometry, mean, std = _geometry(config, mode), _colour("mean", config["mean"]), _colour("std", config["std"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint: {path}: pretrained_cfg does not say how to prepare images ({error})."
        ) from error
    model = Model(
        network=loaded.network.requires_grad_(False).to(device).to(memory_format=torch.channels_last),
        arch=loaded.arch,
        arch_origin=loaded.arch_origin,
        num_classes=int(getattr(loaded.network, "num_classes", 0)),
        geometry=geometry,
        mean=mean,
        std=std,
        device=device,
        weights=loaded.weights,
        sha256=loaded.sha256,
        path=path,
        notes=loaded.notes,
    )
    _try(model)
    return model


def _geometry(config: Mapping[str, Any], mode: str) -> Geometry:
    _, height, width = config["input_size"]
    if mode == "stretch":
        return Geometry.stretch(height, width, config["interpolation"])
    return Geometry.from_config(
        (height, width), float(config["crop_pct"]), config["interpolation"], config["crop_mode"]
    )


def _colour(field: str, value: Sequence[float]) -> Colour:
    if len(value) != 3 or (field == "std" and min(value) <= 0):
        raise UsageError(f"{field}: got {value}. Give three numbers, red green blue, for images in [0, 1].")
    red, green, blue = (float(part) for part in value)
    return red, green, blue


def _channels_first(size: int | Sequence[int]) -> tuple[int, int, int]:
    """(3, height, width) from a side, (height, width) or (3, height, width)."""
    sides = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side <= _LARGEST for side in sides):
        raise UsageError(
            f"input_size: got {size!r}. Give one side or height and width, in pixels, of at most {_LARGEST}."
        )
    return 3, *sides


def _try(model: Model) -> None:
    """One black image, so that a network which cannot take the input fails before the run."""
    height, width = model.geometry.height, model.geometry.width
    try:
        logits = model.logits(torch.zeros(1, 3, height, width, device=model.device))
    except Exception as error:  # a network may refuse a size in any way
        raise CheckpointError(
            f"model: {model.path}: {model.arch} does not take images of {height}x{width} "
            f"({architecture.first_line(error)}). Pass --input-size."
        ) from error
    if model.num_classes == 0 or logits.shape != (1, model.num_classes):
        raise CheckpointError(
            f"model: {model.path}: not a classifier, got output {tuple(logits.shape)}. Give one with a classifier."
        )
    if not logits.isfinite().all():
        raise CheckpointError(
            f"model: {model.path}: got an answer that is not finite for a black image. Take another checkpoint."
        )
