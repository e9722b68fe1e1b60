"""GridMixup against the released code and OpenMixup's port of it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, pair_batch, run

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import canonical_name, parse_method
from gazeeval.mixers.gridmixup import GridMixup, GridMixupDraws
from gazeeval.testing import check_mixer

WHOLE = GridMixup(min_holes=20, max_holes=20, min_area=1, min_aspect=1, max_aspect=1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("gridmix_"))
def test_oracle(case: str, device: str) -> None:
    """Every file but one has its crop inside the image, or its holes: there the two borders agree."""
    data = load(case)
    count = len(data["x_target"])
    assert data["hole_aspect_ratio"] == 1  # the only one that is offered
    draws = GridMixupDraws(
        lam=torch.from_numpy(np.full(count, 1 - data["lam_drawn"])),
        holes=torch.from_numpy(np.full(count, data["n_holes"])),
        area=torch.from_numpy(np.full(count, data["cut_area_ratio"])),
        aspect=torch.from_numpy(np.full(count, data["cut_aspect_ratio"])),
        offset=torch.from_numpy(np.tile(data["offset_frac_yx"], (count, 1))),
    )
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    placement, labels, mixed = run(GridMixup(border="released"), pairs, draws)
    np.testing.assert_array_equal(placement.mask.cpu(), np.broadcast_to(data["mask"], placement.mask.shape))
    np.testing.assert_array_equal(mixed.cpu(), data["mixed"])
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"], rtol=0, atol=1e-12)
    assert placement.kind == "patches"

    clipped, _, _ = run(GridMixup(), pairs, draws)
    crosses = case == "gridmix_gridmixup_b3_nonsquare_32x48"
    assert torch.equal(clipped.mask, placement.mask) != crosses
    assert bool((clipped.mask >= placement.mask).all())  # nothing shows at the far side here


def loop_mask(size: tuple[int, int], draws: GridMixupDraws, row: int, border: str) -> NDArray[np.float32]:
    """Card ``gridmix``, steps 1 to 4, hole by hole with Python's slices."""
    h, w = size
    share, holes, area, aspect = (float(value[row]) for value in (draws.lam, draws.holes, draws.area, draws.aspect))
    crop_w = int(math.sqrt(int(h * w * area) / aspect))
    crop_h = int(crop_w * aspect)
    top, left = int((h - crop_h) * float(draws.offset[row, 0])), int((w - crop_w) * float(draws.offset[row, 1]))
    patch = math.ceil(crop_w / int(holes))
    hole = min(max(int(patch * math.sqrt(share)), 1), patch - 1)
    mask = np.zeros(size, np.float32)
    floor = 0 if border == "clip" else -(10**9)
    for x in range(0, crop_w, patch):
        for y in range(0, crop_h, patch):
            ends = top + min(y + hole, crop_h), left + min(x + hole, crop_w)
            rows, cols = (
                slice(max(top + y, floor), max(ends[0], floor)),
                slice(max(left + x, floor), max(ends[1], floor)),
            )
            mask[rows, cols] = 1
    return mask


@pytest.mark.parametrize("border", ["clip", "released"])
@pytest.mark.parametrize("size", [(24, 24), (31, 47), (20, 80), (81, 18)])
def test_every_hole_of_every_pair(size: tuple[int, int], border: str) -> None:
    mixer = GridMixup(border=border, min_holes=1, max_holes=3)  # type: ignore[arg-type]
    draws = mixer.draw(PairRng(0, "gridmixup", np.arange(200)), size)
    images = np.zeros((200, 3, *size), np.float32)
    placement, _, _ = run(mixer, pair_batch(images, images), draws)
    expected = np.stack([loop_mask(size, draws, row, border) for row in range(200)])
    np.testing.assert_array_equal(placement.mask, expected)


def test_mean_share_of_the_sampler() -> None:
    """Card: a fixed half of each patch on 48 x 48 px gives 0.296 on average."""
    mixer = GridMixup(min_lam=0.5, max_lam=0.5, border="released")
    draws = mixer.draw(PairRng(0, "gridmixup", np.arange(4000)), (48, 48))
    images = np.zeros((4000, 3, 48, 48), np.float32)
    _, labels, _ = run(mixer, pair_batch(images, images), draws)
    assert labels.lam.mean().item() == pytest.approx(0.296, abs=5e-3)


def test_draws_stay_in_their_ranges_and_reach_their_ends() -> None:
    mixer = GridMixup(min_lam=0.1, max_lam=0.9)
    draws = mixer.draw(PairRng(0, "gridmixup", np.arange(5000)), (64, 64))
    for values, low, high in ((draws.lam, 0.1, 0.9), (draws.area, 0.5, 1.0), (draws.aspect, 0.5, 2.0)):
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
    assert set(draws.holes.tolist()) == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("mixer", [GridMixup(border="released"), GridMixup(min_holes=1, max_holes=1, min_aspect=0.2)])
def test_options_keep_the_contract(mixer: GridMixup) -> None:
    check_mixer(mixer)


def test_one_grid_over_the_whole_image() -> None:
    draws = WHOLE.draw(PairRng(0, "gridmixup", [0]), (64, 64))
    images = np.zeros((1, 3, 64, 64), np.float32)
    placement, _, _ = run(WHOLE, pair_batch(images, images), dataclasses.replace(draws, lam=draws.lam * 0 + 0.25))
    assert torch.equal(placement.mask[0, ::4, ::4], torch.ones(16, 16))  # 64 / 20 px, rounded up
    assert placement.mask_share().item() == pytest.approx(1 / 4)


def test_too_many_holes_for_the_image() -> None:
    with pytest.raises(
        UsageError, match=r"max_holes, got 20 where the narrowest crop of 32x32 px has 32. Give at most 16"
    ):
        WHOLE.draw(PairRng(0, "gridmixup", [0]), (32, 32))


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.0},
        {"min_holes": 0},
        {"min_holes": 7},
        {"min_lam": -0.1},
        {"max_lam": 1.1},
        {"max_area": 1.5},
        {"min_aspect": 0.0},
        {"min_aspect": 3.0},
    ],
)
def test_ranges_that_make_no_sense(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"method gridmixup: .*{name}"):
        GridMixup(**options)  # type: ignore[arg-type]


def test_gridmix_is_another_name() -> None:
    mixer = parse_method("gridmix:border=released,max_holes=4")
    assert mixer == GridMixup(border="released", max_holes=4)
    assert canonical_name(mixer) == "gridmixup:border=released,max_holes=4"
