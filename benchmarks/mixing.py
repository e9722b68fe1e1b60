"""Mixing a batch: our CutMix and Mixup against torchvision, timm and kornia; then others of ours without a network.

    python benchmarks/mixing.py [--device cuda] [--batch 64] [--side 224] [--repeats 15] [--threads 2]

All in one process, the calls in turn. A call draws, places, blends and gives the label. Ours draws for each pair; so do
kornia and timm's ``elem``, the others draw once per batch. The goal is a ratio of at most 1.2 to the fastest reference
that keeps its input; timm overwrites it, hence is also given a copy. The labels are what each library trains with:
shares for us and kornia, rows of 1000 class weights for torchvision and timm.

Wall time is what a user waits for; CPU time sums over the threads and is the steadier of the two on a machine that does
other work. Each clock has its own fastest reference. Before each call free memory goes back to the system (glibc only),
so that every call maps the pages it writes to: that is most of the time, and what ran before would decide it.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import timm
import torch
import torchvision
from tabulate import tabulate
from timm.data.mixup import Mixup
from torch import Tensor
from torchvision.transforms import v2

from gazeeval.data.random import PairRng
from gazeeval.mixers.base import AnyMixer, parse_method
from gazeeval.models.preprocessing import imagenet_normalised
from gazeeval.signals.answer import answer
from gazeeval.signals.base import Signals
from gazeeval.types import PairBatch

CLASSES = 1000
FAMILIES = ("cutmix", "mixup")
OTHERS = ("saliencymix", "guidedmixup-sr", "resizemix", "smoothmix", "gridmixup", "fmix")
HEADERS = ["ms per batch", "draws per", "input", "wall", "min .. max", "ratio", "CPU", "min .. max", "ratio"]
Call = Callable[[], object]
Mix = Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class Work:
    """One row: what is called, and whether it counts as a reference to compare with."""

    name: str
    draws: str
    call: Call
    reference: bool = False
    in_place: bool = False


def ours(mixer: AnyMixer, pairs: PairBatch, with_signals: bool = True) -> Call:
    """All steps of a mixer; the signals that it asks for are computed beforehand, or each time if ``with_signals``."""
    ids = list(range(len(pairs) if mixer.scope == "pair" else 1))

    def signals() -> Signals:
        answers = answer(mixer.needs(), pairs.images, normalise=imagenet_normalised)
        return Signals(answers, pairs.source, pairs.target)

    known = signals()

    def mix() -> tuple[Tensor, Tensor]:
        found = signals() if with_signals else known
        draws = mixer.draw(PairRng(0, mixer.name, ids), pairs.size).to(pairs.images.device)
        placement = mixer.place(pairs, found, draws)
        return placement.blend_pairs(pairs), mixer.weigh(pairs, placement, found, draws, None).lam

    return mix


def references(family: str, images: Tensor, labels: Tensor) -> Iterator[Work]:
    """The same method elsewhere. Rows marked in place write to a copy of ``images`` made beforehand."""
    transform = (v2.CutMix if family == "cutmix" else v2.MixUp)(num_classes=CLASSES)
    yield Work("torchvision", "batch", partial(transform, images, labels), reference=True)
    for mode, draws in (("batch", "batch"), ("elem", "pair")):
        mix = timm_mix(family, mode)
        yield Work(f"timm {mode}, on a copy", draws, partial(on_copy, mix, images, labels), reference=True)
        yield Work(f"timm {mode}", draws, partial(mix, images.clone(), labels), in_place=True)
    kornia = kornia_mix(family)
    if kornia is not None:
        yield Work("kornia", "pair", partial(kornia, images, labels), reference=True)


def timm_mix(family: str, mode: str) -> Mix:
    alphas = {"mixup_alpha": float(family == "mixup"), "cutmix_alpha": float(family == "cutmix")}
    mix: Mix = Mixup(**alphas, mode=mode, label_smoothing=0.0, num_classes=CLASSES)  # type: ignore[no-untyped-call]
    return mix


def on_copy(mix: Mix, images: Tensor, labels: Tensor) -> object:
    return mix(images.clone(), labels)


def kornia_mix(family: str) -> Mix | None:
    """None where kornia is not installed."""
    if importlib.util.find_spec("kornia") is None:
        return None
    augmentation = importlib.import_module("kornia.augmentation")
    keys = {"data_keys": ["input", "class"], "p": 1.0}
    mix: Mix = (
        augmentation.RandomCutMixV2(**keys, use_correct_lambda=True)
        if family == "cutmix"
        else augmentation.RandomMixUpV2(**keys)
    )
    return mix


def without_reference(pairs: PairBatch) -> Iterator[Work]:
    """The rest of ours; where a signal is asked for, with it at hand and with its detector."""
    for mixer in map(parse_method, OTHERS):
        yield Work(mixer.name, mixer.scope, ours(mixer, pairs, with_signals=False))
        if mixer.needs():
            yield Work(f"{mixer.name}, with its detector", mixer.scope, ours(mixer, pairs))


def release() -> None:
    """Give free memory back to the system."""
    getattr(ctypes.CDLL(None), "malloc_trim", id)(0)


def timed(call: Call, device: str) -> tuple[float, float]:
    """Milliseconds (wall, CPU) of one call."""
    release()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def table(works: list[Work], device: str, repeats: int) -> list[list[str]]:
    """One row per work. In each round every work is called once, in a new order."""
    for work in works:
        timed(work.call, device)
    times: dict[str, list[tuple[float, float]]] = {work.name: [] for work in works}
    shuffle = random.Random(0).sample
    for _ in range(repeats):
        for work in shuffle(works, len(works)):
            times[work.name].append(timed(work.call, device))
    walls = [[wall for wall, _ in times[work.name]] for work in works]
    cpus = [[cpu for _, cpu in times[work.name]] for work in works]
    named = [[work.name, work.draws, "overwritten" if work.in_place else "kept"] for work in works]
    columns = zip(named, columns_of(works, walls), columns_of(works, cpus), strict=True)
    return [[*name, *wall, *cpu] for name, wall, cpu in columns]


def columns_of(works: list[Work], times: list[list[float]]) -> list[list[str]]:
    """Median, range, and the median over that of the fastest reference (empty where there is none), of each work."""
    medians = [statistics.median(own) for own in times]
    known = [value for work, value in zip(works, medians, strict=True) if work.reference]
    return [
        [f"{value:.1f}", f"{min(own):.1f} .. {max(own):.1f}", f"{value / min(known):.2f}" if known else ""]
        for value, own in zip(medians, times, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--batch", type=int, default=64, help="images, an even number; each is mixed with its neighbour"
    )
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    images = torch.rand(options.batch, 3, options.side, options.side).to(options.device)
    order = torch.arange(options.batch, device=options.device)
    pairs = PairBatch(images, order, order.roll(1), order)
    given = images.clone()
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"cpu, {options.threads} threads"
    print(
        f"{options.batch} images of {options.side} px, {where}, {options.repeats} repeats; "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}"
    )
    if importlib.util.find_spec("kornia") is None:
        print("no kornia: `uv pip install kornia` adds its rows")
    for family in FAMILIES:
        mine = Work(f"gazeeval {family}", "pair", ours(parse_method(family), pairs))
        print(tabulate(table([mine, *references(family, images, order)], options.device, options.repeats), HEADERS))
        print()
    print(tabulate(table(list(without_reference(pairs)), options.device, options.repeats), HEADERS))
    if not torch.equal(images, given):
        raise SystemExit("one of these wrote to its input: the times cannot be compared")


if __name__ == "__main__":
    main()
