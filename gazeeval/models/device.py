"""Which device a name means here."""

from __future__ import annotations

import re

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


def _present() -> list[str]:
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names
