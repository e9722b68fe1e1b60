"""SMMix against the released code, and the move of a square of tokens that TdAttenMix shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, run
from torch import Tensor

from gazeeval.contract import check_pairs
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._tokens import SquareDraws, on_grid, unit_mass
from gazeeval.mixers._windows import best_window
from gazeeval.mixers.base import canonical_name, parse_method
from gazeeval.mixers.smmix import SMMix
from gazeeval.signals.base import BottomUp, ClassAttention, Signals
from gazeeval.types import PairBatch


def with_maps(maps: Tensor, size: tuple[int, int] = (56, 56)) -> tuple[PairBatch, Signals]:
    """Every image on the next one, with the given attention (n, rows, cols)."""
    target = torch.arange(len(maps))
    source = target.roll(-1)
    images = torch.rand(len(maps), 3, *size, generator=torch.Generator().manual_seed(0))
    return PairBatch(images, target, source, target), Signals({BottomUp(): maps}, source, target)


def random_maps(count: int = 4, rows: int = 14, cols: int = 14, seed: int = 0) -> Tensor:
    return torch.rand(count, rows, cols, generator=torch.Generator().manual_seed(seed)) ** 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [case for case in cases("smmix_") if case != "smmix_vit_attnmap"])
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    side, k = int(data["side"]), int(data["rect"])
    source, images, labels, attn = (
        torch.from_numpy(data[key]).to(device) for key in ("source_index", "images", "labels", "attn")
    )
    pairs = PairBatch(images.float() / 255, labels, source, torch.arange(len(source), device=device))
    signals = Signals({BottomUp(): attn.view(-1, side, side)}, pairs.source, pairs.target)
    mixer = SMMix(side, float(data["min_side_ratio"]), float(data["max_side_ratio"]), "group")
    placement, found, mixed = run(mixer, pairs, SquareDraws(torch.tensor([k])), signals)
    assert placement.target_box is not None
    assert placement.source_box is not None
    np.testing.assert_array_equal(placement.target_box.cpu(), in_pixels(data, "target_box_tokens"))
    np.testing.assert_array_equal(placement.source_box.cpu(), in_pixels(data, "source_box_tokens"))
    np.testing.assert_array_equal((mixed * 255).round().byte().cpu(), data["mixed"])
    lam = found.lam.cpu().numpy()
    np.testing.assert_allclose(lam, np.full(len(pairs), data["lam_source"]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(1 - lam, np.full(len(pairs), data["lam_code"]), rtol=0, atol=1e-12)
    share, logits = lam[:, None], data["logits"]
    expected = share * logits[data["source_index"]] + (1 - share) * logits
    np.testing.assert_allclose(expected, data["mixed_prediction"], rtol=0, atol=1e-5)


def in_pixels(data: dict[str, NDArray[Any]], key: str) -> NDArray[Any]:
    """Boxes (b, 4) xyxy of the oracle's (top, left, height, width) in tokens."""
    top, left, height, width = data[key].T * (data["images"].shape[-1] // int(data["side"]))
    return np.stack((left, top, left + width, top + height), axis=1)


def test_k_is_uniform_over_whole_numbers() -> None:
    drawn = SMMix().draw(PairRng(0, "smmix", range(8000)), (224, 224)).k
    assert set(drawn.tolist()) == set(range(3, 11))
    assert drawn.bincount()[3:].float().div(8000).tolist() == pytest.approx([1 / 8] * 8, abs=0.02)
    assert (drawn.double() ** 2 / 196).mean() == pytest.approx(0.242, abs=0.003)
    assert set(SMMix(side=7).draw(PairRng(0, "smmix", range(200)), (224, 224)).k.tolist()) == set(range(1, 6))


def test_the_label_is_the_area_to_the_last_digit() -> None:
    pairs, signals = with_maps(random_maps(8), (112, 224))
    k = torch.arange(3, 11)
    placement, labels, _ = run(SMMix(), pairs, SquareDraws(k), signals)
    assert labels.lam.tolist() == (k.double() ** 2 / 196).tolist()
    assert labels.extra == {}
    assert placement.kind == "box"


def test_the_whole_square_stays_visible_where_it_came_from() -> None:
    """Non-square images have tokens that are not square."""
    pairs, signals = with_maps(random_maps(), (28, 56))
    placement, _, mixed = run(SMMix(), pairs, SquareDraws(torch.tensor([3, 4, 7, 10])), signals)
    seen, _ = placement.visibility()
    assert placement.target_box is not None
    assert placement.source_box is not None
    boxes = zip(placement.source_box.tolist(), placement.target_box.tolist(), strict=True)
    for row, ((sx0, sy0, sx1, sy1), (tx0, ty0, tx1, ty1)) in enumerate(boxes):
        k = (3, 4, 7, 10)[row]
        assert (sx1 - sx0, sy1 - sy0) == (4 * k, 2 * k)
        assert seen[row].sum() == seen[row, sy0:sy1, sx0:sx1].sum() == 8 * k * k
        assert torch.equal(mixed[row, :, ty0:ty1, tx0:tx1], pairs.source_images[row, :, sy0:sy1, sx0:sx1])


@pytest.mark.parametrize("device", DEVICES)
def test_on_a_flat_map_the_first_of_equal_windows_is_taken(device: str) -> None:
    """Sums of 1/196 in float32 would let rounding choose."""
    maps = torch.full((8, 14, 14), 1 / 196, device=device)
    sides = torch.arange(3, 11, device=device).unsqueeze(1).expand(-1, 2)
    for largest in (True, False):
        assert not best_window(maps, sides, largest=largest)[:, :2].any()


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), exponent=st.integers(-30, 30), k=st.integers(1, 14))
def test_windows_do_not_depend_on_the_scale_of_a_map(seed: int, exponent: int, k: int, device: str) -> None:
    """Nor on noise far below what a float32 map can mean. Most tokens hold nothing, as after a threshold."""
    maps = random_maps(seed=seed).double()
    maps = torch.where(maps > 0.7, maps, 0)
    sides = torch.full((4, 2), k, device=device)
    noise = 1 + 1e-11 * torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for largest in (True, False):
        expected = best_window(maps.to(device), sides, largest=largest)
        scaled = best_window((maps * noise * 10.0**exponent).to(device), sides, largest=largest)
        assert torch.equal(scaled, expected)


def test_small_windows_beside_a_high_peak_are_told_apart() -> None:
    maps = torch.full((1, 14, 14), 1e-6, dtype=torch.float64)
    maps[0, 0, 0] = 1
    maps[0, 9, 5] = 0.999e-6
    assert best_window(maps, torch.tensor([[1, 1]]), largest=False).tolist() == [[5, 9, 6, 10]]


def test_a_map_that_is_not_finite_is_seen_and_breaks_nothing() -> None:
    maps = random_maps()
    maps[0, 3, 3] = torch.nan
    maps[1, 13, 13] = torch.inf
    pairs, signals = with_maps(maps)
    placement, labels, mixed = run(SMMix(), pairs, SquareDraws(torch.tensor([3])), signals)
    _, nonfinite = signals.degenerate()
    assert nonfinite.tolist() == [True, True, False, True]
    assert mixed.isfinite().all()
    assert placement.target_box is not None
    assert placement.target_box[:2].tolist() == [[0, 0, 12, 12]] * 2
    assert labels.lam.isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
def test_maps_on_another_grid_are_resized(device: str) -> None:
    maps = random_maps(2, 7, 9).to(device)
    found = on_grid(maps, 14)
    assert found.shape == (2, 14, 14)
    assert torch.equal(on_grid(found.float(), 14), found.float().double())
    constant = unit_mass(on_grid(torch.full((1, 4, 7), 3.0, device=device), 14))
    torch.testing.assert_close(constant, torch.full_like(constant, 1 / 196))
    assert not unit_mass(torch.zeros(1, 3, 3)).any()


def test_a_coarse_map_serves_both_grids() -> None:
    """A single peak at (4, 2) of 7 x 7: with side=7 its token, with side=14 the four tokens there."""
    maps = torch.zeros(2, 7, 7)
    maps[:, 4, 2] = 1
    pairs, signals = with_maps(maps)
    for side, k in ((7, 1), (14, 2)):
        placement, _, _ = run(SMMix(side), pairs, SquareDraws(torch.tensor([k])), signals)
        assert placement.source_box is not None
        assert placement.source_box.tolist() == [[16, 32, 24, 40]] * 2


@pytest.mark.parametrize("mixer", [SMMix(), SMMix(side=7), SMMix(size_per="group"), SMMix(min_side=1, max_side=1)])
@pytest.mark.parametrize("size", [(56, 56), (28, 112)])
def test_contract(mixer: SMMix, size: tuple[int, int]) -> None:
    check_pairs(mixer, *with_maps(random_maps(), size))


def test_one_size_per_group() -> None:
    assert SMMix(size_per="group").scope == "group"
    pairs, signals = with_maps(random_maps())
    mixer = SMMix(size_per="group")
    _, labels, _ = run(mixer, pairs, mixer.draw(PairRng(0, "smmix", [5]), pairs.size), signals)
    assert len(labels.lam) == 4
    assert len(set(labels.lam.tolist())) == 1


def test_options() -> None:
    mixer = parse_method("smmix:side=7,attention=class,size_per=group")
    assert mixer.needs() == {ClassAttention()}
    assert SMMix().needs() == {BottomUp()}
    assert canonical_name(mixer) == "smmix:attention=class,side=7,size_per=group"
    with pytest.raises(UsageError, match=r"min_side and max_side, got 0.8 and 0.75\. Give 0 <"):
        SMMix(min_side=0.8)
    with pytest.raises(UsageError, match=r"min_side, got 0.25 of side=3, not one token\."):
        SMMix(side=3)


@pytest.mark.parametrize(
    ("size", "name", "pixels", "advice"), [((224, 230), "width", 230, 224), ((30, 28), "height", 30, 28)]
)
def test_tokens_must_divide_the_image(size: tuple[int, int], name: str, pixels: int, advice: int) -> None:
    message = f"method smmix: {name} of the images, got {pixels} px, which side=14 .* Pass --input-size {advice} or"
    with pytest.raises(UsageError, match=message):
        SMMix().draw(PairRng(0, "smmix", range(2)), size)
