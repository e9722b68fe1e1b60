from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import gazeeval as ge


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the demo data: a method of two images, one of saliency, one scored by construction, one of several."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    ge.evaluate(
        ["cutmix", "saliencymix", "mixup", "comixup"], out=folder, input_size=32, num_pairs=24, workers=0, seed=3
    )
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run to write to."""
    return Path(shutil.copytree(finished, tmp_path / "first"))


@pytest.fixture
def results(folder: Path) -> ge.Results:
    return ge.read_results(folder)
