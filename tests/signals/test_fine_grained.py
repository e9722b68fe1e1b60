"""The fine-grained detector: OpenCV's maps bit for bit, at every size, one image independent of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.errors import UsageError
from gazeeval.signals.fine_grained import SURROUNDS, _stretch, centre_surround, fine_grained

ORACLE = Path(__file__).parents[1] / "oracle"
CASES = sorted(ORACLE.glob("saliency-detectors_fg-u8_*.npz"))


def batched(image: NDArray[np.uint8]) -> Tensor:
    """(1, h, w) or (1, 3, h, w) of an image as OpenCV holds it."""
    return torch.from_numpy(np.moveaxis(image, -1, 0) if image.ndim == 3 else image)[None]


def random_images(*shape: int, low: int = 0, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(low, 256, shape, dtype=np.uint8))


def test_there_are_oracles() -> None:
    assert len(CASES) >= 8


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_oracle(path: Path) -> None:
    oracle = np.load(path)
    maps = centre_surround(batched(oracle["image_u8"]), order="bgr")
    np.testing.assert_array_equal(maps.out[0].numpy(), oracle["fine_grained_u8"])
    np.testing.assert_array_equal(maps.on[0].numpy(), oracle["on_u8"])
    np.testing.assert_array_equal(maps.off[0].numpy(), oracle["off_u8"])
    peak = np.unravel_index(int(maps.out[0].flatten().argmax()), oracle["fine_grained_u8"].shape)
    np.testing.assert_array_equal(peak, oracle["peak_yx"])


def blurred(grey: NDArray[np.int64]) -> NDArray[np.int64]:
    for axis in (0, 1):
        before = [min(1, grey.shape[axis] - 1), *range(grey.shape[axis] - 1)]
        after = [*range(1, grey.shape[axis]), max(grey.shape[axis] - 2, 0)]
        grey = grey.take(before, axis) + 2 * grey + grey.take(after, axis)
    return (grey + 8) >> 4


def by_the_definition(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The steps of the method card on one grey image of more than one pixel, with windows cut pixel by pixel."""
    grey64 = blurred(blurred(grey.astype(np.int64)))
    height, width = grey.shape
    on, off = np.zeros((2, height, width))
    for half in SURROUNDS:
        for y, x in np.ndindex(height, width):
            window = grey64[max(y - half + 1, 0) : y + half + 1, max(x - half + 1, 0) : x + half + 1]
            centre = np.float32(grey64[y, x])
            mean = np.float32(window.sum() - grey64[y, x]) / np.float32(window.size - 1)
            on[y, x] += max(np.trunc(centre - mean), 0)
            off[y, x] += max(np.trunc(mean - centre), 0)
    out = np.zeros((height, width), dtype=np.uint8)
    for total in (on, off):
        share = (total / max(total.max(), 1)).astype(np.float32)
        out += (255 * share.astype(np.float64)).astype(np.uint8)
    return out


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(2, 30), st.integers(0, 250), st.integers(0, 99))
def test_any_size_follows_the_definition(height: int, width: int, low: int, seed: int) -> None:
    images = random_images(1, height, width, low=low, seed=seed)
    np.testing.assert_array_equal(fine_grained(images)[0].numpy(), by_the_definition(images[0].numpy()))


@pytest.mark.parametrize("size", [(2, 250), (130, 3)])
def test_sides_longer_than_the_largest_surround(size: tuple[int, int]) -> None:
    images = random_images(1, *size)
    np.testing.assert_array_equal(fine_grained(images)[0].numpy(), by_the_definition(images[0].numpy()))


def test_every_possible_sum_is_stretched_exactly() -> None:
    highest = 6 * 255
    peaks = torch.arange(1, highest + 1, dtype=torch.int16)[:, None, None]
    totals = torch.arange(highest + 1, dtype=torch.int16).expand(highest, 1, -1).minimum(peaks)
    assert torch.equal(_stretch(totals), (totals.int() * 255 // peaks).to(torch.uint8))


def test_batch_equals_one_by_one() -> None:
    images = random_images(7, 3, 33, 41)
    alone = torch.cat([fine_grained(image[None]) for image in images])
    assert torch.equal(fine_grained(images), alone)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 5), (24, 24)])
@pytest.mark.parametrize("grey", [0, 77, 255])
def test_a_flat_image_has_no_saliency(size: tuple[int, int], grey: int) -> None:
    maps = fine_grained(torch.full((3, 3, *size), grey, dtype=torch.uint8))
    assert maps.shape == (3, *size)
    assert maps.dtype == torch.uint8
    assert not maps.any()


def test_no_images() -> None:
    assert fine_grained(torch.empty(0, 3, 8, 9, dtype=torch.uint8)).shape == (0, 8, 9)


def test_order_names_the_channels() -> None:
    images = random_images(2, 3, 32, 32)
    assert torch.equal(fine_grained(images), fine_grained(images.flip(1), order="bgr"))
    assert not torch.equal(fine_grained(images), fine_grained(images, order="bgr"))


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fine_grained(random_images(2, 3, 8, 8))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 8, 8, dtype=torch.uint8)])
def test_other_input_is_refused(images: Tensor) -> None:
    with pytest.raises(UsageError, match=r"fine_grained: images, got torch\.\w+ \(1, ., 8, 8\). Pass uint8"):
        fine_grained(images)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_device_equals_host() -> None:
    images = random_images(5, 3, 224, 224, low=180)
    assert torch.equal(fine_grained(images.cuda()).cpu(), fine_grained(images))
