"""The spectral residual detector: OpenCV's maps within its own inexactness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gazeeval.errors import UsageError
from gazeeval.signals.spectral_residual import spectral_residual

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = [*sorted(ORACLE.glob("saliency-detectors_sr-u8_*.npz")), *sorted(ORACLE.glob("saliency-detectors_f32_*.npz"))]


def random_images(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def test_there_are_oracles() -> None:
    assert len(CASES) >= 9


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_oracle(path: Path) -> None:
    oracle = np.load(path)
    image = oracle["image_f32"] if "image_f32" in oracle else oracle["image_u8"]
    planes = np.moveaxis(image, -1, 0) if image.ndim == 3 else image
    saliency = spectral_residual(torch.from_numpy(planes)[None], order="bgr")[0].numpy()
    assert saliency.dtype == np.float32
    np.testing.assert_allclose(saliency, oracle["spectral_residual"], rtol=0, atol=1e-4)
    assert saliency.argmax() == oracle["spectral_residual"].argmax()


def test_batch_equals_one_by_one() -> None:
    images = random_images(11, 3, 33, 41)
    alone = torch.cat([spectral_residual(image[None]) for image in images])
    assert float((spectral_residual(images) - alone).abs().max()) < 1e-6


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (100, 70)])
@pytest.mark.parametrize("grey", [0, 200])
def test_flat_and_tiny_images_are_finite(size: tuple[int, int], grey: int) -> None:
    saliency = spectral_residual(torch.full((2, 3, *size), grey, dtype=torch.uint8))
    assert saliency.shape == (2, *size)
    assert bool(saliency.isfinite().all())
    assert 0 <= float(saliency.min()) <= float(saliency.max()) <= 1


def test_order_names_the_channels() -> None:
    images = random_images(2, 3, 32, 32)
    assert torch.equal(spectral_residual(images), spectral_residual(images.flip(1), order="bgr"))
    floats = images.float()
    assert torch.allclose(spectral_residual(floats), spectral_residual(floats.flip(1), order="bgr"))
    assert not torch.allclose(spectral_residual(images), spectral_residual(images, order="bgr"))


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8, dtype=torch.float64), torch.zeros(3, 8)])
def test_other_input_is_refused(images: Tensor) -> None:
    with pytest.raises(UsageError, match="spectral_residual: images, got"):
        spectral_residual(images)
