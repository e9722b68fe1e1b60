"""Every goal for speed and memory against its reference, as one table per device.

    python -m benchmarks [--quick] [--device cpu] [--only gaze --only costs] [--store docs/performance.md]

``--store`` puts each device's table into the page, between its lines ``<!-- begin cpu -->`` and ``<!-- end cpu -->``.
The references cv2.saliency and kornia may lie in a folder of their own: ``uv pip install --target FOLDER --no-deps
opencv-contrib-python-headless kornia kornia-rs``, then ``PYTHONPATH=FOLDER python -m benchmarks``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch

from benchmarks.goals import HEADER, MEASURES, Options
from benchmarks.page import machine, markdown, store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats and smaller batches")
    parser.add_argument("--device", action="append", choices=["cpu", "cuda"], help="default: all that there are")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="may be repeated; default: all")
    parser.add_argument("--repeats", type=int, help="default: 9, or 3 with --quick")
    parser.add_argument("--store", type=Path, metavar="PAGE")
    options = parser.parse_args()
    repeats = options.repeats or (3 if options.quick else 9)
    for device in options.device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        setting = Options(torch.device(device), repeats, options.quick)
        rows = []
        for name in options.only or MEASURES:
            print(f"{device}: {name} ...", file=sys.stderr, flush=True)
            rows += [list(dataclasses.astuple(row)) for row in MEASURES[name](setting)]
        rounds = f"Medians [quartiles] of {repeats} rounds, of {setting.few} where one takes long"
        text = f"{machine(device)}. {rounds}{'; --quick: smaller batches, few pairs' * options.quick}.\n\n"
        text += markdown(HEADER, rows)
        print(text)
        if options.store:
            store(options.store, device, text)


if __name__ == "__main__":
    main()
