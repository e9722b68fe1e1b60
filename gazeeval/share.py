"""Which part of a run a process does: all of it, a shard named by hand, or a task of torchrun or SLURM.

Processes never wait for each other's results: each does every n-th chunk and writes files, so a run can end with more
or fewer processes than it began with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gazeeval.errors import UsageError

_TASKS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))


@dataclass(frozen=True)
class Share:
    """Task ``rank`` of ``world``; ``local`` is its number on its machine.

    ``merges`` says whether the process makes the tables once all chunks are there: the only one, or the first of those
    that were started together. Shards by hand may run on different days; `gazeeval report` joins them.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    merges: bool = True


def share_of(shard: str | None, environ: Mapping[str, str] = os.environ) -> Share:
    """The share that ``shard`` ("I/N", counted from 0) or else the environment names. Raises UsageError."""
    if shard is not None:
        found = re.fullmatch(r"(\d+)/(\d+)", shard)
        rank, world = (int(part) for part in found.groups()) if found else (0, 0)
        if not rank < world:
            raise UsageError(f"--shard: got {shard!r}. Write I/N with I from 0 to N - 1, such as 0/4.")
        return Share(rank, world, merges=world == 1)
    for names in _TASKS:
        if all(environ.get(name, "").isdigit() for name in names):
            rank, world, local = (int(environ[name]) for name in names)
            return Share(rank, world, local, merges=rank == 0)
    return Share()
