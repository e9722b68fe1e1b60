"""Draw the demo images, simulate where four viewers look and train the demo network.

``python -m gazeeval.data_specs.make_demo [--out DIR] [--data-only]``

Nothing else imports this module: the files it makes are shipped. Images and fixations follow from `SEED`
alone; the weights of the network depend on the machine that trains it.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Shape = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]
Colour = tuple[float, float, float]

SEED = 2026
PER_CLASS = 16
SIZES = ((96, 96), (96, 96), (128, 96), (96, 96), (96, 120))  # width, height; taken in turn
VIEWERS = ("v1", "v2", "v3", "v4")
UNSEEN = "triangle/triangle_15.png"  # nobody looked at this one
OBJECT_SHARE, CENTRE_SHARE = 0.75, 0.15  # expected shares of the fixations; the rest falls anywhere
SUBSAMPLES = 4  # per pixel and axis, for smooth edges


# ---------------------------------------------------------------------------------------------- images


def half_planes(u: NDArray[np.float64], v: NDArray[np.float64], sides: int, distance: float) -> NDArray[np.int64]:
    """How many of `sides` half-planes, turned evenly around the origin, hold each point."""
    angles = [math.tau * k / sides for k in range(sides)]
    within = np.stack([u * math.cos(a) + v * math.sin(a) < distance for a in angles])
    count: NDArray[np.int64] = within.sum(axis=0)
    return count


# Each fits into the unit circle. A five-pointed star is where at least four of its five lines agree.
SHAPES: dict[str, Shape] = {
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 0.95),
    "disc": lambda u, v: u * u + v * v < 0.81,
    "ring": lambda u, v: abs(u * u + v * v - 0.6) < 0.3,
    "square": lambda u, v: half_planes(u, v, 4, math.sqrt(0.5)) == 4,
    "star": lambda u, v: half_planes(u, v, 5, math.cos(math.tau / 5)) >= 4,
    "triangle": lambda u, v: half_planes(u, v, 3, 0.5) == 3,
}
CLASSES = tuple(SHAPES)  # alphabetical, so the label is the position of the folder
SPECKS: tuple[Shape, ...] = (lambda u, v: u * u + v * v < 0.5, lambda u, v: (abs(u) < 0.95) & (abs(v) < 0.3))


@dataclass(frozen=True)
class Pose:
    """Where a shape lies: centre and radius in px (pixel corner at 0), turn in radians."""

    x: float
    y: float
    radius: float
    turn: float


@dataclass(frozen=True)
class Scene:
    """A drawn picture, uint8 (h, w, 3), and where its object is."""

    pixels: NDArray[np.uint8]
    item: Pose


def clouds(rng: np.random.Generator, width: int, height: int, cell: int) -> NDArray[np.float64]:
    """Smooth noise in [0, 1], (h, w); resized on 8 bits, because Pillow does that in exact integers."""
    grid = (rng.random((height // cell + 2, width // cell + 2)) * 256).astype(np.uint8)
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float64) / 255


def colour(rng: np.random.Generator, saturation: float) -> Colour:
    """A random hue, of random brightness and at least this saturation."""
    hue, extra, value = rng.random(3)
    return colorsys.hsv_to_rgb(hue, saturation + (1 - saturation) * extra, 0.2 + 0.8 * value)


def luma(rgb: Colour) -> float:
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def paint(canvas: NDArray[np.float64], shape: Shape, at: Pose, rgb: Colour) -> None:
    """Put a shape of one colour on the canvas, each pixel weighed by how much of it is covered."""
    height, width = canvas.shape[:2]
    left, right = max(0, math.floor(at.x - at.radius)), min(width, math.ceil(at.x + at.radius))
    top, bottom = max(0, math.floor(at.y - at.radius)), min(height, math.ceil(at.y + at.radius))
    across = (np.arange((right - left) * SUBSAMPLES) + 0.5) / SUBSAMPLES + left - at.x
    down = ((np.arange((bottom - top) * SUBSAMPLES) + 0.5) / SUBSAMPLES + top - at.y)[:, None]
    cos, sin = math.cos(at.turn) / at.radius, math.sin(at.turn) / at.radius
    inside = shape(across * cos + down * sin, down * cos - across * sin)
    cover = inside.reshape(bottom - top, SUBSAMPLES, right - left, SUBSAMPLES).mean(axis=(1, 3))[..., None]
    window = canvas[top:bottom, left:right]
    window += cover * (np.asarray(rgb) - window)


def draw(name: str, width: int, height: int, rng: np.random.Generator) -> Scene:
    """One large object of class `name` over specks on a cloudy ground; no colour depends on the class."""
    short = min(width, height)
    cloud = 0.65 * clouds(rng, width, height, 24) + 0.35 * clouds(rng, width, height, 6)
    dark, light = sorted((colour(rng, 0.1), colour(rng, 0.1)), key=luma)
    canvas = dark + cloud[..., None] * (np.asarray(light) - dark)
    for _ in range(8 + int(12 * rng.random())):
        x, y, size, turn, kind = rng.random(5)
        at = Pose(x * width, y * height, (0.02 + 0.04 * size) * short, math.pi * turn)
        paint(canvas, SPECKS[int(2 * kind)], at, colour(rng, 0.5))
    ground = (luma(dark) + luma(light)) / 2
    rgb = colour(rng, 0.5)
    while abs(luma(rgb) - ground) < 0.15:
        rgb = colour(rng, 0.5)
    x, y, size, turn = rng.random(4)
    item = Pose((0.3 + 0.4 * x) * width, (0.3 + 0.4 * y) * height, (0.16 + 0.14 * size) * short, math.tau * turn)
    paint(canvas, SHAPES[name], item, rgb)
    # Steps of 8 keep the files small; nothing finer is visible here.
    return Scene(np.minimum(np.floor(canvas * 32) * 8 + 4, 255).astype(np.uint8), item)


def bundled(index: int) -> tuple[str, Scene]:
    """Name and picture of bundled image `index`: every image has its own random stream."""
    name, number = CLASSES[index // PER_CLASS], index % PER_CLASS
    width, height = SIZES[index % len(SIZES)]
    return f"{name}/{name}_{number:02d}.png", draw(name, width, height, np.random.default_rng((SEED, index)))


# ------------------------------------------------------------------------------------------------- gaze


def fixations(scene: Scene, focus: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float64]:
    """One viewer's fixations on one image, (n, 3): x and y in px, duration in ms.

    Most lie around the focus (normal, 0.4 of the object's radius), some around the centre, some anywhere.
    """
    n = int(rng.integers(4, 10))
    size = np.asarray(scene.pixels.shape[1::-1])
    kind = rng.random((n, 1))
    spot = np.where(kind < OBJECT_SHARE, focus, size / 2)
    spread = np.where(kind < OBJECT_SHARE, 0.4 * scene.item.radius, 0.15 * size.min())
    points = np.where(kind < OBJECT_SHARE + CENTRE_SHARE, rng.normal(spot, spread), rng.uniform(0, size, (n, 2)))
    duration = np.clip(rng.lognormal(math.log(250), 0.4, (n, 1)), 100, 600)
    return np.hstack([np.clip(points, 0, size).round(1), duration.round()])


def fixation_rows(index: int, name: str, scene: Scene) -> list[str]:
    """The lines of the fixation file for one image, viewer after viewer."""
    if name == UNSEEN:
        return []
    # All viewers prefer one side of the object, as people prefer a face. Keys count from 1: NumPy pads keys
    # with zeros, so (SEED, index, 0) would repeat the stream of the picture.
    item, angle = scene.item, math.tau * np.random.default_rng((SEED, index, len(VIEWERS) + 1)).random()
    focus = item.x + 0.3 * item.radius * math.cos(angle), item.y + 0.3 * item.radius * math.sin(angle)
    return [
        f"{name},{viewer},{x:.1f},{y:.1f},{ms:.0f}\n"
        for k, viewer in enumerate(VIEWERS, start=1)
        for x, y, ms in fixations(scene, focus, np.random.default_rng((SEED, index, k)))
    ]


def write_data(out: Path) -> None:
    """Write `images/<class>/<name>.png` and `fixations.csv` below `out`."""
    rows = ["image,viewer,x,y,duration_ms\n"]
    for index in range(PER_CLASS * len(CLASSES)):
        name, scene = bundled(index)
        path = out / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.pixels).save(path, optimize=True)
        rows += fixation_rows(index, name, scene)
    (out / "fixations.csv").write_text("".join(rows), encoding="utf-8", newline="\n")


# --------------------------------------------------------------------------------------------- networks


@dataclass(frozen=True)
class Network:
    """What to train and how; a further network is a further entry of `NETWORKS`."""

    file: str
    arch: str
    model_args: dict[str, Any]
    side: int
    epochs: int
    rate: float
    images: int = 9000

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """How images are prepared, in timm's words."""
        return {
            "input_size": [3, self.side, self.side],
            "crop_pct": 0.875,
            "crop_mode": "center",
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        }


CNN = Network(
    file="cnn.safetensors",
    arch="resnet10t",
    model_args={"channels": [16, 32, 64, 128], "stem_width": 16},
    side=64,
    epochs=8,
    rate=4e-3,
)
# 14 x 14 tokens, as the attention mixers want them; small, so that it learns from so few drawings.
VIT = Network(
    file="vit.safetensors",
    arch="vit_tiny_patch16_224",
    model_args={"img_size": 112, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2, "mlp_ratio": 2},
    side=112,
    epochs=20,
    rate=2e-3,
)
NETWORKS = (CNN, VIT)


def examples(network: Network, scenes: list[tuple[int, Scene]]) -> tuple[Any, Any]:
    """Network inputs (n, 3, side, side) under the evaluation geometry, and labels (n,)."""
    import torch
    from timm.data.transforms_factory import create_transform

    transform = create_transform(**network.pretrained_cfg, is_training=False)
    images = torch.empty(len(scenes), 3, network.side, network.side)
    for image, (_, scene) in zip(images, scenes, strict=True):
        image.copy_(transform(Image.fromarray(scene.pixels)))
    return images, torch.tensor([label for label, _ in scenes])


def fresh(count: int) -> list[tuple[int, Scene]]:
    """Training pictures of their own random stream: none is a bundled one."""
    drawn = []
    for i in range(count):
        rng = np.random.default_rng((SEED + 1, i))
        label, (width, height) = i % len(CLASSES), SIZES[int(rng.integers(len(SIZES)))]
        drawn.append((label, draw(CLASSES[label], width, height, rng)))
    return drawn


def train(network: Network) -> Any:
    """The network after AdamW with a one-cycle rate, flips and transpositions as its only augmentation."""
    import timm
    import torch
    from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed

    torch.manual_seed(SEED)
    images, labels = examples(network, fresh(network.images))
    model: Any = timm.create_model(network.arch, num_classes=len(CLASSES), **network.model_args)
    if hasattr(model, "pos_embed"):  # learning where patches lie would take longer than all the rest
        places = build_sincos2d_pos_embed(model.patch_embed.grid_size, model.embed_dim)
        model.pos_embed.data[0, model.num_prefix_tokens :] = places / 2
    optimiser = torch.optim.AdamW(model.parameters(), lr=network.rate, weight_decay=0.05)
    batches = len(images) // 64
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, network.rate, network.epochs * batches)
    for epoch in range(network.epochs):
        total = 0.0
        for rows in torch.randperm(len(images))[: batches * 64].view(batches, 64):
            batch, (flip, mirror, turn) = images[rows], torch.rand(3) < 0.5
            batch = batch.flip(2) if flip else batch
            batch = batch.flip(3) if mirror else batch
            batch = batch.mT if turn else batch
            loss = torch.nn.functional.cross_entropy(model(batch), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"{network.file}: epoch {epoch + 1}/{network.epochs}, loss {total / batches:.3f}", flush=True)
    return model.eval()


def write_network(network: Network, out: Path) -> None:
    """Train, round to float16, measure as rounded on the bundled images, save with all that loading needs."""
    import torch
    from safetensors.torch import save_file

    model = train(network)
    halves = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(halves)
    images, labels = examples(network, [(i // PER_CLASS, bundled(i)[1]) for i in range(PER_CLASS * len(CLASSES))])
    with torch.inference_mode():
        top1 = float((model(images).argmax(1) == labels).float().mean())
    print(f"{network.file}: top-1 {top1:.3f} on the bundled images")
    header = {
        "arch": network.arch,
        "model_args": json.dumps(network.model_args),
        "num_classes": json.dumps(len(CLASSES)),
        "pretrained_cfg": json.dumps(network.pretrained_cfg),
        "metric": json.dumps({"top1": round(top1, 4), "data": "the 96 bundled images, none used in training"}),
    }
    save_file(halves, out / network.file, header)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "demo", metavar="DIR")
    parser.add_argument("--data-only", action="store_true", help="leave the networks as they are")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    write_data(args.out)
    for network in () if args.data_only else NETWORKS:
        write_network(network, args.out)


if __name__ == "__main__":
    main()
