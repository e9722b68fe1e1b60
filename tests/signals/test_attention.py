"""Attention, guidance and class evidence: against stored values, against timm's own tools, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import DEVICES, cases, load
from timm.models.vision_transformer import VisionTransformer
from timm.utils.attention_extract import AttentionExtract
from tiny_network import TinyNetwork, as_model, timm_model
from torch import Tensor, nn

from gazeeval.errors import UsageError
from gazeeval.models.absvit import AbSViT, cosine
from gazeeval.models.model import Model
from gazeeval.models.passes import Passes
from gazeeval.signals.attention import (
    LastLayer,
    bottom_up_note,
    class_token_attention,
    guidance,
    last_attention,
    patch_attention,
    steered,
    top_down_note,
)
from gazeeval.signals.base import (
    BottomUp,
    ClassAttention,
    ClassEvidence,
    ClassMap,
    Features,
    InputGradient,
    Logits,
    Signal,
    TopDown,
)
from gazeeval.signals.networks import Networks
from gazeeval.signals.probe import probe

MAPS: set[Signal] = {BottomUp(), TopDown(), ClassEvidence()}
SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3}
SWIN = {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 1, 2, 2)}
PVT = {"depths": (1, 1, 1, 1), "embed_dims": (8, 16, 40, 32)}

# name -> architecture, (height, width) of the images, options, grid
NETWORKS: dict[str, tuple[str, tuple[int, int], dict[str, Any], tuple[int, int]]] = {
    "vit": ("vit_tiny_patch16_224", (48, 48), SMALL, (3, 3)),
    "vit, not square": ("vit_tiny_patch16_224", (32, 64), SMALL, (2, 4)),
    "distilled": ("deit_tiny_distilled_patch16_224", (48, 48), SMALL, (3, 3)),
    "registers": ("vit_small_patch14_reg4_dinov2", (42, 42), SMALL, (3, 3)),
    "no class token": ("vit_base_patch16_gap_224", (48, 48), SMALL, (3, 3)),
    "a register alone": ("vit_medium_patch16_rope_reg1_gap_256", (48, 48), SMALL, (3, 3)),
    "beit": ("beit_base_patch16_224", (48, 48), SMALL, (3, 3)),
    "eva": ("eva02_tiny_patch14_224", (42, 42), SMALL, (3, 3)),
    "attention pooled": ("test_vit3", (48, 48), {"depth": 2}, (3, 3)),
    "absvit": ("absvit_tiny_patch16_224", (48, 48), SMALL, (3, 3)),
    "swin": ("swin_tiny_patch4_window7_224", (96, 96), SWIN, (3, 3)),
    "swin v2": ("swinv2_tiny_window8_256", (96, 96), SWIN, (3, 3)),
    "swin, windows": ("swin_tiny_patch4_window7_224", (320, 256), SWIN, (10, 8)),
    "pvt": ("pvt_v2_b0", (96, 96), PVT, (3, 3)),
    "pvt, reduced": ("pvt_v2_b2_li", (64, 64), PVT, (2, 2)),
    "cait": ("cait_xxs24_224", (48, 48), {**SMALL, "num_heads": 4}, (3, 3)),
    "xcit": ("xcit_nano_12_p16_224", (48, 48), {"depth": 1}, (3, 3)),
    "resnet": ("test_resnet", (96, 96), {}, (3, 3)),
    "convnext": ("test_convnext", (96, 96), {}, (3, 3)),
    "mobilenet": ("mobilenetv3_small_050", (64, 64), {}, (2, 2)),
}
SIZED = ("vit", "deit", "beit", "eva", "absvit", "swin", "cait", "test_vit")
ATTEND = [
    *("vit", "vit, not square", "distilled", "registers", "no class token", "a register alone", "beit", "eva"),
    *("attention pooled", "absvit", "swin", "swin v2", "pvt"),
]
CLASS_TOKEN = ["vit", "vit, not square", "distilled", "registers", "absvit", "cait", "xcit"]


@cache
def network_named(name: str) -> Model:
    arch, size, options, _ = NETWORKS[name]
    if arch.startswith(SIZED):
        options = {**options, "img_size": size}
    model = timm_model(arch, size, **options)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.network.parameters():  # drawn weights make nearly uniform attention and skip some layers
        parameter.copy_(0.8 * parameter + 0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def pictures(model: Model, n: int = 3) -> tuple[Tensor, Tensor]:
    size = model.geometry.height, model.geometry.width
    images = torch.randn(n, 3, *size, generator=torch.Generator().manual_seed(1))
    return images.to(model.device), torch.arange(n, device=model.device) * 2 + 1


def ask(request: Signal, model: Model, n: int = 3) -> Tensor:
    return probe({request}, model, *pictures(model, n))[request]


def assert_near(found: Tensor, expected: NDArray[Any] | Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found.cpu(), torch.as_tensor(expected), rtol=0, atol=tolerance)


def stored(case: str, device: str) -> dict[str, Tensor]:
    return {key: torch.as_tensor(value, device=device) for key, value in load(case).items()}


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_attention_of_smmix_and_transmix(device: str) -> None:
    data = stored("smmix_vit_attnmap", device)
    assert_near(class_token_attention(data["attn_last"], 1), data["cls_map"].cpu())
    assert_near(patch_attention(data["attn_last"], 1), data["attn_map"].cpu())

    sizes: Any = {key: int(data[key]) for key in ("img_size", "patch_size", "num_heads", "depth", "embed_dim")}
    network = VisionTransformer(num_classes=10, **sizes)
    network.load_state_dict({key[3:]: value for key, value in data.items() if key[:3] == "sd."})
    model = as_model(network, (28, 28), device)
    answers = probe({BottomUp(), ClassAttention(), Features(), Logits()}, model, data["x"], None)
    assert_near(answers[BottomUp()].flatten(1), data["attn_map"].cpu())
    assert_near(answers[ClassAttention()].flatten(1), data["cls_map"].cpu())
    assert_near(answers[Features()].flatten(2).transpose(1, 2), data["tokens"][:, 1:].cpu(), 1e-4)
    assert_near(answers[Logits()], data["logits"].cpu(), 1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases("tdattenmix_plainvit_"))
def test_oracle_attention_of_tdattenmix_for_a_plain_vit(case: str, device: str) -> None:
    data = stored(case, device)
    prefix = int(data["num_prefix"])
    bottom_up = patch_attention(data["attn_last"], prefix)
    tokens, wanted = data["tokens"][:, prefix:], data["head_weight"][data["labels"]]
    assert_near(bottom_up, data["bottom_up"].cpu())
    assert_near(cosine(tokens, wanted), data["cos"].cpu())
    assert_near(guidance(tokens, wanted), data["guide"].cpu())
    assert_near(steered(bottom_up, data["guide"], 0), data["bottom_up_norm"].cpu())
    alone = steered(bottom_up, data["guide"], 1, "alone")
    assert_near(alone / alone.amax(dim=1, keepdim=True).clamp(min=1e-12), data["guide_norm"].cpu())
    for sigma, expected in zip(data["sigma"].tolist(), data["attn_map"].cpu(), strict=True):
        assert_near(steered(bottom_up, guidance(tokens, wanted), sigma), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_attention_of_tdattenmix_for_a_cnn(device: str) -> None:
    """On the network's own grid; resizing it is the mixer's."""
    data = stored("tdattenmix_cnn_7to14", device)
    labels, features = data["labels"], data["features"]
    model = as_model(GivenFeatures(features, data["head_weight"]), (56, 56), device)
    found = probe({BottomUp()}, model, *pictures(model, len(labels)))[BottomUp()]
    assert_near(found.flatten(1), data["feature_norm"].cpu())
    assert_near(steered(found.flatten(1), data["guide"], 0), data["bottom_up_norm"].cpu())
    assert_near(cosine(features.flatten(2).mT, data["head_weight"][labels]), data["cos"].cpu())
    for sigma, expected in zip(data["sigma"].tolist(), data["attn_map_native"].cpu(), strict=True):
        images, _ = pictures(model, len(labels))
        found = probe({TopDown(sigma)}, model, images, labels)[TopDown(sigma)]
        assert_near(found.flatten(1), expected)


class GivenFeatures(nn.Module):
    """A CNN whose features (n, c, h, w) and classifier are given."""

    def __init__(self, features: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.features, self.num_classes = features, len(weight)
        self.fc = nn.Linear(weight.shape[1], len(weight), bias=False)
        self.fc.weight = nn.Parameter(weight)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features

    def get_classifier(self) -> nn.Module:
        return self.fc


@pytest.mark.parametrize("device", DEVICES)
def test_oracle_attention_of_tdattenmix_for_absvit(device: str) -> None:
    """The network's own second pass, but for sigma 0, where a plain pass says where it looks."""
    data = stored("tdattenmix_absvit_topdown", device)
    sizes = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes")
    network = AbSViT(**{size: int(data[size]) for size in sizes})
    network.load_state_dict({key[3:]: value for key, value in data.items() if key[:3] == "sd."})
    model = as_model(network, (28, 28), device)
    sigmas = [(i, sigma) for i, sigma in enumerate(data["task_param"].tolist()) if sigma]
    for i, sigma in sigmas:
        twice, whole = TopDown(sigma / 2, gain=2), TopDown(sigma, threshold=False)
        answers = probe({twice, whole, InputGradient()}, model, data["x"], data["labels"])
        assert_near(answers[twice].flatten(1), data[f"map_official_{i}"].cpu())
        assert_near(answers[whole].flatten(1), data[f"map_raw_{i}"].cpu())
        assert answers[whole].shape[1:] == (14, 14)
        assert not answers[whole].requires_grad
    answers = probe({TopDown(0), BottomUp()}, model, data["x"], data["labels"])
    assert_near(answers[TopDown(0)], unit(answers[BottomUp()].flatten(1)).view(-1, 14, 14).cpu())
    assert len(sigmas) >= 2


def unit(maps: Tensor) -> Tensor:
    return maps / maps.sum(dim=1, keepdim=True)


def extracted(model: Model, images: Tensor) -> Tensor:
    """(n, heads, queries, keys): the last attention as timm's own tool gives it, with nothing fused."""
    network = deepcopy(model.network)
    module: Any
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    with torch.inference_mode():
        *_, last = AttentionExtract(network, method="hook")(images).values()
    found: Tensor = last
    return found


@pytest.mark.parametrize("name", ATTEND)
def test_bottom_up_is_the_attention_that_timm_extracts(name: str) -> None:
    model = network_named(name)
    attention = extracted(model, pictures(model)[0])
    places = NETWORKS[name][3]
    patches = attention[:, :, -places[0] * places[1] :, -places[0] * places[1] :]  # whatever else there is comes first
    found = ask(BottomUp(), model)
    assert_near(found.flatten(1), patches.mean(dim=(1, 2)), 1e-7)
    assert found.shape == (3, *places)
    assert found.flatten(1).std(dim=1).amin() > 1e-3


@pytest.mark.parametrize("name", CLASS_TOKEN)
def test_class_attention_is_the_attention_that_timm_extracts(name: str) -> None:
    model = network_named(name)
    places = NETWORKS[name][3]
    found = ask(ClassAttention(), model)
    row = extracted(model, pictures(model)[0])[:, :, 0]
    assert_near(found.flatten(1), row[:, :, -places[0] * places[1] :].mean(dim=1), 1e-7)
    assert found.shape == (3, *places)
    assert (found.sum(dim=(1, 2)) < 1).all()  # the prefix gets the rest


@pytest.mark.parametrize("name", ["resnet", "convnext", "mobilenet"])
def test_bottom_up_without_attention_is_the_norm_of_the_features(name: str) -> None:
    answers = probe({BottomUp(), Features()}, network_named(name), *pictures(network_named(name)))
    assert_near(answers[BottomUp()], answers[Features()].square().sum(dim=1).sqrt())


def classified_alone(name: str, network: Any, features: Tensor) -> Tensor:
    """(n, classes): the network's own logits if the features (n, c) of one place were all that it saw."""
    if name == "distilled":
        logits: Tensor = network.head(features)
    elif name in ("resnet", "convnext", "pvt"):
        logits = network.forward_head(features[:, :, None, None])
    elif name == "swin":
        logits = network.forward_head(features[:, None, None])
    else:  # what the class token is there does not matter to networks that average the patches
        prefix = network.num_prefix_tokens if network.global_pool == "avg" else 0
        logits = network.forward_head(features[:, None].expand(-1, prefix + 1, -1))
    return logits


@pytest.mark.parametrize(
    "name", ["vit", "distilled", "no class token", "beit", "eva", "swin", "pvt", "resnet", "convnext"]
)
def test_class_evidence_is_what_the_network_would_say_of_each_place_alone(name: str) -> None:
    model = network_named(name)
    images, labels = pictures(model)
    answers = probe({ClassEvidence(), Features()}, model, images, labels)
    features = answers[Features()].flatten(2)
    found = answers[ClassEvidence()].flatten(1)
    with torch.no_grad():
        for place in range(features.shape[2]):
            logits = classified_alone(name, model.network, features[:, :, place])
            assert_near(found[:, place], logits.softmax(dim=1)[torch.arange(3), labels])
    assert found.std(dim=1).amin() > 1e-5


@pytest.mark.parametrize("name", ["vit", "distilled", "convnext", "beit"])
def test_top_down_maps_follow_from_the_other_answers(name: str) -> None:
    """b (1 + sigma g), with g from the features after a norm that the network keeps for what is pooled."""
    model = network_named(name)
    network: Any = model.network
    requests: set[Signal] = {Features(), BottomUp(), *(TopDown(2, guide) for guide in ("relative", "raw", "alone"))}
    images, labels = pictures(model)
    answers = probe(requests, model, images, labels)
    tokens = answers[Features()].flatten(2).transpose(1, 2)
    if name == "beit":
        tokens = network.fc_norm(tokens)
    if name == "convnext":
        tokens = network.head.norm(answers[Features()]).flatten(2).transpose(1, 2)
    weight = (network.head if name == "distilled" else network.get_classifier()).weight[labels]
    g = torch.cosine_similarity(tokens, weight[:, None], dim=2).clamp(min=0)
    b = unit(answers[BottomUp()].flatten(1))
    expected = {"raw": b * (1 + 2 * g), "alone": g, "relative": b * (1 + 2 * g / g.amax(dim=1, keepdim=True))}
    for guide, maps in expected.items():
        assert_near(answers[TopDown(2, guide)].flatten(1), unit(maps))  # type: ignore[arg-type]


numbers = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)


@settings(max_examples=50, deadline=None)
@given(numbers, numbers, st.floats(0, 8), st.sampled_from(["relative", "raw"]))
def test_steering(bottom_up: list[float], seen: list[float], sigma: float, guide: Any) -> None:
    """Maps sum to 1; scale of the attention does not matter, nor that of the guidance if it is relative."""
    b, g = torch.tensor([bottom_up]), torch.tensor([seen])
    found = steered(b, g, sigma, guide)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found.amin() >= 0
    assert_near(steered(b / 4, g, sigma, guide), found)
    if guide == "relative" and g.amax() > 1e-6:
        assert_near(steered(b, g / 4, sigma, guide), found)
    more = steered(b, g, sigma + 1, guide)
    best = int(g.argmax())
    assert more[0, best] >= found[0, best] - 1e-6


def test_maps_of_nothing() -> None:
    zero, g = torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    assert steered(zero, g, 0).tolist() == [[0.25] * 4]
    assert_near(steered(zero, g, 1), torch.tensor([[0.2, 0.2, 0.4, 0.2]]))
    assert_near(steered(g, zero, 1), g)
    assert steered(g, zero, 1, "alone").tolist() == [[0, 0, 0, 0]]
    assert_near(steered(g, g.flip(1), 0, "alone"), g)
    assert guidance(torch.zeros(1, 2, 3), torch.ones(1, 3)).tolist() == [[0, 0]]
    assert guidance(-torch.ones(1, 2, 3), torch.ones(1, 3)).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("resnet", ClassAttention(), "no attention of a class token, .* attention=queries"),
        ("swin", ClassAttention(), "no attention of a class token"),
        ("a register alone", ClassAttention(), "no attention of a class token"),
        ("beit", ClassAttention(), "no attention of a class token, got a classifier that reads none"),
        ("cait", BottomUp(), "no attention among patches in its last block, got the class token's alone.*=class"),
        ("xcit", TopDown(), "no attention among patches in its last block"),
        (
            "swin, windows",
            BottomUp(),
            r"no attention to all 10x8 patches, got a matrix \(4, 2, 49, 49\) for a batch of 1 at 320x256 px\. "
            "Pass --input-size 224: one window then covers the image",
        ),
        ("pvt, reduced", BottomUp(), r"no attention to all 2x2 patches, got a matrix \(1, 8, 4, 49\) .* Use a ViT"),
        ("mobilenet", TopDown(), "nothing to read a class from .* one linear layer on its 288 pooled features"),
        ("mobilenet", ClassEvidence(), "nothing to read a class from"),
        ("attention pooled", ClassEvidence(), "nothing to read a class from"),
    ],
)
def test_what_a_network_cannot_say(name: str, request_: Signal, message: str) -> None:
    model = network_named(name)
    with pytest.raises(UsageError, match=f"^method some: model {model.arch}: {message}"):
        Networks(model).check("some", [request_])


def test_a_network_that_hides_its_attention_or_its_classifier() -> None:
    class Hidden(TinyNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.attn_drop = nn.Dropout()
            self.head = nn.ModuleDict({"pre_logits": nn.Tanh()})

    model = as_model(Hidden(), (8, 8))
    with pytest.raises(UsageError, match="no attention to all 4x4 patches, got no matrix for a batch of 3 at 8x8 px"):
        ask(BottomUp(), model)
    with pytest.raises(UsageError, match="nothing to read a class from"):
        ask(ClassEvidence(), model)


@pytest.mark.parametrize("name", ["resnet", "vit", "swin", "absvit"])
def test_an_image_does_not_see_its_company(name: str) -> None:
    model = network_named(name)
    whole = probe(MAPS, model, *pictures(model, 3))
    cut = probe(MAPS, model, *pictures(model, 3), passes=Passes(2))
    for request in MAPS:
        assert whole[request].dtype == torch.float32
        assert whole[request].amin() >= 0
        assert_near(cut[request], whole[request], 1e-6)


def test_derivatives_in_the_same_pass_change_nothing() -> None:
    model = network_named("vit")
    requests: set[Signal] = {*MAPS, ClassAttention(), Logits()}
    alone = probe(requests, model, *pictures(model))
    model.network.requires_grad_()
    try:
        together = probe({*requests, ClassMap(), InputGradient()}, model, *pictures(model))
    finally:
        model.network.requires_grad_(False)
    for request in requests:
        assert not together[request].requires_grad
        assert_near(together[request], alone[request], 1e-6)


@pytest.fixture
def passes() -> Iterator[Callable[[nn.Module], list[int]]]:
    """Counts the images of each call of a module."""
    hooks = []

    def count(module: nn.Module) -> list[int]:
        sizes: list[int] = []
        hooks.append(module.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0]))))
        return sizes

    yield count
    for hook in hooks:
        hook.remove()


def test_one_pass_answers_everything(passes: Callable[[nn.Module], list[int]]) -> None:
    """But for AbSViT, whose second look takes two more passes."""
    for name, expected in (("vit", [3]), ("absvit", [3, 3, 3])):
        model = network_named(name)
        seen = passes(model.network.patch_embed)  # type: ignore[arg-type]
        probe({*MAPS, ClassAttention(), Logits(), Features()}, model, *pictures(model))
        assert seen == expected
    seen.clear()
    probe({TopDown()}, model, *pictures(model))
    assert seen == [3, 3]


def state(network: nn.Module) -> list[object]:
    """Flags and hooks of each module, and the sum of each weight."""
    kept = ("training", "fused_attn")
    flags = [[(key, vars(module)[key]) for key in kept if key in vars(module)] for module in network.modules()]
    hooks = [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in network.modules()]
    return [flags, hooks, [float(value.double().sum()) for value in network.state_dict().values()]]


@pytest.mark.parametrize("name", ["vit", "swin", "swin v2", "absvit"])
def test_the_network_is_left_as_it_was(name: str) -> None:
    """In training, with one module frozen, and with attention that is fused in some blocks only."""
    model = network_named(name)
    network: Any = deepcopy(model.network).train()
    attention = last_attention(network)
    assert attention is not None
    attention.eval()
    before = state(network)
    found = probe(MAPS, replace(model, network=network), *pictures(model))
    assert state(network) == before
    for request, expected in probe(MAPS, model, *pictures(model)).items():
        assert_near(found[request], expected, 1e-6)


def test_a_network_that_fails_is_left_as_it_was() -> None:
    model = network_named("vit")
    network = deepcopy(model.network).train()
    before = state(network)
    broken = replace(model, network=network)
    with pytest.raises(AssertionError, match="Input"):
        probe(MAPS, broken, torch.zeros(1, 3, 40, 40), torch.zeros(1, dtype=torch.int64))
    attention: Any = last_attention(network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention.proj, "forward", lambda _: 1 / 0)  # after the attention was seen
        with pytest.raises(ZeroDivisionError):
            probe(MAPS, broken, *pictures(model))
    assert attention.fused_attn
    assert state(network) == before


def test_a_report_can_say_what_the_maps_are() -> None:
    vit, resnet, absvit = (network_named(name) for name in ("vit", "resnet", "absvit"))
    assert bottom_up_note(vit).startswith("bottom-up maps: attention of the last block of vit_tiny_patch16_224")
    assert bottom_up_note(resnet).startswith("bottom-up maps: L2 norm of the last features (test_resnet has no")
    assert top_down_note(absvit).startswith("top-down maps: second pass of absvit_tiny_patch16_224")
    assert top_down_note(vit).startswith("top-down maps: bottom-up maps times 1 + sigma * cosine")


def test_the_last_layer_reads_what_is_given() -> None:
    """Two images, one head, a class token and 2x2 patches: worked by hand."""
    attention = torch.zeros(2, 1, 5, 5)
    attention[0, 0, 0] = torch.tensor([0.5, 0.0, 0.25, 0.25, 0.0])
    attention[0, 0, 1:, 2] = 1
    attention[1, 0, 1:, 0] = 1
    model = network_named("vit")
    last = LastLayer(model, (32, 32), torch.zeros(2, 48, 2, 2), [attention])
    assert last.class_attention().tolist() == [[[0, 0.25], [0.25, 0]], [[0, 0], [0, 0]]]
    assert last.bottom_up().tolist() == [[[0, 1], [0, 0]], [[0, 0], [0, 0]]]
    labels = torch.tensor([1, 2])
    assert last.top_down(labels, TopDown()).tolist() == [[[0, 1], [0, 0]], [[0.25, 0.25], [0.25, 0.25]]]
    bias: Tensor = model.network.head.bias  # type: ignore[assignment, union-attr]
    assert_near(last.class_evidence(labels), bias.softmax(dim=0)[labels].view(2, 1, 1).expand(2, 2, 2))
