"""The released SaliencyMix code's way into OpenCV, and what is said where OpenCV lacks ``cv2.saliency``."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gazeeval.errors import UsageError
from gazeeval.signals.opencv import opencv_float

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = sorted(ORACLE.glob("saliency-detectors_f32_*.npz"))


class RedChannel:
    """In place of OpenCV's detector: the map is the image's first channel."""

    def computeSaliency(self, image: NDArray[np.float32]) -> tuple[bool, NDArray[np.float32]]:  # noqa: N802
        assert image.dtype == np.float32
        assert image.flags.c_contiguous
        return True, image[:, :, 0]


def test_there_are_oracles() -> None:
    assert len(CASES) >= 2


@pytest.mark.skipif(not hasattr(cv2, "saliency"), reason="the installed OpenCV has no cv2.saliency (contrib wheel)")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_oracle(path: Path) -> None:
    oracle = np.load(path)
    images = torch.from_numpy(oracle["image_f32"]).permute(2, 0, 1)[None]
    np.testing.assert_array_equal(opencv_float(images)[0].numpy(), oracle["fine_grained_byte_garbage_u8"])


def test_missing_module_says_how_to_swap_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "saliency", raising=False)
    with pytest.raises(UsageError, match="pip uninstall opencv-python && pip install opencv-contrib-python"):
        opencv_float(torch.zeros(1, 3, 8, 8))


def test_images_go_in_as_rows_of_pixels_and_come_back_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(StaticSaliencyFineGrained_create=RedChannel)
    monkeypatch.setattr(cv2, "saliency", fake, raising=False)
    images = torch.rand(3, 3, 4, 5)
    saliency = opencv_float(images)
    assert saliency.dtype == torch.uint8
    assert torch.equal(saliency, (images[:, 0] * 255).to(torch.uint8))
