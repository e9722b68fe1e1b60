"""Mixup against the released code, timm and torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import DEVICES, cases, load, pair_batch, run

from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers.mixup import Mixup, MixupDraws


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("mixup_"))
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    count = len(data["x_target"])
    share = np.atleast_1d(data["lam_source"])
    if 1 < len(share) < count:
        share = np.concatenate((share, share[::-1]))
    share = np.broadcast_to(share, count).copy()
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    placement, labels, mixed = run(Mixup(), pairs, MixupDraws(torch.from_numpy(share)))
    np.testing.assert_allclose(mixed.cpu(), data["mixed"], rtol=0, atol=3e-7)
    np.testing.assert_allclose(labels.lam.cpu(), share, rtol=0, atol=0)
    assert placement.kind == "soft"


def test_a_constant_mask_scores_nothing_by_construction() -> None:
    pairs = pair_batch(np.random.default_rng(0).random((3, 3, 16, 16)), np.zeros((3, 3, 16, 16)))
    placement, labels, _ = run(Mixup(), pairs, MixupDraws(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)))
    density = torch.rand(3, 16, 16)
    share, _, _ = lam_gaze(
        placement, density / density.sum((1, 2), keepdim=True), density.new_full((3, 16, 16), 1 / 256)
    )
    torch.testing.assert_close(share, labels.lam, atol=1e-6, rtol=0)
    assert not Mixup.scores_gaze
