"""Manifold Mixup against the released code: its formula, and a network mixed at each of the layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load
from tiny_network import TinyNetwork, images_of, load_tiny
from torch import Tensor, nn
from torch.nn.functional import one_hot

import gazeeval as ge
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import parse_method
from gazeeval.mixers.manifoldmix import ManifoldMix, ManifoldMixDraws, mix_features
from gazeeval.mixers.manifoldmix import _stages as stages_of
from gazeeval.models.architecture import create_empty
from gazeeval.models.model import Model, load_model
from gazeeval.run import evaluate
from gazeeval.testing import check_mixer


class Staged(nn.Module):
    """The tiny network with its two halves as modules, named like the stages of a ResNet."""

    def __init__(self, tiny: TinyNetwork) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(tiny.conv1, tiny.bn1, nn.ReLU(), nn.AvgPool2d(2))
        self.layer2 = nn.Sequential(tiny.conv2, tiny.bn2, nn.ReLU())
        self.fc, self.unused = tiny.fc, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.layer2(self.layer1(x)).mean(dim=(2, 3)))
        return logits


class Twice(nn.Module):
    """A network that calls one of its modules twice."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Linear(3, 3)
        self.fc = nn.Linear(3, 7)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.again(self.again(x.mean(dim=(2, 3))).tanh()))
        return logits


def staged(case: str = "manifoldmix_net_l1", device: str = "cpu") -> Model:
    model = load_tiny(load(case), device)
    assert isinstance(model.network, TinyNetwork)
    return replace(model, network=Staged(model.network).eval())


def fixed(lam: NDArray[Any] | list[float], layer: list[int] | None = None) -> ManifoldMixDraws:
    share = torch.as_tensor(lam, dtype=torch.float64)
    return ManifoldMixDraws(share, torch.tensor(layer or [0] * len(share)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("manifoldmix_feat_"))
def test_oracle_features(case: str, device: str) -> None:
    data = load(case)
    features, labels = (torch.from_numpy(data[key]).to(device) for key in ("features", "labels"))
    draws = fixed(np.full(len(features), data["lam_source"])).to(torch.device(device))
    mixed = mix_features(torch.cat((features, features[data["pairs"]])), draws.lam)
    np.testing.assert_allclose(mixed.cpu(), data["mixed"], rtol=0, atol=1e-6)
    both = one_hot(labels, int(data["num_classes"]))
    label = mix_features(torch.cat((both, both[data["pairs"]])).double(), ManifoldMix().share(draws))
    np.testing.assert_allclose(label.cpu(), data["target"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("manifoldmix_net_"))
def test_oracle_network(case: str, device: str) -> None:
    data = load(case)
    images, pairs = images_of(data, device), torch.from_numpy(data["pairs"])
    draws = fixed(np.full(len(pairs), data["lam_source"])).to(torch.device(device))
    mixer = ManifoldMix(layer=str(data["layer"]))
    logits = mixer.logits(staged(case, device), images[pairs], images, draws)
    np.testing.assert_allclose(logits.cpu(), data["logits"], rtol=0, atol=1e-5)


def test_pairs_of_all_layers_at_once() -> None:
    model, images = staged(), images_of(load("manifoldmix_net_l1"))
    source, target = images[[0, 1, 2, 3, 0, 1]], images[[1, 2, 3, 0, 2, 3]]
    layers, lam = [0, 1, 2, 0, 1, 2], [0.1, 0.3, 0.5, 0.6, 0.8, 0.9]
    found = ManifoldMix().logits(model, source, target, fixed(lam, layers))
    for row, layer in enumerate(layers):
        one = slice(row, row + 1)
        alone = ManifoldMix(layer=str(layer)).logits(model, source[one], target[one], fixed(lam[one]))
        torch.testing.assert_close(found[one], alone)
    by_layer = [ManifoldMix(layer=layer).logits(model, source, target, fixed(lam)) for layer in "012"]
    assert not torch.allclose(by_layer[0], by_layer[1], atol=1e-3)
    assert not torch.allclose(by_layer[1], by_layer[2], atol=1e-3)


@pytest.mark.parametrize(
    ("arch", "stages"),
    [
        ("resnet18", ("layer1", "layer2")),
        ("convnext_atto", ("stages.0", "stages.1")),
        ("swin_tiny_patch4_window7_224", ("layers.0", "layers.1")),
        ("regnety_002", ("s1", "s2")),
        ("efficientnet_b0", ("blocks.0", "blocks.1")),
        ("vit_tiny_patch16_224", ("blocks.2", "blocks.5")),
    ],
)
def test_stages_of_timm_networks(arch: str, stages: tuple[str, str]) -> None:
    with torch.device("meta"):
        network = create_empty(arch, {})
    assert stages_of(replace(staged(), network=network)) == stages


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_an_image_mixed_with_itself_is_as_it_was(arch: str, layer: str) -> None:
    model = load_model(arch, pretrained=False, device="cpu")
    images = torch.rand(3, 3, model.geometry.height, model.geometry.width, generator=torch.Generator().manual_seed(0))
    found = ManifoldMix(layer=layer).logits(model, images, images, fixed([0.2, 0.5, 0.9]))
    torch.testing.assert_close(found, model.logits(images), rtol=1e-4, atol=1e-5)


def test_a_named_module_is_the_stage_of_that_name() -> None:
    model, images = staged(), images_of(load("manifoldmix_net_l1"))
    named, second = (
        ManifoldMix(layer=layer).logits(model, images.flip(0), images, fixed([0.3] * 4)) for layer in ("layer2", "2")
    )
    assert torch.equal(named, second)
    last = ManifoldMix(layer="fc").logits(model, images.flip(0), images, fixed([0.3] * 4))
    torch.testing.assert_close(last, 0.3 * model.logits(images.flip(0)) + 0.7 * model.logits(images))


def test_a_module_that_is_called_twice_mixes_once() -> None:
    torch.manual_seed(0)
    model = replace(staged(), network=Twice().eval().requires_grad_(False))
    images = images_of(load("manifoldmix_net_l1"))
    network = model.network
    assert isinstance(network, Twice)
    found = ManifoldMix(layer="again").logits(model, images.flip(0), images, fixed([0.3] * 4))
    first = network.again(model.normalise(images).mean(dim=(2, 3)))
    expected = network.fc(network.again((0.3 * first.flip(0) + 0.7 * first).tanh()))
    torch.testing.assert_close(found, expected)
    assert not network.again._forward_hooks


@pytest.mark.parametrize(
    ("layer", "complaint"),
    [
        ("layr2", "got 'layr2' \\(did you mean 'layer2'"),
        ("", "got ''. Name a module .*layer1.0"),
        ("unused", "module unused, which the network does not call"),
    ],
)
def test_a_layer_that_cannot_be_mixed_is_refused(layer: str, complaint: str) -> None:
    model, images = staged(), images_of(load("manifoldmix_net_l1"))
    with pytest.raises(UsageError, match=complaint):
        ManifoldMix(layer=layer).logits(model, images, images, fixed([0.3] * 4))
    with pytest.raises(UsageError, match=complaint):
        ManifoldMix(layer=layer).check(model)
    assert not any(module._forward_hooks for module in model.network.modules())


def test_what_is_no_tensor_per_image_is_refused() -> None:
    network = nn.Sequential()
    network.add_module("fold", nn.Flatten(0, 1))
    model, images = replace(staged(), network=network), images_of(load("manifoldmix_net_l1"))
    with pytest.raises(UsageError, match=r"a tensor \(24, 32, 32\) from module fold for 8 images"):
        ManifoldMix(layer="fold").logits(model, images, images, fixed([0.3] * 4))


def test_a_network_without_known_stages_names_its_modules() -> None:
    model = replace(staged(), network=Twice())
    images = images_of(load("manifoldmix_net_l1"))
    with pytest.raises(UsageError, match=r"without stages that are known\. Name a module .* of: again, fc"):
        ManifoldMix(layer="1").logits(model, images, images, fixed([0.3] * 4))


@pytest.mark.parametrize("device", DEVICES)
def test_every_layer_that_may_be_drawn_is_tried_before_a_run(device: str) -> None:
    model = staged(device=device)
    tried: list[str] = []
    assert isinstance(model.network, Staged)
    for name, module in model.network.named_children():
        module.register_forward_hook(lambda *_, name=name: tried.append(name))
    ManifoldMix().check(model)
    assert tried.count("fc") == 3
    with pytest.raises(UsageError, match="without stages"):
        ManifoldMix().check(replace(model, network=Twice().to(device)))


def test_the_layer_is_kept_where_it_is_drawn() -> None:
    draws = fixed([0.3] * 3, [2, 0, 1])
    assert ManifoldMix().extra(draws)["layer"].tolist() == [2, 0, 1]
    assert not ManifoldMix(layer="2").extra(draws)


def test_a_run() -> None:
    model, rng = staged(), np.random.default_rng(0)
    images = list(rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8))
    points = {"image": np.arange(24), "x": rng.uniform(0, 32, 24), "y": rng.uniform(0, 32, 24)}
    names = [f"class {number}" for number in range(model.num_classes)]
    dataset = ge.Dataset.from_arrays(images, np.arange(24) % model.num_classes, points, names, "noise")
    options = {"data": dataset, "model": model, "references": False, "sigma": "3px"}
    rows = evaluate(["manifoldmix", "cutmix"], **options).pairs
    inside = rows["method"] == "manifoldmix"
    assert set(rows["x_layer"][inside]) == {0, 1, 2}
    assert rows["x_layer"][~inside].isna().all()
    with pytest.raises(UsageError, match=r"got 'layr2' \(did you mean 'layer2'.* work as it is: cutmix\."):
        evaluate(["manifoldmix:layer=layr2", "cutmix"], **options)


def test_draws() -> None:
    draws = ManifoldMix().draw(PairRng(0, "manifoldmix", range(20_000)), (64, 64))
    assert (torch.bincount(draws.layer) / 20_000).tolist() == pytest.approx([1 / 3] * 3, abs=0.01)
    assert draws.lam.std().item() == pytest.approx(np.sqrt(1 / 20), abs=0.003)  # Beta(a, a): 1 / (4 (2 a + 1))
    again = ManifoldMix(layer="2").draw(PairRng(0, "manifoldmix", range(5)), (64, 64))
    assert torch.equal(again.lam, draws.lam[:5])
    assert again.layer.tolist() == [0] * 5


def test_options() -> None:
    assert parse_method("manifoldmix:alpha=0.2,layer=blocks.5") == ManifoldMix(alpha=0.2, layer="blocks.5")
    with pytest.raises(UsageError, match="alpha, got 0"):
        ManifoldMix(alpha=0)
    check_mixer(ManifoldMix(layer="layer3"))
    assert not ManifoldMix.scores_gaze
