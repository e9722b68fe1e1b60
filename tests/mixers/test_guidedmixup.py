"""GuidedMixup against the released code, and where its maps say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, run
from tiny_network import images_of, load_tiny
from torch import Tensor

from gazeeval.errors import UsageError
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers.base import AnyMixer, Draws, canonical_name, parse_method
from gazeeval.mixers.guidedmixup import GuidedMixupAP, GuidedMixupSR, shared_by, sum_to_one
from gazeeval.signals.base import InputGradient, Saliency, Signal, Signals
from gazeeval.signals.guided_residual import guided_blur
from gazeeval.signals.probe import probe
from gazeeval.types import PairBatch

RESIDUAL = Saliency("guided_residual")
BOTH: list[tuple[AnyMixer, Signal]] = [(GuidedMixupSR(), RESIDUAL), (GuidedMixupAP(), InputGradient())]
CASES = [case for case in cases("guidedmixup_") if not case.startswith("guidedmixup_sr")]


def with_partners(images: Tensor, partners: NDArray[np.int64]) -> PairBatch:
    """Every image as target, its partner as source."""
    rows = torch.arange(len(images), device=images.device)
    return PairBatch(images, rows, torch.from_numpy(partners).to(images.device), rows)


def mask_of(source: Tensor, target: Tensor) -> Tensor:
    """The mask of one pair of maps (h, w)."""
    return shared_by(source[None], target[None]).mask[0]


def check(data: dict[str, NDArray[Any]], mixer: AnyMixer, request: Signal, saliency: Tensor) -> None:
    """Mask, label share and mixed image, the latter in the file's scale: normalised in ``net`` files."""
    images = images_of(data, saliency.device.type)
    if "norm_mean" in data:
        images = (images - float(data["norm_mean"])) / float(data["norm_std"])
    pairs = with_partners(images, data["pairs"])
    placement, labels, mixed = run(mixer, pairs, Draws(), Signals({request: saliency}, pairs.source, pairs.target))
    np.testing.assert_allclose(placement.mask.cpu(), data["mask_source"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(1 - labels.lam.cpu(), data["lam_code"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(mixed.cpu(), data["mixed"], rtol=0, atol=1e-5)
    assert placement.kind == "soft"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
def test_oracle(case: str, device: str) -> None:
    """From the recorded maps. ``pairing_greedy`` says how ``pairs`` came about, which is tested with the pairing.

    The network of ``net_train`` is not run (``net_*``, ``labels``): our gradients are those of eval mode.
    """
    data = load(case)
    assert (int(data["blur_kernel"]), float(data["blur_sigma"])) == (7, 3)
    saliency = torch.from_numpy(data["saliency"]).to(device)
    for mixer, request in BOTH:
        check(data, mixer, request, saliency)
    shares = sum_to_one(guided_blur(saliency))
    np.testing.assert_allclose(shares.cpu(), data["saliency_norm"], rtol=1e-5, atol=1e-8)
    if "distance" in data:
        rows = shares.flatten(1)
        distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
        np.testing.assert_allclose(distance.cpu(), data["distance"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_with_the_gradient_of_the_network(device: str) -> None:
    data = load("guidedmixup_net_eval")
    assert data["grad_mode_train"] == 0
    labels = torch.from_numpy(data["labels"]).to(device)
    saliency = probe({InputGradient()}, load_tiny(data, device), images_of(data, device), labels)[InputGradient()]
    expected = torch.from_numpy(data["saliency"]).to(device) * len(labels)  # theirs is of the mean of the losses
    torch.testing.assert_close(saliency, expected, rtol=0, atol=1e-5 * float(expected.max()))
    check(data, GuidedMixupAP(), InputGradient(), saliency)


def test_one_pass_leaves_the_detectors_map_as_it_is() -> None:
    data = load("guidedmixup_random_32")
    pairs = with_partners(images_of(data), data["pairs"])
    signals = Signals({RESIDUAL: torch.from_numpy(data["saliency_norm"])}, pairs.source, pairs.target)
    once, _, _ = run(GuidedMixupSR(blur_passes=1), pairs, Draws(), signals)
    np.testing.assert_allclose(once.mask, data["mask_source"], rtol=0, atol=1e-5)


def test_both_images_are_treated_alike() -> None:
    maps = torch.rand(2, 5, 16, 20, generator=torch.Generator().manual_seed(0))
    there, back = shared_by(maps[0], maps[1]), shared_by(maps[1] * 1e6, maps[0] * 1e-6)
    torch.testing.assert_close(there.mask, 1 - back.mask, rtol=0, atol=1e-6)
    assert torch.equal(shared_by(maps[0], maps[0]).mask, torch.full((5, 16, 20), 0.5))


def test_gaze_is_weighed_by_the_mask_at_its_place() -> None:
    placement = shared_by(*torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    source, target = torch.zeros(2, 1, 16, 16)
    source[0, 3, 4] = target[0, 10, 11] = 1
    share, seen_source, seen_target = lam_gaze(placement, source, target)
    kept, left = placement.mask[0, 3, 4].double(), 1 - placement.mask[0, 10, 11].double()
    torch.testing.assert_close(torch.cat((seen_source, seen_target)).double(), torch.stack((kept, left)))
    torch.testing.assert_close(share.double(), (kept / (kept + left))[None])


def test_where_neither_map_says_anything_both_images_show() -> None:
    source, target = torch.zeros(2, 8, 8)
    source[:4, :4], target[4:, 4:] = 3, 5
    expected = torch.full((8, 8), 0.5)
    expected[:4, :4], expected[4:, 4:] = 1, 0
    assert torch.equal(mask_of(source, target), expected)


@pytest.mark.parametrize("value", [0, torch.nan, torch.inf])
def test_a_map_of_no_use_counts_as_uniform(value: float) -> None:
    useful = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    useless = torch.zeros(8, 8)
    useless[2, 3] = value
    assert torch.equal(mask_of(useful, useless), mask_of(useful, torch.ones(8, 8)))
    assert torch.equal(mask_of(useless, useless), torch.full((8, 8), 0.5))


@pytest.mark.parametrize(("mixer", "request_"), BOTH, ids=["sr", "ap"])
@pytest.mark.parametrize("value", [0, 1, torch.nan])
def test_a_flat_map_in_a_run_is_placed_and_marked(mixer: AnyMixer, request_: Signal, value: float) -> None:
    maps = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    maps[1] = value
    pairs = with_partners(torch.rand(3, 3, 12, 16), np.array([1, 2, 0]))
    signals = Signals({request_: maps}, pairs.source, pairs.target)
    placement, labels, mixed = run(mixer, pairs, Draws(), signals)
    assert bool(placement.mask.isfinite().all() & labels.lam.isfinite().all() & mixed.isfinite().all())
    flat, nonfinite = signals.degenerate()
    assert (flat | nonfinite).tolist() == [True, True, False]


def test_options_from_the_command_line() -> None:
    mixer = parse_method("guidedmixup-sr:blur_passes=1")
    assert mixer == GuidedMixupSR(blur_passes=1)
    assert canonical_name(mixer) == "guidedmixup-sr:blur_passes=1"
    assert parse_method("guidedmixup-ap") == GuidedMixupAP()
    with pytest.raises(UsageError, match=r"blur_passes, got 3\. Give 1 or 2"):
        parse_method("guidedmixup-sr:blur_passes=3")


def test_what_they_ask_for() -> None:
    """So both take any pairing, and only the gradient needs a network."""
    assert GuidedMixupSR().needs() == {RESIDUAL}
    assert GuidedMixupAP().needs() == {InputGradient()}
    assert not RESIDUAL.needs_model
