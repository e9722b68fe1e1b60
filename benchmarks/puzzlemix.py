"""Solvers of PuzzleMix per image, at 4, 8 and 16 blocks a side, in one process, calls interleaved.

    python benchmarks/puzzlemix.py [--device cuda] [--threads 1] [--pairs 64] [--rounds 9]

Times begin with the costs as integers and end with the levels. ``max-flow`` solves many pairs in one graph, ``one by
one`` has a graph per pair; ``primal-dual`` takes 200, 500 and 1000 iterations. Beside the time stand the share of pairs
that were solved exactly and the mean distance of lam from that of the exact solution. The last table is the whole of
`PuzzleMix.place`: costs, solver and transport, with the numbers of blocks as drawn.

The released code's solver, ``gco swap``, is a local search under a licence for research only. It is shown where its
wrapper is installed: ``uv pip install --target FOLDER --no-deps gco-wrapper``, then ``PYTHONPATH=FOLDER``.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.mixers._graphcut import GridEnergy, max_flow, primal_dual
from gazeeval.mixers.puzzlemix import PuzzleMix
from gazeeval.signals.base import InputGradient, Signals
from gazeeval.types import PairBatch

SIDE = 224
Solver = Callable[[GridEnergy], Tensor]


def field(generator: torch.Generator, count: int, channels: int, side: int) -> Tensor:
    """(count, channels, 224, 224) in [0, 1], smooth over a ``side``-th of the image."""
    coarse = torch.rand(count, channels, side, side, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)


def example(count: int, device: str) -> tuple[PairBatch, Signals]:
    """Textured images with peaked, grainy saliency; every image with the next."""
    generator = torch.Generator().manual_seed(0)
    images = 0.7 * field(generator, count, 3, 7) + 0.3 * field(generator, count, 3, 56)
    grain = torch.rand(count, SIDE, SIDE, generator=generator).square()
    saliency = (field(generator, count, 1, 9)[:, 0] ** 3 * grain).to(device)
    order = torch.arange(count, device=device)
    pairs = PairBatch(images.to(device), order, order.roll(-1), order)
    return pairs, Signals({InputGradient(): saliency}, pairs.source, pairs.target)


def energy_of(pairs: PairBatch, signals: Signals, n: int) -> GridEnergy:
    mixer, request = PuzzleMix(blocks=n), InputGradient()
    images = torch.stack((pairs.target_images, pairs.source_images), dim=1)
    saliency = torch.stack((signals.target(request), signals.source(request)), dim=1)
    lam = mixer.draw(PairRng(0, "puzzlemix", range(len(pairs))), pairs.size).lam.to(pairs.images.device)
    return mixer.energy(*mixer.costs(images, saliency, n), lam)


def one_by_one(energy: GridEnergy) -> Tensor:
    rows = range(len(energy.unary))
    return torch.cat([max_flow(GridEnergy(energy.unary[i : i + 1], energy.weight[i : i + 1])) for i in rows])


def gco_swap(energy: GridEnergy) -> Tensor:
    """Alpha-beta swap as the released code calls it."""
    import gco  # type: ignore[import-not-found]

    unary = energy.unary.cpu().numpy().astype(np.int32)
    down, right = energy.weight.cpu().numpy().astype(np.int32).swapaxes(0, 1)
    top = unary.shape[-1] - 1
    level = np.arange(top + 1)
    charge = ((level - level[:, None]) ** 2 / top**2).astype(np.float32)
    cuts = [
        gco.cut_grid_graph(u, charge, d[:-1], r[:, :-1], algorithm="swap").reshape(u.shape[:2])
        for u, d, r in zip(unary, down, right, strict=True)
    ]
    return torch.from_numpy(np.stack(cuts)).long().to(energy.unary.device)


def solvers() -> dict[str, Solver]:
    found: dict[str, Solver] = {"max-flow": max_flow, "max-flow, one by one": one_by_one}
    for iterations in (200, 500, 1000):
        found[f"primal-dual, {iterations}"] = partial(primal_dual, iterations=iterations)
    return found | ({"gco swap": gco_swap} if importlib.util.find_spec("gco") else {})


def milliseconds(work: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def compare(energy: GridEnergy, rounds: int, device: str) -> list[list[str]]:
    """A row per solver: median and range of ms per image, share solved exactly, mean distance of lam."""
    count, top = len(energy.unary), energy.unary.shape[-1] - 1
    exact = max_flow(energy)
    levels = {name: solve(energy) for name, solve in solvers().items()}
    times: dict[str, list[float]] = {name: [] for name in levels}
    for _ in range(rounds):
        for name, solve in solvers().items():
            times[name].append(milliseconds(partial(solve, energy), device) / count)
    rows = []
    for name, found in levels.items():
        solved = (energy(found) <= energy(exact)).double().mean().item()
        away = (found - exact).double().mean(dim=(1, 2)).abs().mean().item() / top
        spread = f"{min(times[name]):.3f} .. {max(times[name]):.3f}"
        rows.append([str(exact.shape[-1]), name, f"{median(times[name]):.3f}", spread, f"{solved:.3f}", f"{away:.5f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pairs, signals = example(options.pairs, options.device)
    print(f"{len(pairs)} pairs of {SIDE} px, 3 levels, {options.device}, {options.threads} thread(s)")
    rows = [row for n in (4, 8, 16) for row in compare(energy_of(pairs, signals, n), options.rounds, options.device)]
    print(tabulate(rows, headers=["blocks", "solver", "ms/image", "range", "exact", "|d lam|"], disable_numparse=True))
    whole = []
    for mixer in (PuzzleMix(), PuzzleMix(solver="primal-dual")):
        draws = mixer.draw(PairRng(0, "puzzlemix", range(len(pairs))), pairs.size).to(pairs.images.device)
        work = partial(mixer.place, pairs, signals, draws)
        work()
        taken = median(milliseconds(work, options.device) for _ in range(options.rounds))
        whole.append([mixer.solver, f"{taken:.0f}"])
    print(tabulate(whole, headers=["place", f"ms for {len(pairs)} pairs"], disable_numparse=True))


if __name__ == "__main__":
    main()
