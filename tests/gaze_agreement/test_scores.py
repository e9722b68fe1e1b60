"""The scores against pysaliency's stored outputs, against their definitions, and where maps or gaze say nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DEVICES, cases, load
from torch import Tensor

from gazeeval.gaze_agreement.pool import FixationPool
from gazeeval.gaze_agreement.scores import (
    FLOOR,
    FixatedPixels,
    auc,
    cc,
    density,
    information_gain,
    kl,
    mass_on_zero,
    nss,
    sim,
)

CASES = cases("gaze-metrics")


def pixels(x: Tensor, y: Tensor, height: int, width: int) -> FixatedPixels:
    """Of (n, k) whole pixels."""
    return FixatedPixels.of(x + 0.5, y + 0.5, torch.ones_like(x, dtype=torch.bool), height, width)


def random_maps(seed: int, count: int = 3, height: int = 6, width: int = 9) -> Tensor:
    return torch.rand(count, height, width, generator=torch.Generator().manual_seed(seed))


def random_pixels(seed: int, count: int = 3, fixations: int = 5, height: int = 6, width: int = 9) -> FixatedPixels:
    """The first image has all its fixations, each of the others one less than the one before."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(width, (count, fixations), generator=generator)
    y = torch.randint(height, (count, fixations), generator=generator)
    valid = torch.arange(fixations) < fixations - torch.arange(count).unsqueeze(1)
    return FixatedPixels.of(x + 0.5, y + 0.5, valid, height, width)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_oracle(case: str, device: str) -> None:
    data = {key: torch.from_numpy(value).to(device) for key, value in load(case).items()}
    maps, gaze, baseline = (data[name].unsqueeze(0) for name in ("saliency", "reference", "baseline"))
    size = data["saliency"].shape
    fixations = pixels(data["fix_x"].unsqueeze(0), data["fix_y"].unsqueeze(0), *size)
    negatives = pixels(data["nonfix_x"].unsqueeze(0), data["nonfix_y"].unsqueeze(0), *size)
    pool = torch.bincount(negatives.index[0], minlength=size.numel()).view(size)
    unfixated = torch.ones(size.numel(), device=device).index_fill(0, fixations.index[0], 0).view(size)
    p, q, floored = density(maps), density(gaze), density(maps, FLOOR)
    found = {
        "rec_nss": nss(maps, fixations),
        "rec_auc_uniform": auc(maps, fixations),
        "rec_auc_shuffled": auc(maps, fixations, pool),
        "ref_auc_unfixated": auc(maps, fixations, unfixated),
        "rec_cc": cc(maps, gaze),
        "rec_sim": sim(p, q),
        "rec_kl": kl(floored, density(gaze, FLOOR), eps=0),
        "ref_kl_mit": kl(p, q),
        "rec_ig_uniform": information_gain(floored, fixations),
        "rec_ig_baseline": information_gain(floored, fixations, density(baseline, FLOOR)),
    }
    for name, score in found.items():
        assert score.dtype == torch.float64
        np.testing.assert_allclose(score.item(), data[name].item(), rtol=0, atol=1e-5, err_msg=name)


SCORES: dict[str, Callable[[Tensor, FixatedPixels, Tensor], Tensor]] = {
    "nss": lambda maps, fixations, gaze: nss(maps, fixations),
    "auc": lambda maps, fixations, gaze: auc(maps, fixations),
    "sauc": lambda maps, fixations, gaze: auc(maps, fixations, (8 * gaze).round()),
    "cc": lambda maps, fixations, gaze: cc(maps, gaze),
    "sim": lambda maps, fixations, gaze: sim(density(maps), density(gaze)),
    "kl": lambda maps, fixations, gaze: kl(density(maps), density(gaze)),
    "ig": lambda maps, fixations, gaze: information_gain(density(maps, FLOOR), fixations, density(gaze, FLOOR)),
    "mass_on_zero": lambda maps, fixations, gaze: mass_on_zero(density(maps), density(gaze)),
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_images_do_not_influence_each_other(score: Callable[..., Tensor]) -> None:
    maps, fixations, gaze = random_maps(1), random_pixels(2), random_maps(3)
    alone = [
        score(maps[[row]], FixatedPixels(fixations.index[[row]], fixations.valid[[row]]), gaze[[row]])
        for row in range(len(maps))
    ]
    torch.testing.assert_close(score(maps, fixations, gaze), torch.cat(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("score", ["nss", "auc", "sauc", "cc"])
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9999), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_scale_and_offset_of_a_map_change_nothing(score: str, seed: int, factor: float, offset: float) -> None:
    maps, fixations, gaze = random_maps(seed).double(), random_pixels(seed), random_maps(seed + 1)
    found = SCORES[score](factor * maps + offset, fixations, gaze)
    torch.testing.assert_close(found, SCORES[score](maps, fixations, gaze), rtol=0, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(2, 50))
def test_auc_counts_pairs_of_fixation_and_negative(seed: int, levels: int) -> None:
    maps, fixations = (levels * random_maps(seed)).floor(), random_pixels(seed)
    negatives = (4 * random_maps(seed + 1)).floor()
    found, uniform = auc(maps, fixations, negatives), auc(maps, fixations)
    for row in range(len(maps)):
        own, every = maps[row].flatten()[fixations.index[row][fixations.valid[row]]], maps[row].flatten()
        times = negatives[row].flatten().long()
        for expected, others in ((found, every.repeat_interleave(times)), (uniform, every)):
            wins = (own[:, None] > others).double() + (own[:, None] == others).double() / 2
            assert expected[row].item() == pytest.approx(wins.mean().item(), abs=1e-12)


def test_auc_only_looks_at_the_order() -> None:
    maps, fixations = random_maps(4), random_pixels(4)
    assert torch.equal(auc(maps.double().exp(), fixations), auc(maps, fixations))


def test_auc_of_a_single_fixation_is_not_biased_upwards() -> None:
    """AUC-Judd could not fall below 1/2 here."""
    maps = torch.arange(54.0).view(1, 6, 9)
    lowest = torch.zeros(1, 1, dtype=torch.int64)
    assert auc(maps, pixels(lowest, lowest, 6, 9)).item() == pytest.approx(0.5 / 54)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.uint8, torch.int64])
@pytest.mark.parametrize("value", [0.1, 0.3, 1.0, 0.0])
def test_a_constant_map_says_nothing(value: float, dtype: torch.dtype) -> None:
    """The float64 standard deviation of 0.1 everywhere is not 0."""
    maps, fixations, gaze = torch.full((3, 50, 60), value).to(dtype), random_pixels(5), random_maps(5, 3, 50, 60)
    for found, expected in ((nss(maps, fixations), 0), (auc(maps, fixations), 0.5), (cc(maps, gaze), 0)):
        assert found.tolist() == [expected] * 3
    assert cc(gaze, maps + 1).tolist() == [0] * 3
    torch.testing.assert_close(density(maps), torch.full((3, 50, 60), 1 / 3000, dtype=torch.float64))


def test_a_map_that_is_the_gaze_agrees_fully() -> None:
    gaze = random_maps(6)
    p = density(gaze)
    for found, expected in ((cc(gaze, gaze), 1), (sim(p, p), 1), (kl(p, p), 0), (kl(p, p, eps=0), 0)):
        torch.testing.assert_close(found, torch.full((3,), expected, dtype=torch.float64), rtol=0, atol=1e-12)
    gain = information_gain(p, random_pixels(6), p)
    assert gain.tolist() == [0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999))
def test_divergence_is_not_negative_and_overlap_is_a_share(seed: int) -> None:
    p, q = density(random_maps(seed)), density(random_maps(seed + 1).square())
    assert (kl(p, q) >= 0).all()
    assert (kl(p, q) - kl(p, q, eps=0)).abs().max() < 1e-7, "the forms agree on positive maps"
    torch.testing.assert_close(sim(p, q), 1 - (p - q).abs().sum(dim=(1, 2)) / 2)


def test_gaze_where_the_map_is_zero() -> None:
    gaze = torch.tensor([[[0.25, 0.75]]])
    p = density(torch.tensor([[[0.0, 5.0]]]))
    assert mass_on_zero(p, density(gaze)).item() == pytest.approx(0.25)
    assert kl(p, density(gaze), eps=0).item() == math.inf
    assert 8 < kl(p, density(gaze)).item() < 9, "a quarter of ln(1 / eps), and the rest"


def test_negative_values_are_shifted() -> None:
    torch.testing.assert_close(
        density(torch.tensor([[[-1.0, 0.0, 2.0]]])), torch.tensor([[[0.0, 0.25, 0.75]]]).double()
    )


def test_bits_per_fixation() -> None:
    p = torch.tensor([[[0.5, 0.25, 0.25, 0.0]]]).double()
    fixations = pixels(torch.tensor([[0, 0, 1]]), torch.zeros(1, 3, dtype=torch.int64), 1, 4)
    assert information_gain(p, fixations).item() == pytest.approx((1 + 1 + 0) / 3)


@pytest.mark.parametrize("fixations", [0, 2])
def test_without_gaze_there_is_no_score(fixations: int) -> None:
    maps, nobody = random_maps(7, count=2), torch.zeros(2, fixations)
    unseen = FixatedPixels.of(nobody, nobody, nobody.bool(), 6, 9)
    p = density(maps)
    zero = torch.zeros_like(maps)
    found = [nss(maps, unseen), auc(maps, unseen), auc(maps, unseen, maps), information_gain(p, unseen)]
    found += [cc(maps, zero), sim(p, zero), kl(p, zero), mass_on_zero(p, zero)]
    assert torch.stack(found).isnan().all()


def test_without_negatives_there_is_no_shuffled_auc() -> None:
    assert auc(random_maps(8), random_pixels(8), torch.zeros(6, 9)).isnan().all()


def test_no_images() -> None:
    none = torch.empty(0, 6, 9)
    fixations = FixatedPixels(torch.empty(0, 4, dtype=torch.int64), torch.empty(0, 4, dtype=torch.bool))
    for score in (nss(none, fixations), auc(none, fixations), cc(none, none), density(none)):
        assert len(score) == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_maps_that_are_not_finite_are_refused(value: float) -> None:
    maps, fixations = random_maps(9), random_pixels(9)
    maps[1, 2, 3] = value
    for score in (nss, auc, cc, density):
        with pytest.raises(ValueError, match="not finite"):
            score(maps, *([fixations] if score in (nss, auc) else [random_maps(1)] if score is cc else []))


def test_positions_become_pixels_and_those_outside_are_dropped() -> None:
    x = torch.tensor([[0.0, 0.99, 8.99, 9.0, -0.01, 4.5, 4.5]])
    y = torch.tensor([[0.0, 5.99, 3.0, 3.0, 3.0, -1.0, 2.0]])
    found = FixatedPixels.of(x, y, torch.tensor([[True] * 6 + [False]]), 6, 9)
    assert found.valid.tolist() == [[True, True, True, False, False, False, False]]
    assert found.index[0, :3].tolist() == [0, 45, 35]
    assert found.counts().tolist() == [3]
    assert found.only(torch.tensor([[False] + [True] * 6])).counts().tolist() == [2]


def test_the_pool_holds_the_fixations_of_all_other_images() -> None:
    parts = [random_pixels(10), random_pixels(11, count=4, fixations=7)]
    every = [part.index[row][part.valid[row]] for part in parts for row in range(len(part.index))]
    pool = FixationPool(parts, np.arange(7), 6, 9)
    found = pool.others(np.array([5, 0]))
    for own, negatives in zip((5, 0), found, strict=True):
        others = torch.cat([index for row, index in enumerate(every) if row != own])
        assert torch.equal(negatives.flatten(), torch.bincount(others, minlength=54).float())
    of_class = FixationPool(parts, np.array([0, 1, 0, 1, 2, 0, 1]), 6, 9).others(np.array([2]))
    others = torch.cat([every[row] for row in (1, 3, 4, 6)])
    assert torch.equal(of_class.flatten(), torch.bincount(others, minlength=54).float())
