"""SmoothMix against openmixup, whose mask it follows and whose label it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import DEVICES, cases, load, pair_batch, run

from gazeeval.data.random import PairRng
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers.smoothmix import SmoothMix, SmoothMixDraws
from gazeeval.signals.base import Signals
from gazeeval.testing import check_mixer, example_pairs
from gazeeval.types import PairBatch


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("smoothmix_"))
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    count, side = len(data["x_target"]), data["x_target"].shape[-1]
    centre = torch.from_numpy(data["shift_yx"] + side // 2)
    draws = SmoothMixDraws(centre.expand(count, 2), torch.from_numpy(data["sigma"]).expand(count))
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    placement, labels, mixed = run(SmoothMix(), pairs, draws)
    mask = placement.mask.cpu()
    np.testing.assert_allclose(
        mask, np.broadcast_to(data["mask"], mask.shape), rtol=0, atol=6e-8
    )  # one step of float32
    np.testing.assert_allclose(mixed.cpu(), data["mixed"], rtol=0, atol=3e-7)
    np.testing.assert_allclose(labels.lam.cpu(), np.full(count, data["lam_source"]), rtol=0, atol=1e-7)
    assert placement.kind == "soft"
    _, inverted, _ = run(SmoothMix(label="openmixup"), pairs, draws)
    np.testing.assert_allclose(1 - inverted.lam.cpu(), np.full(count, data["lam_returned_by_code"]), rtol=0, atol=1e-7)


def test_shares_of_the_sampler() -> None:
    """The card's mean and quantiles at 32 px."""
    count = 4000
    draws = SmoothMix().draw(PairRng(0, "smoothmix", np.arange(count)), (32, 32))
    order = torch.zeros(count, dtype=torch.long)
    pairs = PairBatch(torch.zeros(1, 3, 32, 32), order, order, order)
    share = SmoothMix().place(pairs, Signals({}, order, order), draws).mask_share()
    assert share.mean().item() == pytest.approx(0.428, abs=0.01)
    quantiles = torch.quantile(share, torch.tensor([0.05, 0.95], dtype=torch.float64))
    np.testing.assert_allclose(quantiles, [0.229, 0.643], rtol=0, atol=0.015)


@pytest.mark.parametrize("size", [(27, 27), (32, 65), (33, 20)])
def test_any_height_and_width(size: tuple[int, int]) -> None:
    h, w = size
    pairs, _ = example_pairs(SmoothMix(), size)
    draws = SmoothMixDraws(torch.tensor([[5, 7]]).expand(6, 2), torch.full((6,), 8.0, dtype=torch.float64))
    placement, _, _ = run(SmoothMix(), pairs, draws)
    y, x = np.mgrid[:h, :w]
    expected = np.exp(-((y - 4.5) ** 2 + (x - 6.5) ** 2) / (2 * 8.0**2))
    np.testing.assert_allclose(placement.mask[0], expected, rtol=0, atol=3e-8)
    check_mixer(SmoothMix(), sizes=(size,))


def test_the_mask_weighs_the_gaze() -> None:
    pairs, signals = example_pairs(SmoothMix())
    placement = SmoothMix().place(pairs, signals, SmoothMix().draw(PairRng(0, "smoothmix", range(6)), pairs.size))
    uniform = torch.full((6, 64, 64), 1 / 4096)
    share, S, T = lam_gaze(placement, uniform, uniform)
    torch.testing.assert_close(share, placement.mask_share(), rtol=0, atol=1e-6)
    torch.testing.assert_close(S + T, torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6)
