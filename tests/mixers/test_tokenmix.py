"""TokenMix against the released code: its masks from its recorded draws, its scores from its content maps."""

from __future__ import annotations

import math
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
from gazeeval.mixers._blocks import first_cells
from gazeeval.mixers.base import canonical_name, parse_method
from gazeeval.mixers.tokenmix import TokenMix, TokenMixDraws, block_masks, content_share
from gazeeval.signals.base import ClassAttention, ClassEvidence, ClassMap, Signal, Signals
from gazeeval.testing import check_mixer, example_pairs
from gazeeval.types import PairBatch

Data = dict[str, NDArray[Any]]


def uniform_behind(value: float, low: float, high: float) -> float:
    """A u that Python's ``random.uniform(low, high)`` turns into exactly this value."""
    u = (value - low) / (high - low) if high > low else 0.0
    for _ in range(64):
        found = low + (high - low) * u
        if found == value:
            return u
        u = math.nextafter(u, math.inf if found < value else -math.inf)
    raise AssertionError(f"no number gives {value} in {low} .. {high}")


def recorded_attempts(data: Data) -> list[NDArray[np.float64]]:
    """The recorded draws as uniforms (4, 1), attempt by attempt: -1 for a place that was not drawn, which is none."""
    kinds = data["draws_kind"].tolist()
    bits = (data[f"draws_{name}_f64bits"].view(np.float64).tolist() for name in ("lo", "hi", "value"))
    attempts: list[list[float]] = []
    for is_integer, low, high, value in zip(kinds, *bits, strict=True):
        if not is_integer and (not attempts or len(attempts[-1]) != 1):
            attempts.append([])
        u = (value + 0.5) / (high - low + 1) if is_integer else uniform_behind(value, low, high)
        attempts[-1].append(u)
    return [np.array([[*attempt, -1.0, -1.0][:4]]).T for attempt in attempts]


def mixer_of(data: Data) -> TokenMix:
    return TokenMix(
        lam_constant=1 - float(data["lam_constant"]),
        minimum_tokens=int(data["minimum_tokens"]),
        mask_type="random" if data["mask_type"] else "block",
    )


@pytest.mark.parametrize("case", cases("tokenmix_block"))
def test_oracle_replay(case: str) -> None:
    """Block for block: the code's numbers give the code's mask, and none of them is left over."""
    data = load(case)
    attempts = recorded_attempts(data)
    tokens = mixer_of(data).tokens
    assert tokens == data["num_to_mask"]
    rest = iter(attempts)
    np.testing.assert_array_equal(block_masks(rest, 1, 14, tokens)[0], data["mask_tokens"])
    assert not list(rest)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("tokenmix_"))
def test_oracle(case: str, device: str) -> None:
    data = load(case)
    images, labels, source = (torch.from_numpy(data[key]).to(device) for key in ("images", "labels", "source_index"))
    pairs = PairBatch(images.float(), labels, source, torch.arange(len(source), device=device))
    signals = Signals({ClassEvidence(): torch.from_numpy(data["content_map"]).to(device)}, pairs.source, pairs.target)
    mixer = mixer_of(data)
    cells = torch.from_numpy(data["mask_tokens"]).bool().unsqueeze(0)
    if "perm" in data:
        order = torch.from_numpy(data["perm"]).unsqueeze(0)
        assert torch.equal(first_cells(order, mixer.tokens).view(1, 14, 14), cells)
    draws = TokenMixDraws(cells.expand(len(pairs), 14, 14))
    placement, found, mixed = run(mixer, pairs, draws, signals)
    np.testing.assert_array_equal(mixed.cpu(), data["mixed"])
    assert placement.kind == "patches"
    for name in ("score_source", "score_target"):
        np.testing.assert_allclose(found.extra[name].cpu(), data[name], rtol=0, atol=1e-5)
    area = np.full(len(pairs), 1 - data["lam_code"])
    np.testing.assert_allclose(found.extra["lam_area"].cpu(), area, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.lam.cpu(), data["lam_source"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(official_target(pairs, found.extra, data), data["official_target"], rtol=0, atol=1e-5)


def official_target(pairs: PairBatch, scores: Any, data: Data) -> NDArray[np.float64]:
    """(b, classes): the code's label, which the two scores weigh."""
    classes, eps = int(data["num_classes"]), float(data["label_smoothing"])
    off = eps / (2 * classes)
    total = np.zeros((len(pairs), classes))
    for score, labels in ((scores["score_source"], pairs.source_labels), (scores["score_target"], pairs.target_labels)):
        hot = np.eye(classes)[labels.cpu()]
        total += hot * (score.cpu().numpy()[:, None] - eps / 2) + off
    return total


def loop_mask(uniforms: NDArray[np.float64], grid: int, tokens: int) -> NDArray[np.bool_]:
    """Card ``tokenmix``, step 2, as it is written; ``uniforms`` (attempts, 4)."""
    mask, draws = np.zeros((grid, grid), bool), iter(uniforms)
    count = 0
    while count < tokens:
        missing, found = tokens - count, 0
        for _ in range(10):
            u, v, y, x = next(draws)
            area = 1 + (missing - 1) * u
            aspect = math.exp(math.log(0.3) + (math.log(1 / 0.3) - math.log(0.3)) * v)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if w < grid and h < grid:
                top, left = int(y * (grid - h + 1)), int(x * (grid - w + 1))
                block = mask[top : top + h, left : left + w]
                if 0 < block.size - block.sum() <= missing:
                    found = int(block.size - block.sum())
                    block[:] = True
                    break
        if not found:
            break
        count += found
    return mask


@pytest.mark.parametrize(("grid", "tokens"), [(14, 112), (14, 196), (14, 1), (4, 9), (7, 40)])
def test_all_masks_at_once_are_those_of_the_loop(grid: int, tokens: int) -> None:
    uniforms = PairRng(0, "tokenmix", range(40)).uniform("test", 600, 4)
    expected = np.stack([loop_mask(rows, grid, tokens) for rows in uniforms])
    np.testing.assert_array_equal(block_masks(uniforms.transpose(1, 2, 0), 40, grid, tokens), expected)


def test_the_number_of_tokens_is_reached_and_never_exceeded() -> None:
    mixer = TokenMix()
    assert mixer.tokens == 112
    masked = mixer.draw(PairRng(0, "tokenmix", range(2000)), (224, 224)).cells.sum(dim=(1, 2))
    assert masked.max() == 112
    assert (masked == 112).float().mean() > 0.95
    full = TokenMix(lam_constant=1).draw(PairRng(0, "tokenmix", range(200)), (224, 224)).cells.sum(dim=(1, 2))
    assert full.max() <= 196
    assert full.min() < 196  # ten failures in a row end the search


@pytest.mark.parametrize("mask_type", ["block", "random"])
def test_a_pair_has_its_mask_whatever_the_others(mask_type: str) -> None:
    mixer = parse_method(f"tokenmix:mask_type={mask_type}")
    together = mixer.draw(PairRng(3, "tokenmix", range(64)), (224, 224)).cells
    for pair in (0, 17, 63):
        alone = mixer.draw(PairRng(3, "tokenmix", [pair]), (224, 224)).cells
        assert torch.equal(alone[0], together[pair])
    assert len({tuple(cells.flatten().tolist()) for cells in together}) == 64
    if mask_type == "random":
        assert (together.sum(dim=(1, 2)) == 112).all()


def example(mixer: TokenMix) -> tuple[PairBatch, Signals]:
    """Pairs at 112 px with random answers to what the mixer asks."""
    pairs, _ = example_pairs(TokenMix(content="area"), (112, 112))
    maps = torch.rand(5, 7, 7, generator=torch.Generator().manual_seed(0))
    return pairs, Signals(dict.fromkeys(mixer.needs(), maps), pairs.source, pairs.target)


@pytest.mark.parametrize(
    "options", ["", "content=cam", "content=attention", "mask_type=random", "mask_per=group", "grid=7,minimum_tokens=0"]
)
def test_options_keep_the_contract(options: str) -> None:
    mixer = parse_method(f"tokenmix:{options}")
    assert isinstance(mixer, TokenMix)
    check_pairs(mixer, *example(mixer))


def test_by_area_no_network_is_needed() -> None:
    mixer = TokenMix(content="area", grid=8)
    assert not mixer.needs_model
    check_mixer(mixer, sizes=((64, 64), (48, 80)))
    pairs, signals = example(mixer)
    draws = mixer.draw(PairRng(0, "tokenmix", range(6)), pairs.size)
    placement, labels, _ = run(mixer, pairs, draws, signals)
    assert torch.equal(labels.lam, placement.mask_share())
    assert (labels.extra["score_source"] + labels.extra["score_target"] == 1).all()


@pytest.mark.parametrize(
    ("content", "request_"), [("evidence", ClassEvidence()), ("cam", ClassMap()), ("attention", ClassAttention())]
)
def test_what_is_asked_of_the_images(content: str, request_: Signal) -> None:
    assert parse_method(f"tokenmix:content={content}").needs() == {request_}


def test_one_mask_for_a_group() -> None:
    mixer = TokenMix(mask_per="group")
    assert mixer.scope == "group"
    pairs, signals = example(mixer)
    placement, labels, _ = run(mixer, pairs, mixer.draw(PairRng(0, "tokenmix", [0]), pairs.size), signals)
    assert len(labels.lam) == 6
    assert (placement.mask == placement.mask[:1]).all()


def corner_cells() -> Tensor:
    """The left half of a 2 x 2 grid."""
    return torch.tensor([[[True, False], [True, False]]])


@pytest.mark.parametrize(
    ("content", "share"),
    [
        ([[3.0, 1.0], [0.0, 0.0]], 0.75),
        ([[3.0, 1.0], [-5.0, -1.0]], 0.75),  # what speaks against a class is no content
        ([[0.0, 0.0], [0.0, 0.0]], 0.0),
        ([[1e-30, 0.0], [0.0, 0.0]], 1.0),
    ],
)
def test_content_share(content: list[list[float]], share: float) -> None:
    assert content_share(torch.tensor([content]), corner_cells()).item() == pytest.approx(share)


def test_content_is_stretched_to_the_grid() -> None:
    fine = torch.rand(2, 14, 14, generator=torch.Generator().manual_seed(0))
    coarse = torch.nn.functional.avg_pool2d(fine, 7)
    cells = corner_cells().expand(2, 2, 2).repeat_interleave(7, 1).repeat_interleave(7, 2)
    left = coarse[:, :, 0].double().sum(1)
    ramp = content_share(coarse, cells)
    assert ((left / coarse.double().sum(dim=(1, 2)) - 0.5) * (ramp - 0.5) > 0).all()  # smoothed, but on the same side
    torch.testing.assert_close(
        content_share(fine, cells), fine[:, :, :7].double().sum(dim=(1, 2)) / fine.double().sum(dim=(1, 2))
    )


def test_images_without_content() -> None:
    """One such image leaves the label to the other; two leave it to the area."""
    mixer = TokenMix()
    pairs, _ = example(mixer)
    maps = torch.rand(5, 14, 14, generator=torch.Generator().manual_seed(0))
    maps[[1, 2]] = 0
    signals = Signals({ClassEvidence(): maps}, pairs.source, pairs.target)  # pairs 0 -> 1, 1 -> 2, 2 -> 3, ...
    draws = mixer.draw(PairRng(0, "tokenmix", range(6)), pairs.size)
    _, labels, _ = run(mixer, pairs, draws, signals)
    assert labels.lam[0] == 1
    assert labels.lam[1] == labels.extra["lam_area"][1]
    assert labels.lam[2] == 0
    assert signals.degenerate()[0].tolist() == [True, True, True, False, False, False]


def test_images_that_the_grid_does_not_divide() -> None:
    with pytest.raises(UsageError, match=r"image size, got 64x112 px for 14x14 tokens. .* --input-size 224, or"):
        TokenMix().draw(PairRng(0, "tokenmix", [0]), (64, 112))


@pytest.mark.parametrize(
    "options", [{"lam_constant": 1.5}, {"lam_constant": -0.5}, {"minimum_tokens": -1}, {"grid": 0}]
)
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=f"method tokenmix: {name}, got"):
        TokenMix(**options)  # type: ignore[arg-type]


def test_named_options() -> None:
    mixer = parse_method("tokenmix:lam_constant=0.25,minimum_tokens=0,mask_per=group")
    assert canonical_name(mixer) == "tokenmix:lam_constant=0.25,mask_per=group,minimum_tokens=0"
    assert isinstance(mixer, TokenMix)
    assert mixer.tokens == 49
