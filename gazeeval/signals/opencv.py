"""OpenCV's own fine-grained detector on float images, for reproducing what the released SaliencyMix code gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gazeeval.errors import UsageError


def opencv_float(images_normalised: Tensor) -> Tensor:
    """``cv2.saliency`` on normalised float images, uint8 (n, h, w) on the images' device.

    Args:
        images_normalised: float32 (n, 3, h, w), RGB with the model's mean and standard deviation taken out.

    Raises:
        UsageError: this OpenCV has no ``cv2.saliency``.

    The result is not saliency: on float input OpenCV reads the bytes of the floats as grey values (card
    ``saliency-detectors``, section 1). The last bits of the input decide, so only OpenCV itself gives the same
    map; it runs on the CPU, one image after the other.
    """
    detector = fine_grained_detector()
    arrays = images_normalised.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    maps = np.empty(arrays.shape[:3], dtype=np.uint8)
    for row, array in zip(maps, arrays, strict=True):
        _, saliency = detector.computeSaliency(array)
        row[:] = (saliency * 255).astype(np.uint8)
    return torch.from_numpy(maps).to(images_normalised.device)


def fine_grained_detector() -> Any:
    """OpenCV's detector object. Raises UsageError where the installed OpenCV comes without it."""
    import cv2

    module = getattr(cv2, "saliency", None)
    if module is None:
        raise UsageError(
            f"saliency opencv_float: cv2.saliency is missing, got OpenCV {cv2.__version__} without contrib modules. "
            "Swap the wheel: pip uninstall opencv-python && pip install opencv-contrib-python."
        )
    return module.StaticSaliencyFineGrained_create()
