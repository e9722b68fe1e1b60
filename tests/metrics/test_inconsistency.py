"""lam_gaze through the public `Placement`, against brute force per pixel; and what must hold for any placement."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import DEVICES, load

import gazeeval as ge
from gazeeval.types import GroupPlacement, Placement


def check(case: str, placement: Placement, device: str) -> None:
    data = load(case)
    densities = (torch.from_numpy(data[f"{side}_density"]).to(device) for side in ("source", "target"))
    share, S, T = ge.lam_gaze(placement, *densities)
    np.testing.assert_allclose(S.cpu(), data["S"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(T.cpu(), data["T"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(share.cpu(), data["lam_gaze"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", ["lam-gaze_box", "lam-gaze_moved", "lam-gaze_resized"])
def test_oracle_boxes(case: str, device: str) -> None:
    data = load(case)
    source, target = (torch.from_numpy(data[f"{side}_box"]).to(device) for side in ("source", "target"))
    moved = None if case.endswith("box") else source
    check(case, Placement.from_boxes(target, data["source_density"].shape[1:], moved), device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", ["lam-gaze_soft", "lam-gaze_nogaze"])
def test_oracle_masks(case: str, device: str) -> None:
    check(case, Placement.from_mask(torch.from_numpy(load(case)["mask"]).to(device)), device)


def pixel_plan(plan: NDArray[np.int64], side: int) -> torch.Tensor:
    """(b, h, w) flat pixel index from a plan over n x n blocks."""
    n = round(plan.shape[1] ** 0.5)
    block = side // n
    rows, cols = np.divmod(np.arange(side * side).reshape(side, side), side)
    cell = (rows // block) * n + cols // block
    shown = plan[:, cell]
    index = ((shown // n) * block + rows % block) * side + (shown % n) * block + cols % block
    return torch.from_numpy(np.where(shown >= 0, index, -1))


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_transport(device: str) -> None:
    data = load("lam-gaze_transport")
    side = data["source_density"].shape[-1]
    mask = torch.from_numpy(data["block_mask"]).repeat_interleave(side // 4, 1).repeat_interleave(side // 4, 2)
    plans = (pixel_plan(data[f"plan_{image}"], side).to(device) for image in ("source", "target"))
    check("lam-gaze_transport", Placement(mask.to(device), "patches", None, None, None, None, *plans), device)


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_group(device: str) -> None:
    data = {key: torch.from_numpy(value).to(device) for key, value in load("lam-gaze_group").items()}
    shares = ge.gaze_shares(GroupPlacement(data["weights"]), data["density"])
    torch.testing.assert_close(shares, data["gaze_share"], atol=1e-6, rtol=0)
    torch.testing.assert_close(ge.group_inconsistency(data["label_share"], shares), data["score"], atol=1e-6, rtol=0)


def densities(seed: int, count: int = 2, side: int = 8) -> torch.Tensor:
    maps = torch.rand(count, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return maps / maps.sum((1, 2), keepdim=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_swapping_the_images_and_the_mask_swaps_the_share(seed: int) -> None:
    mask = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(seed))
    source, target = densities(seed + 1), densities(seed + 2)
    one, _, _ = ge.lam_gaze(Placement.from_mask(mask), source, target)
    other, _, _ = ge.lam_gaze(Placement.from_mask(1 - mask), target, source)
    torch.testing.assert_close(one, 1 - other, atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_only_the_shape_of_the_densities_counts_when_both_are_scaled(seed: int, factor: float) -> None:
    placement = Placement.from_mask(torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(seed)))
    source, target = densities(seed + 1), densities(seed + 2)
    one, _, _ = ge.lam_gaze(placement, source, target)
    scaled, _, _ = ge.lam_gaze(placement, source * factor, target * factor)
    torch.testing.assert_close(one, scaled, atol=1e-6, rtol=0)


boxes = st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted)


@settings(max_examples=60, deadline=None)
@given(boxes, boxes, boxes, boxes, st.booleans())
def test_a_resized_box_keeps_its_gaze_and_a_box_of_one_size_copies_pixels(
    sx: list[int], sy: list[int], tx: list[int], ty: list[int], align: bool
) -> None:
    source_box, target_box = (torch.tensor([[x[0], y[0], x[1], y[1]]]) for x, y in ((sx, sy), (tx, ty)))
    placement = Placement.from_boxes(target_box, (8, 8), source_box, align_corners=align)
    density = densities(0, 1)
    _, S, T = ge.lam_gaze(placement, density, density)
    inside_source = density[0, sy[0] : sy[1], sx[0] : sx[1]].sum()
    inside_target = density[0, ty[0] : ty[1], tx[0] : tx[1]].sum()
    torch.testing.assert_close(S[0], inside_source, atol=1e-6, rtol=0)
    torch.testing.assert_close(T[0], 1 - inside_target, atol=1e-6, rtol=0)

    images = torch.rand(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    mixed = placement.blend(*images)
    if sx[1] - sx[0] == tx[1] - tx[0] and sy[1] - sy[0] == ty[1] - ty[0]:
        expected = images[1].clone()
        expected[:, :, ty[0] : ty[1], tx[0] : tx[1]] = images[0][:, :, sy[0] : sy[1], sx[0] : sx[1]]
        assert torch.equal(mixed, expected)
    elif sx[0] < sx[1] and sy[0] < sy[1] and tx[0] < tx[1] and ty[0] < ty[1]:
        patch = images[0][:, :, sy[0] : sy[1], sx[0] : sx[1]]
        size = (ty[1] - ty[0], tx[1] - tx[0])
        resized = torch.nn.functional.interpolate(patch, size, mode="bilinear", align_corners=align)
        torch.testing.assert_close(mixed[:, :, ty[0] : ty[1], tx[0] : tx[1]], resized, atol=1e-5, rtol=0)


def test_full_and_empty_masks() -> None:
    density = densities(3)
    for share in (0.0, 1.0):
        value, _, _ = ge.lam_gaze(Placement.from_mask(torch.full((2, 8, 8), share)), density, density)
        assert value.tolist() == [share, share]
