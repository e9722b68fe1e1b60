"""Which device a name means here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gazeeval.errors import GazeEvalError, UsageError, did_you_mean


def resolve_device(name: str) -> torch.device:
    """The device called ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    ``auto`` is the current CUDA device if there is one, else the CPU. It never picks ``mps``, which has no float64.

    Raises:
        UsageError: not a device name.
        GazeEvalError: no such device on this machine.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        hint = did_you_mean(name, ["auto", "cpu", "cuda", "mps"])
        raise UsageError(f"device: got {name!r}{hint}. Use auto, cpu, cuda, cuda:N or mps.")
    present = _present()
    if name in ("auto", "cuda") and "cuda:0" in present:
        return torch.device("cuda", torch.cuda.current_device())
    wanted = "cpu" if name == "auto" else name
    if wanted not in present:
        raise GazeEvalError(f"device: no such device, got {name!r}. This machine has: {', '.join(present)}.")
    return torch.device(wanted)


@contextmanager
def deterministic(wanted: bool = True) -> Iterator[None]:
    """Where operations give the same bits each time, if ``wanted``, and float32 is not cut to TF32.

    torch warns of an operation that has no such form. Settings are as before afterwards.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _present() -> list[str]:
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names
