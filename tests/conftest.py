"""Settings for all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

# what tests parse stays out of the user's cache
os.environ["GAZEEVAL_CACHE"] = "off"

# the tests' tensors are small: more threads only wait for each other
torch.set_num_threads(1)

# networks are compared with oracles at 1e-5, which TF32 convolutions on a GPU would miss
torch.backends.cudnn.allow_tf32 = False


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Networks that a test builds get the same weights every time."""
    torch.manual_seed(0)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The mixers of tests/support/mymix.py, in a file of a user's own."""
    return Path(shutil.copy(Path(__file__).parent / "support" / "mymix.py", tmp_path))
