"""CutMix against the released code, timm and torchvision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, pair_batch, run, xyxy

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._boxes import BoxRule
from gazeeval.mixers.cutmix import CutMix, CutMixDraws


def spread(draw: NDArray[Any], count: int) -> NDArray[Any]:
    """One draw for the batch, for a pair (i and count-1-i) or for each sample, as one per sample."""
    draw = np.atleast_1d(draw)
    return np.concatenate((draw, draw[::-1])) if 1 < len(draw) < count else np.repeat(draw, count // len(draw), axis=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("cutmix_"))
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    count = len(data["x_target"])
    rule: BoxRule = "timm" if "timm" in case else "torchvision" if "torchvision" in case else "official"
    lam = spread(1 - data["lam_drawn"], count)
    centre = spread(data["center_yx"].reshape(-1, 2), count)
    draws = CutMixDraws(torch.from_numpy(lam), torch.from_numpy(centre.copy()))
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    placement, labels, mixed = run(CutMix(rule=rule), pairs, draws)

    boxes = placement.target_box
    assert boxes is not None
    np.testing.assert_array_equal(boxes.cpu(), xyxy(data["box"], count))
    np.testing.assert_array_equal(placement.mask.cpu(), np.broadcast_to(data["mask"], placement.mask.shape))
    np.testing.assert_array_equal(mixed.cpu(), data["mixed"])
    np.testing.assert_allclose(labels.lam.cpu(), np.broadcast_to(data["lam_source"], count), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "side", "expected"),
    [("official", 224, 0.3178), ("timm", 224, 0.3193), ("official", 32, 0.2992), ("timm", 32, 0.3102)],
)
def test_mean_share_of_the_sampler(rule: BoxRule, side: int, expected: float) -> None:
    """The card's Monte Carlo values; clipping makes the mean much less than one half."""
    mixer, size = CutMix(rule=rule), (side, side)
    draws = mixer.draw(PairRng(0, "cutmix", np.arange(200_000)), size)
    before, after = (side_of.double() for side_of in _halves(draws, size, rule))
    low, high = (draws.centre - before).clamp(min=0), torch.minimum(draws.centre + after, torch.tensor(side))
    assert ((high - low).prod(dim=1) / side**2).mean().item() == pytest.approx(expected, abs=2e-3)


def _halves(draws: CutMixDraws, size: tuple[int, int], rule: BoxRule) -> tuple[torch.Tensor, torch.Tensor]:
    from gazeeval.mixers._boxes import half_sides

    return half_sides(draws.lam, size, rule)


def test_alpha_shapes_the_draw() -> None:
    rng = PairRng(0, "cutmix", np.arange(5000))
    flat, peaked = (CutMix(alpha=alpha).draw(rng, (32, 32)).lam for alpha in (1.0, 5.0))
    assert flat.std().item() == pytest.approx(np.sqrt(1 / 12), abs=0.01)
    assert peaked.std().item() == pytest.approx(np.sqrt(1 / 44), abs=0.01)  # Beta(a,a): 1 / (4 (2a + 1))


def test_alpha_must_be_positive() -> None:
    with pytest.raises(UsageError, match="alpha, got -1"):
        CutMix(alpha=-1)
