"""Make sense of a checkpoint: which dict holds the weights, what they are called, what it says about its network.

The layouts, prefixes and traps are those of card ``model-signals``, section 5.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gazeeval.errors import CheckpointError
from gazeeval.models.weight_file import read_weight_file

State = dict[str, Tensor]

WEIGHT_KEYS = ("state_dict", "model", "model_state_dict", "net")
EMA_KEYS = ("state_dict_ema", "model_ema")
PREFIXES = ("module.", "_orig_mod.", "backbone.")
MOST_VIEWED = 100  # times the bytes of the file that tensors may have together: buffers that repeat a kernel are views
TRAINING_ONLY = re.compile(r"^token_head\.|(^|\.)total_(ops|params)$")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of one file.

    Attributes:
        path, sha256: the file.
        state: name -> tensor on the CPU, floating point as float32, wrapper prefixes removed.
        weights: where the weights stood: a key of the file, or "plain".
        notes: what was left out or renamed, one line each.
        arch, model_args, pretrained_cfg, num_classes: what the file says about its network; None or empty if nothing.
    """

    path: str
    sha256: str
    state: State
    weights: str
    notes: tuple[str, ...]
    arch: str | None
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    num_classes: int | None


def read_checkpoint(path: Path, *, weights_key: str | None = None, unsafe_load: bool = False) -> Checkpoint:
    """Read weights and metadata of a ``torch.save`` or safetensors file.

    Args:
        weights_key: the dict that holds the weights; "ema" for averaged weights under any known name. By default the
            first of ``WEIGHT_KEYS``, else the file itself; averaged weights are never taken unasked.
        unsafe_load: unpickle without restriction, which runs whatever code the file contains.

    Raises:
        CheckpointError: no such file, not a checkpoint, objects that need code, or no weights under the key.
    """
    content, about = read_weight_file(path, unsafe_load=unsafe_load)
    weights, state = _select(path, content, weights_key)
    if not unsafe_load:
        _require_data(path, state)
    _require_numbers(path, state)
    state, notes = _clean(path, state)
    return Checkpoint(str(path), _sha256(path), state, weights, notes, **_metadata(path, about))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _select(path: Path, content: Any, weights_key: str | None) -> tuple[str, State]:
    """The key under which the weights stand and the weights under it."""
    found = {"plain": _as_state(content)} | (
        {str(key): _as_state(value) for key, value in content.items()} if isinstance(content, Mapping) else {}
    )
    states = {key: state for key, state in found.items() if state}
    if weights_key == "ema":
        wanted: tuple[str, ...] = EMA_KEYS
    else:
        wanted = (*WEIGHT_KEYS, "plain") if weights_key is None else (weights_key,)
    for key in wanted:
        if key in states:
            return key, states[key]
    if weights_key == "ema":
        for key in (*WEIGHT_KEYS, "plain"):
            if averaged := _averaged_inside(states.get(key, {})):
                return f"{key} (ema_*)", averaged
    names = ", ".join(repr(key) for key in states) or "none"
    asked = f" under {weights_key!r}" if weights_key else ""
    raise CheckpointError(
        f"checkpoint: {path}: no weights{asked}. Keys that hold weights: {names}; choose with --weights-key."
    )


def _require_data(path: Path, state: State) -> None:
    """Raise CheckpointError for tensors without data of their own, or with more than the file can hold.

    A view of few numbers, repeated, has any shape; copied, it takes the memory of that shape.
    """
    for name, value in state.items():
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            kind = "quantised" if value.is_quantized else f"{value.layout}, on device {value.device}"
            raise CheckpointError(
                f"checkpoint: {path}: {name}: cannot be used as a weight, got a tensor that is {kind}. "
                "Save dense floating-point weights."
            )
    held, size = sum(value.numel() * value.element_size() for value in state.values()), path.stat().st_size
    if held > MOST_VIEWED * size:
        raise CheckpointError(
            f"checkpoint: {path}: the tensors claim {held:,} bytes, got a file of {size:,}. Do not trust this file; "
            "save weights that are no views of each other."
        )


def _require_numbers(path: Path, state: State) -> None:
    """Raise CheckpointError for weights that are NaN: such a network has an answer, the same one to everything."""
    for name, value in state.items():
        missing = int(value.isnan().sum()) if value.is_floating_point() else 0
        if missing:
            raise CheckpointError(
                f"checkpoint: {path}: {name}: got {missing:,} of {value.numel():,} numbers that are NaN. "
                "The training went wrong: take an earlier checkpoint."
            )


def _as_state(value: Any) -> State | None:
    """A non-empty mapping of names to tensors (or the weights of a network), else None."""
    if isinstance(value, nn.Module):
        value = value.state_dict()
    if not isinstance(value, Mapping) or not value:
        return None
    return dict(value) if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()) else None


def _averaged_name(name: str) -> str:
    """OpenMMLab keeps averaged weights in the same dict, with dots as underscores."""
    return "ema_" + name.replace(".", "_")


def _averaged_inside(state: State) -> State | None:
    """The averaged set of such a dict (buffers are not averaged), or None if it has none."""
    extra = {_averaged_name(name) for name in state} & state.keys()
    return (
        {name: state.get(_averaged_name(name), v) for name, v in state.items() if name not in extra} if extra else None
    )


def _clean(path: Path, state: State) -> tuple[State, tuple[str, ...]]:
    """Float32 weights under the network's own names, without what only training used."""
    names = _own_names(list(state))
    averaged = {_averaged_name(name) for name in state}
    dropped = [name for name in state if name in averaged or TRAINING_ONLY.search(names[name])]
    kept = {names[name]: _float32(value) for name, value in state.items() if name not in dropped}
    if len(kept) + len(dropped) != len(state):
        raise CheckpointError(
            f"checkpoint: {path}: two entries have one name once the prefixes {', '.join(PREFIXES)} are removed. "
            "Save the weights of one network only."
        )
    notes = []
    if renamed := [name for name in state if names[name] != name and name not in dropped]:
        notes.append(f"renamed {len(renamed)} entries, e.g. {renamed[0]} to {names[renamed[0]]}")
    if dropped:
        notes.append(f"left out {len(dropped)} entries that only training uses, e.g. {dropped[0]}")
    return kept, tuple(notes)


def _own_names(names: list[str]) -> dict[str, str]:
    """Stored name -> name without wrappers (DataParallel, torch.compile, Lightning, OpenMMLab)."""
    bare = {name: _without_prefixes(name) for name in names}
    while all(name.startswith("model.") for name in bare.values()):
        bare = {name: _without_prefixes(short.removeprefix("model.")) for name, short in bare.items()}
    inside = {name for name in names if "backbone." in name.removesuffix(bare[name])}
    if inside:  # OpenMMLab: the head stands beside the backbone
        bare |= {n: bare[n][5:] for n in names if n not in inside and bare[n].startswith("head.fc.")}
    return bare


def _without_prefixes(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def _float32(value: Tensor) -> Tensor:
    return value.detach().float() if value.is_floating_point() else value.detach()


def _metadata(path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says about its network, under the names that timm, DeiT and Lightning scripts use."""
    options = [_options(about.get(key)) for key in ("args", "hyper_parameters")]
    config = _mapping(path, about, "pretrained_cfg")
    stored = [about.get("arch"), about.get("architecture"), config.get("architecture")]
    stored += [given.get(key) for given in options for key in ("arch", "model", "model_name")]
    return {
        "arch": next((name for name in stored if isinstance(name, str) and name), None),
        "model_args": _mapping(path, about, "model_args") or _options(options[0].get("model_kwargs")),
        "pretrained_cfg": config,
        "num_classes": next(
            (n for n in (about.get("num_classes"), options[0].get("num_classes")) if isinstance(n, int)), None
        ),
    }


def _options(value: Any) -> dict[str, Any]:
    """Settings stored as a namespace or a mapping."""
    value = vars(value) if isinstance(value, argparse.Namespace) else value
    return dict(value) if isinstance(value, Mapping) else {}


def _mapping(path: Path, about: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = about.get(field) or {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"checkpoint: {path}: {field}, got {value!r:.80}. It must map names to values.")
    return dict(value)
