"""AttentiveMix against OpenMixup and a third-party code, from their recorded attention."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from oracles import DEVICES, cases, load, pair_batch, run
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.attentivemix import AttentiveMix, AttentiveMixDraws
from gazeeval.mixers.base import Draws, parse_method
from gazeeval.signals.base import FeatureMean, Signals
from gazeeval.testing import check_mixer
from gazeeval.types import PairBatch, Placement


def reading(pairs: PairBatch, attention: Tensor) -> Signals:
    """The sources' attention; nothing may be asked of the targets, whose answers are not finite."""
    attention = attention.to(pairs.images.device)
    return Signals({FeatureMean(): torch.cat((attention, attention * torch.nan))}, pairs.source, pairs.target)


def placed(mixer: AttentiveMix, attention: Tensor, size: tuple[int, int]) -> Placement:
    images = np.zeros((len(attention), 3, *size), np.float32)
    pairs = pair_batch(images, images)
    return run(mixer, pairs, Draws(), reading(pairs, attention))[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("attentivemix_openmixup"))
def test_oracle_openmixup(case: str, device: str) -> None:
    """``features`` is read in tests/signals/test_probe.py. 6 of 16 and 14 of 49 are what drawn shares come to."""
    data = load(case)
    attention = torch.from_numpy(data["attention"])
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    mixer, draws = AttentiveMix(grid=attention.shape[-1], top=int(data["top_k"])), Draws()
    placement, labels, mixed = run(mixer, pairs, draws, reading(pairs, attention))
    np.testing.assert_array_equal(placement.mask.cpu(), data["mask"])
    np.testing.assert_array_equal(mixed.cpu(), data["mixed"])
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"], rtol=0, atol=1e-7)  # theirs is float32
    cell = pairs.size[0] // attention.shape[-1]
    np.testing.assert_array_equal(placement.mask[:, ::cell, ::cell].cpu(), data["grid_mask"])
    assert placement.kind == "patches"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("attentivemix_xden"))
def test_oracle_third_party(case: str, device: str) -> None:
    """That code's attention is the last channel alone, so the other channels of ``features`` are of no use here."""
    data = load(case)
    source, target = (data[key].transpose(0, 3, 1, 2) / np.float32(255) for key in ("x_source_u8", "x_target_u8"))
    pairs = pair_batch(source, target, device)
    signals = reading(pairs, torch.from_numpy(data["feature_last_channel"]))
    placement, labels, mixed = run(AttentiveMix(top=int(data["top_k"])), pairs, Draws(), signals)
    np.testing.assert_array_equal(placement.mask[:, ::32, ::32].cpu(), data["grid_mask"])
    np.testing.assert_array_equal((mixed * 255).round().byte().permute(0, 2, 3, 1).cpu(), data["mixed_u8"])
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"], rtol=0, atol=1e-12)


def test_six_of_49_whatever_the_feature_map() -> None:
    attention = torch.rand(5, 14, 14, generator=torch.Generator().manual_seed(0))
    share = placed(AttentiveMix(), attention, (224, 224)).mask_share()
    torch.testing.assert_close(share, torch.full_like(share, 6 / 49), rtol=0, atol=1e-12)


def test_pooling_takes_the_mean_of_the_cells() -> None:
    attention = torch.zeros(1, 14, 14)
    attention[0, 0, 0] = 3  # the single highest value, in a quarter with nothing else
    attention[0, 2:4, 2:4] = 1
    mask = placed(AttentiveMix(top=1), attention, (14, 14)).mask[0]
    assert mask.nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]


@pytest.mark.parametrize(("grid", "cells"), [((14, 14), 24), ((7, 7), 6), ((8, 8), 8), ((4, 6), 3), ((2, 2), 1)])
def test_the_native_grid(grid: tuple[int, int], cells: int) -> None:
    """round(6/49 * cells), at least one."""
    attention = torch.rand(3, *grid, generator=torch.Generator().manual_seed(1))
    placement = placed(AttentiveMix(grid="native"), attention, (8 * grid[0], 8 * grid[1]))
    assert (placement.mask.sum(dim=(1, 2)) == 64 * cells).all()


def test_cells_of_unequal_size_and_the_share_they_really_have() -> None:
    attention = torch.arange(49.0).view(1, 7, 7)
    placement = placed(AttentiveMix(top=1), attention, (10, 16))
    assert placement.mask[0].nonzero().amin(0).tolist() == [9, 14]  # ceil(6 * 10 / 7), ceil(6 * 16 / 7)
    assert placement.mask_share().item() == pytest.approx(2 / 160)
    whole = placed(AttentiveMix(top=49), attention, (10, 16))
    assert whole.mask.min() == 1


def test_ties_go_to_the_first_in_raster_order() -> None:
    attention = torch.zeros(2, 7, 7)
    attention[1, 6, 6] = 1
    mask = placed(AttentiveMix(), attention, (7, 7)).mask
    assert mask[0].flatten().nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert mask[1].flatten().nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 48]


@pytest.mark.parametrize(("lam", "cells"), [(0.3, 14), (0.0, 1), (0.999, 48), (1.0, 49)])
def test_drawn_number_of_cells(lam: float, cells: int) -> None:
    """The second OpenMixup file drew 0.3 and pasted 14 cells."""
    images = np.zeros((1, 3, 49, 49), np.float32)
    pairs = pair_batch(images, images)
    signals = reading(pairs, torch.rand(1, 7, 7))
    draws = AttentiveMixDraws(torch.tensor([lam], dtype=torch.float64))
    _, labels, _ = run(AttentiveMix(top="beta"), pairs, draws, signals)
    assert labels.lam.item() == pytest.approx(cells / 49)


def test_only_a_drawn_number_draws() -> None:
    rng = PairRng(0, "attentivemix", np.arange(2000))
    assert type(AttentiveMix().draw(rng, (56, 56))) is Draws
    draws = AttentiveMix(top="beta", alpha=5).draw(rng, (56, 56))
    assert isinstance(draws, AttentiveMixDraws)
    assert draws.lam.std().item() == pytest.approx(np.sqrt(1 / 44), abs=0.01)  # Beta(a, a): 1 / (4 (2a + 1))


@pytest.mark.parametrize("spec", ["grid=native", "top=beta", "grid=5,top=2"])
def test_options_keep_the_contract(spec: str) -> None:
    check_mixer(parse_method(f"attentivemix:{spec}"))


def test_options_from_the_command_line() -> None:
    assert parse_method("attentivemix:grid=native,top=20") == AttentiveMix(grid="native", top=20)
    assert parse_method("attentivemix:grid=14,top=beta,alpha=2") == AttentiveMix(grid=14, top="beta", alpha=2)
    for spec, complaint in (
        ("grid=0", "grid, got 0"),
        ("top=0", "top, got 0"),
        ("top=50", "top, got 50 of a grid of 49 cells"),
        ("grid=fine", "grid, got 'fine'"),
    ):
        with pytest.raises(UsageError, match=complaint):
            parse_method(f"attentivemix:{spec}")


def test_more_cells_than_the_feature_map_has() -> None:
    with pytest.raises(UsageError, match=r"top, got 20 of a grid of 16 cells\. Give at most 16"):
        placed(AttentiveMix(grid="native", top=20), torch.rand(1, 4, 4), (32, 32))
