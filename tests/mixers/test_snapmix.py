"""SnapMix against the released code, from its recorded maps and through a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, run, xyxy
from tiny_network import images_of, load_tiny
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers.base import parse_method
from gazeeval.mixers.cutmix import CutMix
from gazeeval.mixers.snapmix import SnapMix, SnapMixDraws, percent_map
from gazeeval.signals.base import ClassMap, Signals
from gazeeval.signals.gradients import class_map
from gazeeval.signals.probe import probe
from gazeeval.testing import check_mixer, example_pairs
from gazeeval.types import PairBatch

Data = dict[str, NDArray[Any]]


def pairs_of(data: Data, device: str) -> PairBatch:
    """The code's pairs: image ``pairs[i]`` gives the patch, image i is the canvas."""
    source, labels = (torch.from_numpy(data[key]).to(device) for key in ("pairs", "labels"))
    return PairBatch(images_of(data, device), labels, source, torch.arange(len(source), device=device))


def recorded(data: Data) -> SnapMixDraws:
    """The draws as ours. Centres are not recorded but follow from the boxes and the sides before clipping."""
    count, (height, width) = len(data["pairs"]), data["images"].shape[2:]
    draws = []
    for draw, box in zip(data["beta_draws"], (data["box_target"], data["box_source"]), strict=True):
        low, high, extent = box[:2], box[2:], np.array((height, width))
        half = (extent * np.sqrt(1 - draw)).astype(int) // 2
        centre = np.where(low > 0, low + half, high - half)
        draws += [torch.full((count,), float(1 - draw), dtype=torch.float64), torch.from_numpy(centre).expand(count, 2)]
    return SnapMixDraws(*draws)


def boxes(data: Data, key: str) -> NDArray[Any]:
    y0, x0, y1, x1 = data[key]
    return xyxy(np.array((y0, y1, x0, x1)), len(data["pairs"]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("snapmix_"))
def test_oracle(case: str, device: str) -> None:
    """Of the code's rules for pairs of one class only the recorded effect is checked: `lam` does not follow them."""
    data = load(case)
    pairs = pairs_of(data, device)
    signals = Signals({ClassMap(): torch.from_numpy(data["spm"]).to(device)}, pairs.source, pairs.target)
    placement, labels, mixed = run(SnapMix(beta=float(data["beta"])), pairs, recorded(data), signals)
    assert placement.target_box is not None
    assert placement.source_box is not None
    np.testing.assert_array_equal(placement.target_box.cpu(), boxes(data, "box_target"))
    if data["mixed_flag"]:
        np.testing.assert_array_equal(placement.source_box.cpu(), boxes(data, "box_source"))
    else:
        assert torch.equal(mixed, pairs.target_images)
    normalised = (mixed.cpu().numpy() - data.get("norm_mean", 0)) / data.get("norm_std", 1)
    np.testing.assert_allclose(normalised, data["mixed"], rtol=0, atol=1e-5)
    rho_source, rho_target = (labels.extra[name].cpu().numpy() for name in ("rho_source", "rho_target"))
    np.testing.assert_allclose(rho_source, data["rho_source_raw"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(rho_target, data["rho_target_raw"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source_normalised"], rtol=0, atol=1e-5)
    area = np.full(len(pairs), data["lam_source_area"])
    np.testing.assert_allclose(labels.extra["area_target"].cpu(), area, rtol=0, atol=1e-12)
    flat = np.isnan(data["spm"]).any(axis=(1, 2))
    same = (data["labels"] == data["labels"][data["pairs"]]) & ~flat & ~flat[data["pairs"]]
    if data["mixed_flag"]:
        both = rho_source + rho_target
        np.testing.assert_allclose(np.where(same, both, rho_source), data["rho_source_code"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.where(same, both, rho_target), data["rho_target_code"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [*cases("snapmix_net_eval"), *cases("gradsal_eval")])
def test_oracle_maps_of_a_network(case: str, device: str) -> None:
    data = load(case)
    labels = torch.from_numpy(data["labels"]).to(device)
    found = probe({ClassMap()}, load_tiny(data, device), images_of(data, device), labels)[ClassMap()]
    assert_same_map(percent_map(found, data["images"].shape[2:]), data.get("spm", data.get("snapmix_spm")))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [*cases("snapmix_net_train"), *cases("gradsal_train")])
def test_oracle_maps_of_a_network_in_training(case: str, device: str) -> None:
    """As the released code computes them; a run asks the network in eval mode."""
    data = load(case)
    model = load_tiny(data, device)
    network: Any = model.network.train()
    features = network.forward_features(model.normalise(images_of(data, device))).requires_grad_()
    labels = torch.from_numpy(data["labels"]).to(device)
    found = class_map(network.forward_head(features), features, labels, lambda same: same)
    assert_same_map(percent_map(found, data["images"].shape[2:]), data.get("spm", data.get("snapmix_spm")))


def assert_same_map(found: Tensor, expected: NDArray[Any] | None) -> None:
    """To a thousandth of a pixel's mean share, the tolerance of the card."""
    assert expected is not None
    np.testing.assert_allclose(found.cpu(), expected, rtol=0, atol=1e-3 / expected[0].size)


def drawn(count: int = 6, size: tuple[int, int] = (64, 64), beta: float = 1.0) -> SnapMixDraws:
    return SnapMix(beta=beta).draw(PairRng(0, "snapmix", range(count)), size)


def test_the_box_in_the_target_is_that_of_cutmix() -> None:
    cutmix = CutMix().draw(PairRng(0, "cutmix", range(6)), (48, 80))
    draws = drawn(size=(48, 80))
    assert torch.equal(draws.lam, cutmix.lam)
    assert torch.equal(draws.centre, cutmix.centre)
    assert not torch.isclose(draws.source_share, draws.lam).any()


def test_the_two_boxes_are_independent_with_one_law() -> None:
    draws = drawn(20_000, beta=5.0)
    shares = torch.stack((draws.lam, draws.source_share))
    assert shares.std(dim=1).tolist() == pytest.approx([np.sqrt(1 / 44)] * 2, abs=0.005)  # Beta(a,a): 1 / (4 (2a + 1))
    assert abs(shares.corrcoef()[0, 1].item()) < 0.02
    assert draws.source_centre.amin() == 0
    assert draws.source_centre.amax() == 63


def test_gaze_that_follows_the_class_maps_agrees_with_the_label() -> None:
    """The sums over the boxes are the visible gaze of densities that equal the percent maps."""
    mixer = SnapMix()
    pairs, signals = example_pairs(mixer)
    placement, labels, _ = run(mixer, pairs, drawn(), signals)
    density = percent_map(signals.images(ClassMap()), pairs.size).float()
    share, S, T = lam_gaze(placement, density[pairs.source], density[pairs.target])
    torch.testing.assert_close(S.double(), labels.extra["rho_source"], rtol=0, atol=1e-5)
    torch.testing.assert_close(T.double(), labels.extra["rho_target"], rtol=0, atol=1e-5)
    torch.testing.assert_close(share, labels.lam, rtol=0, atol=1e-5)
    assert labels.lam.std() > 0.05


def with_maps(maps: Tensor) -> tuple[PairBatch, Signals]:
    """Three pairs over two images: 0 into 1, 1 into 0, and 1 into itself."""
    source, target = torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1])
    pairs = PairBatch(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), source, source, target)
    return pairs, Signals({ClassMap(): maps}, source, target)


def test_a_constant_map_is_seen_and_replaced_by_areas() -> None:
    """0.1 is no float, so that stretching it may round; the noise must not become a map."""
    maps = torch.stack((torch.full((7, 7), 0.1), torch.arange(49.0).view(7, 7)))
    pairs, signals = with_maps(maps)
    _, labels, _ = run(SnapMix(), pairs, drawn(3), signals)
    flat, nonfinite = signals.degenerate()
    assert flat.tolist() == [True, True, False]
    assert not nonfinite.any()
    area = labels.extra["area_target"]
    assert labels.extra["rho_source"][0] == area[0]
    assert labels.extra["rho_target"][1] == 1 - area[1]
    assert labels.extra["rho_source"][2] != area[2]
    assert labels.lam.isfinite().all()


def test_a_map_with_one_peak_may_leave_nothing_to_weigh() -> None:
    """The peak lies outside the source's box and inside the target's: both weights are 0, so areas count."""
    maps = torch.zeros(2, 64, 64)
    maps[:, 40, 40] = 1
    pairs, signals = with_maps(maps)
    half = torch.full((3,), 0.25, dtype=torch.float64)
    source_centre, centre = torch.tensor([16, 16]).expand(3, 2), torch.tensor([40, 40]).expand(3, 2)
    _, labels, _ = run(SnapMix(), pairs, SnapMixDraws(half, centre, half, source_centre), signals)
    assert labels.extra["rho_source"].tolist() == labels.extra["rho_target"].tolist() == [0, 0, 0]
    assert labels.lam.tolist() == [0.25] * 3


@pytest.mark.parametrize("empty", ["lam", "source_share"])
def test_an_empty_box_on_either_side_mixes_nothing(empty: str) -> None:
    pairs, signals = with_maps(torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0)))
    shares = {"lam": 0.25, "source_share": 0.25, empty: 0.0}
    centre = torch.tensor([32, 32]).expand(3, 2)
    draws = SnapMixDraws(
        torch.full((3,), shares["lam"], dtype=torch.float64),
        centre,
        torch.full((3,), shares["source_share"], dtype=torch.float64),
        centre,
    )
    placement, labels, mixed = run(SnapMix(), pairs, draws, signals)
    assert torch.equal(mixed, pairs.target_images)
    assert labels.lam.tolist() == [0, 0, 0]
    torch.testing.assert_close(labels.extra["rho_target"], torch.ones(3, dtype=torch.float64))
    seen_source, seen_target = placement.visibility()
    assert not seen_source.any()
    assert seen_target.all()


def test_options() -> None:
    assert parse_method("snapmix:beta=5") == SnapMix(beta=5.0)
    with pytest.raises(UsageError, match="beta, got 0"):
        SnapMix(beta=0)
    check_mixer(SnapMix(beta=5.0))
