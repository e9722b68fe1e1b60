"""Co-Mixup against the released code: everything around the solver, and the objective that the solver reaches."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load
from tiny_network import images_of, load_tiny

import gazeeval as ge
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._potts import PottsEnergy, least_energy
from gazeeval.mixers.base import parse_method
from gazeeval.mixers.comixup import CoMixup, CoMixupDraws, _apart
from gazeeval.run import evaluate
from gazeeval.signals.base import InputGradient, Signals
from gazeeval.signals.probe import probe
from gazeeval.testing import check_mixer
from gazeeval.types import GroupPlacement, PairBatch

Data = dict[str, NDArray[Any]]
CASES = cases("comixup_")


def mixer_of(data: Data) -> CoMixup:
    return CoMixup(
        blocks=int(data["block_num"]),
        beta=float(data["m_beta"]),
        gamma=float(data["m_gamma"]),
        thres=float(data["m_thres"]),
        hard=bool(data["thres_hard"]),
        eta=float(data["m_eta"]),
        alpha=float(data["mixup_alpha"]),
        omega=float(data["m_omega"]),
        sweeps=int(data["m_niter"]),
        resolve=bool(data["set_resolve"]),
    )


def problem(mixer: CoMixup, data: Data, device: str = "cpu") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Costs and compatibility."""
    saliency, taste = (torch.from_numpy(data[key]).to(device) for key in ("saliency", "dirichlet"))
    cost = mixer.costs(saliency, taste, int(data["block_num"]))
    return cost.cpu().numpy(), mixer.compatibility(saliency).cpu().numpy()


def started(data: Data) -> NDArray[np.float64]:
    """(m, m, n, n): the masks of the drawn labels."""
    return np.eye(len(data["cost"]))[data["init_labels"]].transpose(0, 3, 1, 2)


def stored_masks(data: Data) -> NDArray[np.float64]:
    return np.moveaxis(data["mask_onehot"].astype(float), -1, 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_costs_and_compatibility(case: str, device: str) -> None:
    """`compat_A` follows from `location_l1`, which is not compared on its own."""
    data = load(case)
    cost, alike = problem(mixer_of(data), data, device)
    np.testing.assert_allclose(cost, data["cost"], atol=1e-5)
    np.testing.assert_allclose(alike, data["compat_A"], atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_mixed_images_and_labels_of_the_stored_masks(case: str, device: str) -> None:
    data = load(case)
    placement = GroupPlacement(torch.from_numpy(data["mask_onehot"]).movedim(-1, 1).float().to(device))
    np.testing.assert_allclose(placement.shares().cpu(), data["target"], atol=1e-5)
    images = images_of(data, device)
    if "norm_mean" in data:
        images = (images - float(data["norm_mean"])) / float(data["norm_std"])
    np.testing.assert_allclose(placement.blend(images).cpu(), data["mixed"], atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_objective_of_the_stored_masks(case: str) -> None:
    """Without threshold; `objective_thres` is not used."""
    data = load(case)
    mixer, cost = mixer_of(data), data["cost"].astype(float)
    assert mixer.objective(cost, stored_masks(data)) == pytest.approx(float(data["objective"]), rel=1e-5)
    assert mixer.objective(cost, started(data)) == pytest.approx(float(data["objective_init"]), rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_masks_with_the_same_draws(case: str) -> None:
    """From the saliency on, block for block. What is asked for is less: an objective at most 10 % above the stored."""
    data = load(case)
    mixer = mixer_of(data)
    found = mixer.solve(*problem(mixer, data), data["init_labels"].astype(np.int64))
    np.testing.assert_array_equal(found, stored_masks(data))


def test_saliency_through_a_network() -> None:
    data = load("comixup_net")
    labels = torch.from_numpy(data["labels"])
    found = probe({InputGradient()}, load_tiny(data), images_of(data), labels)[InputGradient()]
    stored = torch.from_numpy(data["saliency"])
    ratio = found.sum() / stored.sum()  # the released code averages the loss over the batch
    torch.testing.assert_close(found / ratio, stored, rtol=0, atol=1e-5 * float(stored.max()))


def energies(count: int) -> Iterator[PottsEnergy]:
    """On 3 x 3 blocks. Where there are more than two labels the last is half and half of the first two, which makes the
    charge no metric."""
    rng = np.random.default_rng(0)
    charge = 100.0 * (1 - np.eye(count))
    for _ in range(20):
        unary = rng.integers(-200, 200, (count, 3, 3)).astype(float)
        if count > 2:
            charge[-1, :2] = charge[:2, -1] = 25
            unary[-1] = unary[:2].mean(axis=0).round() - 1
        yield PottsEnergy(unary, charge)


@pytest.mark.parametrize("count", [2, 5])
def test_no_swap_lowers_the_least_energy(count: int) -> None:
    """Nor anything else, where there are two labels only."""
    for energy in energies(count):
        labels = least_energy(energy)
        for two in itertools.combinations(range(count), 2):
            shared = np.isin(labels, two)
            for choice in itertools.product(two, repeat=int(shared.sum())):
                other = labels.copy()
                other[shared] = choice
                assert energy(other) >= energy(labels)


def test_without_charge_every_block_is_its_cheapest_label() -> None:
    unary = np.random.default_rng(0).permutation(5 * 6 * 6).reshape(5, 6, 6).astype(float)
    labels = least_energy(PottsEnergy(unary, np.zeros((5, 5))))
    np.testing.assert_array_equal(labels, unary.argmin(axis=0))


def group(count: int, mixes: int, side: int = 16) -> tuple[PairBatch, Signals]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, side, side, generator=generator)
    source, target = torch.arange(mixes) % count, (torch.arange(mixes) + 1) % count
    saliency = torch.rand(count, side, side, generator=generator)
    return PairBatch(images, torch.arange(count), source, target), Signals({InputGradient(): saliency}, source, target)


def draws_of(mixer: CoMixup, number: int = 0) -> CoMixupDraws:
    return mixer.draw(PairRng(0, "comixup", [number]), (16, 16))


def test_parts_do_not_mix_with_each_other_and_one_image_is_itself() -> None:
    mixer = CoMixup(part=3)
    pairs, signals = group(7, 7)
    draws = draws_of(mixer)
    shares = mixer.compose(pairs, signals, draws).shares()
    order = draws.order[0, :7].argsort()
    for part in (slice(0, 3), slice(3, 6), slice(6, 7)):
        torch.testing.assert_close(shares[part][:, order[part]].sum(dim=1), torch.ones(len(order[part])).double())
    assert shares[6, order[6]] == 1


def test_fewer_pairs_than_images_take_the_first_mixes() -> None:
    mixer = CoMixup(part=3)
    few, all_ = (mixer.compose(*group(7, mixes), draws_of(mixer)).weights for mixes in (4, 7))
    assert torch.equal(few, all_[:4])


def test_more_pairs_than_images_draw_the_parts_again() -> None:
    mixer = CoMixup()
    weights = mixer.compose(*group(4, 10), draws_of(mixer)).weights
    assert weights.shape == (10, 4, 4, 4)
    assert not torch.equal(weights[:4], weights[4:8])


def test_too_many_pairs() -> None:
    mixer = CoMixup()
    with pytest.raises(UsageError, match=r"got 1026, above 1024. Use a smaller --group-size"):
        mixer.compose(*group(3, 1025), draws_of(mixer))


@pytest.mark.parametrize("value", [0.0, 1.0, torch.nan, torch.inf])
def test_saliency_that_says_nothing_is_uniform(value: float) -> None:
    mixer = CoMixup()
    pairs, signals = group(5, 5)
    saliency = signals.images(InputGradient()).clone()
    expected, saliency[2] = saliency.clone(), value
    expected[2] = 1
    torch.testing.assert_close(mixer.costs(saliency, torch.ones(5), 4), mixer.costs(expected, torch.ones(5), 4))
    assert mixer.compatibility(saliency).isfinite().all()
    weights = mixer.compose(pairs, Signals({InputGradient(): saliency}, pairs.source, pairs.target), draws_of(mixer))
    torch.testing.assert_close(weights.shares().sum(dim=1), torch.ones(5).double())


def test_most_salient_places_that_coincide() -> None:
    """The released code divides zero by zero."""
    assert torch.equal(CoMixup().compatibility(torch.ones(3, 16, 16)), torch.eye(3).double())


def test_draws() -> None:
    draws = CoMixup().draw(PairRng(0, "comixup", [0]), (16, 16))
    assert draws.taste.mean().item() == pytest.approx(2, abs=0.2)  # Gamma(2): mean 2, variance 2
    assert draws.taste.var().item() == pytest.approx(2, abs=0.5)
    assert draws.start.shape == (1, 1024, 4, 4)
    assert draws.blocks.tolist() == [4]


def test_drawn_number_of_blocks() -> None:
    mixer = parse_method("comixup:blocks=none")
    assert isinstance(mixer, CoMixup)
    pairs, signals = group(5, 5)
    found = set()
    for number in range(10):
        draws = draws_of(mixer, number)
        n = int(draws.blocks)
        fixed = dataclasses.replace(draws, start=draws.start[:, :, :n, :n])
        weights = mixer.compose(pairs, signals, draws).weights
        assert torch.equal(weights, CoMixup(blocks=n).compose(pairs, signals, fixed).weights)
        found.add(weights.shape)
    assert found == {(5, 5, n, n) for n in (2, 4, 8, 16)}


def test_mixes_of_the_same_images_are_told_apart() -> None:
    """One of the first two shares pays for image 0, the other for image 2; nobody where it is one image alone."""
    used = np.array([[3, 0, 1], [2, 0, 2], [1, 3, 0], [0, 4, 0], [0, 4, 0]])
    extra = _apart(np.broadcast_to(used[..., None, None] / 4, (5, 3, 2, 2)))
    np.testing.assert_array_equal(extra, [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    "spec", ["hard=false", "blocks=8,part=16,sweeps=3", "resolve=false,part=2", "blocks=1", "blocks=none"]
)
def test_options_keep_the_contract(spec: str) -> None:
    check_mixer(parse_method(f"comixup:{spec}"))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("part=0", "part, got 0"),
        ("omega=2", "omega, got 2"),
        ("blocks=-1", "blocks, got -1. Give a number above 0, or none to draw it"),
        ("beta=1e6", "beta, got 1000000.0. Give a number up to 1000"),
    ],
)
def test_what_cannot_be_asked(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_method(f"comixup:{spec}")


def test_a_size_that_blocks_do_not_divide() -> None:
    with pytest.raises(UsageError, match=r"width of the images, got 30 px, which 4 blocks.*Use 32 px"):
        CoMixup().draw(PairRng(0, "comixup", [0]), (32, 30))
    with pytest.raises(UsageError, match=r"height of the images, got 40 px, which 16 blocks.*Use 32 px"):
        CoMixup(blocks=None).draw(PairRng(0, "comixup", [0]), (40, 32))


def test_a_run() -> None:
    """Rows name the dominant pair; a mix of one image names it twice and has no score as a pair."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 20, (24, 32, 32, 3), dtype=np.uint8)
    for image, (y, x) in zip(images, rng.integers(0, 16, (24, 2)), strict=True):
        image[y : y + 12, x : x + 12] = rng.integers(0, 256, (12, 12, 3))
    points = {"image": np.arange(23), "x": rng.uniform(0, 32, 23), "y": rng.uniform(0, 32, 23)}  # one has no gaze
    labels = np.arange(24) % 4
    dataset = ge.Dataset.from_arrays(list(images), labels, points, list("abcd"), "noise")
    model = load_tiny(load("comixup_net"))
    result = evaluate(
        ["comixup:beta=0.02", "cutmix"], data=dataset, model=model, pairing="cycle", labels="any", sigma="3px"
    )
    pairs = result.pairs
    rows = pairs[(pairs["method"] == "comixup:beta=0.02") & (pairs["status"] == "ok")]
    assert len(rows) > 15
    assert set(rows["note"]) == {"partners of its own, compare unpaired"}
    assert rows["n_images"].between(1, 5).all()
    single = rows["n_images"] == 1
    assert single.any()
    assert ((rows["source_id"] == rows["target_id"]) == single).all()
    assert (rows["x_pair_inconsistency"].isna() == single).all()
    assert rows["lam"].between(0, 0.5).all()
    assert rows["inconsistency"].between(0, 1).all()
    two = rows[rows["n_images"] == 2]
    assert len(two)
    np.testing.assert_allclose(two["inconsistency"], two["x_pair_inconsistency"], atol=1e-6)
    np.testing.assert_allclose(two["x_label_elsewhere"], 0, atol=1e-6)
    others = pairs[(pairs["method"] == "cutmix") & (pairs["status"] == "ok")]
    assert others["note"].fillna("").eq("").all()
    no_gaze = pairs[(pairs["method"] == "comixup:beta=0.02") & (pairs["status"] == "no_gaze")]
    assert len(no_gaze)
    assert no_gaze["inconsistency"].isna().all()
