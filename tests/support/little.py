"""A data set that is written in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def lay_out(folder: Path, spec: str) -> Path:
    """Twelve noisy images of three classes, two fixations each, and ``spec`` as little.yaml, whose path is returned."""
    rng = np.random.default_rng(0)
    names = [f"{row:02d}.png" for row in range(12)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(folder / name)
    labels = [f"{name},{'abc'[row % 3]}" for row, name in enumerate(names)]
    points = [f"{name},{x:.1f},{y:.1f}" for name in names for x, y in rng.uniform((0, 0), (48, 40), (2, 2))]
    (folder / "images.csv").write_text("\n".join(["image,label", *labels]))
    (folder / "gaze.csv").write_text("\n".join(["image,x,y", *points]))
    (folder / "little.yaml").write_text(spec)
    return folder / "little.yaml"
