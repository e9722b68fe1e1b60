"""Fine-grained saliency: the batched detector against ``cv2.saliency``, one process, calls interleaved.

    python benchmarks/fine_grained.py [--device cuda] [--threads 1] [--images 64] [--rounds 9]

The reference needs OpenCV's contrib modules, for instance in a second environment:
``uv venv contrib && uv pip install --python contrib/bin/python torch opencv-contrib-python-headless``, then
``PYTHONPATH=. contrib/bin/python benchmarks/fine_grained.py``. Without them only our own times are shown.

Wall time is what a user waits for; CPU time sums over the threads, so its ratio is the gain per core, and it is the
steadier of the two on a machine that does other work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.errors import UsageError
from gazeeval.signals.fine_grained import fine_grained
from gazeeval.signals.opencv import fine_grained_detector

SIDE = 224
Images = NDArray[np.uint8]


def structured_images(n: int) -> Images:
    """(n, 224, 224, 3) BGR: smooth colour fields with edges, fine texture and some discs."""
    rng = np.random.default_rng(0)
    images = np.empty((n, SIDE, SIDE, 3), dtype=np.uint8)
    for image in images:
        field = cv2.resize(rng.uniform(0, 255, (7, 7, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for _ in range(6):
            x, y, radius = (int(value) for value in rng.integers((0, 0, 5), (SIDE, SIDE, 40)))
            cv2.circle(field, (x, y), radius, rng.uniform(0, 255, 3).tolist(), -1)
        image[:] = np.clip(field + rng.normal(0, 6, field.shape), 0, 255)
    return images


def reference(images: Images) -> Images:
    """OpenCV, one image after the other, on its 0..255 scale."""
    detector = fine_grained_detector()
    return np.stack([np.rint(detector.computeSaliency(image)[1] * 255).astype(np.uint8) for image in images])


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def on_device(images: Tensor) -> Tensor:
    maps = fine_grained(images, order="bgr")
    if images.is_cuda:
        torch.cuda.synchronize()
    return maps


def milliseconds(name: str, seconds: list[float], n: int) -> float:
    """Print median and range per image; give the median."""
    per_image = [1000 * value / n for value in seconds]
    middle = statistics.median(per_image)
    print(f"  {name:<20} {middle:8.4f} ms/image   {min(per_image):.4f} .. {max(per_image):.4f}")
    return middle


def main() -> None:
    parser = argparse.ArgumentParser(description="Batched fine-grained saliency against cv2.saliency.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)

    images = structured_images(options.images)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(options.device)
    print(
        f"{len(images)} images of {SIDE} x {SIDE}, {options.device}, {options.threads} thread(s), "
        f"torch {torch.__version__}, OpenCV {cv2.__version__}, {options.rounds} rounds after one to warm up"
    )
    works = {"gazeeval": lambda: on_device(batch), "cv2.saliency": lambda: reference(images)}
    try:
        differing = int((on_device(batch).cpu().numpy() != reference(images)).sum())
        print(f"pixels that differ: {differing} of {images[..., 0].size}")
    except UsageError as error:
        print(f"no reference: {error}")
        del works["cv2.saliency"]
        on_device(batch)

    rounds = [{name: timed(work) for name, work in works.items()} for _ in range(options.rounds)]
    for clock, kind in enumerate(("wall", "CPU")):
        medians = [milliseconds(f"{name}, {kind}", [one[name][clock] for one in rounds], len(images)) for name in works]
        if len(medians) == 2:
            print(f"  {kind} ratio: {medians[1] / medians[0]:.1f}")


if __name__ == "__main__":
    main()
