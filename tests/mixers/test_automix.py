"""AutoMix against the released block, from recorded features and from files in the layout of OpenMixup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load
from tiny_network import TinyNetwork, images_of, load_tiny
from torch import Tensor

from gazeeval.errors import CheckpointError, UsageError
from gazeeval.mixers.automix import AutoMix, AutoMixDraws, MixBlock, enlarged, for_classifier, mix_mask
from gazeeval.mixers.base import canonical_name, parse_method
from gazeeval.signals.base import Signals
from gazeeval.testing import check_mixer, example_pairs
from gazeeval.types import Placement

Data = dict[str, NDArray[Any]]


def block_of(data: Data, device: str) -> MixBlock:
    names = {"query": "query_conv", "key": "key_conv", "value": "value"}
    parts = {
        part: tuple(torch.from_numpy(data[f"mixblock_{name}_{kind}"]).to(device) for kind in ("weight", "bias"))
        for part, name in names.items()
        if f"mixblock_{name}_weight" in data
    }
    return MixBlock(**parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("automix_"))
def test_oracle(case: str, device: str) -> None:
    """in_channels, inter_channels, lam_concat, x_qk_concat and scale_factor follow from the shapes."""
    data = load(case)
    features, pairs = torch.from_numpy(data["features"]).to(device), torch.from_numpy(data["pairs"]).to(device)
    images = images_of(data, device)
    lam = torch.full((len(pairs),), float(data["lam_source"]), dtype=torch.float64, device=device)
    scale = float(data["lam_mul"]), bool(data["lam_residual"])
    answer = mix_mask(features, features[pairs], lam, block_of(data, device), *scale)
    size = images.shape[2], images.shape[3]
    mask = enlarged(answer, size, "bilinear" if data["upsample_bilinear"] else "nearest").sigmoid()
    np.testing.assert_allclose(mask.cpu(), data["mask_source"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(mask.mean(dim=(1, 2)).cpu(), data["mask_source_mean"], rtol=0, atol=1e-5)
    used = for_classifier(mask, lam, float(data["lam_margin"]), adjust=bool(data["mask_adjust"]))
    assert bool((used.amax(dim=(1, 2)) == used.amin(dim=(1, 2))).all()) == bool(data["degenerate"])
    for found, expected in ((mask, data["mixed_block"]), (used, data["mixed_backbone"])):
        mixed = Placement.from_mask(found, "soft").blend(images[pairs], images).cpu().numpy()
        normalised = (mixed - data.get("norm_mean", 0)) / data.get("norm_std", 1)
        np.testing.assert_allclose(normalised, expected, rtol=0, atol=1e-5)


def test_oracle_features_of_a_network() -> None:
    data = load("automix_net")
    model = load_tiny(data)
    assert isinstance(model.network, TinyNetwork)
    found = torch.nn.functional.avg_pool2d(model.network.forward_features(model.normalise(images_of(data))), 2)
    np.testing.assert_allclose(found, data["features"], rtol=0, atol=1e-5)


def stored(**changes: Tensor) -> dict[str, Tensor]:
    """Weights as OpenMixup names them, of a small ResNet and a block with lam as a channel."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: Any = timm.create_model("test_resnet", num_classes=0)
    channels = network.feature_info[3]["num_chs"]
    shapes = {"query.conv.weight": (channels // 2, channels + 1, 1, 1), "query.conv.bias": (channels // 2,)}
    shapes |= {"value.weight": (1, channels + 1, 1, 1), "value.bias": (1,)}
    block = {f"mix_block.{name}": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    network_k = {f"backbone_k.{name}": value for name, value in network.state_dict().items()}
    return {**block, **network_k, "head_one_k.fc.weight": torch.zeros(7, 3)} | changes


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "automix.pth"
    torch.save({"meta": {"epoch": 1}, "state_dict": stored()}, path)
    return str(path)


def test_a_file_of_openmixup(file: str) -> None:
    """With its own block and network; what the label gets is lam, what shows is said."""
    mixer = parse_method(f"automix:checkpoint={file},arch=test_resnet")
    assert canonical_name(mixer) == f"automix:arch=test_resnet,checkpoint={file}"
    assert not mixer.needs_model
    check_mixer(mixer)
    pairs, signals = example_pairs(mixer)
    draws = AutoMixDraws(torch.tensor([0.05, 0.3, 0.5, 0.5, 0.7, 0.95], dtype=torch.float64))
    placement = mixer.place(pairs, signals, draws)
    labels = mixer.weigh(pairs, placement, signals, draws, None)
    assert torch.equal(labels.lam, draws.lam)
    constant = placement.mask.amax(dim=(1, 2)) == placement.mask.amin(dim=(1, 2))
    assert constant.tolist() == [True, False, False, False, False, True]
    assert labels.extra["mask_mean"][[0, 5]].tolist() == pytest.approx([0.05, 0.95])
    assert (labels.extra["mask_mean"] - draws.lam)[1:5].abs().max() > 1e-2


def test_the_mean_of_an_adjusted_mask_is_the_share_of_the_label(file: str) -> None:
    mixer = AutoMix(checkpoint=file, arch="test_resnet", adjust=True)
    pairs, signals = example_pairs(mixer)
    draws = AutoMixDraws(torch.linspace(0.1, 0.9, 6, dtype=torch.float64))
    torch.testing.assert_close(mixer.place(pairs, signals, draws).mask_share(), draws.lam, rtol=0, atol=1e-6)


def test_normalisation_that_the_file_states(tmp_path: Path, file: str) -> None:
    path = tmp_path / "own.pth"
    own = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "architecture": "test_resnet"}
    torch.save({"state_dict": stored(), "pretrained_cfg": own}, path)
    pairs, signals = example_pairs(AutoMix(checkpoint=str(path)))
    draws = AutoMixDraws(torch.full((6,), 0.4, dtype=torch.float64))
    own_mask, usual = (
        mixer.place(pairs, signals, draws).mask for mixer in (AutoMix(str(path)), AutoMix(file, "test_resnet"))
    )
    assert not torch.allclose(own_mask, usual)


@pytest.mark.parametrize(
    ("changes", "options", "complaint"),
    [
        ({"mix_block.query.bn.weight": torch.ones(3)}, "", "other entries .mix_block.query.bn.weight"),
        ({"mix_block.query.conv.bias": torch.zeros(2), "mix_block.value.bias": torch.zeros(1)}, "", "not trained"),
        ({"backbone_k.fc.weight": torch.zeros(7, 3)}, "", "does not fit test_resnet"),
        ({}, ",arch=test_resnett", "did you mean 'test_resnet'"),
        ({}, ",mask_layer=7", "mask_layer, got 7"),
        ({}, ",mask_layer=1", "mask_layer, got 1, which gives [0-9]+ features"),
        ({}, ",alpha=0", "alpha, got 0"),
    ],
)
def test_what_a_file_must_hold(tmp_path: Path, changes: dict[str, Tensor], options: str, complaint: str) -> None:
    torch.save({"state_dict": stored(**changes), "arch": "test_resnet"}, tmp_path / "x.pth")
    with pytest.raises(UsageError, match=complaint):
        parse_method(f"automix:checkpoint={tmp_path / 'x.pth'}{options}")


def test_a_plain_classifier_is_not_enough(tmp_path: Path) -> None:
    torch.save({"state_dict": timm.create_model("test_resnet").state_dict()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"no Mix Block .*backbone_k"):
        AutoMix(checkpoint=str(tmp_path / "x.pth"))


def test_without_a_checkpoint_there_is_no_result() -> None:
    with pytest.raises(UsageError, match=r"not trained .* no result.* Pass -m automix:checkpoint=FILE.*mix_block"):
        parse_method("automix")


def test_an_image_size_that_the_features_do_not_divide(file: str) -> None:
    mixer = AutoMix(checkpoint=file, arch="test_resnet")
    pairs, _ = example_pairs(mixer, (72, 72))
    draws = AutoMixDraws(torch.full((6,), 0.4, dtype=torch.float64))
    with pytest.raises(UsageError, match="got 72x72 px for 5x5 features"):
        mixer.place(pairs, Signals({}, pairs.source, pairs.target), draws)
