"""The reference mixers: no mixing, the gaze itself, the centre prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import DEVICES, pair_batch, run

from gazeeval.data.random import PairRng
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers._windows import best_window
from gazeeval.mixers.gazemix import CenterMix, GazeMix, WindowDraws
from gazeeval.mixers.none import NoMix
from gazeeval.signals.base import CentrePrior, GazeDensity, Signals


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), height=st.integers(1, 7), width=st.integers(1, 9), largest=st.booleans())
def test_best_window_against_a_search_by_hand(seed: int, height: int, width: int, largest: bool, device: str) -> None:
    maps = torch.randint(0, 4, (2, 7, 9), generator=torch.Generator().manual_seed(seed)).float() / 100
    found = best_window(maps.to(device), torch.tensor([[height, width]] * 2, device=device), largest=largest).cpu()
    for one, box in zip(maps, found.tolist(), strict=True):
        sums = [
            (round(100 * float(one[y : y + height, x : x + width].sum())), y, x)
            for y in range(7 - height + 1)
            for x in range(9 - width + 1)
        ]
        best = max(s for s, _, _ in sums) if largest else min(s for s, _, _ in sums)
        _, y, x = next(entry for entry in sums if entry[0] == best)
        assert box == [x, y, x + width, y + height]


def test_windows_of_different_sizes_in_one_batch() -> None:
    maps = torch.zeros(2, 6, 6)
    maps[0, 4, 5] = maps[1, 1, 1] = 1
    boxes = best_window(maps, torch.tensor([[2, 3], [6, 6]]))
    assert boxes.tolist() == [[3, 3, 6, 5], [0, 0, 6, 6]]


def densities() -> torch.Tensor:
    maps = torch.rand(6, 16, 20, generator=torch.Generator().manual_seed(0)) ** 8
    return maps / maps.sum(dim=(1, 2), keepdim=True)


def test_gazemix_shows_more_of_both_gazes_than_any_other_box_of_its_size() -> None:
    images = np.random.default_rng(0).random((3, 3, 16, 20))
    pairs, density = pair_batch(images, images[::-1]), densities()
    draws = WindowDraws(torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64))
    signals = Signals({GazeDensity(): density}, pairs.source, pairs.target)
    placement, labels, mixed = run(GazeMix(), pairs, draws, signals)
    share, S, T = lam_gaze(placement, density[:3], density[3:])
    torch.testing.assert_close(labels.lam, share)
    assert placement.source_box is not None
    assert placement.target_box is not None
    for i, root in enumerate(draws.lam.sqrt().tolist()):
        x0, y0, x1, y1 = placement.source_box[i].tolist()
        u0, v0, u1, v1 = placement.target_box[i].tolist()
        assert (x1 - x0, y1 - y0) == (u1 - u0, v1 - v0) == (int(20 * root), int(16 * root))
        torch.testing.assert_close(mixed[i, :, v0:v1, u0:u1], pairs.source_images[i, :, y0:y1, x0:x1])
        holes = density[i].unfold(0, y1 - y0, 1).unfold(1, x1 - x0, 1).sum(dim=(2, 3))
        assert S[i].item() == pytest.approx(holes.max().item(), abs=1e-6)
    assert (S + T > 1).all()  # it shows more gaze than either image alone holds outside its box


def test_centermix_knows_the_prior_only() -> None:
    images = np.random.default_rng(0).random((2, 3, 16, 20))
    pairs, prior = pair_batch(images, images[::-1]), densities()[:1].expand(4, 16, 20)
    signals = Signals({CentrePrior(): prior}, pairs.source, pairs.target)
    placement, labels, _ = run(CenterMix(), pairs, CenterMix().draw(PairRng(0, "centermix", [0, 1]), (16, 20)), signals)
    torch.testing.assert_close(labels.lam, lam_gaze(placement, prior[:2], prior[2:])[0])


def test_no_mixing_shows_one_image_and_its_label() -> None:
    images = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    pairs = pair_batch(images, images[::-1])
    for mixer, shown, lam in ((NoMix(), pairs.target_images, 0.0), (NoMix(show="source"), pairs.source_images, 1.0)):
        placement, labels, mixed = run(mixer, pairs, mixer.draw(PairRng(0, "none", [0, 1]), (8, 8)))
        assert torch.equal(mixed, shown)
        assert labels.lam.tolist() == [lam, lam]
        assert placement.kind == "none"
