"""Settings for all tests."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from command import Command, Outcome

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


@pytest.fixture
def gazeeval(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The installed command, called in this process."""
    (script,) = entry_points(group="console_scripts", name="gazeeval")
    main = script.load()

    def call(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["gazeeval", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return Outcome(stop.value.code, *capsys.readouterr())

    return call
