"""How a run scales: memory against pairs and images, pairs per second against processes.

    python -m benchmarks.scaling [--pairs 10000 --pairs 1000000] [--images 2000] [--processes 2] [--store PAGE]

Images are noise of 32 px with eight fixations each, one method, no network: what is measured is the toolkit, not a
model. Every figure is of fresh processes of one thread. ``--store`` puts the tables into a page, between its lines
``<!-- begin memory -->`` and so on.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.page import machine, markdown, store

SIDE, CLASSES, FIXATIONS = 32, 10, 8
MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, action="append", help="default: 1000, 10000, 100000")
    parser.add_argument("--images", type=int, action="append", help="distinct images; default: 2000, 20000")
    parser.add_argument("--processes", type=int, action="append", help="default: 1, 2")
    parser.add_argument("--shared-pairs", type=int, default=20_000, help="of the run that the processes share")
    parser.add_argument("--store", type=Path, metavar="PAGE")
    parser.add_argument("--one", metavar="JSON", help=argparse.SUPPRESS)  # what each of the fresh processes does
    options = parser.parse_args()
    if options.one:
        print(json.dumps(evaluate(**json.loads(options.one))))
        return
    images = options.images or [2_000, 20_000]
    tables = {
        "memory": memory(options.pairs or [1_000, 10_000, 100_000], images),
        "processes": speed(options.processes or [1, 2], options.shared_pairs, images[0]),
    }
    for mark, table in tables.items():
        text = f"{machine('cpu')}.\n\n{table}"
        print(text, end="\n\n", flush=True)
        if options.store:
            store(options.store, mark, text)


def memory(counts: list[int], images: list[int]) -> str:
    """A table of runs alone."""
    runs = [(count, images[0]) for count in counts] + [(counts[0], distinct) for distinct in images[1:]]
    rows = []
    for count, distinct in runs:
        (found,) = measure(1, pairs=count, images=distinct)
        sizes = (f"{found[name] / MB:,.0f}" for name in ("start", "loop", "all"))
        rows.append([f"{count:,}", f"{distinct:,}", *sizes, f"{count / found['seconds']:,.0f}"])
    resident = ["data loaded", "most while it evaluates", "most in all"]
    return markdown(["pairs", "images", *(f"MB resident, {when}" for when in resident), "pairs/s"], rows)


def speed(worlds: list[int], pairs: int, images: int) -> str:
    """A table of runs shared by processes."""
    rows = []
    for world in worlds:
        seconds = max(found["seconds"] for found in measure(world, pairs=pairs, images=images))
        rows.append([str(world), f"{pairs / seconds:,.0f}"])
    return markdown(["processes", f"pairs/s, {pairs:,} pairs"], rows)


def measure(world: int, **work: int) -> list[dict[str, float]]:
    """What each of ``world`` fresh processes that share a run says of itself."""
    with tempfile.TemporaryDirectory() as folder:
        shards = [f"{rank}/{world}" if world > 1 else None for rank in range(world)]
        works = [json.dumps(work | {"shard": shard, "out": f"{folder}/run"}) for shard in shards]
        commands = [[sys.executable, "-m", "benchmarks.scaling", "--one", each] for each in works]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        outputs = [process.communicate()[0] for process in started]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def evaluate(pairs: int, images: int, shard: str | None, out: str) -> dict[str, float]:
    """Seconds of a run, and bytes resident before it, at most in its loop, and at most in all."""
    import torch

    from gazeeval.config import RunConfig
    from gazeeval.report.files import PairWriter
    from gazeeval.run import run

    torch.set_num_threads(1)
    data = {"data": noise(images), "input_size": SIDE, "geometry": "stretch", "sigma": "2px", "workers": 0}
    what: dict[str, Any] = {"method": "cutmix", "num_pairs": pairs, "references": False, "device": "cpu"}
    sizes = {"start": resident()}
    merge = PairWriter.merge

    def after_the_loop(writer: PairWriter) -> Any:
        sizes["loop"] = most_resident()
        return merge(writer)

    clock = time.perf_counter()
    with patch.object(PairWriter, "merge", after_the_loop):
        run(RunConfig.of({**data, **what, "shard": shard, "out": out}))
    return {"seconds": time.perf_counter() - clock, **sizes, "all": most_resident()}


def noise(images: int) -> Any:
    """A data set of noise in memory."""
    from gazeeval import Dataset

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    points = {name: rng.uniform(0, SIDE, images * FIXATIONS) for name in ("x", "y")}
    gaze = {"image": np.arange(images).repeat(FIXATIONS), **points}
    return Dataset.from_arrays(list(pixels), np.arange(images) % CLASSES, gaze, [f"class {i}" for i in range(CLASSES)])


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def most_resident() -> int:
    """The most that ever were."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
