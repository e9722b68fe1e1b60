"""Every goal for speed and memory against its named reference: one function for each, which gives rows of the table.

References and gazeeval take turns in one process. Goals that are about a GPU are measured on the CPU too, without a
verdict.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr

import gazeeval as ge
from benchmarks import fine_grained, gaze_density, mixing
from benchmarks.photos import Photos, photos
from benchmarks.stages import floor
from gazeeval.bench import METHODS, PUBLISHED, Work, interleaved, mixing_cost
from gazeeval.errors import UsageError
from gazeeval.mixers.base import parse_method
from gazeeval.signals.opencv import fine_grained_detector
from gazeeval.types import PairBatch

HEADER = ("work", "gazeeval", "reference", "ratio", "ratio of CPU times", "goal", "met")
COST_GOALS = {
    **{"saliencymix": 5, "guidedmixup-sr": 3, "snapmix": 40},
    **{"guidedmixup-ap": 75, "puzzlemix": 100, "comixup": 150},
}
TOGETHER = ("cutmix", "saliencymix", "guidedmixup-ap", "puzzlemix")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Options:
    """What the measurements have in common; ``quick`` trades precision for a minute or two."""

    device: torch.device
    repeats: int = 9
    quick: bool = False

    @property
    def few(self) -> int:
        """Repeats of what takes long."""
        return max(self.repeats // 3, 1)

    @property
    def is_gpu(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Row:
    """A line of the table. ``met`` is empty where the goal is not about this device."""

    work: str
    ours: str
    reference: str
    ratio: str = ""
    cpu_ratio: str = ""
    goal: str = ""
    met: str = ""


Rows = Iterator[Row]
Measure = Callable[[Options], Rows]


def gaze(options: Options) -> Rows:
    """Densities of 512 images, in groups of 64 as in a run: the maps of a group go before the next are made."""
    host = gaze_density.gaze()
    on_device = [part.to(options.device) for part in host]
    starts = range(0, gaze_density.IMAGES, gaze_density.GROUP)
    parts = [slice(start, start + gaze_density.GROUP) for start in starts]
    taken = interleaved(
        {
            "ours": lambda: deque((gaze_density.ours(*(each[part] for each in on_device)) for part in parts), 0),
            "reference": lambda: deque((gaze_density.reference(*(each[part] for each in host)) for part in parts), 0),
        },
        options.few if options.quick else options.repeats,
        options.device,
    )
    work, reference = f"gaze densities, {gaze_density.IMAGES} images", "scatter + scipy gaussian_filter, 1 core"
    yield _faster(work, taken["ours"], taken["reference"], reference, at_least=100)
    away = _distance_from_exact(host, options.device)
    yield Row(
        "the same, largest error of the peak", f"{away:.1e}", "float64 integrals", goal="≤ 1e-6", met=_is(away <= 1e-6)
    )


def saliency(options: Options) -> Rows:
    """Fine-grained maps of a batch of 64; on the CPU with one thread, as a ratio per core."""
    images = fine_grained.structured_images(64)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(options.device)
    works: dict[str, Work] = {"ours": partial(fine_grained.on_device, batch)}
    try:
        fine_grained_detector()
        works["reference"] = partial(fine_grained.reference, images)
    except UsageError:
        pass
    with _threads(1):
        taken = interleaved(works, options.repeats, options.device)
    work, reference, least = "fine-grained saliency, 64 images", "cv2.saliency, 1 core", 200 if options.is_gpu else 4
    if "reference" in taken:
        yield _faster(work, taken["ours"], taken["reference"], reference, at_least=least)
    else:
        missing = "not measured: this OpenCV has no cv2.saliency (its contrib wheels have)"
        yield Row(work, _time(taken["ours"][:, 0]), missing, goal=f"≥ {least}x")


def families(options: Options) -> Rows:
    """CutMix and Mixup against other libraries that keep their input; the fastest of them counts."""
    size = 16 if options.quick else 64
    images = torch.rand(size, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(options.device)
    order = torch.arange(size, device=options.device)
    pairs = PairBatch(images, order, order.roll(1), order)
    for family in mixing.FAMILIES:
        works: dict[str, Work] = {"ours": mixing.ours(parse_method(family), pairs)}
        works |= {work.name: work.call for work in mixing.references(family, images, order) if work.reference}
        taken = interleaved(works, options.repeats, options.device, before=mixing.release)
        ours = taken.pop("ours")
        fastest = min(taken, key=lambda name: float(np.median(taken[name][:, 0])))
        named = f"{fastest} (the fastest of {'; '.join(taken)})"
        yield _slower(f"{family}, batch of {size}, draws for each pair", ours, taken[fastest], named, at_most=1.2)


def costs(options: Options) -> Rows:
    """Mixing in percent of a training step of ResNet-50; published figures are of 64 images on a GPU."""
    size = 64 if options.is_gpu else 4 if options.quick else 8
    network = "resnet18" if options.quick else "resnet50"
    model = ge.load_model(network, device=str(options.device), pretrained=False)
    table = mixing_cost(METHODS[1:], model, batch_sizes=(size,), repeats=options.few)
    for row in table.itertuples():
        name = str(row.method).partition(":")[0]
        goal = COST_GOALS[name]
        yield Row(
            f"{row.method}, {network}, batch of {size}",
            f"{row.mix_ms:.1f} ms",
            f"step {row.step_ms:.0f} ms; published {PUBLISHED[name, 64]:.0f} %",
            f"{row.percent:.1f} [{row.percent_low:.1f}, {row.percent_high:.1f}] %",
            goal=f"< {goal} % (GPU, batch of 64)",
            met=_is(float(str(row.percent)) < goal) if options.is_gpu else "",
        )


def whole_run(options: Options) -> Rows:
    """A run of CutMix with the reference rows and tables, against decoding, resizing and the network alone."""
    data = _photos(options)
    taken = interleaved(
        {"ours": partial(ge.evaluate, "cutmix", **data.options), "reference": partial(floor, data)},
        options.few,
        options.device,
    )
    named = "decode, resize, network on each mixed image"
    yield _slower(f"a whole run: {data}", taken["ours"], taken["reference"], named, at_most=1.2)


def methods_together(options: Options) -> Rows:
    """Methods that share signals: in one run, and in runs of their own."""
    data = _photos(options)
    with _counting(data) as passes:
        ge.evaluate(TOGETHER, **data.options)
    gradient, plain = passes[True] / (2 * data.pairs), passes[False] / data.pairs
    yield Row(
        f"{len(TOGETHER)} methods in one run: passes of the network",
        f"{gradient:.2f} with gradient per image, {plain:.2f} without per pair",
        "",
        goal=f"≤ 1 and ≤ {len(TOGETHER)}",  # but for one black image, and three pairs that are tried alone
        met=_is(gradient <= 1.05 and plain <= len(TOGETHER) * 1.05),
    )
    taken = interleaved(
        {
            "ours": partial(ge.evaluate, TOGETHER, **data.options),
            "reference": lambda: [ge.evaluate(method, **data.options) for method in TOGETHER],
        },
        options.few,
        options.device,
    )
    named = f"{len(TOGETHER)} runs: {', '.join(TOGETHER)}"
    yield _faster("the same, time", taken["ours"], taken["reference"], named, at_least=1)


def memory(options: Options) -> Rows:
    """The most memory that a process ever has, for few pairs and for ten times as many."""
    few = 200 if options.quick else 2000
    small, large = (_peak_of_child(pairs) for pairs in (few, 10 * few))
    yield Row(
        f"peak memory of a run of {10 * few:,} pairs",
        f"{large:.0f} MB",
        f"{few:,} pairs: {small:.0f} MB",
        f"{large / small:.2f}",
        goal="≤ 1.05",
        met=_is(large <= 1.05 * small),
    )


MEASURES: dict[str, Measure] = {
    "gaze": gaze,
    "saliency": saliency,
    "families": families,
    "costs": costs,
    "run": whole_run,
    "together": methods_together,
    "memory": memory,
}


def _photos(options: Options) -> Photos:
    return photos(str(options.device), 24 if options.quick else 200)


def _distance_from_exact(gaze: tuple[torch.Tensor, torch.Tensor, torch.Tensor], device: torch.device) -> float:
    """The largest difference between a density and the exact one, as a share of its maximum, over a group of images."""
    x, y, weight = (part[: gaze_density.GROUP] for part in gaze)
    edges = np.arange(gaze_density.SIDE + 1)
    along_x, along_y = (
        np.diff(ndtr((edges - at.double().numpy()[..., None]) / gaze_density.SIGMA), axis=-1) for at in (x, y)
    )
    exact = (weight.double().numpy()[..., None] * along_y).transpose(0, 2, 1) @ along_x
    exact /= exact.sum(axis=(1, 2), keepdims=True)
    found = gaze_density.ours(x.to(device), y.to(device), weight.to(device)).cpu().numpy()
    away: Floats = np.abs(found - exact).max(axis=(1, 2)) / exact.max(axis=(1, 2))
    return float(away.max())


@contextmanager
def _counting(data: Photos) -> Iterator[dict[bool, int]]:
    """Images that go through the network meanwhile, with a gradient (True) and without."""
    passes = {True: 0, False: 0}

    def count(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        passes[inputs[0].requires_grad] += len(inputs[0])

    hook = data.model.network.register_forward_pre_hook(count)
    try:
        yield passes
    finally:
        hook.remove()


def _peak_of_child(pairs: int) -> float:
    """MB."""
    command = [sys.executable, "-m", "benchmarks.goals", str(pairs)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return int(found.stdout) / 1024


def run_and_tell_peak(pairs: int) -> None:
    """A run without a network on the demo images, over and over again; prints the peak in kB as Linux counts it."""
    drawn = dataclasses.replace(ge.load_dataset("demo"), name="drawn")
    ge.evaluate("cutmix", data=drawn, input_size=64, num_pairs=pairs, device="cpu")
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _faster(work: str, ours: Floats, reference: Floats, named: str, at_least: float) -> Row:
    ratio = reference / ours
    return _row(work, ours, reference, named, ratio, f"≥ {at_least:g}x", np.median(ratio[:, 0]) >= at_least)


def _slower(work: str, ours: Floats, reference: Floats, named: str, at_most: float) -> Row:
    ratio = ours / reference
    return _row(work, ours, reference, named, ratio, f"≤ {at_most:g}x", np.median(ratio[:, 0]) <= at_most)


def _row(work: str, ours: Floats, reference: Floats, named: str, ratio: Floats, goal: str, met: bool | np.bool_) -> Row:
    """From times (repeats, 2), wall and CPU, and their ratios in each round."""
    times = [_time(taken[:, 0]) for taken in (ours, reference)]
    wall, cpu = (_spread(ratio[:, clock], "x") for clock in (0, 1))
    return Row(work, times[0], f"{named}: {times[1]}", wall, cpu, goal, _is(met))


def _time(seconds: Floats) -> str:
    return _spread(seconds, " s") if np.median(seconds) >= 1 else _spread(1000 * seconds, " ms")


def _spread(values: Floats, unit: str) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return f"{middle:.3g} [{low:.3g}, {high:.3g}]{unit}"


def _is(met: bool | np.bool_) -> str:
    return "yes" if met else "no"


if __name__ == "__main__":
    run_and_tell_peak(int(sys.argv[1]))
