"""Which part of a run a process does."""

from __future__ import annotations

import pytest

from gazeeval.errors import UsageError
from gazeeval.share import Share, share_of

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
SLURM = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}


def test_alone_it_does_everything() -> None:
    assert share_of(None, {}) == Share(0, 1, 0, merges=True)


@pytest.mark.parametrize(
    ("environ", "share"), [(TORCHRUN, Share(3, 8, 1, merges=False)), (SLURM, Share(0, 2, 0, merges=True))]
)
def test_tasks_of_a_launcher(environ: dict[str, str], share: Share) -> None:
    assert share_of(None, environ) == share


def test_a_batch_script_of_slurm_without_steps_is_one_process() -> None:
    assert share_of(None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}) == Share()


def test_a_shard_by_hand_goes_before_the_launcher_and_never_makes_the_tables() -> None:
    assert share_of("0/4", TORCHRUN) == Share(0, 4, 0, merges=False)
    assert share_of("0/1", TORCHRUN).merges


@pytest.mark.parametrize("shard", ["4/4", "1", "a/b", "-1/4", "0/0"])
def test_a_shard_that_is_none_is_refused(shard: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        share_of(shard, {})
