"""What is read from a checkpoint file, and what is refused."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gazeeval.errors import CheckpointError
from gazeeval.models.checkpoint import Checkpoint, read_checkpoint

STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "fc.weight": torch.ones(4, 2)}
OTHER = {name: value + 1 for name, value in STATE.items()}


def saved(folder: Path, content: Any, **options: Any) -> Path:
    path = folder / "weights.pt"
    torch.save(content, path, **options)
    return path


def reread(folder: Path, content: Any, **options: Any) -> Checkpoint:
    return read_checkpoint(saved(folder, content), **options)


def assert_state(checkpoint: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    assert checkpoint.state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(checkpoint.state[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("content", "weights"),
    [
        (STATE, "plain"),
        (OrderedDict(STATE), "plain"),
        ({"state_dict": STATE, "state_dict_ema": OTHER, "epoch": 3}, "state_dict"),
        ({"model": STATE, "model_ema": OTHER, "optimizer": {"state": {0: torch.ones(1)}}}, "model"),
        ({"model_state_dict": STATE}, "model_state_dict"),
        ({"net": STATE, "acc": 93.1}, "net"),
        ({"model": "resnet18", "state_dict": STATE}, "state_dict"),
    ],
)
def test_plain_weights_are_found_under_every_known_key(tmp_path: Path, content: Any, weights: str) -> None:
    checkpoint = reread(tmp_path, content)
    assert checkpoint.weights == weights
    assert_state(checkpoint, STATE)


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
@pytest.mark.parametrize("asked", ["ema", None])
def test_averaged_weights_only_when_asked(tmp_path: Path, key: str, asked: str | None) -> None:
    checkpoint = reread(tmp_path, {"model": STATE, key: OTHER}, weights_key=asked)
    assert checkpoint.weights == (key if asked else "model")
    assert_state(checkpoint, OTHER if asked else STATE)


def test_averaged_weights_inside_the_same_dict(tmp_path: Path) -> None:
    both = {**STATE, "ema_conv_weight": OTHER["conv.weight"]}
    plain = reread(tmp_path, {"state_dict": both})
    assert_state(plain, STATE)
    assert "left out 1 entries" in plain.notes[0]
    averaged = reread(tmp_path, {"state_dict": both}, weights_key="ema")
    assert_state(averaged, {"conv.weight": OTHER["conv.weight"], "fc.weight": STATE["fc.weight"]})


def test_any_key_can_be_named(tmp_path: Path) -> None:
    checkpoint = reread(tmp_path, {"state_dict": STATE, "student": OTHER}, weights_key="student")
    assert checkpoint.weights == "student"
    assert_state(checkpoint, OTHER)


@pytest.mark.parametrize("key", ["ema", "teacher"])
def test_missing_key_names_those_there_are(tmp_path: Path, key: str) -> None:
    with pytest.raises(CheckpointError, match=rf"no weights under '{key}'.*'state_dict', 'student'"):
        reread(tmp_path, {"state_dict": STATE, "student": OTHER}, weights_key=key)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "backbone.",
        "model.",
        "model.backbone.module.",
    ],
)
def test_wrapper_prefixes_are_removed(tmp_path: Path, prefix: str) -> None:
    checkpoint = reread(tmp_path, {"state_dict": {prefix + name: value for name, value in STATE.items()}})
    assert_state(checkpoint, STATE)
    assert checkpoint.notes == (f"renamed 2 entries, e.g. {prefix}conv.weight to conv.weight",)


@pytest.mark.parametrize("outer", ["", "module."])
def test_openmmlab_head_stands_beside_the_backbone(tmp_path: Path, outer: str) -> None:
    names = {f"{outer}backbone.conv.weight": STATE["conv.weight"], f"{outer}head.fc.weight": STATE["fc.weight"]}
    assert_state(reread(tmp_path, names), STATE)


def test_head_of_a_convnext_keeps_its_name(tmp_path: Path) -> None:
    names = {"stem.0.weight": STATE["conv.weight"], "head.fc.weight": STATE["fc.weight"]}
    assert_state(reread(tmp_path, names), names)
    assert_state(reread(tmp_path, {f"backbone.{name}": value for name, value in names.items()}), names)


def test_model_prefix_stays_unless_all_names_have_it(tmp_path: Path) -> None:
    mixed = {"model.conv.weight": STATE["conv.weight"], "fc.weight": STATE["fc.weight"]}
    assert_state(reread(tmp_path, mixed), mixed)


def test_names_that_collide_without_prefixes(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="two entries have one name"):
        reread(tmp_path, {"module.conv.weight": STATE["conv.weight"], "conv.weight": STATE["conv.weight"]})


def test_training_only_entries_are_left_out_and_told(tmp_path: Path) -> None:
    extra = {"module.token_head.weight": torch.ones(3), "module.conv.total_ops": torch.ones(1)}
    checkpoint = reread(tmp_path, {"model": {f"module.{name}": v for name, v in STATE.items()} | extra})
    assert_state(checkpoint, STATE)
    assert checkpoint.notes[1] == "left out 2 entries that only training uses, e.g. module.token_head.weight"


def test_half_precision_becomes_float32_and_counters_stay(tmp_path: Path) -> None:
    state = {"a": torch.ones(2, dtype=torch.float16), "b": torch.ones(2).bfloat16(), "n": torch.tensor(7)}
    assert {n: v.dtype for n, v in reread(tmp_path, state).state.items()} == {
        "a": torch.float32,
        "b": torch.float32,
        "n": torch.int64,
    }


def test_metadata_of_our_own_layout(tmp_path: Path) -> None:
    content = {
        "arch": "vit_tiny_patch16_224",
        "model_args": {"depth": 4},
        "pretrained_cfg": {"input_size": [3, 224, 224]},
        "num_classes": 10,
        "state_dict": STATE,
    }
    path = saved(tmp_path, content)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.arch, checkpoint.num_classes) == ("vit_tiny_patch16_224", 10)
    assert (checkpoint.model_args, checkpoint.pretrained_cfg) == ({"depth": 4}, {"input_size": [3, 224, 224]})
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_metadata_of_safetensors_is_json_in_the_header(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    header = {"arch": "resnet10t", "num_classes": "10", "model_args": json.dumps({"depth": 4}), "note": "{not json"}
    save_file(STATE, path, metadata=header)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.arch, checkpoint.num_classes, checkpoint.model_args) == ("resnet10t", 10, {"depth": 4})
    assert checkpoint.weights == "plain"
    assert_state(checkpoint, STATE)
    with pytest.raises(CheckpointError, match="no weights under 'ema'"):
        read_checkpoint(path, weights_key="ema")


@pytest.mark.parametrize("zipped", [True, False])
def test_namespace_and_numpy_scalars_are_harmless(tmp_path: Path, zipped: bool) -> None:
    args = argparse.Namespace(model="deit_tiny_patch16_224", num_classes=10, nested=argparse.Namespace(lr=0.1))
    scores = {"best": np.float64(0.5), "epoch": np.int64(3), "done": np.bool_(True), "loss": np.float32(1)}
    path = saved(tmp_path, {"model": STATE, "args": args, **scores}, _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.arch, checkpoint.num_classes) == ("deit_tiny_patch16_224", 10)
    assert_state(checkpoint, STATE)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_optimisers_and_schedulers_leave_is_harmless(tmp_path: Path, zipped: bool) -> None:
    optimiser = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [30, 60])  # keeps a Counter
    more = {"optimizer": optimiser.state_dict(), "lr": scheduler.state_dict(), "rng": torch.get_rng_state()}
    path = saved(tmp_path, {"model": STATE, **more}, _use_new_zipfile_serialization=zipped)
    assert_state(read_checkpoint(path), STATE)


def test_metadata_of_the_wrong_kind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="model_args, got 'depth=4'"):
        reread(tmp_path, {"state_dict": STATE, "model_args": "depth=4"})


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_named_and_not_run(tmp_path: Path, zipped: bool) -> None:
    crater = tmp_path / "crater"
    path = saved(tmp_path, {"state_dict": STATE, "x": Bomb(crater)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"{os.mkdir.__module__}\.mkdir.*Nothing was executed.*--unsafe-load"):
        read_checkpoint(path)
    assert not crater.exists()
    read_checkpoint(path, unsafe_load=True)
    assert crater.exists()


def test_refusal_leaves_torch_as_it_was(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())  # torch keeps them in no order
    with pytest.raises(CheckpointError, match=r"PosixPath|WindowsPath"):
        reread(tmp_path, {"state_dict": STATE, "where": pathlib.Path("x")})
    assert set(torch.serialization.get_safe_globals()) == before


def test_whole_pickled_network(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match=r"a whole pickled network, got torch\.nn\.modules\.linear\.Linear"):
        reread(tmp_path, network)
    assert_state(reread(tmp_path, {"model": network}, unsafe_load=True), dict(network.state_dict()))


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, torch.ones(2)])
def test_no_weights_inside(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match=r"no weights\. Keys that hold weights: none"):
        reread(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "guess"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"epoch,loss\n1,0.5\n", "a text file"),
        (b"\x1f\x8b\x08\x00rest", "a gzip archive"),
        (bytes(range(1, 256)), "neither a torch.save nor a safetensors file"),
        (b"\x80\x04\x95garbage", "damaged or torch.save did not write it"),
        (b"PK\x03\x04half a zip", "cut short"),
        (b"\x20\x00\x00\x00\x00\x00\x00\x00{half a header", "damaged safetensors"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes, guess: str) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=guess) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("member", "guess"), [("net/constants.pkl", "TorchScript"), ("arr_0.npy", "a zip archive")])
def test_zip_archives_that_are_no_checkpoints(tmp_path: Path, member: str, guess: str) -> None:
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl" if "net" in member else "x.txt", b"")
        archive.writestr(member, b"")
    with pytest.raises(CheckpointError, match=guess):
        read_checkpoint(path)


def test_truncated_checkpoint(tmp_path: Path) -> None:
    path = saved(tmp_path, STATE)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cut short"):
        read_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    saved(tmp_path, STATE)
    with pytest.raises(CheckpointError, match=r"weigths\.pt: no such file \(did you mean 'weights\.pt'\?\)"):
        read_checkpoint(tmp_path / "weigths.pt")
    with pytest.raises(CheckpointError, match=r"got a folder\. Name the file .*weights\.pt"):
        read_checkpoint(tmp_path)


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, {"a": torch.zeros(100_000)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match=r"unpacks [\d,]+ bytes to 40\d,\d{3}, but torch.save does not compress"):
        read_checkpoint(path)


def test_views_are_copied_in_moderation(tmp_path: Path) -> None:
    kernel = torch.ones(1, 3).expand(8, 3)
    assert_state(reread(tmp_path, {"blur": kernel}), {"blur": kernel.contiguous()})
    with pytest.raises(CheckpointError, match=r"the tensors claim 12,000,000 bytes, got a file of [\d,]+\."):
        reread(tmp_path, {"blur": torch.ones(1, 3).expand(1_000_000, 3)})


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(
    ("value", "kind"),
    [(torch.eye(3).to_sparse(), "torch.sparse_coo"), (torch.empty(3, device="meta"), "on device meta")],
)
def test_tensors_without_data_of_their_own(tmp_path: Path, value: torch.Tensor, kind: str) -> None:
    with pytest.raises(CheckpointError, match=rf"fc: cannot be used as a weight, got a tensor that is .*{kind}"):
        reread(tmp_path, {"fc": value})


def test_weights_that_are_nan(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fc: got 1 of 2 numbers that are NaN\. The training went wrong"):
        reread(tmp_path, {"fc": torch.tensor([1.0, torch.nan])})
    assert_state(reread(tmp_path, {"mask": torch.tensor([-torch.inf])}), {"mask": torch.tensor([-torch.inf])})


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights\.pt: not a regular file"):
        read_checkpoint(tmp_path / "weights.pt")
