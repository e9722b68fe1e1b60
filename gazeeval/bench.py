"""What mixing costs beside a training step, on the machine at hand: `gazeeval bench`.

GuidedMixup (Kang and Kim, AAAI 2023, Table 2) reports that cost in percent of the time of a ResNet-50's training step;
its figures at 64 images stand in `PUBLISHED`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gazeeval.data.dataset import load_dataset
from gazeeval.data.loader import ImageLoader
from gazeeval.data.random import PairRng
from gazeeval.errors import GazeEvalError
from gazeeval.mixers.base import AnyMixer, canonical_name, parse_method
from gazeeval.models.model import Model
from gazeeval.signals.networks import Networks
from gazeeval.training import MixTransform

PUBLISHED: Mapping[tuple[str, int], float] = {
    ("saliencymix", 64): 923.0,
    ("guidedmixup-sr", 64): 7.0,
    ("snapmix", 64): 60.0,
    ("guidedmixup-ap", 64): 78.0,
    ("puzzlemix", 64): 134.0,
    ("comixup", 64): 717.0,
}
"""(method, batch size) -> percent of a training step: ResNet-50, 224 px, on a GPU."""

METHODS = (
    *("cutmix", "saliencymix", "guidedmixup-sr:pairing=greedy", "snapmix"),
    *("guidedmixup-ap:pairing=greedy", "puzzlemix", "comixup"),
)
"""CutMix and those with published figures, paired as published."""

STEP = "training step"

Work = Callable[[], object]
Clock = Callable[[], NDArray[np.float64]]


def wall_and_cpu() -> NDArray[np.float64]:
    """(2,) seconds: wall time, and the processor time of all threads together."""
    return np.array([time.perf_counter(), time.process_time()])


def interleaved(
    works: Mapping[str, Work],
    repeats: int,
    device: torch.device,
    *,
    clock: Clock = wall_and_cpu,
    before: Work = lambda: None,
) -> dict[str, NDArray[np.float64]]:
    """Seconds, wall and CPU, that each of ``works`` takes: (repeats, 2) by name.

    Each is called once to warm up, then once in every round, in an order that changes: so that what else the machine
    does falls on all of them. ``before`` runs ahead of each call and is not timed.
    """
    names = list(works)
    for work in works.values():
        work()
    taken = {name: np.empty((repeats, 2)) for name in names}
    orders = PairRng(0, "bench", range(repeats)).permutation("order", len(names))
    for this_round, order in enumerate(orders):
        for name in (names[place] for place in order):
            before()
            _wait(device)
            start = clock()
            works[name]()
            _wait(device)
            taken[name][this_round] = clock() - start
    return taken


def mixing_cost(
    methods: Sequence[str | AnyMixer],
    model: Model,
    *,
    batch_sizes: Sequence[int] = (16, 32, 64),
    repeats: int = 10,
    seed: int = 0,
    clock: Clock = wall_and_cpu,
    progress: bool = False,
) -> pd.DataFrame:
    """What mixing a batch costs, in percent of a training step of ``model`` on that batch.

    A step is forward, backward and the update of SGD with momentum, in float32, on a copy of the network in train mode.
    Mixing is all that a method adds: signals of the images (gradients and other passes of the network included),
    partners, draws, the mixed images and their soft targets, as `gazeeval.training.MixTransform` makes them. Images are
    those of the demo data at the size of the network's input; steps and methods take turns.

    Args:
        methods: specs or mixers.
        batch_sizes: images in a batch; each is mixed with another one.
        repeats: rounds that are timed, after one to warm up.
        clock: seconds (2,), for tests.
        progress: show a bar on a terminal.

    Returns:
        method, batch_size, device, step_ms, mix_ms (medians, wall time), percent (median over the rounds of mixing over
        step), percent_low, percent_high (its quartiles), published_percent (`PUBLISHED`, else missing).

    Raises:
        UsageError: a method that `MixTransform` refuses, or that asks the network for what it cannot give.
        GazeEvalError: the memory of the device does not hold a batch.
    """
    given = [parse_method(method) if isinstance(method, str) else method for method in methods]
    mixers = {canonical_name(mixer): mixer for mixer in given}
    mixes: dict[str, Callable[..., object]] = {
        name: MixTransform(mixer, model=model, seed=seed) for name, mixer in mixers.items()
    }
    for name, mixer in mixers.items():
        Networks(model).check(name, mixer.needs() | mixer.needs_mixed())
    images, labels = _demo_batch(model, max(batch_sizes), seed)
    rows = []
    calls = len(batch_sizes) * repeats * (1 + len(mixers))
    with tqdm(total=calls, unit="call", disable=None if progress else True, file=sys.stderr) as bar:
        for size in batch_sizes:
            batch = images[:size], labels[:size]
            works: dict[str, Work] = {STEP: training_step(model, *batch)}
            works |= {name: partial(mix, *batch) for name, mix in mixes.items()}
            with _enough_memory(size):
                taken = interleaved(works, repeats, model.device, clock=clock, before=bar.update)
            rows += [_row(name, mixer, size, model.device, taken) for name, mixer in mixers.items()]
    return pd.DataFrame(rows)


def training_step(model: Model, images: Tensor, labels: Tensor) -> Work:
    """One step on a batch: forward, backward, update. The learning rate is 0, so that each starts from the same."""
    network = deepcopy(model.network).requires_grad_(True).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.0, momentum=0.9)

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(cross_entropy(network(model.normalise(images)), labels))
        optimiser.step()

    return step


def describe_device(device: torch.device) -> str:
    """What the figures were measured on: the name of the GPU, or the number of threads."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


@contextmanager
def _enough_memory(size: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise GazeEvalError(
            f"bench: a batch of {size} images, got out of memory. Pass a smaller --batch-size."
        ) from error


def _demo_batch(model: Model, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, h, w) and classes of the network (n,): the demo data in a random order, over again where it is too
    small.
    """
    dataset = load_dataset("demo")
    order = PairRng(seed, "bench", [0]).permutation("images", len(dataset))[0]
    rows = np.resize(order, size)
    (loaded,) = ImageLoader(dataset, model.geometry).read([np.unique(rows)])
    picked = np.searchsorted(loaded.rows, rows)
    pixels = torch.from_numpy(loaded.pixels[picked]).to(model.device)
    labels = torch.from_numpy(dataset.labels[rows] % model.num_classes).to(model.device)
    return pixels.permute(0, 3, 1, 2).float().div_(255), labels


def _row(
    name: str, mixer: AnyMixer, size: int, device: torch.device, taken: Mapping[str, NDArray[np.float64]]
) -> dict[str, str | int | float]:
    step, mix = taken[STEP][:, 0], taken[name][:, 0]
    low, percent, high = np.percentile(100 * mix / step, (25, 50, 75))
    return {
        "method": name,
        "batch_size": size,
        "device": describe_device(device),
        "step_ms": 1000 * float(np.median(step)),
        "mix_ms": 1000 * float(np.median(mix)),
        "percent": percent,
        "percent_low": low,
        "percent_high": high,
        "published_percent": PUBLISHED.get((type(mixer).name, size), np.nan),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
