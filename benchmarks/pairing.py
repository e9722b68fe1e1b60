"""Pairing by saliency: what a group of 64 to 1024 images costs, part by part.

    python benchmarks/pairing.py [--threads 1] [--rounds 5] [--sizes 64,128,256,512,1024] [--full 256]

``saliency`` and ``mass`` grow with the images, the rest with their square. ``distance`` compares maps on the grid of
32 x 32 cells that a run uses; ``full maps`` is the same for maps of 224 x 224, measured up to ``--full`` images.
``cdist`` is torch's, with direct differences in float64; ``loop`` is the walk of ``greedy`` an element at a time;
``labels`` is ``greedy`` where partners must be of different classes out of ten.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.data.cover import assignment, greedy_cycle, map_distances
from gazeeval.pairing import salient_mass
from gazeeval.signals.spectral_residual import spectral_residual

SIDE = 224


def structured_images(count: int) -> Tensor:
    """(n, 3, 224, 224) uint8: smooth colour fields, each with a textured disc somewhere."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 7, 7)))
    field = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic")
    at, centre = torch.arange(SIDE), torch.from_numpy(rng.uniform(40, 184, (2, count, 1)))
    inside = ((at - centre[0]) ** 2).unsqueeze(2) + ((at - centre[1]) ** 2).unsqueeze(1) < 35**2
    texture = torch.from_numpy(rng.normal(0, 60, (1, 3, SIDE, SIDE)))
    return (field + inside.unsqueeze(1) * texture).clamp(0, 255).to(torch.uint8)


def loop(distance: NDArray[np.float64]) -> list[int]:
    """The greedy cycle, an element at a time."""
    count = len(distance)
    _, first = max((float(distance[i, j]), -i) for i in range(count) for j in range(count) if i != j)
    here, left, partner = -first, set(range(count)) - {-first}, [0] * count
    while left:
        row = distance[here]
        there = min(left, key=lambda other: (-row[other], other))
        left.remove(there)
        partner[here] = there
        here = there
    partner[here] = -first
    return partner


def direct(maps: Tensor) -> Tensor:
    return torch.cdist(maps, maps, compute_mode="donot_use_mm_for_euclid_dist")


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def works(saliency: Tensor, full: bool) -> dict[str, Callable[[], object]]:
    """What is timed for one group, by the name of its column."""
    flat, maps = salient_mass(saliency).flatten(1), saliency.double().flatten(1)
    distance, labels = map_distances(flat.numpy()), np.random.default_rng(1).integers(0, 10, len(flat))
    assert greedy_cycle(distance).tolist() == loop(distance)
    whole: dict[str, Callable[[], object]] = {
        "full maps": partial(map_distances, maps.numpy()),
        "cdist full": partial(direct, maps),
    }
    return {
        "distance": partial(map_distances, flat.numpy()),
        "cdist": partial(direct, flat),
        "greedy": partial(greedy_cycle, distance),
        "loop": partial(loop, distance),
        "labels": partial(greedy_cycle, distance, labels),
        "optimal": partial(assignment, distance),
        **(whole if full else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Pairing by saliency, part by part.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="64,128,256,512,1024")
    parser.add_argument("--full", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = [int(size) for size in options.sizes.split(",")]

    images = structured_images(max(sizes))
    saliency = torch.cat([spectral_residual(images[start : start + 64]) for start in range(0, len(images), 64)])
    per_image = milliseconds(partial(spectral_residual, images[:64]), options.rounds) / 64
    mass_per_image = milliseconds(partial(salient_mass, saliency[:64]), options.rounds) / 64
    print(f"{SIDE} x {SIDE} px, torch {torch.__version__}, {options.threads} thread(s), median of {options.rounds}, ms")
    print(f"per image: saliency {per_image:.2f}, mass {mass_per_image:.2f}; per group:")
    for size in sizes:
        timed = {
            name: milliseconds(work, options.rounds)
            for name, work in works(saliency[:size], size <= options.full).items()
        }
        print(f"{size:5d}  " + "  ".join(f"{name} {value:.2f}" for name, value in timed.items()))


if __name__ == "__main__":
    main()
