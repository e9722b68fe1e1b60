"""AbSViT: each step against the released code's, and the ways its files can be loaded."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants as hub
from numpy.typing import NDArray
from oracles import DEVICES, load
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from gazeeval.errors import CheckpointError
from gazeeval.models import architecture
from gazeeval.models.absvit import AbSViT, above_threshold, cosine, prior
from gazeeval.models.model import load_model

DATA = load("tdattenmix_absvit_topdown")
SIGMAS = list(enumerate(DATA["task_param"].tolist()))
TINY = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5}

pytestmark = pytest.mark.usefixtures("_without_gradients")


@pytest.fixture
def _without_gradients() -> Any:
    with torch.inference_mode():
        yield


def stored(name: str, device: str) -> Tensor:
    return torch.from_numpy(DATA[name]).to(device)


def oracle_network(device: str) -> AbSViT:
    sizes = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes")
    network = AbSViT(**{size: int(DATA[size]) for size in sizes})
    network.load_state_dict({key[3:]: torch.from_numpy(value) for key, value in DATA.items() if key[:3] == "sd."})
    return network.eval().to(device)


def assert_near(found: Tensor, expected: NDArray[Any], tolerance: float) -> None:
    torch.testing.assert_close(found.cpu(), torch.from_numpy(expected), rtol=0, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_plain_pass_and_prior_agree_with_the_released_code(device: str) -> None:
    network, x, labels = oracle_network(device), stored("x", device), stored("labels", device)
    tokens, wanted = network.forward_features(x), network.get_classifier().weight[labels]
    assert_near(tokens, DATA["tokens_pass1"], 1e-4)
    assert_near(network(x), DATA["logits_pass1"], 1e-4)
    assert_near(network.forward_head(tokens), DATA["logits_pass1"], 1e-4)
    assert_near(cosine(tokens, wanted).clamp(0, 1), DATA["prior_y"], 1e-5)
    assert_near(prior(tokens, wanted), DATA["tokens_pass1"] * DATA["prior_y"][..., None], 1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("i", "sigma"), SIGMAS)
def test_second_pass_and_map_agree_with_the_released_code(i: int, sigma: float, device: str) -> None:
    network, x, labels = oracle_network(device), stored("x", device), stored("labels", device)
    wanted = network.get_classifier().weight[labels]
    back = network.feedback(prior(network.forward_features(x), wanted), sigma)
    tokens = network.second_pass(x, back)
    assert_near(torch.stack(back, dim=1), DATA[f"td_{i}"], 1e-4)
    assert_near(tokens, DATA[f"tokens_pass2_{i}"], 1e-4)
    assert_near(network.forward_head(tokens), DATA[f"logits_{i}"], 1e-4)
    assert_near(cosine(tokens, wanted)[:, 1:], DATA[f"cos_{i}"], 1e-5)
    assert_near(network.top_down(x, labels, sigma=sigma, threshold=False), DATA[f"map_raw_{i}"], 1e-5)
    assert_near(network.top_down(x, labels, sigma=sigma), DATA[f"map_official_{i}"], 1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_looking_for_the_prompt_agrees_with_the_released_code(device: str) -> None:
    network, x = oracle_network(device), stored("x", device)
    wanted = network.prompt.expand(len(x), -1)
    tokens = network.second_pass(x, network.feedback(prior(network.forward_features(x), wanted)))
    assert_near(network.forward_head(tokens), DATA["prompt_logits"], 1e-4)
    assert_near(network.look_for(x, wanted), DATA["prompt_map_official"], 1e-5)


def test_sigma_and_gain_act_as_one() -> None:
    network, x, labels = oracle_network("cpu"), stored("x", "cpu"), stored("labels", "cpu")
    once = network.top_down(x, labels, sigma=6)
    torch.testing.assert_close(network.top_down(x, labels, sigma=2, gain=3), once)
    torch.testing.assert_close(network.top_down(x, labels, sigma=0.5, gain=12), once)
    assert not torch.allclose(network.top_down(x, labels), once)


def test_a_map_depends_on_its_own_image_and_class_only() -> None:
    network, x, labels = oracle_network("cpu"), torch.randn(5, 3, 28, 28), torch.tensor([0, 6, 6, 2, 9])
    maps = network.top_down(x, labels)
    for i in range(5):
        torch.testing.assert_close(network.top_down(x[i : i + 1], labels[i : i + 1])[0], maps[i], rtol=0, atol=1e-6)
    assert not torch.allclose(network.top_down(x[:1], torch.tensor([1]))[0], maps[0])
    assert (maps.dtype, maps.shape) == (torch.float32, (5, 196))
    assert maps.amin() == 0
    assert maps.amax() <= 1


def test_the_threshold_is_each_images_own() -> None:
    seen = torch.tensor([[0.0, 0.5, 1.0], [0.2, 0.2, 0.2], [0.0, 0.08, 0.1]])
    expected = torch.tensor([[0.0, 0.0, 0.3], [0.0, 0.0, 0.0], [0.0, 0.01, 0.03]])
    torch.testing.assert_close(above_threshold(seen), expected)


def test_the_network_is_timms_transformer_with_a_way_back() -> None:
    plain = architecture.create("vit_tiny_patch16_224", {})
    network = architecture.create("absvit_tiny_patch16_224", {})
    extra = network.load_state_dict(plain.state_dict(), strict=False)
    assert not extra.unexpected_keys
    assert {name.partition(".")[0] for name in extra.missing_keys} == {"decoders", "prompt"}
    assert len(extra.missing_keys) == 12 * 2 + 1
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(network(x), plain(x))


def file_of(folder: Path, build: Mapping[str, Any] = TINY, **about: Any) -> Path:
    """A file in the layout of the released ones: the weights under "model"."""
    path = folder / "weights.pth"
    state = architecture.create("absvit_tiny_patch16_224", build).state_dict()
    torch.save({"model": state, **about}, path)
    return path


def test_a_released_file_is_loaded_by_its_architecture(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"num_classes": 10})
    model = load_model(path, arch="absvit_tiny_patch16_224", device="cpu")
    assert isinstance(model.network, AbSViT)
    assert (model.num_classes, model.weights, model.arch_origin) == (10, "model", "given")
    assert model.geometry.describe() == "Resize 256, CenterCrop 224, bicubic"
    assert (model.mean, model.std) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    maps = model.network.top_down(model.normalise(torch.rand(2, 3, 224, 224)), torch.tensor([3, 9]))
    assert maps.shape == (2, 196)


def test_a_training_file_says_its_architecture(tmp_path: Path) -> None:
    options = argparse.Namespace(model="absvit_tiny_patch16_224", model_kwargs=dict(TINY))
    model = load_model(file_of(tmp_path, args=options), device="cpu")
    assert (model.arch, model.arch_origin, model.num_classes) == ("absvit_tiny_patch16_224", "stored", 5)
    assert model.geometry.height == 32


def test_position_embeddings_are_resampled_on_request(tmp_path: Path) -> None:
    path = file_of(tmp_path, arch="absvit_tiny_patch16_224", model_args={key: TINY[key] for key in TINY})
    model = load_model(path, device="cpu", input_size=64)
    assert model.notes == ("adapted by timm's converter",)
    assert model.network.top_down(torch.rand(1, 3, 64, 64), torch.tensor([1])).shape == (1, 16)  # type: ignore[operator]


def test_the_right_name_is_advised(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"num_classes": 10, "embed_dim": 384, "num_heads": 6})
    with pytest.raises(CheckpointError, match=r"its architecture\. Pass --arch; .* fit absvit_small_patch16_224\."):
        load_model(path, device="cpu")
    with pytest.raises(CheckpointError, match=r"25 unknown to it \(.*decoders\.0.* fit absvit_small_patch16_224\."):
        load_model(path, arch="vit_small_patch16_224", device="cpu")


def test_a_plain_transformer_is_no_absvit(tmp_path: Path) -> None:
    path = tmp_path / "vit_tiny_patch16_224.pth"
    torch.save({"model": architecture.create("vit_tiny_patch16_224", {"num_classes": 10}).state_dict()}, path)
    with pytest.raises(CheckpointError, match=r"25 missing .* fit vit_tiny_patch16_224"):
        load_model(path, arch="absvit_tiny_patch16_224", device="cpu")


def test_no_weights_come_with_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"weights: absvit_tiny_patch16_224: not available.* Pass a checkpoint"):
        load_model("absvit_tiny_patch16_224", device="cpu")
