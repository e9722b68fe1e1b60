"""MaskMix and MixPro against the released code, from its draws and from recorded attention and logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import Draws, canonical_name, parse_method
from gazeeval.mixers.mixpro import MaskMix, MaskMixDraws, MixPro, label_agreement
from gazeeval.signals.base import BottomUp, ClassAttention, Logits, Signals
from gazeeval.testing import check_mixer
from gazeeval.types import Labels, PairBatch, Placement

Data = dict[str, NDArray[Any]]


def pairs_of(data: Data, device: str) -> PairBatch:
    """The code's pairs: the target is the image itself, the source its partner."""
    images, labels, source = (torch.from_numpy(data[key]).to(device) for key in ("images", "labels", "source_index"))
    return PairBatch(images.float(), labels, source, torch.arange(len(source), device=device))


def recorded(data: Data) -> MaskMixDraws:
    order = torch.from_numpy(data["cell_perms"])
    return MaskMixDraws(torch.full((len(order),), 1 - float(data["beta_draw"]), dtype=torch.float64), order)


def looked_at(data: Data, device: str = "cpu") -> Signals:
    """What the network says about the mixed images, each pair's own."""
    side = int(np.sqrt(data["attn"].shape[1]))
    attention, logits = (torch.from_numpy(data[key]).to(device) for key in ("attn", "logits"))
    each = torch.arange(len(logits), device=device)
    return Signals({ClassAttention(): attention.view(-1, side, side), Logits(): logits}, each, each)


def mixed_by(
    mixer: MaskMix, pairs: PairBatch, draws: MaskMixDraws, mixed: Signals | None = None
) -> tuple[Placement, Labels]:
    signals, draws = Signals({}, pairs.source, pairs.target), draws.to(pairs.images.device)
    placement = mixer.place(pairs, signals, draws)
    return placement, mixer.weigh(pairs, placement, signals, draws, mixed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("mixpro_"))
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    pairs, draws, mixed = pairs_of(data, device), recorded(data), looked_at(data, device)
    cell, smoothing = int(data["mask_patch_size"]), float(data["label_smoothing"])
    mixer = MixPro(cell=cell, area="official", smoothing=smoothing)
    placement, labels = mixed_by(mixer, pairs, draws, mixed)

    np.testing.assert_array_equal(placement.mask.cpu(), data["source_mask_pixels"])
    np.testing.assert_array_equal(1 - placement.mask[:, ::cell, ::cell].cpu(), data["mask_cells_target"])
    np.testing.assert_array_equal(placement.blend_pairs(pairs).cpu(), data["mixed"])
    assert placement.kind == "patches"
    expected = {
        "lam_area": 1 - data["official_mask_ratio_target"],
        "lam_attn": data["lam_attn_source"],
        "pal_alpha": data["pal_alpha"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(labels.extra[name].cpu(), values, rtol=0, atol=1e-5)
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"], rtol=0, atol=1e-5)

    _, by_area = mixed_by(MaskMix(cell=cell, area="official"), pairs, draws)
    np.testing.assert_allclose(by_area.lam.cpu(), data["lam_area_source"], rtol=0, atol=1e-6)
    _, realised = mixed_by(MaskMix(cell=cell), pairs, draws)
    np.testing.assert_allclose(1 - realised.lam.cpu(), data["area_target_actual"], rtol=0, atol=1e-6)


def test_cells_that_are_cut_count_with_what_is_left_of_them() -> None:
    """The one file with such cells: PAL then starts from the area that is seen."""
    data = load("mixpro_nondivisible_b2")
    pairs, draws, mixed = pairs_of(data, "cpu"), recorded(data), looked_at(data)
    placement, labels = mixed_by(MixPro(cell=8), pairs, draws, mixed)
    assert torch.equal(labels.extra["lam_area"], placement.mask_share())
    np.testing.assert_allclose(labels.extra["lam_attn"], data["lam_attn_source"], rtol=0, atol=1e-5)
    assert (labels.extra["pal_alpha"] - torch.from_numpy(data["pal_alpha"])).abs().max() > 1e-3
    alpha = labels.extra["pal_alpha"]
    expected = (1 - alpha) * labels.extra["lam_area"] + alpha * labels.extra["lam_attn"]
    torch.testing.assert_close(labels.lam, expected)


def example(count: int = 6, size: tuple[int, int] = (64, 64)) -> PairBatch:
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    order = torch.arange(count)
    return PairBatch(images, order, order.roll(1), order)


@pytest.mark.parametrize(
    "options", ["pal=false", "pal=false,cell=24", "pal=false,area=official", "alpha=0.3,pal=false"]
)
def test_options_keep_the_contract(options: str) -> None:
    check_mixer(parse_method(f"mixpro:{options}"))


def test_the_masks_are_those_of_maskmix() -> None:
    size = (96, 64)
    maskmix = MaskMix().draw(PairRng(5, "maskmix", range(9)), size)
    mixpro = MixPro().draw(PairRng(5, "mixpro", range(9)), size)
    assert torch.equal(maskmix.order, mixpro.order)
    assert torch.equal(maskmix.lam, mixpro.lam)
    pairs = example(9, size)
    _, alone = mixed_by(MaskMix(), pairs, maskmix)
    _, without = mixed_by(MixPro(pal=False), pairs, mixpro)
    assert torch.equal(alone.lam, without.lam)


def test_at_least_one_cell_is_the_targets() -> None:
    """Card: with 16 cells the mean area of the target is 17/32."""
    pairs = example(4000, (32, 32))
    mixer = MaskMix(cell=8)
    _, labels = mixed_by(mixer, pairs, mixer.draw(PairRng(0, "maskmix", range(4000)), (32, 32)))
    assert labels.lam.max() == 15 / 16
    assert labels.lam.min() == 0
    assert (1 - labels.lam).mean().item() == pytest.approx(17 / 32, abs=0.02)


@pytest.mark.parametrize(
    ("size", "cell"),
    [((224, 224), 32), ((112, 112), 16), ((64, 64), 16), ((48, 80), 16), ((96, 96), 32), ((56, 56), 8), ((32, 32), 8)],
)
def test_the_side_of_a_cell_follows_from_the_size(size: tuple[int, int], cell: int) -> None:
    draws = MaskMix().draw(PairRng(0, "maskmix", [0]), size)
    assert draws.order.shape == (1, size[0] // cell * (size[1] // cell))
    placement, _ = mixed_by(MaskMix(), example(1, size), draws)
    corners = placement.mask[:, ::cell, ::cell].repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    assert torch.equal(placement.mask, corners)


@pytest.mark.parametrize(
    ("mixer", "size", "complaint"),
    [
        (MaskMix(), (70, 70), "maskmix: cell, got none for images of 70x70 px.* -m maskmix:cell=PIXELS"),
        (MixPro(), (20, 40), "mixpro: cell, got none for images of 20x40 px.* -m mixpro:cell=PIXELS"),
        (MaskMix(cell=64), (64, 64), "maskmix: cell, got 64 px for images of 64x64 px.* at most 32"),
    ],
)
def test_cells_that_do_not_fit(mixer: MaskMix, size: tuple[int, int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        mixer.draw(PairRng(0, "maskmix", [0]), size)


def test_cells_must_be_whole_patches_where_attention_counts() -> None:
    pairs, mixer = example(2), MixPro(cell=8)
    draws = mixer.draw(PairRng(0, "mixpro", range(2)), pairs.size)
    each = torch.arange(2)
    coarse = Signals({ClassAttention(): torch.ones(2, 8, 4), Logits(): torch.zeros(2, 6)}, each, each)
    with pytest.raises(UsageError, match=r"^cell, got 8 px for patches of 16 px. .* a multiple of 16"):
        mixed_by(mixer, pairs, draws, coarse)
    mixed_by(MixPro(cell=16), pairs, MixPro(cell=16).draw(PairRng(0, "mixpro", range(2)), pairs.size), coarse)


def test_what_is_asked_of_the_mixed_image() -> None:
    assert MixPro().needs_mixed() == {ClassAttention(), Logits()}
    assert MixPro(attention="queries").needs_mixed() == {BottomUp(), Logits()}
    assert not MixPro(pal=False).needs_model
    assert not MaskMix().needs_model


def agreement(
    probabilities: list[float], area: float, smoothing: float = 0.0, labels: tuple[int, int] = (0, 1)
) -> float:
    """Of one pair: the source has the first of ``labels``, the target the second."""
    pairs = PairBatch(torch.zeros(2, 3, 1, 1), torch.tensor(labels), torch.tensor([0]), torch.tensor([1]))
    logits = torch.tensor([probabilities]).log()
    return float(label_agreement(logits, pairs, torch.tensor([area], dtype=torch.float64), smoothing))


def test_how_far_a_prediction_agrees_with_the_label() -> None:
    assert agreement([0.3, 0.7, 0.0, 0.0], 0.3) == pytest.approx(1)
    assert agreement([1.0, 0.0, 0.0, 0.0], 0.5) == pytest.approx(np.sqrt(0.5))
    assert agreement([0.0, 0.0, 0.5, 0.5], 0.5) == 0
    assert agreement([0.25, 0.25, 0.25, 0.25], 0.5, smoothing=1.0) == pytest.approx(1)
    assert agreement([0.0, 1.0, 0.0, 0.0], 0.3, labels=(1, 1)) == pytest.approx(1)  # one class twice
    values = [agreement([share, 1 - share, 0.0], share) for share in np.linspace(0, 1, 101)]
    assert max(values) <= 1


def test_options() -> None:
    assert canonical_name(parse_method("mixpro:cell=56,pal=false")) == "mixpro:cell=56,pal=false"
    assert parse_method("maskmix:area=official") == MaskMix(area="official")
    for options, name in (({"cell": 0}, "cell"), ({"alpha": 0.0}, "alpha"), ({"smoothing": 2.0}, "smoothing")):
        with pytest.raises(UsageError, match=f"{name}, got"):
            MixPro(**options)


def test_draws_are_a_pairs_own() -> None:
    together: Draws = MixPro().draw(PairRng(1, "mixpro", range(30)), (64, 64))
    alone = MixPro().draw(PairRng(1, "mixpro", [7]), (64, 64))
    for name, value in vars(together).items():
        assert torch.equal(getattr(alone, name)[0], value[7])
