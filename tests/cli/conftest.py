from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from command import Command, Outcome
from PIL import Image

SPEC = """
name: little
images: {layout: csv, index: images.csv, image: image, label: label}
gaze:
  format: csv
  files: gaze.csv
  columns: {image: image, x: x, y: y}
  kind: fixations
  image_key: path
  time_unit: ms
  origin: upper-left
  pixel_origin: corner
  unit: px
"""


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


@pytest.fixture
def little(tmp_path: Path) -> Path:
    """A data set of twelve noisy images of three classes, two fixations each; the spec's path."""
    folder = tmp_path / "little"
    folder.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{row:02d}.png" for row in range(12)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / name)
    labels = [f"{name},{'abc'[row % 3]}" for row, name in enumerate(names)]
    points = [f"{name},{x:.1f},{y:.1f}" for name in names for x, y in rng.uniform((0, 0), (48, 40), (2, 2))]
    (folder / "images.csv").write_text("\n".join(["image,label", *labels]))
    (folder / "gaze.csv").write_text("\n".join(["image,x,y", *points]))
    (folder / "little.yaml").write_text(SPEC)
    return folder / "little.yaml"
