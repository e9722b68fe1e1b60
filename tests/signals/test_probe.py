"""What networks answer, and the state they are left in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from oracles import DEVICES, cases, load
from torch import Tensor, nn

import gazeeval as ge
from gazeeval.data.dataset import load_dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.engine import Engine
from gazeeval.errors import PluginError, UsageError
from gazeeval.mixers.attentivemix import AttentiveMix
from gazeeval.mixers.base import AnyMixer
from gazeeval.mixers.cutmix import CutMix
from gazeeval.models.model import Model, load_model
from gazeeval.models.passes import Passes
from gazeeval.signals.answer import signal_cache
from gazeeval.signals.base import ClassEvidence, FeatureMean, Features, InputGradient, Logits, Saliency, Signal, TopDown
from gazeeval.signals.fine_grained import fine_grained
from gazeeval.signals.networks import Networks
from gazeeval.signals.probe import probe

BOTH: set[Signal] = {Features(), FeatureMean()}


class Given(nn.Module):
    """A network whose features are given."""

    def __init__(self, features: object, **facts: object) -> None:
        super().__init__()
        self.features = features
        self.dropout = nn.Dropout()
        vars(self).update(facts)

    def forward_features(self, images: Tensor) -> object:
        return self.features


@pytest.fixture(scope="module")
def resnet() -> Model:
    return load_model("test_resnet", pretrained=False, device="cpu")


def wrapped(network: nn.Module, model: Model) -> Model:
    return replace(model, network=network, arch="made_up")


def pictures(n: int, height: int = 64, width: int = 64) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0)), torch.zeros(
        n, dtype=torch.int64
    )


def test_logits_are_those_of_the_network(resnet: Model, passes: list[int]) -> None:
    """Of the pass that answers the rest; alone, also of networks that have no map of features."""
    images, labels = pictures(3)
    expected = resnet.logits(images)
    passes.clear()
    for requests in ({Logits()}, {Logits(), Features()}, {Logits(), InputGradient()}):
        found = probe(requests, resnet, images, labels)[Logits()]
        torch.testing.assert_close(found, expected)
        assert found.dtype == torch.float32
        assert not found.requires_grad
    assert passes == [3, 3, 3]
    flat = wrapped(nn.Flatten(), resnet)
    assert torch.equal(probe({Logits()}, flat, images, labels)[Logits()], flat.normalise(images).flatten(1))


@pytest.mark.parametrize("request_", [TopDown(), ClassEvidence()])
def test_what_reads_the_row_of_a_class_needs_the_class(request_: Signal, resnet: Model, passes: list[int]) -> None:
    with pytest.raises(UsageError, match=r"^model test_resnet: .*got no labels\. .* with the data set's classes\."):
        probe({request_, Features()}, resnet, pictures(1)[0], None)
    assert not passes


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("arch", ["test_resnet", "test_convnext", "test_vit", "test_vit_relpos", "test_mambaout"])
def test_features_before_pooling(arch: str, device: str) -> None:
    """Pooled over the places, or the head applied to them, they give the network's own logits."""
    model = load_model(arch, pretrained=False, device=device)
    images, labels = (part.to(device) for part in pictures(2, 160, 160))
    answers = probe(BOTH, model, images, labels)
    features = answers[Features()]
    assert features.dtype == torch.float32
    assert features.shape[2:] == ((10, 10) if "vit" in arch else (5, 5))
    torch.testing.assert_close(answers[FeatureMean()], features.mean(dim=1))

    network: nn.Module = model.network
    with torch.inference_mode():
        direct = network.forward_features(model.normalise(images))  # type: ignore[operator]
    if arch == "test_mambaout":
        direct = direct.permute(0, 3, 1, 2)
    elif "vit" in arch:
        prefix = 1 if arch == "test_vit" else 0
        direct = direct[:, prefix:].reshape(2, 10, 10, -1).permute(0, 3, 1, 2)
    torch.testing.assert_close(features, direct)


@pytest.mark.parametrize("case", cases("attentivemix_openmixup"))
def test_oracle_mean_of_the_channels(case: str, resnet: Model) -> None:
    data = load(case)
    model = wrapped(Given(torch.from_numpy(data["features"])), resnet)
    found = probe({FeatureMean()}, model, *pictures(len(data["features"])))[FeatureMean()]
    np.testing.assert_allclose(found, data["attention"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_that_belong_to_no_place_are_dropped(prefix: int, resnet: Model) -> None:
    """On an image that is not square, with the grid that square patches give."""
    tokens = torch.arange(8.0).repeat_interleave(3).view(1, 8, 3)
    network = Given(torch.cat((torch.full((1, prefix, 3), -1.0), tokens), dim=1), num_prefix_tokens=prefix)
    found = probe({FeatureMean()}, wrapped(network, resnet), *pictures(1, 32, 64))[FeatureMean()]
    assert found.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]]]


def test_the_network_says_its_own_grid(resnet: Model) -> None:
    @dataclass
    class Flat:
        def dynamic_feat_size(self, size: tuple[int, int]) -> tuple[int, int]:
            return size[0] // 32, size[1] // 4

    network = Given(torch.arange(16.0).view(1, 16, 1), patch_embed=Flat())
    assert probe({FeatureMean()}, wrapped(network, resnet), *pictures(1, 32, 64))[FeatureMean()].shape == (1, 1, 16)


def test_images_that_are_not_square(resnet: Model) -> None:
    assert probe(BOTH, resnet, *pictures(2, 64, 96))[FeatureMean()].shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("network", "given"),
    [
        (Given([torch.zeros(1, 2, 3)]), "list from forward_features"),
        (
            Given(torch.zeros(1, 197, 8)),
            r"a tensor \(1, 197, 8\) from forward_features",
        ),  # a class token unaccounted for
        (Given(torch.zeros(1, 8)), r"a tensor \(1, 8\)"),
        (nn.Flatten(), "a network without forward_features"),
    ],
)
def test_networks_without_a_feature_map(network: nn.Module, given: str, resnet: Model) -> None:
    with pytest.raises(UsageError, match=f"^method some: model made_up: no map of features, got {given}"):
        Networks(wrapped(network, resnet)).check("some", [FeatureMean()])


def test_a_map_of_one_place_is_no_map(resnet: Model) -> None:
    model = wrapped(Given(torch.zeros(1, 8, 1, 1)), resnet)
    Networks(model).check("some", [Features()])
    with pytest.raises(UsageError, match=r"made_up: FeatureMean\(\), got a single value for an image of 160x160 px"):
        Networks(model).check("some", [FeatureMean()])


def test_what_needs_no_network_passes_without() -> None:
    Networks(None).check("some", [Saliency()])
    with pytest.raises(
        UsageError, match=r"^method some: needs a network for FeatureMean\(\), Features\(\), got none\."
    ):
        Networks(None).check("some", [Saliency(), *BOTH])


def test_other_requests_are_not_for_networks(resnet: Model) -> None:
    with pytest.raises(PluginError, match=r"got Saliency\("):
        probe([Saliency()], resnet, *pictures(1))


def test_the_network_is_left_as_it_was(resnet: Model) -> None:
    """In training with one frozen layer; the statistics of batch norm do not move, no gradient is kept."""
    network = resnet.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = probe({Features()}, resnet, *pictures(2))[Features()]
    network.train()
    frozen = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    flags = [module.training for module in network.modules()]
    hooks = [len(module._forward_hooks) for module in network.modules()]
    try:
        found = probe({Features()}, resnet, *pictures(2))[Features()]
        assert [module.training for module in network.modules()] == flags
        assert not frozen.training
    finally:
        network.eval()
    assert torch.equal(found, expected)
    assert not found.requires_grad
    assert [len(module._forward_hooks) for module in network.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_that_fails_is_left_as_it_was(resnet: Model) -> None:
    network = Given(None).train()
    with pytest.raises(UsageError, match="got NoneType"):
        probe({Features()}, wrapped(network, resnet), *pictures(1))
    assert network.training
    assert network.dropout.training


@pytest.fixture
def passes(resnet: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each forward pass."""
    sizes: list[int] = []
    forward = resnet.network.forward_features

    def counting(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return forward(images)  # type: ignore[operator, no-any-return]

    monkeypatch.setattr(resnet.network, "forward_features", counting)
    return sizes


def test_one_pass_for_all_requests_and_images_once(resnet: Model, passes: list[int]) -> None:
    images, labels = pictures(5)
    expected = probe(BOTH, resnet, images, labels)
    cache = signal_cache()
    for rows, keys in (([0, 1, 2], "abc"), ([2, 3, 0, 4], "cdae"), ([1, 4], "be")):
        found = probe(BOTH, resnet, images[rows], labels[rows], keys=list(keys), cache=cache)
        for request in BOTH:
            torch.testing.assert_close(found[request], expected[request][rows])
    assert passes == [5, 3, 2]


def test_what_is_kept_for_one_request_does_not_stand_for_another(resnet: Model, passes: list[int]) -> None:
    images, labels = pictures(2)
    cache = signal_cache()
    for requests in ({FeatureMean()}, BOTH, {Features()}):
        probe(requests, resnet, images, labels, keys=[0, 1], cache=cache)
    assert passes == [2, 2]
    kept = cache.get((1, FeatureMean()))
    assert kept is not None
    assert kept.untyped_storage().nbytes() == kept.nbytes == 4 * 2 * 2


def test_the_batch_size_cuts_the_passes(resnet: Model, passes: list[int]) -> None:
    images, labels = pictures(5)
    whole = probe(BOTH, resnet, images, labels)
    cut = probe(BOTH, resnet, images, labels, passes=Passes(2))
    assert passes == [5, 2, 2, 1]
    for request in BOTH:
        torch.testing.assert_close(cut[request], whole[request])


def test_all_requests_together(resnet: Model) -> None:
    images, labels = pictures(2)
    answers = Networks(resnet).answer([Saliency(), FeatureMean()], images, labels)
    assert torch.equal(answers[Saliency()], fine_grained((255 * images).round().byte()))
    assert answers[FeatureMean()].shape == (2, 2, 2)
    assert set(Networks(None).answer([Saliency()], images, labels)) == {Saliency()}


def test_mixing_given_images_with_a_network(resnet: Model) -> None:
    images, labels = pictures(2, 70, 70)
    mixed = ge.mix("attentivemix", images, images.flip(0), labels, labels + 1, model=resnet)
    assert mixed.lam.tolist() == pytest.approx([6 / 49] * 2)
    with pytest.raises(UsageError, match=r"^method attentivemix: needs a network for FeatureMean\(\), got none\. Pass"):
        ge.mix("attentivemix", images, images.flip(0), labels, labels + 1)


def test_a_run_says_before_it_starts_what_it_cannot_do(resnet: Model) -> None:
    dataset, recipe, cpu = load_dataset("demo"), GazeRecipe(Sigma.parse("3.5%")), torch.device("cpu")

    def check_run(methods: dict[str, AnyMixer], model: Model | None) -> None:
        Engine(dataset, methods, recipe, resnet.geometry, cpu, Networks(model)).check()

    methods: dict[str, AnyMixer] = {"cutmix": CutMix(), "attentivemix": AttentiveMix()}
    check_run(methods, resnet)
    check_run({"cutmix": CutMix()}, None)
    rest = r"\. Methods of this run that work as it is: cutmix\.$"
    with pytest.raises(
        UsageError, match=r"^method attentivemix: needs a network for FeatureMean\(\), got none.*" + rest
    ):
        check_run(methods, None)
    with pytest.raises(UsageError, match="^method attentivemix: model made_up: no map of features, got list.*" + rest):
        check_run(methods, wrapped(Given([]), resnet))


def test_a_run_asks_once_for_all_methods(resnet: Model, passes: list[int]) -> None:
    methods = ["attentivemix", "attentivemix:top=beta"]
    options = {"num_pairs": 6, "group_size": 12, "batch_size": 5, "references": False, "device": "cpu"}
    runs = ge.evaluate(methods, data="demo", model=resnet, **options)
    assert (runs.pairs["status"] == "ok").all()
    assert passes == [1, 5, 5, 2]  # the black image, then the twelve of the group
