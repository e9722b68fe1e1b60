"""Mixers in training: what is trained with is what is measured, and the network in training notices nothing."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import DEVICES
from timm.loss.cross_entropy import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader

import gazeeval as ge
from gazeeval import training
from gazeeval.data.cover import assignment, greedy_cycle, map_distances
from gazeeval.data.random import PairRng
from gazeeval.errors import UsageError
from gazeeval.mixers.base import MIXERS, FeatureMixer, GroupMixer, parse_method
from gazeeval.models.architecture import create
from gazeeval.pairing import salient_mass
from gazeeval.signals.networks import Networks
from gazeeval.signals.spectral_residual import spectral_residual
from gazeeval.testing import example_network
from gazeeval.types import PairBatch

SIDE = 112
MEAN, STD = (0.5, 0.4, 0.45), (0.2, 0.25, 0.3)


def batch(count: int = 6, side: int = SIDE, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Seeded images in [0, 1], each of a class of its own."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(count))
    images = interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    return images.to(device), torch.arange(count, device=device)


def trainable(name: str) -> bool:
    """Whether it makes images of two, from what a training loop has."""
    cls: Any = MIXERS[name]
    if any(field.default is dataclasses.MISSING for field in dataclasses.fields(cls)):
        return False  # a checkpoint of its own
    mixer = cls()
    return not isinstance(mixer, FeatureMixer | GroupMixer) and mixer.needs().isdisjoint(
        {ge.GazeDensity(), ge.CentrePrior()}
    )


def lam_of(mix: ge.MixTransform, count: int = 6) -> Tensor:
    """The labels that a transform with tuples draws for a small batch."""
    lam: Tensor = mix(*batch(count, side=8))[3]
    return lam


# -- the same as in an evaluation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [name for name in MIXERS if trainable(name)])
def test_what_is_trained_with_is_what_is_measured(name: str, device: str) -> None:
    """The first batch has the pairs, draws, places and labels of `gazeeval.mix`; the batch is normalised."""
    mixer = parse_method(name)
    model = example_network(mixer if mixer.needs_model else parse_method("puzzlemix"), (SIDE, SIDE), device)
    assert model is not None
    model = replace(model, mean=MEAN, std=STD)
    images, labels = batch(device=device)
    network = model.network.requires_grad_(True).train() if mixer.needs_model else None
    mix = ge.MixTransform(name, model=network, seed=3, targets="tuple", mean=MEAN, std=STD)
    mixed, source, target, lam = mix(model.normalise(images), labels)

    assert target is labels
    model.network.eval()
    expected = ge.mix(name, images[source], images, source, target, model=model, seed=3)
    torch.testing.assert_close(mixed, model.normalise(expected.image), rtol=0, atol=1e-4)
    torch.testing.assert_close(lam, expected.lam.float(), rtol=0, atol=1e-6)


def test_a_group_mixer_takes_the_batch_as_its_group() -> None:
    images, labels = batch()
    model = example_network(parse_method("comixup"), (SIDE, SIDE))
    assert model is not None
    mixed, targets = ge.MixTransform("comixup", model=model, seed=3, num_classes=10)(images, labels)

    mixer = parse_method("comixup")
    assert isinstance(mixer, GroupMixer)
    pairs = PairBatch(images, labels, labels, labels)
    answers = Networks(model).answer(mixer.needs(), images, labels)
    draws = mixer.draw(PairRng(3, "comixup", [0]), pairs.size)
    composed = mixer.compose(pairs, ge.Signals(answers, labels, labels), draws)
    torch.testing.assert_close(mixed, composed.blend(images))
    torch.testing.assert_close(targets[:, :6], composed.shares().float())
    assert not targets[:, 6:].any()


def test_a_batch_that_is_not_normalised_needs_no_network() -> None:
    images, labels = batch()
    mixed, source, _, lam = ge.MixTransform("guidedmixup-sr", targets="tuple")(images, labels)
    expected = ge.mix("guidedmixup-sr", images[source], images, source, labels)
    torch.testing.assert_close(mixed, expected.image)
    torch.testing.assert_close(lam, expected.lam.float())


def test_pixels_that_are_not_blended_are_copies() -> None:
    images, labels = batch()
    mixed, source, _, _ = ge.MixTransform("cutmix", targets="tuple", mean=MEAN, std=STD)(images, labels)
    assert bool(((mixed == images) | (mixed == images[source])).all())


# -- the network in training ------------------------------------------------------------------------------------------


def in_training(arch: str) -> nn.Module:
    """In the middle of a training: trains but for one frozen part, with gradients and statistics."""
    network = create(arch, {"num_classes": 6, **({"img_size": SIDE} if "vit" in arch else {})}).train()
    images, labels = batch()
    cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
    next(network.children()).eval()
    return network


def snapshot(network: nn.Module) -> dict[str, Any]:
    """All that a look at a network could change."""
    modules, parameters = dict(network.named_modules()), dict(network.named_parameters())
    return {
        "flags": {name: module.training for name, module in modules.items()},
        "hooks": {
            name: (list(module._forward_hooks), list(module._forward_pre_hooks), list(module._backward_hooks))
            for name, module in modules.items()
        },
        "fused": {name: getattr(module, "fused_attn", None) for name, module in modules.items()},
        "asks": {name: parameter.requires_grad for name, parameter in parameters.items()},
        "weights": {name: value.clone() for name, value in network.state_dict().items()},
        "grads": {name: parameter.grad.clone() for name, parameter in parameters.items() if parameter.grad is not None},
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize(
    ("method", "arch"),
    [
        ("puzzlemix", "test_resnet"),
        ("snapmix", "test_resnet"),
        ("snapmix", "test_vit"),
        ("attentivemix", "test_resnet"),
        ("transmix", "test_vit"),
        ("tdattenmix", "test_vit"),
        ("comixup", "test_resnet"),
    ],
)
def test_nothing_is_changed(method: str, arch: str) -> None:
    network = in_training(arch)
    images, labels = batch()
    kept, before = images.clone(), snapshot(network)
    mixed, targets = ge.MixTransform(method, model=network)(images, labels)
    torch.testing.assert_close(snapshot(network), before, rtol=0, atol=0)
    assert torch.equal(images, kept)
    for result in (mixed, targets):
        assert not result.requires_grad
        assert not result.is_inference(), "could not be part of a graph"
    cross_entropy(network(mixed), targets).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("method", ["transmix", "snapmix"])
@pytest.mark.parametrize("amp", [None, torch.bfloat16])
def test_inside_autocast(method: str, amp: torch.dtype | None) -> None:
    """Signals are float32 unless asked for otherwise, and the casts of weights that they made serve nobody else."""
    network = in_training("test_vit")
    images, labels = batch()
    expected = ge.MixTransform(method, model=network, targets="tuple")(images, labels)
    mix = ge.MixTransform(method, model=network, targets="tuple", amp=amp)
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        found = mix(images, labels)
        assert torch.is_autocast_enabled("cpu")
        logits = network(found[0])
    assert logits.dtype == torch.bfloat16
    assert found[0].dtype == found[3].dtype == torch.float32
    assert torch.equal(found[0], expected[0])
    same = amp is None or method == "snapmix"  # a class map is a derivative
    torch.testing.assert_close(found[3], expected[3], rtol=0, atol=1e-6 if same else 0.02)
    assert torch.equal(found[3], expected[3]) == same
    cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for name, parameter in network.named_parameters() if "weight" in name)


def test_compiled() -> None:
    """The network may be compiled, the transform stays outside of what is compiled even where a whole step is."""
    network = in_training("test_resnet")
    images, labels = batch()
    expected = ge.MixTransform("puzzlemix", model=network)(images, labels)
    compiled: Any = torch.compile(network, backend="eager")
    mix = ge.MixTransform("puzzlemix", model=compiled)

    @partial(torch.compile, backend="eager")
    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mixed, targets = mix(images, labels)
        return mixed, targets, cross_entropy(network(mixed), targets)

    mixed, targets, loss = step(images, labels)
    torch.testing.assert_close((mixed, targets), expected)
    loss.backward()


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_distributed() -> None:
    """Wrappers are taken off, one after the other, and the gradients of a step are those without mixing beside it."""
    network = in_training("test_resnet")
    images, labels = batch()
    network.zero_grad()
    expected = ge.MixTransform("puzzlemix", model=network)(images, labels)
    wrapped = nn.parallel.DistributedDataParallel(network)
    compiled: Any = torch.compile(wrapped, backend="eager")
    found = ge.MixTransform("puzzlemix", model=compiled)(images, labels)
    torch.testing.assert_close(found, expected)
    cross_entropy(wrapped(found[0]), found[1]).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    """Ranks draw apart, decide alike whether to mix, and end a step with the same gradients."""
    script = Path(__file__).parent / "support" / "two_ranks.py"
    ranks = [subprocess.Popen([sys.executable, script, str(rank), tmp_path]) for rank in range(2)]
    assert [rank.wait() for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert not (first["lam"] == second["lam"]).any(dim=1).any()
    assert first["mixed"] == second["mixed"]
    assert 0 < sum(first["mixed"]) < len(first["mixed"])
    torch.testing.assert_close(first["grads"], second["grads"])


# -- draws ------------------------------------------------------------------------------------------------------------


def test_draws_follow_seed_rank_step_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(seed: int = 0) -> ge.MixTransform:
        return ge.MixTransform("mixup", targets="tuple", seed=seed)

    mix = make()
    first, second = lam_of(mix), lam_of(mix)
    torch.manual_seed(99)
    again = make()
    assert torch.equal(lam_of(again), first)
    assert torch.equal(lam_of(again, 4), second[:4]), "not on the size of the batch"
    other_rank = make()
    monkeypatch.setattr(training, "_rank_now", lambda: 1)
    drawn = [first, second, lam_of(make(seed=1)), lam_of(other_rank)]
    assert not any((one == other).any() for one, other in pairwise(drawn))


def test_a_training_that_goes_on_draws_on() -> None:
    mix = ge.MixTransform("mixup", targets="tuple")
    lam_of(mix)
    state = mix.state_dict()
    expected = lam_of(mix)
    resumed = ge.MixTransform("mixup", targets="tuple")
    resumed.load_state_dict(state)
    assert torch.equal(lam_of(resumed), expected)


def test_a_copy_for_a_worker_knows_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = ge.MixTransform("cutmix", num_classes=3)
    monkeypatch.setattr(training, "_rank_now", lambda: 5)
    copied = pickle.dumps(mix)
    monkeypatch.setattr(training, "_rank_now", lambda: None)
    assert (mix.rank, pickle.loads(copied).rank) == (0, 5)


def test_p_is_the_share_of_batches() -> None:
    mix = ge.MixTransform("mixup", p=0.3, targets="tuple")
    images, labels = batch(2, side=8)
    results = [mix(images, labels) for _ in range(400)]
    mixed = [result[0] is not images for result in results]
    assert 0.2 < sum(mixed) / 400 < 0.4
    assert all(bool(lam.any()) == was for (_, _, _, lam), was in zip(results, mixed, strict=True))
    assert ge.MixTransform("mixup", p=0, num_classes=6)(images, labels)[0] is images


# -- batches ----------------------------------------------------------------------------------------------------------


@given(st.integers(2, 40), st.integers(0, 5))
def test_random_partners_form_one_cycle(count: int, step: int) -> None:
    mix = ge.MixTransform("none", targets="tuple")
    mix.step = step
    _, source, _, _ = mix(torch.zeros(count, 3, 2, 2), torch.arange(count))
    seen, at = [], 0
    while at not in seen:
        seen.append(at)
        at = int(source[at])
    assert len(seen) == count


@pytest.mark.parametrize(("pairing", "cover"), [("greedy", greedy_cycle), ("optimal", assignment)])
@pytest.mark.parametrize("method", ["cutmix", "saliencymix", "fmix"])
def test_partners_are_far_apart(method: str, pairing: Any, cover: Any) -> None:
    images, labels = batch(7)
    mix = ge.MixTransform(method, pairing=pairing, targets="tuple", mean=MEAN, std=STD)
    centre, spread = (torch.tensor(colour).view(3, 1, 1) for colour in (MEAN, STD))
    _, source, _, _ = mix((images - centre) / spread, labels)
    maps = salient_mass(spectral_residual((255 * images).round().to(torch.uint8)))
    assert source.tolist() == cover(map_distances(maps.numpy())).tolist()


def test_a_method_with_maps_of_its_own_pairs_by_them() -> None:
    images, labels = batch(7)
    by_option = ge.MixTransform("guidedmixup-sr", pairing="greedy", targets="tuple")
    by_spec = ge.MixTransform("guidedmixup-sr:pairing=greedy", targets="tuple")
    _, source, _, _ = by_option(images, labels)
    assert torch.equal(by_spec(images, labels)[1], source)
    mixer: Any = by_spec.mixer
    maps = mixer.pairing_maps(ge.Signals(Networks().answer(mixer.needs(), images, None), labels, labels))
    distances = map_distances(maps.numpy())
    gained = distances[range(7), source].sum() / distances[range(7), greedy_cycle(distances)].sum()
    assert gained > 0.98, "the grid on which maps are compared loses little"


def test_one_image_stays_as_it_is() -> None:
    images, labels = batch(1)
    network = in_training("test_resnet")
    mixed, targets = ge.MixTransform("puzzlemix", model=network)(images, labels)
    assert mixed is images
    assert targets.tolist() == [[1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_size_and_labels_that_are_equal(count: int) -> None:
    images, _ = batch(count, side=33)
    mixed, targets = ge.MixTransform("saliencymix", num_classes=4)(images, torch.full((count,), 2))
    assert mixed.shape == images.shape
    assert torch.equal(targets, torch.eye(4)[[2] * count])


def test_half_precision_images() -> None:
    images, labels = batch(3, side=32)
    mixed, targets = ge.MixTransform("mixup", num_classes=3)(images.bfloat16(), labels)
    assert (mixed.dtype, targets.dtype) == (torch.bfloat16, torch.float32)


def test_soft_targets() -> None:
    source, target, lam = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0]), torch.tensor([0.25, 0.5, 1.0])
    targets = ge.soft_targets(source, target, lam, 3)
    assert targets.tolist() == [[0.25, 0.75, 0], [0, 1, 0], [0, 0, 1]]
    logits = torch.randn(3, 3)
    smoothed = cross_entropy(logits, ge.soft_targets(source, target, lam, 3, smoothing=0.1))
    torch.testing.assert_close(smoothed, cross_entropy(logits, targets, label_smoothing=0.1))


def test_timm() -> None:
    """Signature, attribute and loss of timm's own mixup."""
    images, labels = batch()
    mixup_fn = ge.MixTransform("cutmix", num_classes=6, smoothing=0.1)
    _, targets = mixup_fn(images, labels)
    loss = SoftTargetCrossEntropy()  # type: ignore[no-untyped-call]
    assert loss(torch.randn(6, 6), targets).isfinite()
    mixup_fn.mixup_enabled = False
    same, targets = mixup_fn(images, labels)
    assert same is images
    torch.testing.assert_close(targets, torch.eye(6) * 0.9 + 0.1 / 6)


# -- DataLoader -------------------------------------------------------------------------------------------------------


def loaded(mix: ge.MixTransform, **options: Any) -> DataLoader[Any]:
    """24 images with their labels."""
    return DataLoader(list(zip(*batch(24, side=16), strict=True)), collate_fn=mix.collate, **options)  # type: ignore[arg-type]


def test_collate() -> None:
    mix = ge.MixTransform("cutmix", num_classes=24)
    images, targets = next(iter(loaded(mix, batch_size=8)))
    expected = ge.MixTransform("cutmix", num_classes=24)(batch(24, side=16)[0][:8], torch.arange(8))
    assert torch.equal(images, expected[0])
    assert torch.equal(targets, expected[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_and_epochs_draw_apart() -> None:
    """Every worker starts with the same copy of the transform, in each epoch anew."""
    loader = loaded(ge.MixTransform("mixup", targets="tuple"), batch_size=6, num_workers=2)

    def epoch() -> Tensor:
        return torch.cat([lam for _, _, _, lam in loader])

    torch.manual_seed(0)
    first, second = epoch(), epoch()
    assert len(set(torch.cat((first, second)).tolist())) == 48
    torch.manual_seed(0)
    assert torch.equal(epoch(), first), "torch's generator seeds the workers"


def test_a_worker_does_not_ask_the_network_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    mix = ge.MixTransform("puzzlemix", model=in_training("test_resnet"))
    monkeypatch.setattr("gazeeval.signals.batch.get_worker_info", object)
    with pytest.raises(UsageError, match="worker of a DataLoader"):
        mix(*batch())


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "complaint"),
    [
        ("puzzlemix", {}, "needs a network, got none. Pass model="),
        ("manifoldmix", {"model": nn.Identity()}, "mixes inside the network"),
        ("gazemix", {}, r"asks where people look, got no GazeDensity\(\)"),
        ("cutmix", {}, "num_classes, got none"),
        ("cutmix", {"num_classes": 3, "alhpa": 1}, "unknown option, got 'alhpa' .did you mean 'alpha'"),
        ("cutmix", {"num_classes": 3, "alpha": "much"}, "alpha, got 'much'"),
        (parse_method("cutmix"), {"num_classes": 3, "alpha": 1}, "options, got alpha beside a mixer"),
        ("cutmix", {"num_classes": 3, "p": 50}, "p, got 50. Give a number from 0 to 1"),
        ("cutmix", {"num_classes": 3, "smoothing": 1.0}, "smoothing, got 1.0"),
        ("cutmix", {"targets": "tuple", "smoothing": 0.1}, "smoothing, got 0.1 for tuple targets"),
        ("cutmix", {"targets": "hard"}, "targets, got 'hard'. Give soft, tuple"),
        ("cutmix", {"num_classes": 3, "pairing": "run"}, "pairing, got 'run'. Give random, greedy, optimal"),
        ("cutmix", {"num_classes": 3, "mean": MEAN}, "mean and std, got .* and None. Give three numbers each"),
        ("comixup", {"model": nn.Identity(), "pairing": "greedy"}, "pairing, got 'greedy'. Give random: the method"),
        ("comixup", {"model": nn.Identity(), "targets": "tuple"}, "targets, got 'tuple'. Give soft: a mix has"),
    ],
)
def test_options_that_make_no_sense(method: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ge.MixTransform(method, **options)


def test_options_are_those_of_the_command_line() -> None:
    mix = ge.MixTransform("cutmix:alpha=0.2", num_classes=3, rule="torchvision")
    assert mix.mixer == parse_method("cutmix:alpha=0.2,rule=torchvision")
    mix = ge.MixTransform("comixup", model=nn.Identity(), num_classes=3, blocks=None, hard=False)
    assert mix.mixer == parse_method("comixup:blocks=none,hard=false")


@pytest.mark.parametrize(
    ("images", "labels", "complaint"),
    [
        (torch.randn(4, 3, 8, 8), torch.arange(4), r"values -.* Give RGB in \[0, 1\], or the mean= and std="),
        (255 * torch.rand(4, 3, 8, 8), torch.arange(4), "values 0.* Give RGB in"),
        (torch.rand(4, 3, 8, 8), torch.arange(1, 5), "labels, got 1 .. 4 for 4 classes"),
        (torch.rand(4, 1, 8, 8), torch.arange(4), r"batch, got torch.float32 \(4, 1, 8, 8\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.arange(4), "batch, got torch.uint8"),
        (torch.rand(4, 3, 8, 8), torch.eye(4), r"torch.float32 \(4, 4\). Give .* int64 labels"),
    ],
)
def test_batches_that_make_no_sense(images: Tensor, labels: Tensor, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ge.MixTransform("cutmix", num_classes=4)(images, labels)


def test_a_network_elsewhere() -> None:
    mix = ge.MixTransform("puzzlemix", model=create("test_resnet", {"num_classes": 6}).to("meta"))
    with pytest.raises(UsageError, match=r"images on cpu, got a network on meta\. Move the batch"):
        mix(*batch(side=32))
