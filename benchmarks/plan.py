"""What a large run would take: time and disk, from the costs of a small one.

    python -m benchmarks.plan RUN [--images 1281167] [--methods 20] [--devices 8] [--store PAGE]

RUN is a finished run on the machine, with the network and the methods that are planned for. One round of pairs is
planned: every image is in one pair. Costs per image and per mix are those of the run, joining and summing up are done
again and timed, disk is what its files take.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.page import machine, markdown, store
from gazeeval.report.columns import FILES
from gazeeval.report.files import Results, read_csv, read_results
from gazeeval.report.finish import manifest_metrics
from gazeeval.report.tables import TABLE_COLUMNS, group_table, summary_table

PER_IMAGE = ("read", "transfer", "gaze", "signals")


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes, each of one image or of one mix by one method."""

    image: float
    mix: float
    row: float
    row_bytes: float
    mask_bytes: float

    @classmethod
    def of(cls, run: Results) -> Costs:
        """Costs of a finished run; the first group, in which everything is set up, is left out if there are others."""
        timing = read_csv(run.folder / "timing.csv", FILES["timing.csv"])
        later = timing[timing["group_id"] > timing["group_id"].min()]
        timing = later if len(later) else timing
        pairs = timing.drop_duplicates("group_id")["n"].sum()
        names = run.manifest["methods"]
        seconds = timing.groupby("stage")["seconds"].sum()
        masks = sum(path.stat().st_size for path in run.folder.glob("masks/*/*.npz"))
        rows = run.manifest["pairs"]["number"] * (len(names) + len(run.manifest["references"]))
        return cls(
            image=float(seconds.reindex(PER_IMAGE, fill_value=0).sum() / (2 * pairs)),
            mix=float(seconds["method"] / (pairs * len(names))),
            row=_seconds_of_tables(run) / rows,
            row_bytes=(run.folder / "inconsistency.csv").stat().st_size / rows,
            mask_bytes=masks / (run.manifest["pairs"]["number"] * len(names)),
        )


def _seconds_of_tables(run: Results) -> float:
    metrics = manifest_metrics(dict(run.manifest))
    clock = time.perf_counter()
    for _, rows in run.by_method(*TABLE_COLUMNS, *(metric.column for metric in metrics)):
        group_table(rows)
        summary_table(rows, metrics=metrics)
    return time.perf_counter() - clock


def plan(costs: Costs, images: int, methods: int, devices: int) -> str:
    """A table of what ``methods`` on one round of ``images`` would take on so many devices such as that of the run."""
    mixes = images // 2 * methods
    rows = [
        ["images read, resized, their gaze and signals", f"{images:,}", _time(images * costs.image / devices)],
        ["mixes made, judged and scored", f"{mixes:,}", _time(mixes * costs.mix / devices)],
        ["tables, by one process", f"{mixes:,}", _time(mixes * costs.row)],
        ["in all", "", _time((images * costs.image + mixes * costs.mix) / devices + mixes * costs.row)],
        ["inconsistency.csv", f"{mixes:,}", _size(mixes * costs.row_bytes)],
        ["masks/", f"{mixes:,}", _size(mixes * costs.mask_bytes)],
    ]
    return markdown(["work", "number", f"on {devices} devices"], rows)


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds > 5400 else f"{seconds / 60:,.1f} min"


def _size(count: float) -> str:
    power = int(np.log10(max(count, 1)) // 3)
    return f"{count / 1000**power:,.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=1_281_167, help="default: those of ImageNet-1k's training split")
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--store", type=Path, metavar="PAGE")
    options = parser.parse_args()
    run = read_results(options.run)
    costs = Costs.of(run)
    model = run.manifest["model"]
    text = (
        f"Costs of {run.manifest['pairs']['number']} pairs, {len(run.manifest['methods'])} methods, "
        f"{model['arch'] if model else 'no network'}, {run.manifest['geometry']}, on {run.manifest['device']}: "
        f"{1e3 * costs.image:.1f} ms per image, {1e3 * costs.mix:.2f} ms per mix, {1e6 * costs.row:.0f} us, "
        f"{costs.row_bytes:.0f} B and {costs.mask_bytes:.0f} B of masks per row. {machine('cpu')}.\n\n"
        f"{plan(costs, options.images, options.methods, options.devices)}"
    )
    print(text)
    if options.store:
        store(options.store, "plan", text)


if __name__ == "__main__":
    main()
