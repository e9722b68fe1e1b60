"""Normalisation for signals that want a normalised image where no model says which."""

from __future__ import annotations

from torch import Tensor

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_normalised(images: Tensor) -> Tensor:
    """(n, 3, h, w) images in [0, 1] with ImageNet's mean and standard deviation per channel taken out."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
    return (images - mean) / std
