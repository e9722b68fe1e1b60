"""PuzzleMix against the released code: costs, energies, what follows from its labels, and whole pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, run
from tiny_network import load_tiny
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers import _graphcut
from gazeeval.mixers._graphcut import GridEnergy, max_flow, primal_dual
from gazeeval.mixers._transport import transport_plan
from gazeeval.mixers.base import parse_method
from gazeeval.mixers.puzzlemix import PuzzleMix, PuzzleMixDraws
from gazeeval.signals.base import InputGradient, Signals
from gazeeval.signals.probe import probe
from gazeeval.testing import check_mixer
from gazeeval.types import PairBatch

Data = Mapping[str, NDArray[Any]]


def mixer_of(data: Data) -> PuzzleMix:
    return PuzzleMix(
        levels=int(data["n_labels"]),
        beta=float(data["beta"]),
        gamma=float(data["gamma"]),
        eta=float(data["eta"]),
        neigh=int(data["neigh_size"]),
        t_eps=float(data["t_eps"]),
        t_size=int(data["t_size"]) if data["t_size"] > 0 else None,
        transport=bool(data["transport"]),
    )


def pairs_of(data: Data, device: str = "cpu") -> PairBatch:
    images = torch.from_numpy(data["images"]).to(device).float() / 255
    order, source = torch.arange(len(images), device=device), torch.from_numpy(data["pairs"]).to(device)
    return PairBatch(images, order, source, order)


def draws_of(data: Data) -> PuzzleMixDraws:
    count = len(data["pairs"])
    lam = torch.full((count,), 1 - float(data["prior_lambda_code"]), dtype=torch.float64)
    return PuzzleMixDraws(lam, torch.full((count,), int(data["block_num"])))


def two(values: Tensor, pairs: PairBatch) -> Tensor:
    """(b, 2, ...): of target and source."""
    return torch.stack((values[pairs.target], values[pairs.source]), dim=1)


def saliency_of(data: Data, pairs: PairBatch) -> Tensor:
    return torch.from_numpy(data["saliency"]).to(pairs.images.device)


def stored_weights(data: Data, down: str, right: str) -> Tensor:
    """(b, 2, n, n) from neighbours (b, n - 1, n) and (b, n, n - 1)."""
    below = np.pad(data[down], ((0, 0), (0, 1), (0, 0)))
    return torch.from_numpy(np.stack((below, np.pad(data[right], ((0, 0), (0, 0), (0, 1)))), axis=1))


def stored_energy(data: Data, device: str = "cpu") -> GridEnergy:
    weight = stored_weights(data, "weight_v_int", "weight_h_int")
    return GridEnergy(torch.from_numpy(data["unary_int"]).to(device), weight.to(device))


def normalised(images: Tensor, data: Data) -> Tensor:
    mean, std = (torch.from_numpy(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (images.cpu() - mean) / std


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("puzzlemix"))
def test_oracle_costs(case: str, device: str) -> None:
    data = load(case)
    pairs, mixer, lam = pairs_of(data, device), mixer_of(data), draws_of(data).lam.to(device)
    saliency = two(saliency_of(data, pairs), pairs)
    costs, weights = mixer.costs(two(pairs.images, pairs), saliency, int(data["block_num"]))
    for index, key in enumerate(("cost_show_target", "cost_show_source")):
        np.testing.assert_allclose(costs[:, index].cpu(), data[key], rtol=0, atol=1e-6)
    expected = stored_weights(data, "pair_v", "pair_h")
    there = stored_weights(data, "weight_v_int", "weight_h_int") > 0
    stored_charge = (expected + float(data["beta_eff"])) * there
    np.testing.assert_allclose(weights.cpu(), stored_charge, rtol=0, atol=1e-6)
    energy, stored = mixer.energy(costs, weights, lam), stored_energy(data, device)
    assert (energy.unary - stored.unary).abs().max() <= 1
    assert (energy.weight - stored.weight).abs().max() <= 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("puzzlemix"))
def test_oracle_solvers(case: str, device: str) -> None:
    """In the released code's integers. The stored energies are float32."""
    data = load(case)
    energy = stored_energy(data, device)
    for name in ("gco", "exact"):
        levels = torch.from_numpy(data[f"labels_{name}"]).to(device)
        np.testing.assert_allclose(energy(levels).cpu(), data[f"energy_{name}"], rtol=1e-6)
    levels = max_flow(energy)
    assert levels.device.type == device
    np.testing.assert_array_equal(levels.cpu(), data["labels_exact"])
    for solved in (levels, primal_dual(energy, 500)):
        assert (energy(solved).cpu().numpy() <= data["energy_gco"] * (1 + 1e-4)).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("puzzlemix"))
def test_oracle_after_the_solver(case: str, device: str) -> None:
    data = load(case)
    pairs, mixer = pairs_of(data, device), mixer_of(data)
    placement = mixer.arrange(torch.from_numpy(data["labels_gco"]).to(device), two(saliency_of(data, pairs), pairs))
    side = pairs.size[0] // int(data["block_num"])
    np.testing.assert_allclose(placement.mask[:, ::side, ::side].cpu(), data["mask_source"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(placement.mask_share().cpu(), data["lam_source"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(1 - placement.mask_share().cpu(), data["lam_code"], rtol=0, atol=1e-6)
    assert placement.kind == "patches"
    if "mixed" in data:
        mixed = placement.blend(pairs.source_images, pairs.target_images)
        np.testing.assert_allclose(normalised(mixed, data), data["mixed"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [case for case in cases("puzzlemix") if load(case)["transport"]])
def test_oracle_plans(case: str, device: str) -> None:
    """Read back from the pixels. In cells where an image does not show, the released code may keep its first block."""
    data = load(case)
    pairs, mixer = pairs_of(data, device), mixer_of(data)
    placement = mixer.arrange(torch.from_numpy(data["labels_gco"]).to(device), two(saliency_of(data, pairs), pairs))
    cells = data["transport_mask_source"].shape[1]
    side = pairs.size[0] // cells
    share = placement.mask[:, ::side, ::side].cpu().numpy()
    np.testing.assert_allclose(share, data["transport_mask_source"], rtol=0, atol=1e-6)
    assert placement.source_index is not None
    assert placement.target_index is not None
    for key, index, shown in (
        ("plan_source", placement.source_index, share > 0),
        ("plan_target", placement.target_index, share < 1),
    ):
        own = index[:, ::side, ::side].cpu().numpy()
        row, col = own // pairs.size[1], own % pairs.size[1]
        plan = np.where(own < 0, -1, row // side * cells + col // side).reshape(data[key].shape)
        np.testing.assert_array_equal(plan, np.where(shown.reshape(plan.shape), data[key], -1))
        assert (data[key] == plan)[:, 1:].all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("puzzlemix"))
def test_oracle_whole_pairs(case: str, device: str) -> None:
    """From images and saliency to the mixed image, where the released code found the minimum."""
    data = load(case)
    pairs = pairs_of(data, device)
    signals = Signals({InputGradient(): saliency_of(data, pairs)}, pairs.source, pairs.target)
    placement, labels, mixed = run(mixer_of(data), pairs, draws_of(data), signals)
    found = (data["labels_gco"] == data["labels_exact"]).all(axis=(1, 2))
    assert found.any()
    side = pairs.size[0] // int(data["block_num"])
    levels = placement.mask[:, ::side, ::side].cpu().numpy() * (int(data["n_labels"]) - 1)
    np.testing.assert_allclose(levels, data["labels_exact"], atol=1e-6)
    np.testing.assert_allclose(labels.lam.cpu()[found], data["lam_source"][found], rtol=0, atol=1e-6)
    if "mixed" in data:
        np.testing.assert_allclose(normalised(mixed, data)[found], data["mixed"][found], rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_from_the_network(device: str) -> None:
    data = load("puzzlemix_net")
    assert not data["grad_mode_train"]
    pairs = pairs_of(data, device)
    mean, std = (tuple(data[key].tolist()) for key in ("mean", "std"))
    model = replace(load_tiny(data, device), mean=mean, std=std)
    labels = torch.from_numpy(data["labels"]).to(device)
    gradient = probe({InputGradient()}, model, pairs.images, labels)[InputGradient()]
    relative = gradient / gradient.amax(dim=(1, 2), keepdim=True)
    stored = data["saliency"] / data["saliency"].max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(relative.cpu(), stored, rtol=0, atol=1e-5)
    _, _, mixed = run(
        mixer_of(data), pairs, draws_of(data), Signals({InputGradient(): gradient}, pairs.source, pairs.target)
    )
    np.testing.assert_allclose(normalised(mixed, data), data["mixed"], rtol=0, atol=1e-5)


def random_energy(count: int, n: int, levels: int, seed: int = 0) -> GridEnergy:
    """Costs of levels in any order, weights of which some are 0."""
    generator = torch.Generator().manual_seed(seed)
    unary = torch.randint(-1000, 1000, (count, n, n, levels), generator=generator)
    weight = torch.randint(-200, 800, (count, 2, n, n), generator=generator).clamp(min=0)
    weight[:, 0, -1] = weight[:, 1, :, -1] = 0
    return GridEnergy(unary, weight)


@pytest.mark.parametrize(("n", "levels"), [(3, 2), (3, 3), (2, 4), (2, 7)])
def test_exact_against_all_possible_levels(n: int, levels: int) -> None:
    energy = random_energy(20, n, levels)
    every = torch.tensor(list(product(range(levels), repeat=n * n))).view(-1, 1, n, n).expand(-1, 20, -1, -1)
    least = torch.stack([energy(one) for one in every]).amin(dim=0)
    torch.testing.assert_close(energy(max_flow(energy)), least, rtol=0, atol=1e-6)
    torch.testing.assert_close(energy(primal_dual(energy, 1500)), least, rtol=0, atol=1e-6)


def test_solutions_do_not_depend_on_the_company(monkeypatch: pytest.MonkeyPatch) -> None:
    energy = random_energy(7, 4, 3)
    together = max_flow(energy)
    monkeypatch.setattr(_graphcut, "_SWITCHES_PER_GRAPH", 1)
    assert torch.equal(max_flow(energy), together)


def test_of_equal_solutions_the_one_with_least_of_the_source() -> None:
    nothing_to_choose = GridEnergy(torch.ones(1, 4, 4, 3).long(), torch.zeros(1, 2, 4, 4).long())
    assert not max_flow(nothing_to_choose).any()


def test_primal_dual_solves_most_pairs_exactly() -> None:
    energies = [stored_energy(load(case)) for case in cases("puzzlemix_k3")]
    solved = torch.cat([energy(primal_dual(energy, 500)) <= energy(max_flow(energy)) for energy in energies])
    assert solved.double().mean() > 0.9


def test_costs_that_capacities_cannot_hold() -> None:
    with pytest.raises(UsageError, match="Use fewer levels"):
        max_flow(GridEnergy(torch.tensor([0, 2**31]).view(1, 1, 1, 2), torch.zeros(1, 2, 1, 1).long()))


def test_the_most_salient_block_is_kept() -> None:
    """The released code, with 32-bit costs, gives it away: case ``peak_overflow``."""
    saliency = torch.ones(1, 2, 64, 64)
    saliency[0, 0, 20:24, 40:44] = 60  # about a tenth, of the target
    mixer = PuzzleMix(levels=2)
    lam = torch.tensor([0.6], dtype=torch.float64)
    images = torch.rand(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    levels = mixer.solve(images, saliency, lam, 16)
    assert levels[0, 5, 10] == 0
    assert levels.double().mean() > 0.5


def test_blocks_move_into_what_shows_and_take_their_gaze_along() -> None:
    """Two by two blocks. The source shows above, its salient block lies below on the left: it goes up."""
    saliency = torch.full((1, 2, 8, 8), 0.01)
    saliency[0, 1, 4:, :4] = 1
    placement = PuzzleMix(t_eps=0.5).arrange(torch.tensor([[[2, 2], [0, 0]]]), saliency)
    assert placement.source_index is not None
    assert placement.source_index[0, ::4, ::4].tolist() == [[32, 4], [-1, -1]]
    assert placement.source_index[0, 3, 2] == 7 * 8 + 2
    gaze = saliency[:, 1] / saliency[:, 1].sum()
    _, seen, _ = lam_gaze(placement, gaze, gaze)
    assert seen.item() == pytest.approx(1.01 / 1.03, abs=1e-6)
    picture = placement.blend(gaze.unsqueeze(1), torch.zeros(1, 1, 8, 8))
    assert picture.sum().item() == pytest.approx(seen.item(), abs=1e-6)


def test_blocks_without_saliency_keep_their_place() -> None:
    """The released code loses them."""
    saliency = torch.zeros(1, 4, 4, dtype=torch.float64)
    saliency[0, 3, 3] = 1
    visible = torch.zeros(1, 4, 4, dtype=torch.bool)
    visible[0, :2] = True
    plan = transport_plan(saliency, visible, 3)  # too dear for the salient block to move
    assert plan[0, :8].tolist() == list(range(8))
    assert (plan[0, 8:] == -1).all()


def test_a_grid_that_is_not_square() -> None:
    """Distances in units of the sides: 1 column of 9 is nearer than 1 row of 2."""
    saliency = torch.full((1, 2, 9), 0.01, dtype=torch.float64)
    saliency[0, 1, 4] = 1
    visible = torch.zeros(1, 2, 9, dtype=torch.bool)
    visible[0, 0] = visible[0, 1, 3] = True
    assert transport_plan(saliency, visible, 0.5)[0, 9 + 3] == 9 + 4


@pytest.mark.parametrize("value", [0.0, 1.0, torch.nan, torch.inf])
def test_saliency_that_says_nothing_is_uniform(value: float) -> None:
    mixer = PuzzleMix(blocks=4)
    images = torch.rand(2, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    one = mixer.costs(images, torch.ones(2, 2, 16, 16), 4)
    other = mixer.costs(images, torch.full((2, 2, 16, 16), value), 4)
    torch.testing.assert_close(one, other)


def test_a_cell_that_does_not_divide_the_block() -> None:
    """Blocks of 14 pixels, cells of 2 where 4 were asked for: on a ramp neighbouring cells differ by a cell's size."""
    ramp = (torch.arange(224) / 224).expand(1, 2, 3, 224, 224)
    costs, _ = PuzzleMix().costs(ramp, torch.ones(1, 2, 224, 224), 16)
    per_border = 1.2 / (16 * 16) * 0.5 * 2 / 224
    assert costs[0, 0, 3, 3].item() == pytest.approx(1 / 256 + 2 * per_border, rel=1e-5)  # left and right


def test_draws() -> None:
    draws = PuzzleMix().draw(PairRng(0, "puzzlemix", np.arange(4000)), (224, 224))
    numbers, counts = np.unique(draws.blocks, return_counts=True)
    assert numbers.tolist() == [2, 4, 8, 16]
    assert np.abs(counts - 1000).max() < 120
    assert PuzzleMix(blocks=7).draw(PairRng(0, "puzzlemix", [3]), (224, 224)).blocks.tolist() == [7]


@pytest.mark.parametrize("spec", ["solver=primal-dual", "transport=false", "t_size=8,blocks=2", "levels=2,blocks=8"])
def test_options_keep_the_contract(spec: str) -> None:
    check_mixer(parse_method(f"puzzlemix:{spec}"))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("levels=1", "levels, got 1"),
        ("gamma=1.5", "gamma, got 1.5"),
        ("blocks=1", "blocks, got 1"),
        ("t_size=0", "t_size, got 0"),
        ("solver=gco", "solver, got 'gco'"),
    ],
)
def test_what_cannot_be_asked(spec: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_method(f"puzzlemix:{spec}")


def test_sizes_that_blocks_do_not_divide() -> None:
    rng = PairRng(0, "puzzlemix", [0])
    with pytest.raises(UsageError, match=r"width of the images, got 250 px, which 16 blocks.*Use 256 px"):
        PuzzleMix().draw(rng, (224, 250))
    with pytest.raises(UsageError, match=r"height of the images, got 7 px, which 10 blocks.*Use 10 px"):
        PuzzleMix(blocks=10).draw(rng, (7, 20))
