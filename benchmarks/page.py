"""From figures to the page that shows them: what they were measured on, tables, and where a table goes."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import scipy
import timm
import torch
import torchvision
from tabulate import tabulate

from gazeeval.version import __version__

LIBRARIES = {"torch": torch, "torchvision": torchvision, "timm": timm, "OpenCV": cv2, "NumPy": np, "SciPy": scipy}


def machine(device: str) -> str:
    """Processor, cores, GPU, versions and the day, in a line."""
    versions = ", ".join(f"{name} {library.__version__}" for name, library in LIBRARIES.items())
    gpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, " if device == "cuda" else ""
    cores = f"{_processor()}, {os.cpu_count()} cores, threads inside torch: {torch.get_num_threads()}"
    python = f"Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}: {gpu}{cores}; {python}, gazeeval {__version__}, {versions}"


def _processor() -> str:
    """The name that Linux knows, else what Python does."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first column on the left and the others as they come."""
    table: str = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    return table


def store(page: Path, mark: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- begin mark -->`` and ``<!-- end mark -->`` of a page.

    Raises:
        SystemExit: the page has no such lines.
    """
    begin, end = f"<!-- begin {mark} -->\n", f"<!-- end {mark} -->"
    before, opened, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise SystemExit(f"--store: {page}, has no lines '{begin.strip()}' and '{end}'. Add them where the table goes.")
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")
