"""Gaze densities of 512 images against scatter + scipy's gaussian_filter, interleaved in one process.

    python benchmarks/gaze_density.py [--device cuda] [--repeats 7] [--threads 2]

Images come in groups of 64, as in a run; each method makes the maps of a group before the next begins. The goal is a
ratio of 100. The reference rounds positions to pixels and cuts its kernel at 4 sigma: that is the distance shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tabulate import tabulate
from torch import Tensor

from gazeeval.data.density import gaze_density

IMAGES, GROUP, SIDE, SIGMA = 512, 64, 224, 18.0


def gaze(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """x, y, weight (512, 12) float32: 6 to 12 fixations an image, 9 on average, around its centre."""
    rng = np.random.default_rng(seed)
    present = np.arange(12) < rng.integers(6, 13, size=(IMAGES, 1))
    x, y = rng.normal(SIDE / 2, SIDE / 5, size=(2, *present.shape)).clip(0, SIDE - 0.01)
    weight = rng.lognormal(5.5, 0.5, size=present.shape) * present
    tensors = [torch.from_numpy(part.astype(np.float32)) for part in (x, y, weight)]
    return tensors[0], tensors[1], tensors[2]


def ours(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """(n, 224, 224)"""
    return gaze_density(x, y, weight, SIGMA, SIDE, SIDE)


def reference(x: Tensor, y: Tensor, weight: Tensor) -> NDArray[np.float64]:
    """(n, 224, 224): weights added up at whole pixels, blurred, divided by the sum."""
    maps = np.zeros((len(x), SIDE, SIDE))
    rows, columns = y.long().numpy(), x.long().numpy()
    for i in range(len(maps)):
        np.add.at(maps[i], (rows[i], columns[i]), weight[i].numpy())
        maps[i] = gaussian_filter(maps[i], SIGMA, mode="constant")
        maps[i] /= maps[i].sum()
    return maps


def seconds(render: Callable[[int], object], device: str) -> float:
    """Time of all groups; the maps of a group are dropped once made."""
    start = time.perf_counter()
    for first in range(0, IMAGES, GROUP):
        render(first)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of gaze_density on the cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    host = gaze()
    device = [part.to(options.device) for part in host]

    def render_ours(first: int) -> Tensor:
        return ours(*(part[first : first + GROUP] for part in device))

    def render_reference(first: int) -> NDArray[np.float64]:
        return reference(*(part[first : first + GROUP] for part in host))

    distance = max(
        float(np.abs(render_ours(first).cpu().numpy() - render_reference(first)).sum(axis=(1, 2)).max() / 2)
        for first in range(0, IMAGES, GROUP)
    )
    times = [(seconds(render_ours, options.device), seconds(render_reference, "cpu")) for _ in range(options.repeats)]
    fast, slow = (median(column) for column in zip(*times, strict=True))
    threads = f"{options.threads} threads" if options.device == "cpu" else torch.cuda.get_device_name()
    rows = [
        ["gaze_density", f"{options.device}, {threads}", f"{fast * 1e3:.1f}", f"{slow / fast:.0f}x"],
        ["scatter + gaussian_filter", "cpu, 1 thread", f"{slow * 1e3:.1f}", "1x"],
    ]
    print(tabulate(rows, headers=["512 images, 224 px, sigma 18", "on", "median ms", "speed"]))
    print(f"largest total variation between the two: {distance:.1e}")


if __name__ == "__main__":
    main()
