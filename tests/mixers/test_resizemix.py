"""ResizeMix against the released code and openmixup."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, pair_batch, run, xyxy

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers.resizemix import ResizeMix, ResizeMixDraws, Rule, pasted_box
from gazeeval.testing import check_mixer, example_pairs


def recorded(data: dict[str, NDArray[Any]], count: int) -> ResizeMixDraws:
    tau = torch.from_numpy(data["tau"]).expand(count)
    return ResizeMixDraws(tau, torch.from_numpy(data["center_yx"].reshape(-1, 2)).expand(count, 2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("resizemix_official"))
def test_oracle_of_the_released_code(case: str, device: str) -> None:
    data = load(case)
    count = len(data["x_target"])
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    placement, labels, mixed = run(ResizeMix(), pairs, recorded(data, count))
    assert placement.target_box is not None
    np.testing.assert_array_equal(placement.target_box.cpu(), xyxy(data["box"], count))
    np.testing.assert_array_equal(placement.mask.cpu(), data["mask"])
    np.testing.assert_array_equal(mixed.cpu(), data["mixed"])
    for image, (x0, y0, x1, y1), small in zip(mixed, placement.target_box, data["small_source"], strict=True):
        np.testing.assert_array_equal(image[:, y0:y1, x0:x1].cpu(), small)
    np.testing.assert_allclose(labels.lam.cpu(), np.full(count, data["lam_source"]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(1 - labels.lam.cpu(), np.full(count, data["lam_code"]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("resizemix_openmixup"))
def test_oracle_of_openmixup(case: str, device: str) -> None:
    data = load(case)
    count = len(data["x_target"])
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    bilinear = bool(data["bilinear"])
    mixer = ResizeMix(rule="openmixup", interpolation="bilinear" if bilinear else "nearest")
    placement, labels, mixed = run(mixer, pairs, recorded(data, count))
    assert placement.target_box is not None
    np.testing.assert_array_equal(placement.target_box.cpu(), xyxy(data["box"], count))
    mask = placement.mask.cpu()
    np.testing.assert_array_equal(mask, np.broadcast_to(data["mask"], mask.shape))
    np.testing.assert_array_equal(mask.mT, np.broadcast_to(data["mask_returned_by_code"], mask.shape))
    np.testing.assert_allclose(mixed.cpu(), data["mixed"], rtol=0, atol=1e-6 if bilinear else 0)
    np.testing.assert_allclose(labels.lam.cpu(), np.full(count, data["lam_source"]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(1 - labels.lam.cpu(), np.full(count, data["lam_code"]), rtol=0, atol=1e-12)


def test_bilinear_is_the_interpolation_of_torch() -> None:
    pairs, _ = example_pairs(ResizeMix(), (48, 80))
    draws = ResizeMixDraws(torch.full((6,), 0.6, dtype=torch.float64), torch.tensor([[20, 40]]).expand(6, 2))
    placement, _, mixed = run(ResizeMix(interpolation="bilinear"), pairs, draws)
    small = torch.nn.functional.interpolate(pairs.source_images, scale_factor=0.6, mode="bilinear")
    assert placement.target_box is not None
    x0, y0, x1, y1 = placement.target_box[0].tolist()
    torch.testing.assert_close(mixed[:, :, y0:y1, x0:x1], small, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rule", "expected"), [("official", 0.243), ("openmixup", 0.173)])
def test_mean_share_of_the_sampler(rule: Rule, expected: float) -> None:
    """The card's values at 224 px: E[tau^2] for boxes that are shifted, less for boxes that are cut."""
    size = (224, 224)
    boxes = pasted_box(ResizeMix(rule=rule).draw(PairRng(0, "resizemix", np.arange(100_000)), size), size, rule)
    assert (boxes >= 0).all()
    assert (boxes <= 224).all()
    share = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).double() / 224**2
    assert share.mean().item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("mixer", [ResizeMix(), ResizeMix(rule="openmixup", interpolation="bilinear")])
def test_the_whole_source_is_seen_with_all_its_gaze(mixer: ResizeMix) -> None:
    pairs, signals = example_pairs(mixer)
    placement = mixer.place(pairs, signals, mixer.draw(PairRng(3, "resizemix", range(6)), pairs.size))
    seen_source, seen_target = placement.visibility()
    assert (seen_source == 1).all()
    torch.testing.assert_close(seen_target, 1 - placement.mask, rtol=0, atol=0)
    density = torch.rand(12, 64, 64, generator=torch.Generator().manual_seed(0)).softmax(0)
    density = density / density.sum((1, 2), keepdim=True)
    share, S, T = lam_gaze(placement, density[:6], density[6:])
    torch.testing.assert_close(S, torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(share, 1 / (1 + T), rtol=0, atol=1e-5)
    assert (share >= 0.5).all()


def test_variants_keep_the_contract() -> None:
    check_mixer(ResizeMix(interpolation="bilinear"))
    check_mixer(ResizeMix(rule="openmixup"), sizes=((64, 64), (33, 33)))


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.8), (0.5, 0.4), (0.1, 1.5), (float("nan"), 0.8)])
def test_bounds_are_checked(low: float, high: float) -> None:
    with pytest.raises(UsageError, match="low and high, got"):
        ResizeMix(low=low, high=high)


@pytest.mark.parametrize(
    ("mixer", "size", "complaint"),
    [
        (ResizeMix(), (9, 32), "height of the images, got 9 px.*at least 10 px"),
        (ResizeMix(), (32, 9), "width of the images, got 9 px"),
        (ResizeMix(rule="openmixup"), (19, 19), "height of the images, got 19 px.*at least 20 px"),
        (ResizeMix(rule="openmixup"), (32, 64), "got 32 x 64.*swaps the axes"),
    ],
)
def test_images_that_do_not_fit_are_refused(mixer: ResizeMix, size: tuple[int, int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        mixer.draw(PairRng(0, "resizemix", range(2)), size)
    check_mixer(ResizeMix(), sizes=((10, 10),))
