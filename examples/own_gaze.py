"""Images and gaze of your own, in memory: who looked where, for how long.

Twelve drawn pictures stand in for photographs. Gaze that is in files is described by a YAML file: docs/datasets.md.
"""

import numpy as np
import pandas as pd

import gazeeval as ge

rng = np.random.default_rng(0)
height, width = 120, 160
rows, cols = np.mgrid[:height, :width]

pictures, labels, looks = [], [], []
for number in range(12):
    y, x = rng.uniform((30, 30), (height - 30, width - 30))
    bright = np.hypot(rows - y, cols - x) < 20 if number % 2 else (abs(rows - y) < 18) & (abs(cols - x) < 18)
    pictures.append(np.where(bright[..., None], 220, rng.integers(40, 90, (height, width, 3))).astype(np.uint8))
    labels.append(number % 2)
    for viewer in ("anna", "ben"):
        spots = rng.normal((x, y), 8, (4, 2))  # pixels of the picture, from its upper left corner
        looks += [(number, *spot, rng.uniform(120, 400), viewer) for spot in spots]

fixations = pd.DataFrame(looks, columns=["image", "x", "y", "duration_ms", "viewer"])
data = ge.Dataset.from_arrays(pictures, labels, fixations, class_names=["square", "disc"], name="drawn")

runs = ge.evaluate(["cutmix", "saliencymix"], data=data, sigma="10%")
scores = runs.summary.query("metric == 'inconsistency' and subset == 'all'")
print(scores[["method", "n", "estimate", "ci_low", "ci_high"]].round(3).to_string(index=False))
