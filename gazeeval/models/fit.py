"""Do weights fit a network: load them if they do, say why if not, find the names that they would fit."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import timm
import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gazeeval.errors import CheckpointError
from gazeeval.models.absvit import FEEDBACK
from gazeeval.models.architecture import class_count, create_empty, layer_weights, timm_config
from gazeeval.models.checkpoint import State

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Misfit:
    """Names that a network and a set of weights do not share, and shared names of another shape."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unknown to it": self.unexpected, "of another shape": self.reshaped}
        return "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in parts.items() if names)


def adapted(network: nn.Module, state: State, *, resize: bool = False) -> State:
    """The same weights, or weights that timm's converter for the architecture's original code made fit from them.

    Only with ``resize`` may it resample position embeddings to another input size.
    """
    own = shapes_of(network.state_dict())
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None or not misfit(own, shapes_of(state)):
        return state
    try:
        made: State = dict(convert(dict(state), network))
    except Exception:  # written for weights of its own family: any others may break it anywhere
        return state
    resampled = any(made[name].shape != state[name].shape for name in made.keys() & state.keys())
    return state if misfit(own, shapes_of(made)) or (resampled and not resize) else made


def load_weights(network: nn.Module, state: State) -> Misfit:
    """Fill the network if all names and shapes match, else leave it alone and return what does not."""
    wrong = misfit(shapes_of(network.state_dict()), shapes_of(state))
    if not wrong:
        network.load_state_dict(state)
    return wrong


def misfit(own: Shapes, stored: Shapes) -> Misfit:
    """Compare a network's shapes with stored ones. Batch counters may be absent: older files lack them."""
    return Misfit(
        [name for name in own if name not in stored and not name.endswith("num_batches_tracked")],
        [name for name in stored if name not in own],
        [name for name in stored if name in own and own[name] != stored[name]],
    )


def shapes_of(state: State) -> Shapes:
    """Name -> shape."""
    return {name: tuple(value.shape) for name, value in state.items()}


def likely_cause(arch: str, wrong: Misfit, state: State, hint: str = "") -> str:
    """One sentence on why weights do not fit, and what to do."""
    classifier, stem = (layer_weights(timm_config(arch), field) for field in ("classifier", "first_conv"))
    if set(classifier) & set(wrong.missing) and not wrong.unexpected:
        return "The file holds no classifier, a backbone only: give a checkpoint of a trained classifier."
    if any("pos_embed" in name or "relative_position" in name for name in wrong.reshaped):
        return "The weights are for another input size: pass the one of the training as --input-size."
    if any(state[name].shape[-2:] == (3, 3) for name in stem if name in wrong.reshaped):
        return f"The weights have the 3x3 stem of the variants for small images, which {arch} has not."
    only_one_feeds_back = FEEDBACK in wrong.missing or FEEDBACK in wrong.unexpected
    if bool(wrong.missing) != bool(wrong.unexpected) and not wrong.reshaped and not only_one_feeds_back:
        return f"The file holds a variant of {arch} (another depth?): store its model_args beside the weights."
    if any("patch_embed.projection" in name for name in wrong.unexpected):
        return "These are OpenMMLab's names for a transformer: save the weights under timm's names."
    return "Perhaps it is another architecture. " + advice(state, hint)


def advice(state: State, hint: str = "") -> str:
    """What to pass as ``--arch``."""
    names = suggest(state, hint)
    return (
        f"Pass --arch; {'classifier and stem fit ' + ', '.join(names) if names else 'no timm name was found to fit'}."
    )


def suggest(state: State, hint: str = "", *, seconds: float = 3.0, most: int = 5) -> list[str]:
    """timm names whose classifier and stem have the shapes in ``state``, best first; only complete fits if any.

    Names that stand in ``hint`` (the file's name) are tried first, then short ones. Networks are made without memory,
    on the meta device, and given up at the first weight whose shape is not stored.
    """
    stored, deadline = shapes_of(state), time.monotonic() + seconds
    fits: dict[str, int] = {}
    for arch in _candidates(stored, hint):
        if time.monotonic() > deadline or list(fits.values()).count(0) == most:
            break
        own = _shapes_on_meta(arch, state)
        if own and all(own.get(name) == stored[name] for name in _ends(arch)):
            fits[arch] = len(misfit(own, stored))
    best = sorted(fits, key=lambda arch: fits[arch])
    return ([arch for arch in best if fits[arch] == 0] or best)[:most]


def _candidates(stored: Shapes, hint: str) -> list[str]:
    """Architectures whose classifier and stem have names that are stored; AbSViTs where feedback layers are."""
    hint = hint.lower().replace("-", "_")
    named = [arch for arch in timm.list_models() if timm_config(arch).get("classifier")]
    alike = [arch for arch in named if arch.startswith("absvit_") == (FEEDBACK in stored)]
    fitting = [arch for arch in alike if stored.keys() >= set(_ends(arch))]
    return sorted(fitting, key=lambda arch: (arch not in hint, len(arch)))


def _ends(arch: str) -> list[str]:
    config = timm_config(arch)
    return layer_weights(config, "classifier") + layer_weights(config, "first_conv")


def _shapes_on_meta(arch: str, state: State) -> Shapes | None:
    """Shapes of the architecture with as many classes as stored; None if it needs a weight of a shape not stored."""
    stored = {value.shape for value in state.values()}

    def give_up(module: nn.Module, name: str, value: nn.Parameter) -> None:
        if name == "weight" and value.numel() > 256 and value.shape not in stored:  # timm tries out tiny layers
            raise ValueError("no such weight")

    hook = register_module_parameter_registration_hook(give_up)
    try:
        with torch.device("meta"):
            return shapes_of(create_empty(arch, {"num_classes": class_count(arch, state)}).state_dict())
    except CheckpointError:
        return None
    finally:
        hook.remove()


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
