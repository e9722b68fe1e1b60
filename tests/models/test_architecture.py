"""Networks by timm's names, and whether weights fit them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants as hub

from gazeeval.errors import CheckpointError
from gazeeval.models import architecture, fit


def weights(arch: str, **args: Any) -> dict[str, torch.Tensor]:
    return dict(architecture.create(arch, {"num_classes": 5, **args}).state_dict())


def test_created_weights_come_from_a_fixed_seed_in_eval_mode() -> None:
    torch.manual_seed(1)
    first = architecture.create("test_resnet", {"num_classes": 5})
    torch.manual_seed(2)
    second = architecture.create("test_resnet", {"num_classes": 5})
    assert not first.training
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_making_networks_leaves_every_random_state_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]
    architecture.create("test_vit", {})
    architecture.create_empty("test_vit", {})
    fit.suggest(weights("test_resnet"))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # type: ignore[index]
    assert before[2] == random.getstate()


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_efficientnet", "test_vit_relpos"])
def test_an_empty_network_is_the_same_once_filled(arch: str) -> None:
    reference = architecture.create(arch, {"num_classes": 5})
    network = architecture.create_empty(arch, {"num_classes": 5})
    assert not fit.load_weights(network, dict(reference.state_dict()))
    images = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(network(images), reference(images))


def test_where_weights_come_from_is_not_for_model_args_to_say() -> None:
    network = architecture.create("test_resnet", {"num_classes": 5, "pretrained": True, "checkpoint_path": "/evil.pt"})
    assert network.num_classes == 5


def test_arguments_that_do_not_exist() -> None:
    with pytest.raises(CheckpointError, match=r"test_resnet: cannot be made, got arguments .*'detph': 4"):
        architecture.create("test_resnet", {"detph": 4})


def test_unknown_architecture_gets_the_nearest_name() -> None:
    with pytest.raises(CheckpointError, match=r"got 'resnet5O' \(did you mean 'resnet5"):
        architecture.require_known("resnet5O")


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_class_count_is_read_from_the_head(arch: str) -> None:
    assert architecture.class_count(arch, weights(arch)) == 5
    assert architecture.class_count(arch, {"other.weight": torch.ones(5, 3)}) is None


@pytest.mark.parametrize("arch", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "resnet10t"])
def test_suggestions_hold_the_name_that_fits(arch: str) -> None:
    found = fit.suggest(weights(arch), seconds=60)
    assert arch in found
    assert len(found) <= 5


def test_suggestions_for_another_depth_fit_stem_and_head() -> None:
    assert "vit_tiny_patch16_224" in fit.suggest(weights("vit_tiny_patch16_224", depth=2), seconds=60)


def test_suggestions_begin_with_the_name_of_the_file() -> None:
    state = weights("vit_tiny_patch16_224")
    assert fit.suggest(state, "cub_deit-tiny-patch16-224_best", most=1, seconds=60) == ["deit_tiny_patch16_224"]


def test_no_suggestion_without_time_or_for_foreign_weights() -> None:
    assert fit.suggest(weights("test_resnet"), seconds=-1) == []
    assert fit.suggest({"encoder.weight": torch.ones(3, 3)}) == []


def test_weights_that_do_not_fit_are_not_loaded() -> None:
    network = architecture.create("test_resnet", {"num_classes": 5})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = {name: torch.zeros_like(value) for name, value in before.items()}
    state["fc.bias"] = torch.zeros(7)
    state["extra"] = state.pop("fc.weight")
    wrong = fit.load_weights(network, state)
    assert str(wrong) == "1 missing (fc.weight); 1 unknown to it (extra); 1 of another shape (fc.bias)"
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_old_files_without_batch_counters_load() -> None:
    state = {name: value for name, value in weights("test_resnet").items() if "num_batches" not in name}
    assert not fit.load_weights(architecture.create_empty("test_resnet", {"num_classes": 5}), state)


def without(state: Mapping[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if part not in name}


def cause(arch: str, state: dict[str, torch.Tensor]) -> str:
    network = architecture.create(arch, {"num_classes": 5})
    return fit.likely_cause(arch, fit.load_weights(network, state), state)


def test_likely_causes() -> None:
    vit, resnet = weights("test_vit"), weights("test_resnet")
    assert "backbone only" in cause("test_resnet", without(resnet, "fc."))
    assert "another depth" in cause("test_vit", without(vit, "blocks.5."))
    assert "--input-size" in cause("test_vit", weights("test_vit", img_size=96))
    assert "3x3 stem" in cause("resnet18", {**weights("resnet18"), "conv1.weight": torch.ones(64, 3, 3, 3)})
    assert "OpenMMLab" in cause("test_vit", {"patch_embed.projection.weight": torch.ones(1)})
    assert "Pass --arch; classifier and stem fit test_resnet" in cause("test_vit", resnet)


def test_position_embeddings_are_resampled_only_on_request() -> None:
    network = architecture.create_empty("test_vit", {"num_classes": 5, "img_size": 96})
    state = weights("test_vit")
    assert fit.adapted(network, state) is state
    resized = fit.adapted(network, state, resize=True)
    assert resized["pos_embed"].shape == network.state_dict()["pos_embed"].shape
    assert not fit.load_weights(network, resized)


def test_published_weights_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", "/nonexistent")
    with pytest.raises(CheckpointError, match=r"weights: test_resnet: not available, .*cannot be reached.*Pass a ch"):
        architecture.fetch("test_resnet", {})
    assert hub.HF_HUB_OFFLINE is True
