"""The bundled demo: small, complete, and what its generator draws."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from gazeeval.data.dataset import load_dataset
from gazeeval.models.architecture import create
from gazeeval.models.demo import DEMO_MODELS
from gazeeval.models.model import load_model

make_demo = importlib.import_module("gazeeval.data_specs.make_demo")
KNOWN = {"cnn.safetensors": 0.9, "vit.safetensors": 0.6}
"""Share of the images that a network names right; a guess would name a sixth."""
DEMO = Path(str(resources.files("gazeeval.data_specs") / "demo"))


def image_names() -> set[str]:
    return {path.relative_to(DEMO / "images").as_posix() for path in (DEMO / "images").rglob("*.png")}


def image_pixels(name: str) -> NDArray[np.uint8]:
    with Image.open(DEMO / "images" / name) as image:
        return np.asarray(image)


def fixation_table() -> pd.DataFrame:
    return pd.read_csv(DEMO / "fixations.csv")


def test_files_are_small() -> None:
    images = [path.stat().st_size for path in (DEMO / "images").rglob("*.png")]
    assert len(images) == 96
    assert sum(images) <= 1_000_000
    assert (DEMO / "cnn.safetensors").stat().st_size <= 700_000
    assert (DEMO / "vit.safetensors").stat().st_size <= 400_000
    assert (DEMO / "fixations.csv").stat().st_size <= 200_000


def test_images_decode_in_several_sizes() -> None:
    pixels = [image_pixels(name) for name in image_names()]
    assert {image.dtype for image in pixels} == {np.dtype(np.uint8)}
    assert {image.shape for image in pixels} == {(96, 96, 3), (96, 128, 3), (120, 96, 3)}


def test_class_folders_are_in_label_order() -> None:
    assert sorted(path.name for path in (DEMO / "images").iterdir()) == list(make_demo.CLASSES)


def test_one_image_has_no_fixation() -> None:
    names, seen = image_names(), set(fixation_table()["image"])
    assert seen <= names
    assert names - seen == {make_demo.UNSEEN}


def test_fixations_are_plausible() -> None:
    table = fixation_table()
    counts = table.groupby(["image", "viewer"]).size()
    assert len(counts) == 95 * 4
    assert counts.between(4, 9).all()
    assert table["duration_ms"].between(100, 600).all()
    shapes = {name: image_pixels(name).shape for name in image_names()}
    height, width, _ = np.array([shapes[name] for name in table["image"]]).T
    assert (table["x"].between(0, width) & table["y"].between(0, height)).all()


def test_fixations_gather_on_the_object() -> None:
    """The object draws 75 %, and some of the other gaze falls on it by chance."""
    table = fixation_table()
    items = {name: scene.item for name, scene in map(make_demo.bundled, range(96))}
    x, y, radius = np.array([(items[n].x, items[n].y, items[n].radius) for n in table["image"]]).T
    near = np.hypot(table["x"] - x, table["y"] - y) < 1.5 * radius
    assert near.mean() == pytest.approx(0.89, abs=0.03)


@pytest.mark.parametrize("index", [0, 33, 95])
def test_generator_draws_the_bundled_pixels(index: int) -> None:
    name, scene = make_demo.bundled(index)
    np.testing.assert_array_equal(image_pixels(name), scene.pixels)


def test_generator_simulates_the_bundled_fixations() -> None:
    rows = [row for i in range(96) for row in make_demo.fixation_rows(i, *make_demo.bundled(i))]
    kept = (DEMO / "fixations.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    assert rows == kept[1:]


@pytest.mark.parametrize("network", make_demo.NETWORKS, ids=lambda network: network.file)
def test_checkpoint_says_how_to_load_it(network: Any) -> None:
    with safe_open(DEMO / network.file, "np") as file:
        header = file.metadata()
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118, it is no mapping
    assert set(header) >= {"arch", "model_args", "num_classes", "pretrained_cfg", "metric"}
    assert {kind for kind in kinds if kind.kind == "f"} == {np.dtype(np.float16)}
    assert header["arch"] == network.arch
    assert json.loads(header["model_args"]) == network.model_args
    assert json.loads(header["num_classes"]) == len(make_demo.CLASSES)
    assert json.loads(header["pretrained_cfg"])["input_size"] == [3, network.side, network.side]
    top1 = json.loads(header["metric"])["top1"]
    assert top1 > KNOWN[network.file]
    name = next(name for name, file in DEMO_MODELS.items() if file == network.file)
    (row,) = (line for line in (DEMO / "README.md").read_text("utf-8").splitlines() if f"`--model {name}`" in line)
    assert f"`{network.arch}`" in row
    assert f" {network.side} px" in row
    assert row.endswith(f" {100 * top1:.0f} % of the images |")


@pytest.mark.parametrize("name", DEMO_MODELS)
def test_networks_know_the_images(name: str) -> None:
    dataset = load_dataset("demo")
    model = load_model(name, device="cpu")
    pixels = np.stack([model.geometry.apply(dataset.read_image(row)) for row in range(len(dataset))])
    logits = model.logits(torch.from_numpy(pixels).movedim(-1, 1) / 255)
    assert len(dataset) == 95
    assert dataset.gaze.viewers == make_demo.VIEWERS
    assert dataset.class_names == make_demo.CLASSES
    assert (logits.argmax(1).numpy() == dataset.labels).mean() > KNOWN[DEMO_MODELS[name]]


def test_the_transformer_looks_at_14_by_14_patches() -> None:
    """What TdAttenMix, SMMix and TokenMix ask for as a default."""
    model = load_model("demo-vit", device="cpu")
    assert (model.geometry.height, model.geometry.width) == (112, 112)
    tokens = model.network.forward_features(torch.zeros(1, 3, 112, 112))  # type: ignore[operator]
    assert tokens.shape[1:] == (1 + 14 * 14, 64)
    assert len(model.network.blocks) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DEMO_MODELS)
def test_networks_have_the_stated_size(name: str) -> None:
    weights = sum(parameter.numel() for parameter in load_model(name, device="cpu").network.parameters())
    stated = re.search(rf"`--model {name}`.* (\d+) 000 weights", (DEMO / "README.md").read_text("utf-8"))
    assert stated is not None
    assert int(stated[1]) == round(weights / 1000)


def test_demo_networks_are_known_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # such as a run leaves
    model = load_model("demo", device="cpu")
    assert (model.path, model.arch, model.arch_origin) == ("demo", "resnet10t", "stored")
    assert model.sha256 == hashlib.sha256((DEMO / "cnn.safetensors").read_bytes()).hexdigest()
    torch.save({"arch": "test_resnet", "state_dict": create("test_resnet", {}).state_dict()}, tmp_path / "demo-vit")
    assert load_model("demo-vit", device="cpu").arch == "test_resnet", "a file of that name comes first"
