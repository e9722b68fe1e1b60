"""The small network of the oracle files whose names say ``net``, and of ``gradsal_*`` (card on gradient saliency).

And networks of timm cut down to a size that tests can afford.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gazeeval.data.geometry import Geometry
from gazeeval.models.architecture import create
from gazeeval.models.model import Model


class TinyNetwork(nn.Module):
    """Two convolutions with batch norm, mean over the places, a linear classifier; parts are named as timm does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 10, 3, padding=1), nn.BatchNorm2d(10)
        self.fc = nn.Linear(10, 7)
        self.num_classes = 7

    def forward_features(self, x: Tensor) -> Tensor:
        """(n, 10, h/2, w/2), after the second ReLU."""
        pooled = nn.functional.avg_pool2d(self.bn1(self.conv1(x)).relu(), 2)
        return torch.relu(self.bn2(self.conv2(pooled)))

    def forward_head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features.mean(dim=(2, 3)))
        return logits

    def get_classifier(self) -> nn.Linear:
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def load_tiny(data: Mapping[str, NDArray[Any]], device: str = "cpu") -> Model:
    """The network of an oracle file, in eval mode; the file's normalisation, or none where it has none."""
    network = TinyNetwork()
    weights = {key.removeprefix("net_"): torch.from_numpy(value) for key, value in data.items() if key[:4] == "net_"}
    network.load_state_dict({_dotted(key): value for key, value in weights.items()})
    height, width = data["images"].shape[-2:]
    mean, std = float(data.get("norm_mean", 0)), float(data.get("norm_std", 1))
    model = as_model(network, (height, width), device, "tiny")
    return replace(model, mean=(mean, mean, mean), std=(std, std, std), weights="oracle")


def timm_model(arch: str, size: tuple[int, int], device: str = "cpu", **options: Any) -> Model:
    """A network of timm with 10 classes and drawn weights, for images of (height, width) ``size`` in [0, 1]."""
    return as_model(create(arch, {"num_classes": 10, **options}), size, device, arch)


def as_model(network: nn.Module, size: tuple[int, int], device: str = "cpu", arch: str = "given") -> Model:
    """``network`` as the toolkit sees it, in eval mode; images are not normalised."""
    return Model(
        network=network.eval().requires_grad_(False).to(device),
        arch=arch,
        arch_origin="given",
        num_classes=int(network.num_classes),  # type: ignore[arg-type]
        geometry=Geometry.stretch(*size, "bilinear"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        device=torch.device(device),
        weights="drawn",
        sha256="",
        path=arch,
    )


def images_of(data: Mapping[str, NDArray[Any]], device: str = "cpu") -> Tensor:
    """(n, 3, h, w) float32 in [0, 1]: the file's 8-bit images."""
    return torch.from_numpy(data["images"]).to(device).float() / 255


def _dotted(key: str) -> str:
    """``bn1_running_mean`` -> ``bn1.running_mean``."""
    layer, _, parameter = key.partition("_")
    return f"{layer}.{parameter}"
