"""TransMix against the released code, from recorded attention on its mixed images; and CutMix, whose boxes it has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load, xyxy
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers._blocks import top_left
from gazeeval.mixers.base import canonical_name, parse_method
from gazeeval.mixers.cutmix import CutMix, CutMixDraws
from gazeeval.mixers.transmix import TransMix, attention_share
from gazeeval.signals.base import BottomUp, ClassAttention, Signal, Signals
from gazeeval.types import Labels, PairBatch, Placement

Data = dict[str, NDArray[Any]]


def pairs_of(data: Data, device: str) -> PairBatch:
    """The code's pairs: image ``source_index[i]`` gives the box, image i is the canvas."""
    images, labels, source = (torch.from_numpy(data[key]).to(device) for key in ("images", "labels", "source_index"))
    return PairBatch(images.float(), labels, source, torch.arange(len(source), device=device))


def answered(request: Signal, answer: Tensor, device: str = "cpu") -> Signals:
    """Signals of mixed images, (b, ...): each pair's own."""
    each = torch.arange(len(answer), device=device)
    return Signals({request: answer.to(device)}, each, each)


def mixed_by(mixer: TransMix, pairs: PairBatch, draws: CutMixDraws, mixed: Signals) -> tuple[Placement, Labels]:
    signals, draws = Signals({}, pairs.source, pairs.target), draws.to(pairs.images.device)
    placement = mixer.place(pairs, signals, draws)
    return placement, mixer.weigh(pairs, placement, signals, draws, mixed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("transmix_"))
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    pairs, side = pairs_of(data, device), int(data["side"])
    count = len(pairs)
    draws = CutMixDraws(
        torch.full((count,), 1 - float(data["lam_drawn_target"]), dtype=torch.float64),
        torch.from_numpy(data["center_yx"]).expand(count, 2),
    )
    attention = torch.from_numpy(data["attn"]).view(count, side, side)
    placement, labels = mixed_by(TransMix(), pairs, draws, answered(ClassAttention(), attention, device))

    assert placement.target_box is not None
    np.testing.assert_array_equal(placement.target_box.cpu(), xyxy(data["box_yyxx"], count))
    np.testing.assert_array_equal(placement.blend_pairs(pairs).cpu(), data["mixed"])
    tokens = top_left(placement.mask, side, side)
    np.testing.assert_array_equal(tokens.cpu(), np.tile(data["source_mask_tokens"], (count, 1, 1)))
    area = np.full(count, data["lam_area_source"])
    np.testing.assert_allclose(labels.extra["lam_area"].cpu(), area, rtol=0, atol=1e-12)
    np.testing.assert_allclose(labels.extra["lam_attn"].cpu(), data["lam_attn_source"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(labels.lam.cpu(), data["lam_source"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(smoothed(pairs, labels.lam, data), data["official_target"], rtol=0, atol=1e-5)


def smoothed(pairs: PairBatch, lam: Tensor, data: Data) -> NDArray[np.float64]:
    """(b, classes): what the code trains with, from our share of the source."""
    classes, eps = int(data["num_classes"]), float(data["label_smoothing"])
    hot = np.eye(classes) * (1 - eps) + eps / classes
    share = lam.cpu().numpy()[:, None]
    mixed: NDArray[np.float64] = share * hot[pairs.source_labels.cpu()] + (1 - share) * hot[pairs.target_labels.cpu()]
    return mixed


def example(size: tuple[int, int] = (64, 64), count: int = 6) -> tuple[PairBatch, CutMixDraws]:
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0))
    order = torch.arange(count)
    draws = TransMix().draw(PairRng(0, "transmix", range(count)), size)
    return PairBatch(images, order, order.roll(1), order), draws


def test_the_boxes_are_those_of_cutmix() -> None:
    pairs, draws = example((48, 80))
    cutmix = CutMix(rule="timm")
    placement = cutmix.place(pairs, Signals({}, pairs.source, pairs.target), draws)
    drawn = cutmix.draw(PairRng(0, "cutmix", range(6)), (48, 80))
    assert torch.equal(drawn.lam, draws.lam)
    assert torch.equal(drawn.centre, draws.centre)
    ours, _ = mixed_by(TransMix(rule="timm"), pairs, draws, answered(ClassAttention(), torch.ones(6, 3, 5)))
    assert torch.equal(ours.mask, placement.mask)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_weight_of_attention(weight: float) -> None:
    pairs, draws = example()
    attention = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(1))
    _, labels = mixed_by(TransMix(attn_weight=weight), pairs, draws, answered(ClassAttention(), attention))
    area, share = labels.extra["lam_area"], labels.extra["lam_attn"]
    torch.testing.assert_close(labels.lam, (1 - weight) * area + weight * share)
    assert not torch.isclose(area, share).any()


def test_a_network_without_class_token() -> None:
    """The fallback is asked for by name and reads another map, of any scale."""
    mixer = parse_method("transmix:attention=queries")
    assert isinstance(mixer, TransMix)
    assert canonical_name(mixer) == "transmix:attention=queries"
    assert mixer.needs_mixed() == {BottomUp()}
    assert TransMix().needs_mixed() == {ClassAttention()}
    assert mixer.needs() == frozenset()
    pairs, draws = example()
    attention = torch.rand(6, 7, 7, generator=torch.Generator().manual_seed(1))
    _, labels = mixed_by(mixer, pairs, draws, answered(BottomUp(), attention))
    _, scaled = mixed_by(mixer, pairs, draws, answered(BottomUp(), 1000 * attention))
    torch.testing.assert_close(labels.lam, scaled.lam)


def test_where_nothing_gets_attention_the_area_counts() -> None:
    pairs, draws = example(count=2)
    attention = torch.stack((torch.zeros(4, 4), torch.rand(4, 4, generator=torch.Generator().manual_seed(1))))
    mixed = answered(ClassAttention(), attention)
    _, labels = mixed_by(TransMix(), pairs, draws, mixed)
    assert labels.lam[0] == labels.extra["lam_attn"][0] == labels.extra["lam_area"][0]
    assert mixed.degenerate()[0].tolist() == [True, False]


def test_patches_of_the_source_have_their_top_left_pixel_in_the_box() -> None:
    """On a grid that divides neither side, against the definition, pixel by pixel."""
    generator = torch.Generator().manual_seed(2)
    mask = (torch.rand(3, 31, 45, generator=generator) < 0.5).float()
    attention = torch.rand(3, 5, 7, generator=generator)
    expected = [
        sum(float(attention[b, i, j]) for i in range(5) for j in range(7) if mask[b, i * 31 // 5, j * 45 // 7])
        / float(attention[b].sum(dtype=torch.float64))
        for b in range(3)
    ]
    found = attention_share(attention, mask, torch.zeros(3, dtype=torch.float64))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("value", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_an_empty_and_a_full_mask(value: float, share: float) -> None:
    attention = torch.rand(50, 14, 14, generator=torch.Generator().manual_seed(3))
    found = attention_share(attention, torch.full((50, 28, 28), value), torch.full((50,), 0.5, dtype=torch.float64))
    assert (found == share).all()  # never a rounding above 1


@pytest.mark.parametrize("options", [{"attn_weight": -0.1}, {"attn_weight": 1.1}, {"alpha": 0.0}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"method transmix: {name}, got"):
        TransMix(**options)  # type: ignore[arg-type]
