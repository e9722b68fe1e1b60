"""TdAttenMix and its bottom-up form against the paper's formula and the released code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, run
from torch import Tensor

from gazeeval.contract import check_pairs
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.metrics.inconsistency import lam_gaze
from gazeeval.mixers._blocks import repeated
from gazeeval.mixers._tokens import on_grid, unit_mass
from gazeeval.mixers.base import AnyMixer, canonical_name, parse_method
from gazeeval.mixers.smmix import SMMix
from gazeeval.mixers.tdattenmix import TdAttenMix, TdAttenMixBottomUp, TdAttenMixDraws
from gazeeval.signals.base import BottomUp, Signal, Signals, TopDown
from gazeeval.types import PairBatch

Data = dict[str, NDArray[Any]]
NOT_MIXING = ("absvit", "plainvit", "cnn")  # maps of attention, tested with the signals
MIXING = [case for case in cases("tdattenmix_") if not case.split("_")[1].startswith(NOT_MIXING)]


def pairs_of(data: Data, device: str, request: Signal) -> tuple[PairBatch, Signals]:
    """The code's pairs: image ``source_index[i]`` gives the square, image i is the canvas."""
    source, images, labels, attn = (
        torch.from_numpy(data[key]).to(device) for key in ("source_index", "images", "labels", "attn")
    )
    side = int(data["side"])
    pairs = PairBatch(images.float() / 255, labels, source, torch.arange(len(source), device=device))
    return pairs, Signals({request: attn.view(-1, side, side)}, pairs.source, pairs.target)


def draws_of(k: int | list[int], beta: float = 0.5) -> TdAttenMixDraws:
    drawn = torch.tensor(k).view(-1)
    return TdAttenMixDraws(drawn, torch.full(drawn.shape, beta, dtype=torch.float64))


def with_maps(maps: Tensor, request: Signal, size: tuple[int, int] = (56, 56)) -> tuple[PairBatch, Signals]:
    """Every image on the next one, with the given attention (n, rows, cols)."""
    target = torch.arange(len(maps))
    source = target.roll(-1)
    images = torch.rand(len(maps), 3, *size, generator=torch.Generator().manual_seed(0))
    return PairBatch(images, target, source, target), Signals({request: maps}, source, target)


def random_maps(count: int = 4) -> Tensor:
    return torch.rand(count, 14, 14, generator=torch.Generator().manual_seed(0)) ** 4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", MIXING)
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    side, k = int(data["side"]), int(data["rect"])
    for normalize, key in (("none", "lam_attn_source"), ("sum", "lam_attn_source_sumnorm")):
        mixer = parse_method(f"tdattenmix:side={side},normalize={normalize}")
        pairs, signals = pairs_of(data, device, TopDown())
        area = np.full(len(pairs), data["lam_area_source"])
        for row, beta in enumerate(data["beta"]):
            draws = draws_of([k] * len(pairs), float(beta))
            placement, labels, mixed = run(mixer, pairs, draws, signals)
            np.testing.assert_array_equal((mixed * 255).round().byte().cpu(), data["mixed"])
            tokens = on_grid(placement.mask, side)
            np.testing.assert_array_equal(tokens.cpu(), data["source_mask_tokens"])
            np.testing.assert_allclose(labels.extra["lam_area"].cpu(), area, rtol=0, atol=1e-12)
            np.testing.assert_allclose(labels.extra["lam_attn"].cpu(), data[key], rtol=0, atol=1e-5)
            expected = data["lam_source"][row] if normalize == "none" else (1 - beta) * area + beta * data[key]
            np.testing.assert_allclose(labels.lam.cpu(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", MIXING)
def test_oracle_of_the_released_code(case: str, device: str) -> None:
    """One label for the whole batch, from maps that it forgets to flip."""
    data = load(case)
    mixer = TdAttenMix(side=int(data["side"]), compat="official-code")
    assert mixer.scope == "group"
    pairs, signals = pairs_of(data, device, TopDown())
    _, labels, mixed = run(mixer, pairs, draws_of(int(data["rect"])), signals)
    np.testing.assert_array_equal((mixed * 255).round().byte().cpu(), data["mixed"])
    lam, area, attn = (x.cpu().numpy() for x in (labels.lam, labels.extra["lam_area"], labels.extra["lam_attn"]))
    for found, key in (
        (1 - area, "lam1_target"),
        (1 - attn, "lam2_target"),
        (1 - lam, "lam_target"),
        (lam, "lam_source"),
    ):
        np.testing.assert_allclose(found, np.full(len(pairs), data[f"official_{key}"]), rtol=0, atol=1e-5)
    logits = data["logits"]
    expected = lam[:, None] * logits[data["source_index"]] + (1 - lam[:, None]) * logits
    np.testing.assert_allclose(expected, data["official_mixed_prediction"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_map_of_a_cnn_on_the_grid(device: str) -> None:
    data = load("tdattenmix_cnn_7to14")
    native = torch.from_numpy(data["attn_map_native"]).view(-1, 7, 7).to(device)
    found = unit_mass(on_grid(native, int(data["side"])))
    np.testing.assert_allclose(found.flatten(1).cpu(), data["attn_map"].reshape(len(native), -1), rtol=0, atol=1e-5)


def test_methods_of_this_kind_draw_the_same_squares() -> None:
    mixers: tuple[AnyMixer, ...] = (SMMix(), TdAttenMix(), TdAttenMixBottomUp(), TdAttenMix(beta="random"))
    drawn = [mixer.draw(PairRng(0, type(mixer).name, range(50)), (224, 224)).k for mixer in mixers]
    assert drawn[0].unique().numel() > 1
    assert all(torch.equal(k, drawn[0]) for k in drawn)


def test_without_guidance_it_is_the_bottom_up_method() -> None:
    """And asks nothing about classes, so that it works with a network of other classes."""
    mixer = TdAttenMix(sigma=0)
    assert mixer.needs() == TdAttenMixBottomUp().needs() == {BottomUp()}
    assert not BottomUp().needs_own_classes
    pairs, signals = with_maps(random_maps(), BottomUp())
    draws = TdAttenMixBottomUp().draw(PairRng(0, "tdattenmix", range(4)), pairs.size)
    first, second = (run(m, pairs, draws, signals) for m in (mixer, TdAttenMixBottomUp()))
    assert torch.equal(first[0].mask, second[0].mask)
    assert torch.equal(first[1].lam, second[1].lam)
    assert torch.equal(first[0].mask, run(SMMix(), pairs, draws, signals)[0].mask)


@pytest.mark.parametrize("mixer", [TdAttenMix(), TdAttenMix(normalize=None)])
def test_gaze_that_follows_the_attention_agrees_with_its_share_of_the_label(mixer: TdAttenMix) -> None:
    maps = random_maps() * torch.tensor([1.0, 2, 4, 8])[:, None, None]
    pairs, signals = with_maps(maps, TopDown())
    placement, labels, _ = run(mixer, pairs, draws_of([3, 5, 8, 10]), signals)
    density = repeated(unit_mass(maps.double()) if mixer.normalize == "sum" else maps.double(), pairs.size)
    share, _, _ = lam_gaze(placement, density[pairs.source], density[pairs.target])
    torch.testing.assert_close(labels.extra["lam_attn"], share, rtol=0, atol=1e-9)
    assert (labels.extra["lam_attn"] - labels.extra["lam_area"]).abs().max() > 0.05


def test_only_the_literal_formula_depends_on_the_scale_of_a_map() -> None:
    scale = torch.tensor([1.0, 10, 100, 1000])[:, None, None]
    lam = {}
    for normalize in ("sum", "none"):
        mixer = parse_method(f"tdattenmix:normalize={normalize}")
        for factor in (torch.ones_like(scale), scale):
            pairs, signals = with_maps(random_maps() * factor, TopDown())
            lam[normalize, factor is scale] = run(mixer, pairs, draws_of([4] * 4), signals)[1].lam
    torch.testing.assert_close(lam["sum", True], lam["sum", False], rtol=0, atol=1e-7)
    assert (lam["none", True] - lam["none", False]).abs().min() > 0.05


@pytest.mark.parametrize("normalize", ["sum", "none"])
def test_where_nothing_shows_attention_the_area_counts(normalize: str) -> None:
    """Both maps are zero; the released code divides 0 by 0."""
    mixer = parse_method(f"tdattenmix:normalize={normalize}")
    pairs, signals = with_maps(torch.zeros(2, 14, 14), TopDown())
    _, labels, _ = run(mixer, pairs, draws_of([7, 7]), signals)
    assert labels.lam.tolist() == labels.extra["lam_attn"].tolist() == [0.25, 0.25]
    assert signals.degenerate()[0].all()
    _, official, _ = run(TdAttenMix(compat="official-code"), pairs, draws_of(7), signals)
    assert official.lam.isnan().all()


def test_beta_is_drawn_on_request() -> None:
    mixer = TdAttenMix(beta="random")
    pairs, signals = with_maps(random_maps(), TopDown())
    draws = mixer.draw(PairRng(0, "tdattenmix", range(4)), pairs.size)
    _, labels, _ = run(mixer, pairs, draws, signals)
    beta, area, attn = (labels.extra[name] for name in ("beta", "lam_area", "lam_attn"))
    assert torch.equal(beta, draws.beta)
    torch.testing.assert_close(labels.lam, (1 - beta) * area + beta * attn)
    many = mixer.draw(PairRng(0, "tdattenmix", range(4000)), pairs.size).beta
    assert many.quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist() == pytest.approx(
        [0.25, 0.5, 0.75], abs=0.03
    )
    assert "beta" not in run(TdAttenMix(), pairs, draws_of([3] * 4), signals)[1].extra


@pytest.mark.parametrize(
    "spec", ["", "side=7,normalize=none", "beta=random", "beta=random,size_per=group", "compat=official-code"]
)
@pytest.mark.parametrize("size", [(56, 56), (28, 112)])
def test_contract(spec: str, size: tuple[int, int]) -> None:
    check_pairs(parse_method(f"tdattenmix:{spec}"), *with_maps(random_maps(), TopDown(), size))


def test_options() -> None:
    steered = parse_method("tdattenmix:sigma=2,guide=raw,gain=40,threshold=false")
    assert steered.needs() == {TopDown(2.0, "raw", 40.0, threshold=False)}
    assert canonical_name(parse_method("tdattenmix:sigma=0")) == "tdattenmix:sigma=0.0"
    assert canonical_name(TdAttenMixBottomUp()) == "tdattenmix-bottomup"
    assert parse_method("tdattenmix:beta=random") == TdAttenMix(beta="random")
    for spec, complaint in {
        "tdattenmix:beta=1.5": "method tdattenmix: beta, got 1.5",
        "tdattenmix-bottomup:beta=-1": "method tdattenmix-bottomup: beta, got -1",
        "tdattenmix:sigma=-1": "sigma, got -1",
        "tdattenmix:gain=0": "gain, got 0",
        "tdattenmix:normalize=max": "normalize, got 'max'",
        "tdattenmix-bottomup:sigma=1": "unknown option, got 'sigma'",
    }.items():
        with pytest.raises(UsageError, match=complaint):
            parse_method(spec)
