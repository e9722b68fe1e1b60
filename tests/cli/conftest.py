from __future__ import annotations

from pathlib import Path

import pytest
from little import lay_out

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
def little(tmp_path: Path) -> Path:
    """A data set of twelve noisy images of three classes, two fixations each; the spec's path."""
    folder = tmp_path / "little"
    folder.mkdir()
    return lay_out(folder, SPEC)
