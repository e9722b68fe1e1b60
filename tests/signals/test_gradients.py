"""Input gradients and class maps: against stored derivatives, against formulas, and the state they leave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES, cases, load
from tiny_network import images_of, load_tiny
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import gazeeval as ge
from gazeeval.errors import UsageError
from gazeeval.models.model import Model, load_model
from gazeeval.models.passes import Passes
from gazeeval.signals import gradients
from gazeeval.signals.answer import signal_cache
from gazeeval.signals.base import ClassMap, FeatureMean, Features, InputGradient, Signal
from gazeeval.signals.gradients import class_map, class_map_note, input_gradient
from gazeeval.signals.networks import Networks
from gazeeval.signals.probe import probe

ALL: set[Signal] = {Features(), FeatureMean(), InputGradient(), ClassMap()}
CASE = cases("gradsal_eval")[0]


def assert_near(found: Tensor, expected: NDArray[Any] | Tensor) -> None:
    """To 1e-5 of the largest value, the tolerance of the card."""
    expected = torch.as_tensor(expected)
    torch.testing.assert_close(found.detach().cpu(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    archs = ("test_resnet", "test_convnext", "test_vit", "test_vit_relpos")
    return {arch: load_model(arch, pretrained=False, device="cpu", input_size=96) for arch in archs}


def pictures(n: int) -> tuple[Tensor, Tensor]:
    images = torch.rand(n, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(n) * 7 + 3


@pytest.fixture
def tiny() -> tuple[Model, Tensor, Tensor]:
    data = load(CASE)
    return load_tiny(data), images_of(data), torch.from_numpy(data["labels"])


def direct(model: Model, data: dict[str, NDArray[Any]], device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input, features, logits and labels in the mode of the file, with the graph between them."""
    network = model.network.train(bool(data["train_mode"]))
    x = model.normalise(images_of(data, device)).requires_grad_()
    features: Tensor = network.forward_features(x)  # type: ignore[operator]
    return x, features, network.forward_head(features), torch.from_numpy(data["labels"]).to(device)  # type: ignore[operator]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("gradsal_"))
def test_the_tiny_network_is_the_one_of_the_files(case: str, device: str) -> None:
    """Other tests rest on it. The files also hold the map of Simonyan et al. 2013, which no method here uses."""
    data = load(case)
    x, features, logits, labels = direct(load_tiny(data, device), data, device)
    assert_near(features, data["features"])
    assert_near(logits, data["logits"])
    score = logits.gather(1, labels.unsqueeze(1)).sum()
    by_loss, by_score = (
        torch.autograd.grad(of, x, retain_graph=True)[0] for of in (cross_entropy(logits, labels), score)
    )
    assert_near(by_loss, data["grad_mean_ce"])
    assert_near(by_score.abs().amax(dim=1), data["saliency_simonyan_maxabs"])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("gradsal_"))
def test_oracle_in_both_modes(case: str, device: str) -> None:
    data = load(case)
    x, features, logits, labels = direct(load_tiny(data, device), data, device)
    assert_near(input_gradient(logits, x, labels) / len(x), data["saliency_rms"])
    assert_near(class_map(logits, features, labels, lambda found: found), data["cam"])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("gradsal_eval"))
def test_oracle_through_the_probe(case: str, device: str) -> None:
    """Which asks in eval mode, whatever the mode that the network is in."""
    data = load(case)
    model, labels = load_tiny(data, device), torch.from_numpy(data["labels"]).to(device)
    model.network.train()
    answers = probe(ALL, model, images_of(data, device), labels)
    assert model.network.training
    saliency = answers[InputGradient()] / len(labels)
    assert_near(saliency, data["saliency_rms"])
    assert_near(saliency * 3**0.5, data["saliency_l2"])
    assert_near(saliency / saliency.sum(dim=(1, 2), keepdim=True), data["saliency_sum1"])
    assert_near(answers[ClassMap()], data["cam"])
    assert_near(answers[Features()], data["features"])
    assert {answer.dtype for answer in answers.values()} == {torch.float32}
    assert not any(answer.requires_grad for answer in answers.values())


def test_exact_class_maps(models: dict[str, Model]) -> None:
    """W[y] . f at each place, whose mean is the logit without the bias."""
    model, (images, labels) = models["test_resnet"], pictures(3)
    answers = probe({Features(), ClassMap()}, model, images, labels)
    head: nn.Linear = model.network.get_classifier()  # type: ignore[operator]
    assert_near(answers[ClassMap()], torch.einsum("nc,nchw->nhw", head.weight[labels], answers[Features()]))
    logit = model.logits(images).gather(1, labels.unsqueeze(1)).squeeze(1)
    assert_near(answers[ClassMap()].mean(dim=(1, 2)), logit - head.bias[labels])


def test_class_maps_of_a_network_that_reads_a_class_token(models: dict[str, Model]) -> None:
    """Grad-CAM of the tokens that enter the last block: those that leave it would give a map of zeros."""
    model, (images, labels) = models["test_vit"], pictures(2)
    network: Any = model.network
    with torch.no_grad():
        tokens = network.patch_embed(model.normalise(images))
        tokens = network.blocks[:-1](network.norm_pre(network._pos_embed(tokens)))
    tokens.requires_grad_()
    logits = network.forward_head(network.norm(network.blocks[-1](tokens)))
    (derivative,) = torch.autograd.grad(logits.gather(1, labels.unsqueeze(1)).sum(), tokens)
    expected = (tokens[:, 1:] * derivative[:, 1:].sum(dim=1, keepdim=True)).sum(dim=2)
    found = probe(ALL, model, images, labels)
    assert found[ClassMap()].flatten(1).std(dim=1).min() > 0
    assert_near(found[ClassMap()], expected.view(2, 6, 6).detach())
    assert_near(found[Features()], probe({Features()}, model, images, labels)[Features()])


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        ("test_resnet", "exact class activation maps (test_resnet"),
        ("test_convnext", "Grad-CAM of the last features (test_convnext"),
        ("test_vit", "Grad-CAM of the patches that enter the last block (test_vit"),
        ("test_vit_relpos", "Grad-CAM of the last features (test_vit_relpos"),
    ],
)
def test_a_report_can_say_what_the_maps_are(models: dict[str, Model], arch: str, says: str) -> None:
    assert class_map_note(models[arch]).startswith(f"class maps: {says}")


@pytest.mark.parametrize("arch", ["test_resnet", "test_convnext", "test_vit"])
def test_an_image_does_not_see_its_company(models: dict[str, Model], arch: str) -> None:
    images, labels = pictures(5)
    whole = probe(ALL, models[arch], images, labels)
    cut = probe(ALL, models[arch], images, labels, passes=Passes(2))
    for request in ALL:
        assert_near(cut[request], whole[request])


def test_without_labels_the_predicted_class(models: dict[str, Model]) -> None:
    model, (images, labels) = models["test_resnet"], pictures(3)
    predicted = model.logits(images).argmax(dim=1)
    assert not torch.equal(predicted, labels)
    expected, found = (probe(ALL, model, images, known, passes=Passes(2)) for known in (predicted, None))
    for request in ALL:
        assert torch.equal(found[request], expected[request])


def test_labels_that_the_model_does_not_have(tiny: tuple[Model, Tensor, Tensor]) -> None:
    model, images, labels = tiny
    with pytest.raises(UsageError, match=r"^labels: classes that model tiny does not have, got 3 to 7 .* 0 to 6\."):
        probe({InputGradient()}, model, images, labels.clone().fill_(3).index_fill_(0, torch.tensor([1]), 7))
    probe({FeatureMean()}, model, images, labels + 100)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The passes through the tiny network, forward and back."""
    seen: list[str] = []
    grad = torch.autograd.grad

    def counting(*args: Any, **kwargs: Any) -> Any:
        seen.append("back")
        return grad(*args, **kwargs)

    monkeypatch.setattr(gradients, "grad", counting)
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append("forward") if isinstance(module, nn.Conv2d) and module.in_channels == 3 else None
    )
    yield seen
    hook.remove()


@pytest.mark.parametrize(("requests", "back"), [(ALL, 2), ({InputGradient()}, 1), ({ClassMap()}, 1), ({Features()}, 0)])
def test_one_pass_forward_and_one_back_for_each_derivative(
    requests: set[Signal], back: int, tiny: tuple[Model, Tensor, Tensor], calls: list[str]
) -> None:
    probe(requests, *tiny)
    assert calls == ["forward"] + back * ["back"]


@pytest.mark.parametrize("wanted", [False, True])
def test_nothing_is_left_on_the_network(wanted: bool, tiny: tuple[Model, Tensor, Tensor]) -> None:
    model, images, labels = tiny
    expected = probe(ALL, model, images, labels)
    network = model.network.requires_grad_(wanted).train()
    frozen = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images.requires_grad_()
    found = probe(ALL, model, images, labels)
    for request in ALL:
        assert_near(found[request], expected[request])
    assert network.training
    assert not frozen.training
    assert images.grad is None
    assert all(p.grad is None and p.requires_grad is wanted for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_hooks_are_taken_off_even_when_the_network_fails(models: dict[str, Model]) -> None:
    network: Any = models["test_vit"].network
    with pytest.raises(AssertionError, match="Input"):
        probe(ALL, models["test_vit"], torch.zeros(1, 3, 40, 40), torch.zeros(1, dtype=torch.int64))
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, nullcontext])
def test_whatever_the_caller_does_with_gradients(around: Any, tiny: tuple[Model, Tensor, Tensor]) -> None:
    model, images, labels = tiny
    with around():
        found = probe(ALL, model, images.clone(), labels.clone())
    assert_near(found[InputGradient()] / len(images), load(CASE)["saliency_rms"])
    assert_near(found[ClassMap()], load(CASE)["cam"])


def test_a_class_that_is_almost_certain_still_has_a_map(tiny: tuple[Model, Tensor, Tensor]) -> None:
    """In float32 the probability is exactly 1 here and the derivative of the loss by its logit exactly 0."""
    model, images = tiny[0], tiny[1][:1]
    best = model.logits(images).topk(2)
    network: Any = model.network
    with torch.no_grad():
        for part in (network.fc.weight, network.fc.bias):
            part.mul_(25 / (best.values[0, 0] - best.values[0, 1]))
    labels = best.indices[:, 0].clone()
    assert model.logits(images).softmax(dim=1)[0, labels] == 1
    by_loss, by_score = _pixel_maps(model, images, labels)
    found = probe({InputGradient()}, model, images, labels)[InputGradient()].double()
    assert 0 < found.amax() < 1e-8
    torch.testing.assert_close(found / by_loss.amax(), by_loss / by_loss.amax(), rtol=0, atol=1e-4)
    assert not torch.allclose(found / found.sum(), by_score / by_score.sum(), rtol=0, atol=1e-4)


def _pixel_maps(model: Model, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The map in double precision throughout, and the one of the class score."""
    network = model.network.double()
    x = model.normalise(images.double()).requires_grad_()
    logits = network(x)
    maps = [
        torch.autograd.grad(of, x, retain_graph=True)[0].square().mean(dim=1).sqrt()
        for of in (cross_entropy(logits, labels, reduction="sum"), logits.gather(1, labels.unsqueeze(1)).sum())
    ]
    network.float()
    return maps[0], maps[1]


def test_kept_answers_are_those_of_their_own_labels(tiny: tuple[Model, Tensor, Tensor]) -> None:
    model, images, labels = tiny
    expected = probe(ALL, model, images, labels)
    cache = signal_cache()
    for rows in ([2], [0, 2, 3], [3, 1, 0, 2]):
        found = probe(ALL, model, images[rows], labels[rows], keys=rows, cache=cache)
        for request in ALL:
            assert_near(found[request], expected[request][rows])


class Plain(nn.Module):
    """A classifier that has no feature map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) @ torch.eye(3)


class Pooled(Plain):
    """One that has it, but does not say how logits come from it."""

    def forward_features(self, x: Tensor) -> Tensor:
        return x


def test_networks_without_a_feature_map(tiny: tuple[Model, Tensor, Tensor]) -> None:
    model, images, labels = tiny
    plain = replace(model, network=Plain(), arch="plain", num_classes=3)
    found = probe({InputGradient()}, plain, images, labels % 3)[InputGradient()]
    assert (found.amax(dim=(1, 2)) > 0).all()
    with pytest.raises(UsageError, match=r"^method some: model plain: no map of features"):
        Networks(plain).check("some", [ClassMap()])
    features_only = replace(model, network=Pooled(), arch="pooled")
    with pytest.raises(UsageError, match=r"^method some: model pooled: no logits from features, got a network without"):
        Networks(features_only).check("some", [ClassMap()])


def test_a_class_token_of_unknown_origin(tiny: tuple[Model, Tensor, Tensor]) -> None:
    model, _, _ = tiny
    vars(model.network)["global_pool"] = "token"
    with pytest.raises(UsageError, match="model tiny: no class map, got a class token and no blocks"):
        Networks(model).check("some", [ClassMap()])


def test_rows_say_whose_class_the_maps_are_about(models: dict[str, Model]) -> None:
    """The demo data has other classes than the network, unless this gets a new classifier."""
    options: dict[str, Any] = {"data": "demo", "num_pairs": 4, "group_size": 4, "references": False, "device": "cpu"}
    runs = ge.evaluate(["cutmix", "snapmix"], model=models["test_resnet"], **options)
    said = runs.pairs.groupby("method")["label_from"].unique()
    assert said["snapmix"].tolist() == ["prediction"]
    assert said["cutmix"].tolist() == ["dataset"]
    assert (runs.pairs["status"] == "ok").all()

    fitting = load_model("test_resnet", pretrained=False, device="cpu", input_size=96)
    classes = len(ge.load_dataset("demo").class_names)
    network: Any = fitting.network
    network.reset_classifier(classes)
    runs = ge.evaluate(["snapmix"], model=replace(fitting, num_classes=classes), **options)
    assert runs.pairs["label_from"].unique().tolist() == ["dataset"]
