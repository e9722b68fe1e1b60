"""Runs whose pairs are chosen by saliency: the pairs of the definition, and images looked at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from oracles import cases, load
from PIL import Image
from torchvision.transforms.functional import gaussian_blur

import gazeeval as ge
from gazeeval.config import RunConfig
from gazeeval.data.cover import greedy_cycle, map_distances
from gazeeval.data.geometry import Geometry
from gazeeval.data.loader import ImageLoader
from gazeeval.errors import ImageError
from gazeeval.job import prepare
from gazeeval.mixers.guidedmixup import sum_to_one
from gazeeval.models.preprocessing import imagenet_normalised
from gazeeval.pairing import GRID, SaliencyDistances, own_sources, salient_mass
from gazeeval.report.files import Results
from gazeeval.report.pictures import pair_pictures
from gazeeval.signals.answer import answer
from gazeeval.signals.base import Saliency
from gazeeval.signals.fine_grained import fine_grained
from gazeeval.signals.guided_residual import guided_blur
from gazeeval.signals.spectral_residual import spectral_residual
from gazeeval.types import PairBatch

COUNT = 30
SMALL = [  # not put on a coarser grid; where all maps are equal, rounding would decide
    case
    for case in cases("guidedmixup_")
    if "distance" in (arrays := load(case)) and arrays["saliency"].shape[1] <= GRID and arrays["distance"].any()
]
Pairs = NDArray[np.int64]


def blobs(side: int = 32) -> ge.Dataset:
    """Noisy images with a bright spot somewhere; image 5 is flat, labels cycle through five classes."""
    rng = np.random.default_rng(0)
    at = np.arange(side)
    images = rng.integers(0, 60, (COUNT, side, side, 3), dtype=np.uint8)
    for image in images:
        y, x = rng.integers(4, side - 4, 2)
        image[(at[:, None] - y) ** 2 + (at - x) ** 2 < 16] = 250
    images[5] = 90
    points = {"image": np.arange(COUNT), "x": rng.uniform(0, side, COUNT), "y": rng.uniform(0, side, COUNT)}
    return ge.Dataset.from_arrays(list(images), np.arange(COUNT) % 5, points, list("abcde"), "blobs")


class Reads:
    """A data set that counts how often each image is read, and fails to read some."""

    def __init__(self, broken: tuple[int, ...] = (), side: int = 32) -> None:
        self.rows: Counter[int] = Counter()
        whole = blobs(side)

        def read(row: int) -> Image.Image:
            self.rows[row] += 1
            if row in broken:
                raise ImageError(f"image {row}, cannot be decoded. Fetch it again.")
            return whole.read_image(row)

        self.dataset = replace(whole, read_image=read)


def options(**given: Any) -> dict[str, Any]:
    fixed = {"data": blobs(), "input_size": 32, "geometry": "stretch", "pairing": "greedy", "group_size": 12}
    return {**fixed, "references": False, "workers": 0, **given}


def run(method: str | list[str] = "cutmix", **given: Any) -> Results:
    return ge.evaluate(method, **options(**given))


def planned(**given: Any) -> tuple[Pairs, Pairs, Pairs]:
    plan = prepare(RunConfig.of(options(**given))).plan
    return plan.source, plan.target, plan.group


def distances(dataset: ge.Dataset, side: int = 32, **given: Any) -> SaliencyDistances:
    loader = ImageLoader(dataset, Geometry.stretch(side, side, "bicubic"), workers=0)
    return SaliencyDistances(loader, Saliency("spectral_residual"), **given)


# Which pairs


def test_the_pairs_are_those_of_the_definition() -> None:
    """Worked out again for the first group: detector, torchvision's blur, sum 1, and the walk in plain Python."""
    source, target, group = planned(labels="any")
    order = target[group == 0].tolist()  # the order of the group, which settles ties
    images = np.stack([np.asarray(blobs().read_image(row)) for row in order])
    maps = gaussian_blur(spectral_residual(torch.from_numpy(images).permute(0, 3, 1, 2)), [7, 7], [3.0, 3.0]).double()
    maps /= maps.sum(dim=(1, 2), keepdim=True)
    flat = maps.flatten(1)
    distance = (flat[:, None] - flat).square().sum(2).sqrt().numpy()
    first = here = int(distance.argmax()) // len(order)
    left, expected = set(range(len(order))) - {here}, {}
    while left:
        far = max(sorted(left), key=lambda other: distance[here, other])
        expected[order[here]] = order[far]
        left.remove(far)
        here = far
    expected[order[here]] = order[first]
    assert len(expected) == 12
    assert dict(zip(target[group == 0].tolist(), source[group == 0].tolist(), strict=True)) == expected


@pytest.mark.parametrize("case", SMALL)
def test_maps_and_pairs_of_the_released_code(case: str) -> None:
    arrays = load(case)
    mass = salient_mass(torch.from_numpy(arrays["saliency"]))
    np.testing.assert_allclose(mass, arrays["saliency_norm"], rtol=1e-4, atol=1e-9)
    distance = map_distances(mass.numpy())
    np.testing.assert_allclose(distance, arrays["distance"], rtol=1e-4, atol=1e-8)
    if arrays["pairing_greedy"]:
        np.testing.assert_array_equal(greedy_cycle(distance), arrays["pairs"])


@pytest.mark.parametrize("pairing", ["greedy", "optimal"])
def test_every_image_is_source_once_and_target_once_of_another_label(pairing: str) -> None:
    source, target, _ = planned(pairing=pairing)
    assert sorted(source) == sorted(target) == list(range(COUNT))
    assert (source % 5 != target % 5).all()
    same_source, same_target, _ = planned(pairing=pairing, labels="same", group_size=COUNT)
    assert (same_source % 5 == same_target % 5).all()
    assert (same_source != same_target).all()
    assert len(same_source) == COUNT


def test_optimal_is_farther_apart_than_greedy_and_greedy_than_chance() -> None:
    distance = distances(blobs())(np.arange(COUNT))
    sums = []
    for pairing in ("cycle", "greedy", "optimal"):
        source, target, _ = planned(pairing=pairing)
        sums.append(distance[source, target].sum())
    assert sums[0] < 0.95 * sums[1]
    assert sums[1] < sums[2]


def test_what_is_salient_and_what_is_far_can_be_chosen() -> None:
    plans = [
        planned(**given)[0].tolist() for given in ({}, {"pairing_distance": "l1"}, {"pairing_saliency": "fine_grained"})
    ]
    assert len({tuple(plan) for plan in plans}) == 3


def test_a_class_in_the_majority_leaves_images_over_and_the_run_says_so() -> None:
    dataset = replace(blobs(), labels=np.where(np.arange(COUNT) < 24, 0, 1))
    result = run(data=dataset, group_size=COUNT)
    assert len(result.pairs) == 12
    assert "images without a partner in their group: 18" in result.manifest["warnings"]


# The same pairs everywhere


@pytest.mark.parametrize("given", [{"workers": 3}, {"batch_size": 5}, {"method": ["saliencymix"]}])
def test_pairs_do_not_depend_on_batches_workers_or_methods(given: dict[str, Any]) -> None:
    for expected, found in zip(planned(), planned(**given), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_fewer_pairs_are_the_first_ones_and_look_at_no_more_images_than_they_need() -> None:
    reads = Reads()
    for expected, found in zip(planned(), planned(data=reads.dataset, num_pairs=9), strict=True):
        np.testing.assert_array_equal(found, expected[:9])
    assert len(reads.rows) == 12


# Looked at once


def test_planning_reads_no_image_that_the_run_reads_again() -> None:
    reads = Reads()
    run(data=reads.dataset, num_pairs=2 * COUNT)
    assert reads.rows == Counter(range(COUNT))


def test_further_rounds_need_no_image_again() -> None:
    reads = Reads()
    loader = ImageLoader(reads.dataset, Geometry.stretch(32, 32, "bicubic"), workers=0, cache_bytes=0)
    ask = SaliencyDistances(loader, Saliency("spectral_residual"))
    whole = ask(np.arange(COUNT))
    some = np.array([7, 2, 19])
    np.testing.assert_array_equal(ask(some), whole[np.ix_(some, some)])
    assert reads.rows == Counter(range(COUNT))


def test_too_small_a_memory_still_answers() -> None:
    rows = np.arange(COUNT)
    np.testing.assert_array_equal(distances(blobs(), grid_bytes=0)(rows), distances(blobs())(rows))


def test_maps_that_a_method_wants_too_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def counting(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return fine_grained(images)

    monkeypatch.setattr("gazeeval.signals.answer.fine_grained", counting)
    run("saliencymix", pairing_saliency="fine_grained")
    assert sum(seen) == COUNT


# What goes wrong


def test_pairs_of_a_broken_image_fail_and_the_others_do_not() -> None:
    result = run(data=Reads(broken=(3,)).dataset)
    rows = result.pairs
    failed = (rows["source_id"] == "000003") | (rows["target_id"] == "000003")
    assert failed.sum() == 2
    assert ((rows["status"] == "failed") == failed).all()


def test_a_group_that_cannot_be_read_at_all_still_gets_pairs() -> None:
    ask = distances(Reads(broken=(1, 2, 3)).dataset)
    np.testing.assert_array_equal(ask(np.array([1, 2, 3])), np.zeros((3, 3)))


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_maps_of_no_use_count_as_uniform(value: float) -> None:
    maps = torch.rand(3, 40, 36)
    maps[1] = value
    mass = salient_mass(maps)
    np.testing.assert_allclose(mass.sum(dim=(1, 2)), 1)
    np.testing.assert_allclose(mass[1], 1 / GRID**2)
    assert np.isfinite(map_distances(mass.numpy(), "cosine")).all()


# A method with pairs of its own

OWN = "guidedmixup-sr:pairing=greedy"


@pytest.mark.parametrize("pairing", ["matching", "cycle"])
def test_own_pairs_keep_the_targets_and_are_those_of_greedy_pairing(pairing: str) -> None:
    both = run(["cutmix", OWN], pairing=pairing, group_size=COUNT).pairs
    plain, own = (both[both["method"] == name].reset_index(drop=True) for name in ("cutmix", OWN))
    same = ["pair_id", "group_id", "target_id", "target_label", "n_fix_target"]
    pd.testing.assert_frame_equal(own[same], plain[same])
    maps = Saliency("guided_residual")
    pixels = np.stack([np.asarray(blobs().read_image(row)) for row in range(COUNT)])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    answers = answer([maps], images, normalise=imagenet_normalised)
    mass = sum_to_one(guided_blur(answers[maps])).numpy()
    partner = greedy_cycle(map_distances(mass), np.arange(COUNT) % 5)
    source, target = (own[column].astype(int).to_numpy() for column in ("source_id", "target_id"))
    np.testing.assert_array_equal(source, partner[target])
    np.testing.assert_array_equal(own["source_label"], source % 5)


def test_own_pairs_are_mixed_as_the_same_pairs_of_a_run(tmp_path: Path) -> None:
    """The pairs that it found, given to the method as the run's."""
    own = run(OWN, pairing="matching").pairs
    own[["source_id", "target_id"]].to_csv(tmp_path / "pairs.csv", index=False)
    again = run("guidedmixup-sr", pair_file=tmp_path / "pairs.csv", group_size=COUNT).pairs
    numbers = ["lam", "lam_gaze", "delta", "mask_share", "source_label", "n_fix_source"]
    pd.testing.assert_frame_equal(own[numbers], again[numbers], rtol=0, atol=1e-6)


def test_own_pairs_are_marked_as_such() -> None:
    manifest = run(["cutmix", OWN]).manifest
    assert [method["pairs"] for method in manifest["methods"].values()] == ["run", "own"]
    assert f"method {OWN} has pairs of its own: compare it with the others unpaired" in manifest["warnings"]


def test_pictures_show_own_pairs() -> None:
    job = prepare(RunConfig.of(options(method=["cutmix", OWN], pairing="matching", group_size=COUNT)))
    rows = next(job.engine.run(job.plan)).rows[OWN]
    for pair, pictures in pair_pictures(job.engine, job.plan, np.arange(4)):
        source = int(rows["source_id"][rows["pair_id"] == pair].item())
        np.testing.assert_array_equal(pictures[1].source.image, np.asarray(blobs().read_image(source)))


def test_a_target_that_is_left_over_keeps_its_source() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    pairs = PairBatch(torch.zeros(4, 3, 8, 8), labels, torch.tensor([3, 3, 0]), torch.tensor([0, 1, 3]))
    own = own_sources(torch.rand(4, 8, 8), pairs)
    assert own[:2].tolist() == [3, 3]
    assert own[2] in (0, 1, 2)
