"""Loading a model, its preprocessing and its logits."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from gazeeval.errors import CheckpointError, GazeEvalError, UsageError
from gazeeval.models import architecture
from gazeeval.models.device import resolve_device
from gazeeval.models.model import load_model

CHECKPOINTS = Path(__file__).parents[3] / "shared" / "data" / "checkpoints"


def file_of(folder: Path, name: str = "test_resnet", build: Mapping[str, Any] | None = None, **about: Any) -> Path:
    """A checkpoint of the named network (5 classes, weights from the fixed seed) that states ``about``."""
    path = folder / "weights.pt"
    state = architecture.create(name, {"num_classes": 5, **(build or {})}).state_dict()
    torch.save({"state_dict": state, "arch": name, **about}, path)
    return path


def test_stored_architecture_and_head(tmp_path: Path) -> None:
    path = file_of(tmp_path)
    model = load_model(path, device="cpu")
    assert (model.arch, model.arch_origin, model.num_classes) == ("test_resnet", "stored", 5)
    assert (model.weights, model.path, model.notes) == ("state_dict", str(path), ())
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not model.network.training
    assert model.describe() == (
        f"test_resnet (stored), 5 classes, state_dict, sha256 {model.sha256[:8]}, {model.geometry.describe()}"
    )


def test_logits_are_those_of_the_network_on_normalised_images(tmp_path: Path) -> None:
    model = load_model(file_of(tmp_path), device="cpu", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    images = torch.rand(3, 3, 160, 160)
    by_hand = torch.stack(
        [(images[:, c] - m) / s for c, (m, s) in enumerate([(0.1, 0.5), (0.2, 0.6), (0.3, 0.7)])], dim=1
    )
    reference = architecture.create("test_resnet", {"num_classes": 5})
    with torch.no_grad():
        expected = reference(by_hand)
    logits = model.logits(images)
    assert (logits.dtype, logits.shape) == (torch.float32, (3, 5))
    torch.testing.assert_close(logits.clone(), expected)


def test_gradients_reach_the_images_after_inference(tmp_path: Path) -> None:
    model = load_model(file_of(tmp_path), device="cpu")
    images = torch.rand(1, 3, 160, 160)
    model.logits(images)
    images.requires_grad_()
    (gradient,) = torch.autograd.grad(model.network(model.normalise(images)).sum(), images)
    assert gradient.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_loading_leaves_every_random_state_alone(tmp_path: Path) -> None:
    path = file_of(tmp_path)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    load_model(path, device="cpu")
    load_model("test_resnet", device="cpu", pretrained=False)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert before[2] == random.getstate()


def test_given_architecture(tmp_path: Path) -> None:
    path = file_of(tmp_path, arch=None)
    assert load_model(path, arch="test_resnet", device="cpu").arch_origin == "given"
    with pytest.raises(CheckpointError, match=r"does not say its architecture\. Pass --arch; .* fit test_resnet"):
        load_model(path, device="cpu")
    with pytest.raises(CheckpointError, match=r"got 'test_resnte' \(did you mean 'test_resnet'"):
        load_model(path, arch="test_resnte", device="cpu")
    with pytest.raises(CheckpointError, match=r"weights do not fit test_vit, got \d+ missing .* fit test_resnet"):
        load_model(path, arch="test_vit", device="cpu")


def test_stored_architecture_that_timm_lacks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"says 'my_resnet', which timm has not\. Pass --arch"):
        load_model(file_of(tmp_path, arch="my_resnet"), device="cpu")


def test_architecture_in_training_options(tmp_path: Path) -> None:
    path = file_of(tmp_path, arch=None, args=argparse.Namespace(model="test_resnet", epochs=3))
    assert load_model(path, device="cpu").arch == "test_resnet"


def test_model_args_build_the_stored_variant(tmp_path: Path) -> None:
    stated = load_model(file_of(tmp_path, "test_vit", {"depth": 2}, model_args={"depth": 2}), device="cpu")
    assert len(stated.network.blocks) == 2  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="another depth"):
        load_model(file_of(tmp_path, "test_vit", {"depth": 2}), device="cpu")


def test_safetensors_with_metadata(tmp_path: Path) -> None:
    state = architecture.create("test_vit", {"num_classes": 5, "depth": 2}).state_dict()
    config = {"input_size": [3, 160, 160], "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.25] * 3}
    about = {"arch": "test_vit", "model_args": json.dumps({"depth": 2}), "pretrained_cfg": json.dumps(config)}
    save_file(state, tmp_path / "vit.safetensors", metadata=about)
    model = load_model(tmp_path / "vit.safetensors", device="cpu")
    assert (model.num_classes, model.weights) == (5, "plain")
    assert (model.mean, model.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert model.geometry.describe() == "Resize 160, CenterCrop 160, bicubic"


def test_geometry_is_the_files_then_timms_then_ours(tmp_path: Path) -> None:
    timms = load_model(file_of(tmp_path), device="cpu")
    assert timms.geometry.describe() == "Resize 168, CenterCrop 160, bilinear"
    assert (timms.mean, timms.std) == ((0.5,) * 3, (0.5,) * 3)
    own = {"input_size": [3, 96, 128], "crop_pct": 0.5, "interpolation": "bicubic", "crop_mode": "squash"}
    path = file_of(tmp_path, pretrained_cfg={**own, "mean": IMAGENET_DEFAULT_MEAN, "std": None})
    files = load_model(path, device="cpu")
    assert files.geometry.describe() == "Resize 192x256, CenterCrop 96x128, bicubic"
    assert (files.mean, files.std) == (IMAGENET_DEFAULT_MEAN, (0.5,) * 3)
    ours = load_model(path, device="cpu", input_size=64, crop_pct=1.0, std=IMAGENET_DEFAULT_STD)
    assert ours.geometry.describe() == "Resize 64x64, CenterCrop 64, bicubic"
    assert (ours.mean, ours.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    assert load_model(path, device="cpu", geometry="stretch").geometry.describe() == "Stretch 96x128, bicubic"


def test_transformer_of_another_input_size(tmp_path: Path) -> None:
    small = {"img_size": 96}
    stored = load_model(file_of(tmp_path, "test_vit", small, model_args=small), device="cpu")
    assert (stored.geometry.height, stored.notes) == (96, ())
    untold = file_of(tmp_path, "test_vit", small)
    with pytest.raises(CheckpointError, match="--input-size"):
        load_model(untold, device="cpu")
    assert load_model(untold, device="cpu", input_size=96).notes == ()
    resampled = load_model(untold, device="cpu", input_size=(64, 128))
    assert (resampled.geometry.width, resampled.notes) == (128, ("adapted by timm's converter",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5,)}, "mean: got"),
        ({"std": (0.5, 0.5, 0.0)}, "std: got"),
        ({"input_size": 0}, r"input_size: got 0\."),
        ({"crop_pct": 1.5}, "crop_pct"),
        ({"device": "gpu"}, "device: got 'gpu'"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(file_of(tmp_path), **{"device": "cpu", **options})


@pytest.mark.parametrize("config", [{"crop_pct": "most"}, {"mean": 0.5}, {"input_size": "224"}])
def test_stored_preprocessing_that_makes_no_sense(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"pretrained_cfg|input_size"):
        load_model(file_of(tmp_path, pretrained_cfg=config), device="cpu")


def test_network_that_cannot_take_the_images(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"test_resnet does not take images of 160x160 .*channels"):
        load_model(file_of(tmp_path, build={"in_chans": 1}, model_args={"in_chans": 1}), device="cpu")


def test_backbone_without_classifier(tmp_path: Path) -> None:
    path = file_of(tmp_path, build={"num_classes": 0})
    with pytest.raises(CheckpointError, match="backbone only"):
        load_model(path, device="cpu")


def test_timm_name_with_drawn_weights() -> None:
    model = load_model("test_vit", device="cpu", pretrained=False, input_size=96)
    assert (model.arch_origin, model.weights) == ("timm", "random (timm name, no weights)")
    assert (model.num_classes, model.geometry.height) == (1000, 96)
    assert model.sha256 == load_model("test_vit", device="cpu", pretrained=False, input_size=96).sha256


def test_names_that_are_neither_file_nor_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_resnet").mkdir()
    assert load_model("test_resnet", device="cpu", pretrained=False).path == "test_resnet"
    for name in ("ckpt.pt", "runs/best", "model.SAFETENSORS"):
        with pytest.raises(CheckpointError, match="no such file"):
            load_model(name, device="cpu")
    with pytest.raises(CheckpointError, match=r"got 'resnet81' \(did you mean 'resnet"):
        load_model("resnet81", device="cpu")
    with pytest.raises(UsageError, match="--arch and --weights-key"):
        load_model("test_resnet", arch="test_resnet", device="cpu")


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(GazeEvalError, match=r"no such device, got 'cuda:99'\. This machine has: cpu") as caught:
        resolve_device("cuda:99")
    assert caught.value.exit_code == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_logits_agree_on_cpu_and_gpu(tmp_path: Path) -> None:
    path, images = file_of(tmp_path), torch.rand(2, 3, 160, 160)
    on_gpu = load_model(path, device="cuda")
    assert next(on_gpu.network.parameters()).is_cuda
    torch.testing.assert_close(
        on_gpu.logits(images.cuda()).cpu(), load_model(path, device="cpu").logits(images), rtol=1e-3, atol=1e-3
    )


@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason=f"real checkpoints are not at {CHECKPOINTS}")
@pytest.mark.parametrize(
    ("file", "arch"),
    [("cub10_resnet10t_224.pt", "resnet10t"), ("cub10_vit_tiny_d4_224.pt", "vit_tiny_patch16_224")],
)
def test_real_checkpoints(file: str, arch: str) -> None:
    model = load_model(CHECKPOINTS / file, device="cpu")
    assert (model.arch, model.arch_origin, model.num_classes) == (arch, "stored", 10)
    assert model.geometry.describe() == "Resize 256, CenterCrop 224, bicubic"
    assert (model.mean, model.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    assert model.logits(torch.rand(2, 3, 224, 224)).shape == (2, 10)
