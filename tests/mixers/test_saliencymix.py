"""SaliencyMix against the released code, on 8-bit images, and in the five placements of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, pair_batch, run, xyxy

from gazeeval.errors import UsageError
from gazeeval.mixers.base import canonical_name, parse_method
from gazeeval.mixers.saliencymix import SaliencyMix, SaliencyMixDraws, Scheme
from gazeeval.signals.base import Saliency, Signals
from gazeeval.signals.fine_grained import fine_grained

SCHEMES: tuple[Scheme, ...] = (
    "salient-corresponding",
    "salient-salient",
    "salient-nonsalient",
    "nonsalient-salient",
    "nonsalient-nonsalient",
)


def u8_pairs(source: NDArray[np.uint8], target: NDArray[np.uint8], device: str):  # type: ignore[no-untyped-def]
    return pair_batch(source.astype(np.float32) / 255, target.astype(np.float32) / 255, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("case", cases("saliencymix_u8-persample"))
def test_oracle_per_sample_on_8_bit_images(case: str, order: str, device: str) -> None:
    """``bgr`` is the oracle's name for true luminance; ``rgb`` hands the channels over as the released code does."""
    data = load(case)
    pairs = u8_pairs(data["x_source_u8"], data["x_target_u8"], device)
    images = torch.from_numpy(np.concatenate((data["x_source_u8"], data["x_target_u8"]))).to(device)
    maps = fine_grained(images, order="rgb" if order == "bgr" else "bgr")
    np.testing.assert_array_equal(maps[: len(pairs)].cpu(), data[f"saliency_{order}"])

    signals = Signals({Saliency("fine_grained"): maps}, pairs.source, pairs.target)
    draws = SaliencyMixDraws(torch.from_numpy(1 - data["lam_drawn"]))
    placement, labels, mixed = run(SaliencyMix(), pairs, draws, signals)
    assert placement.target_box is not None
    np.testing.assert_array_equal(placement.target_box.cpu(), xyxy(data[f"box_{order}"], len(pairs)))
    np.testing.assert_array_equal(placement.mask.cpu(), data[f"mask_{order}"])
    np.testing.assert_array_equal((mixed * 255).round().byte().cpu(), data[f"mixed_u8_{order}"])
    np.testing.assert_allclose(labels.lam.cpu(), data[f"lam_source_{order}"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("saliencymix_placements"))
def test_oracle_five_placements(case: str, device: str) -> None:
    data = load(case)
    pairs = u8_pairs(data["x_source_u8"], data["x_target_u8"], device)
    maps = torch.from_numpy(np.concatenate((data["saliency_source"], data["saliency_target"]))).to(device)
    draws = SaliencyMixDraws(torch.from_numpy(1 - data["lam_drawn"]))
    for number, scheme in enumerate(SCHEMES):
        signals = Signals({Saliency("fine_grained"): maps}, pairs.source, pairs.target)
        placement, labels, mixed = run(SaliencyMix(scheme=scheme), pairs, draws, signals)
        assert placement.source_box is not None
        assert placement.target_box is not None
        np.testing.assert_array_equal(placement.source_box.cpu(), xyxy(data["box_source"][number], len(pairs)))
        np.testing.assert_array_equal(placement.target_box.cpu(), xyxy(data["box_target"][number], len(pairs)))
        np.testing.assert_array_equal((mixed * 255).round().byte().cpu(), data["mixed_u8"][number])
        np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"][number], rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("saliencymix_official-f32"))
def test_oracle_of_the_released_code(case: str, device: str) -> None:
    """One box for the batch, from the map that OpenCV makes of the first source's floats."""
    data = load(case)
    pairs = pair_batch(data["x_source"], data["x_target"], device)
    first = torch.from_numpy(data["saliency_map_of_pair0"]).to(device)
    maps = torch.stack([first, *(255 - first for _ in range(2 * len(pairs) - 1))])
    signals = Signals({Saliency("opencv_float"): maps}, pairs.source, pairs.target)
    draws = SaliencyMixDraws(torch.from_numpy(np.atleast_1d(1 - data["lam_drawn"])))
    mixer = SaliencyMix(official_float=True)
    assert mixer.scope == "group"
    placement, labels, mixed = run(mixer, pairs, draws, signals)
    assert placement.target_box is not None
    np.testing.assert_array_equal(placement.target_box.cpu(), xyxy(data["box"], len(pairs)))
    np.testing.assert_array_equal(mixed.cpu(), data["mixed"])
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"], rtol=0, atol=1e-12)


def test_options_from_the_command_line() -> None:
    mixer = parse_method("saliencymix:scheme=salient-nonsalient,alpha=0.5")
    assert mixer == SaliencyMix(alpha=0.5, scheme="salient-nonsalient")
    assert canonical_name(mixer) == "saliencymix:alpha=0.5,scheme=salient-nonsalient"
    with pytest.raises(UsageError, match="scheme, got 'salient'"):
        parse_method("saliencymix:scheme=salient")
    with pytest.raises(UsageError, match="did you mean 'scheme'"):
        parse_method("saliencymix:shceme=salient-salient")
    with pytest.raises(UsageError, match="did you mean 'saliencymix'"):
        parse_method("salencymix")
