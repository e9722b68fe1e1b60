"""What happens when the device's memory does not hold a pass."""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import gazeeval as ge
from gazeeval.errors import GazeEvalError
from gazeeval.models.device import deterministic
from gazeeval.models.model import Model
from gazeeval.models.passes import Passes
from gazeeval.signals.base import InputGradient
from gazeeval.signals.probe import probe


def demo_model(most: int | None = None) -> Model:
    """The demo network, on a device whose memory holds ``most`` images."""
    model = ge.load_model("demo", device="cpu")

    def refuse(stem: nn.Module, inputs: tuple[Tensor]) -> None:
        if most and len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    model.network.get_submodule("conv1").register_forward_pre_hook(refuse)
    return model


def test_all_at_once_unless_told_and_the_last_pass_is_what_is_left() -> None:
    assert Passes().map(lambda part: (part.start, part.stop), 5) == [(0, 5)]
    assert Passes(2).map(lambda part: (part.start, part.stop), 5) == [(0, 2), (2, 4), (4, 5)]
    assert Passes(3).map(lambda part: part, 0) == []


@pytest.mark.parametrize(("most", "size", "after"), [(1, 64, 1), (3, None, 2), (5, 7, 3), (64, None, None)])
def test_a_pass_is_halved_until_it_fits_and_stays_so(most: int, size: int | None, after: int | None) -> None:
    taken: list[int] = []
    passes = Passes(size)

    def work(part: slice) -> None:
        if part.stop - part.start > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        taken.extend(range(part.start, part.stop))

    passes.map(work, 11)
    assert taken == list(range(11))
    assert passes.size == after
    passes.map(lambda part: taken.append(part.stop - part.start), 4)
    assert max(taken[11:]) <= most


def test_one_image_that_does_not_fit_ends_the_run_with_advice() -> None:
    def work(part: slice) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(GazeEvalError, match=r"^out of memory: one image.*\(CUDA out of memory\)\. Pass a smaller"):
        Passes(4).map(work, 9)


@pytest.mark.parametrize("method", ["cutmix", "puzzlemix", "manifoldmix", "attentivemix", "comixup"])
def test_a_run_on_a_small_device_gives_the_same_rows(method: str, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"num_pairs": 12, "group_size": 24, "references": False, "device": "cpu"}
    whole = ge.evaluate(method, model=demo_model(), **options).pairs
    with caplog.at_level(logging.WARNING, "gazeeval"):
        halved = ge.evaluate(method, model=demo_model(most=5), **options).pairs
    assert "out of memory with" in caplog.text
    pd.testing.assert_frame_equal(halved, whole, rtol=0, atol=1e-5)


def test_amp_changes_what_the_network_says_of_mixes_but_no_map() -> None:
    options: dict[str, Any] = {"num_pairs": 12, "group_size": 24, "references": False, "device": "cpu"}
    plain = ge.evaluate(["attentivemix", "manifoldmix"], **options)
    amp = ge.evaluate(["attentivemix", "manifoldmix"], **options, amp="bf16")
    judged = [name for name in plain.pairs if str(name).startswith(("p_", "pred", "hit", "acc", "run_id"))]
    pd.testing.assert_frame_equal(amp.pairs.drop(columns=judged), plain.pairs.drop(columns=judged))
    difference = (amp.pairs["p_source"] - plain.pairs["p_source"]).abs().groupby(plain.pairs["method"]).max()
    assert (difference > 0).all()
    assert (difference < 0.05).all()
    assert amp.manifest["signature"]["amp"] == "bf16"
    assert "amp" not in plain.manifest["signature"]
    assert amp.manifest["run_id"] != plain.manifest["run_id"]


def test_amp_leaves_derivatives_in_full_precision() -> None:
    model = demo_model()
    images, labels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    expected = probe({InputGradient()}, model, images, labels)[InputGradient()]
    with torch.autocast("cpu", torch.bfloat16):
        found = probe({InputGradient()}, model, images, labels)[InputGradient()]
    assert torch.equal(found, expected)


def test_deterministic_work_leaves_the_settings_as_they_were() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32) == before
    with deterministic(wanted=False):
        assert torch.are_deterministic_algorithms_enabled() == before[0]
