"""GuidedMixup's spectral residual against the released code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load
from torch import Tensor

from gazeeval.errors import UsageError
from gazeeval.signals.answer import answer
from gazeeval.signals.base import Saliency, Signals
from gazeeval.signals.guided_residual import guided_blur, guided_residual

REQUEST = Saliency("guided_residual")
MAPS = [
    (case, key)
    for case in cases("guidedmixup_sr")
    for key in load(case)
    if key.startswith("saliency_sr") and key != "saliency_sr_blur2_norm" and "const" not in case
]


def taken_out(images: Tensor, data: dict[str, NDArray[Any]]) -> Tensor:
    """What the detector saw: images in [0, 1] with the file's mean and standard deviation taken out, if it says so."""
    if not data["normalised"]:
        return images
    mean, std = (torch.from_numpy(data[key]).to(images.device)[:, None, None] for key in ("mean", "std"))
    return (images - mean) / std


def by_mean(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = maps / maps.mean(axis=(1, 2), keepdims=True)
    return scaled


def random_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("case", "key"), MAPS)
def test_oracle(case: str, key: str, device: str) -> None:
    """The raw map of ``sr_const`` is rounding noise; only its normalised form is compared, in the next test."""
    data = load(case)
    images = taken_out(torch.from_numpy(data["images"]).to(device).float() / 255, data)
    found = guided_residual(images, antialias=key != "saliency_sr_noantialias")
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.cpu(), data[key], rtol=0, atol=1e-6)
    np.testing.assert_allclose(by_mean(found.cpu().numpy()), by_mean(data[key]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("guidedmixup_sr"))
def test_oracle_blurred_twice_through_the_request(case: str, device: str) -> None:
    data = load(case)
    images = torch.from_numpy(data["images"]).to(device).float() / 255
    found = answer([REQUEST], images, normalise=lambda x: taken_out(x, data))[REQUEST]
    blurred = guided_blur(found)
    shares = blurred / blurred.sum(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(shares.cpu(), data["saliency_sr_blur2_norm"], rtol=0, atol=1e-8)  # around 1e-3 to 4e-5
    np.testing.assert_allclose(
        by_mean(shares.cpu().numpy()), by_mean(data["saliency_sr_blur2_norm"]), rtol=0, atol=1e-4
    )


def test_batch_equals_one_by_one() -> None:
    images = random_images(11, 3, 150, 140)
    alone = torch.cat([guided_residual(image[None]) for image in images])
    torch.testing.assert_close(guided_residual(images), alone, rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [(4, 9), (33, 47), (128, 200), (129, 60)])
def test_any_size_gives_a_positive_map_of_that_size(size: tuple[int, int]) -> None:
    found = guided_residual(random_images(2, 3, *size))
    assert found.shape == (2, *size)
    assert bool((found > 0).all())


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (160, 160)])
@pytest.mark.parametrize("grey", [-2.0, 0.0, 0.1, 1.7])
def test_a_flat_image_is_told_by_its_constant_map(size: tuple[int, int], grey: float) -> None:
    """So that a run marks its pairs, where float32 would answer with rounding noise."""
    maps = guided_residual(torch.full((1, 3, *size), grey))
    signals = Signals({REQUEST: maps}, torch.tensor([0]), torch.tensor([0]))
    signals.source(REQUEST)
    flat, nonfinite = signals.degenerate()
    assert flat.tolist() == [True]
    assert nonfinite.tolist() == [False]


def test_the_blur_is_the_gaussian_of_torchvision() -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    maps = random_images(9, 20, 31)
    reference = functional.gaussian_blur(maps.unsqueeze(1), [7, 7], [3.0, 3.0]).squeeze(1)
    torch.testing.assert_close(guided_blur(maps), reference, rtol=1e-6, atol=1e-7)


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got 3x8 px\. Use at least 4x4 px"):
        guided_residual(torch.zeros(1, 3, 3, 8))


def test_the_oracle_covers_both_ways_to_make_an_image_smaller() -> None:
    assert {"saliency_sr", "saliency_sr_antialias", "saliency_sr_noantialias"} == {key for _, key in MAPS}
