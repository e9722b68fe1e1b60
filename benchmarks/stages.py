"""Where the time of a whole run goes, stage by stage.

    python -m benchmarks.stages [-m cutmix] [--pairs 200] [--repeats 5] [--device cuda] [--cpu-time] [--store PAGE MARK]

A stage is charged for what it does itself, not for the stages that it calls. ``decode`` and ``transform`` happen in the
threads that read ahead: their seconds run beside the others, and what the run waits for them is ``waiting``. ``floor``
is what any program would need: the same images decoded and resized, and the network run once on each mixed image.

``--cpu-time`` counts processor time, with one thread inside torch's operations: what the reading threads do counts in
full, and other work of the machine does not.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

import gazeeval as ge
from benchmarks.page import machine, markdown, store
from benchmarks.photos import Photos, photos
from gazeeval import engine, mixing, run
from gazeeval.data import loader
from gazeeval.data.gaze import FixationGaze
from gazeeval.data.geometry import Geometry
from gazeeval.data.loader import ImageLoader
from gazeeval.engine import Engine
from gazeeval.report.files import PairWriter
from gazeeval.signals.networks import Networks

STAGES: dict[str, list[tuple[Any, str]]] = {
    "decode (reading threads)": [(ImageLoader, "_attempt")],
    "transform (reading threads)": [(Geometry, "apply")],
    "waiting for images": [(loader, "_finish")],
    "to the device": [(Engine, "_prepare")],
    "gaze": [(FixationGaze, "density"), (mixing.Group, "gaze")],
    "signals": [(Networks, "answer")],
    "mixing": [(engine, "mix_group")],
    "reference rows": [(Engine, "_reference_rows")],
    "metrics and rows": [(Engine, "_rows"), (engine, "_failures")],
    "trying the methods out": [(engine, "check_pairs")],
    "writing": [(PairWriter, "write"), (PairWriter, "finish"), (run, "save_masks")],
    "tables and intervals": [(run, "finish")],
}
IN_THREADS = tuple(name for name in STAGES if "threads" in name)
MODEL = "network"


@dataclass(frozen=True)
class Clock:
    """How time is counted inside a thread, and for the process."""

    of_thread: Callable[[], float]
    of_process: Callable[[], float]


WALL, CPU = Clock(time.perf_counter, time.perf_counter), Clock(time.thread_time, time.process_time)


class Stopwatch:
    """Seconds by stage. A stage that calls another one is not charged for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock.of_thread
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = threading.local()

    def charging(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, its time charged to ``stage``."""

        @wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            inner: list[float] = self._open.__dict__.setdefault("inner", [])
            inner.append(0.0)
            start = self._clock()
            try:
                return function(*args, **options)
            finally:
                taken = self._clock() - start
                self.seconds[stage] += taken - inner.pop()
                if inner:
                    inner[-1] += taken

        return timed

    @contextmanager
    def watching(self, data: Photos) -> Iterator[None]:
        """Charge every stage for what it does meanwhile."""
        targets = [(stage, *target) for stage, targets in STAGES.items() for target in targets]
        targets += [(MODEL, data.model.network, "forward"), (MODEL, torch.autograd, "grad")]
        with ExitStack() as patches:
            for stage, owner, name in targets:
                patches.enter_context(patch.object(owner, name, self.charging(stage, getattr(owner, name))))
            yield


def stages_of_a_run(methods: Sequence[str], data: Photos, clock: Clock) -> dict[str, float]:
    """Stage -> seconds, and ``all``. ``other`` is what is left of it; wall time in reading threads is no part of it."""
    watch = Stopwatch(clock)
    start = clock.of_process()
    with watch.watching(data):
        ge.evaluate(methods, **data.options)
    whole = clock.of_process() - start
    found = {stage: watch.seconds[stage] for stage in (*STAGES, MODEL)}
    beside = IN_THREADS if clock is WALL else ()
    other = whole - sum(seconds for stage, seconds in found.items() if stage not in beside)
    return found | {"other": other, "all": whole}


def floor(data: Photos, clock: Clock = WALL) -> float:
    """Seconds to decode and resize the images of a run, and to run the network on as many images as it mixes."""
    rows = np.arange(2 * data.pairs)
    start = clock.of_process()
    for loaded in ImageLoader(data.dataset, data.model.geometry).read(np.array_split(rows, len(rows) // 64 or 1)):
        pixels = torch.from_numpy(loaded.pixels[: len(loaded.pixels) // 2]).to(data.model.device)
        data.model.logits(pixels.permute(0, 3, 1, 2).float().div_(255)).cpu()
    return clock.of_process() - start


def table(methods: Sequence[str], data: Photos, repeats: int, clock: Clock) -> tuple[list[str], list[list[str]]]:
    """Header and rows: medians over ``repeats`` runs, after one to warm up."""
    rounds = [(stages_of_a_run(methods, data, clock), floor(data, clock)) for _ in range(repeats + 1)][1:]
    seconds = {stage: median(found[stage] for found, _ in rounds) for stage in rounds[0][0]}
    seconds["floor"] = median(lowest for _, lowest in rounds)
    header = ["stage", "s", "ms per pair", "% of the run"]
    rows = [
        [stage, f"{value:.3f}", f"{1000 * value / data.pairs:.2f}", f"{100 * value / seconds['all']:.1f}"]
        for stage, value in seconds.items()
    ]
    return header, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--method", action="append", help="default: cutmix")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--store", nargs=2, metavar=("PAGE", "MARK"), help="write the table into a page")
    options = parser.parse_args()
    data = photos(options.device, options.pairs)
    methods = options.method or ["cutmix"]
    if options.cpu_time:
        torch.set_num_threads(1)
    what = "processor time" if options.cpu_time else "wall time"
    text = f"{machine(options.device)}; {', '.join(methods)}, {data}; {what}, medians of {options.repeats} runs.\n\n"
    text += markdown(*table(methods, data, options.repeats, CPU if options.cpu_time else WALL))
    print(text)
    if options.store:
        page, mark = options.store
        store(Path(page), mark, text)


if __name__ == "__main__":
    main()
