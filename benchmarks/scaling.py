"""How a run scales: memory against pairs and images, pairs per second against processes.

    python benchmarks/scaling.py --pairs 10000 --pairs 100000 --pairs 1000000
    python benchmarks/scaling.py --processes 1 --processes 2

Images are noise of 32 px with eight fixations each, no network: what is measured is the toolkit, not a model. Every
figure is of a fresh process, whose resident size is taken twice: while it evaluates, and in all (with the tables).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

SIDE, CLASSES, FIXATIONS = 32, 10, 8
COUNTS = (10_000, 100_000)


@click.command()
@click.option("--pairs", "counts", type=int, multiple=True, default=COUNTS, show_default=True, help="Memory of a run.")
@click.option("--images", type=int, multiple=True, default=(2_000,), show_default=True, help="Distinct images.")
@click.option("--processes", type=int, multiple=True, default=(), help="Speed of a run of so many shards.")
@click.option("--shard-pairs", type=int, default=20_000, show_default=True, help="Pairs of such a run.")
@click.option("--one", hidden=True, help="PAIRS,IMAGES,SHARD,OUT: what a process of the benchmark does.")
def main(
    counts: tuple[int, ...], images: tuple[int, ...], processes: tuple[int, ...], shard_pairs: int, one: str
) -> None:
    """Print the tables."""
    if one:
        number, distinct, shard, out = one.split(",")
        print(json.dumps(evaluate(int(number), int(distinct), shard or None, Path(out))))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(
            "| pairs | images | pairs/s | RSS at start, MB | while evaluating, MB | in all, MB |\n|--:|--:|--:|--:|--:|--:|"
        )
        for number in counts:
            for distinct in images:
                (found,) = measure(number, distinct, 1, Path(folder) / f"{number}-{distinct}")
                cells = (found["start"], found["loop"], found["all"])
                print(f"| {number:,} | {distinct:,} | {number / found['seconds']:,.0f} |", end=" ")
                print(" | ".join(f"{size / 1e6:,.0f}" for size in cells), "|", flush=True)
        if processes:
            print("\n| processes | pairs/s |\n|--:|--:|")
        for world in processes:
            found_all = measure(shard_pairs, images[0], world, Path(folder) / f"shards-{world}")
            print(f"| {world} | {shard_pairs / max(found['seconds'] for found in found_all):,.0f} |", flush=True)


def measure(pairs: int, images: int, world: int, out: Path) -> list[dict[str, float]]:
    """What each of ``world`` processes that share a run says of itself."""
    shards = [f"{rank}/{world}" if world > 1 else "" for rank in range(world)]
    commands = [[sys.executable, __file__, "--one", f"{pairs},{images},{shard},{out}"] for shard in shards]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise click.ClickException("a process of the benchmark failed")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def evaluate(pairs: int, images: int, shard: str | None, out: Path) -> dict[str, float]:
    """Seconds of a run, and resident bytes before it, at most in its loop, and at most in all."""
    import torch

    from gazeeval import run as runs
    from gazeeval.config import RunConfig

    torch.set_num_threads(1)  # a process is a core
    dataset = noise(images)
    options = {"data": dataset, "method": "cutmix", "num_pairs": pairs, "references": False, "input_size": SIDE}
    config = RunConfig.of({**options, "geometry": "stretch", "sigma": "2px", "workers": 0, "out": out, "shard": shard})
    start, loop = resident(), [0]
    finish = runs.finish

    def after_loop(folder: Path) -> object:
        loop[0] = peak()
        return finish(folder)

    runs.finish = after_loop  # type: ignore[assignment]
    clock = time.perf_counter()
    runs.run(config)
    return {"seconds": time.perf_counter() - clock, "start": start, "loop": loop[0], "all": peak()}


def noise(images: int):  # type: ignore[no-untyped-def]
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


def peak() -> int:
    """The most that ever were."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
