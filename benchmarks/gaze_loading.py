"""Reading gaze files: time and peak memory, parsed and from the cache.

    python benchmarks/gaze_loading.py [RUN_FILE ...] [--repeats 5] [--fixations 435000]

Run files of CUB-GHA are those given, else the ones in ``../shared/data`` beside the repository, else simulated. The
other shapes are simulated: one CSV, one text file per image, one JSON of recordings, with ``--fixations`` rows each.
Memory is what Python and NumPy allocate at most while reading (tracemalloc), in MB, and what the table keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from tabulate import tabulate

from gazeeval.data.parsed import clear_cache, parsed
from gazeeval.data.readers.cub_gha import read_cub_gha
from gazeeval.data.readers.delimited import Layout, read_delimited
from gazeeval.data.readers.files import GazeFile, find_files
from gazeeval.data.readers.records import load_json, read_records
from gazeeval.data.readers.table import GazeTable

SHARED = Path(__file__).parents[2] / "shared" / "data" / "cub_gha"
PER_IMAGE = 40
COLUMNS = {"x": "1", "y": "2", "duration": "3"}

Parse = Callable[[], GazeTable]


def simulated(folder: Path, fixations: int) -> None:
    """The same fixations in every shape."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 500, size=(fixations // PER_IMAGE, PER_IMAGE, 3))
    with (folder / "gaze.csv").open("w") as table, (folder / "Fixation_run1.txt").open("w") as run:
        table.write("image,x,y,duration\n")
        for image, points in enumerate(rows.tolist(), 1):
            lines = [f"{x},{y},{ms}\n" for x, y, ms in points]
            (folder / "points" / f"{image % 100:02d}").mkdir(parents=True, exist_ok=True)
            (folder / "points" / f"{image % 100:02d}" / f"{image:06d}.txt").write_text("".join(lines))
            table.writelines(f"{image:06d}.jpg,{line}" for line in lines)
            run.write(f"{image},500,500,{','.join(line.strip() for line in lines)}\n")
    recordings = [{"image": f"{i:06d}.jpg", "points": points} for i, points in enumerate(rows.tolist())]
    (folder / "gaze.json").write_text(json.dumps(recordings))


def works(folder: Path, runs: Sequence[Path]) -> dict[str, tuple[list[GazeFile], Parse]]:
    """Shape -> its files and how they are read."""
    one, many = find_files(folder, ["gaze.csv"]), find_files(folder, ["points/{image}.txt"])
    nested = find_files(folder, ["gaze.json"])
    points = {"image": "image", "points": "points"}
    return {
        "run files": ([GazeFile(path, path.name) for path in runs], partial(read_cub_gha, list(runs))),
        "one CSV": (one, partial(read_delimited, one, {name: name for name in ("image", *COLUMNS)})),
        "file per image": (many, partial(read_delimited, many, COLUMNS, layout=Layout(header=False))),
        "one JSON": (nested, partial(read_records, nested, load_json, points, points=list(COLUMNS))),
    }


def seconds(work: Parse, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def megabytes(work: Parse) -> tuple[float, float]:
    """At most while working, and in the end."""
    tracemalloc.start()
    table = work()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table)
    return peak / 1e6, kept / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Reading gaze files: time and peak memory.")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN_FILE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--fixations", type=int, default=435_000)
    options = parser.parse_args()

    import pandas  # noqa: F401  so that its import is not a part of the first figure

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["GAZEEVAL_CACHE"] = str(folder / "cache")
        simulated(folder, options.fixations)
        runs = options.runs or sorted(SHARED.glob("Fixation_run*.txt")) or [folder / "Fixation_run1.txt"]
        rows = []
        for shape, (files, parse) in works(folder, runs).items():
            clear_cache()
            kept = partial(parsed, files, shape, parse)
            megabytes_of_files = sum(file.path.stat().st_size for file in files) / 1e6
            first, peak, table = seconds(parse, options.repeats), *megabytes(parse)
            store, load = seconds(kept, 1), seconds(kept, options.repeats)
            rows.append([shape, len(files), megabytes_of_files, len(parse()), first, store, load, peak, table])
    print(f"run files: {runs[0]} and {len(runs) - 1} more; median of {options.repeats}")
    header = ["shape", "files", "MB", "rows", "parse s", "and keep s", "from cache s", "peak MB", "table MB"]
    print(tabulate(rows, header, floatfmt=".2f", intfmt=","))


if __name__ == "__main__":
    main()
