"""Networks by timm's names: make them empty, with drawn weights, or with published ones."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import timm
import torch
from huggingface_hub import constants as hub
from timm.data.config import resolve_data_config
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import gazeeval.models.absvit  # noqa: F401, makes its networks known to timm
from gazeeval.errors import CheckpointError, did_you_mean

# Arguments of timm.create_model that say where weights come from: never taken from a file.
_NOT_ARCHITECTURE = (
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    *("scriptable", "exportable", "no_jit", "features_only"),
)
_FILLS = frozenset(
    getattr(Tensor, name)
    for name in ("normal_", "uniform_", "erfinv_", "clamp_", "mul_", "add_", "div_", "fill_", "zero_")
)


def on_hub(name: str) -> bool:
    """Whether the name is an id on the Hugging Face hub rather than one of timm's own."""
    return name.startswith(("hf-hub:", "hf_hub:"))


def is_known(arch: str) -> bool:
    """Whether timm has the architecture."""
    return bool(timm.is_model(arch))


def require_known(arch: str) -> None:
    """Raise CheckpointError, with the nearest name, unless timm has the architecture."""
    if not is_known(arch):
        hint = did_you_mean(arch, timm.list_models())
        raise CheckpointError(f"architecture: timm has none, got {arch!r}{hint}. Use a name of timm.list_models().")


def timm_config(arch: str) -> dict[str, Any]:
    """timm's ``pretrained_cfg`` of an architecture; empty where timm has none."""
    config: Any = timm.get_pretrained_cfg(arch)
    return dict(config.to_dict()) if config else {}


def data_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """input_size (channels first), crop_pct, interpolation, crop_mode, mean, std, with timm's defaults filled in."""
    resolve: Any = resolve_data_config  # untyped
    return dict(resolve({}, pretrained_cfg={"crop_mode": "center", **config}))


def layer_weights(config: Mapping[str, Any], field: str) -> list[str]:
    """Weight names of the layers in a field of timm's configuration, which holds one name, several or none."""
    layers = config.get(field) or ()
    return [f"{layer}.weight" for layer in ((layers,) if isinstance(layers, str) else layers)]


def class_count(arch: str, state: Mapping[str, Tensor]) -> int | None:
    """Rows of the classifier in ``state`` under the architecture's own name for it; None if it is not there."""
    rows = [state[name].shape[0] for name in layer_weights(timm_config(arch), "classifier") if name in state]
    return rows[0] if rows else None


def create(arch: str, model_args: Mapping[str, Any]) -> nn.Module:
    """The network in eval mode on the CPU, its weights drawn from a fixed seed.

    Raises:
        CheckpointError: the architecture does not take these arguments.
    """
    kept = {key: value for key, value in model_args.items() if key not in _NOT_ARCHITECTURE}
    try:
        with _fixed_seed():
            network: nn.Module = timm.create_model(arch, **kept)
    except Exception as error:  # whatever a constructor does with arguments it does not know
        raise CheckpointError(
            f"architecture: {arch}: cannot be made, got arguments {kept} ({first_line(error)}). Pass another --arch."
        ) from error
    return network.eval()


def create_empty(arch: str, model_args: Mapping[str, Any]) -> nn.Module:
    """As ``create``, with parameters left unset for weights to be loaded."""
    with _NoInitialisation():
        return create(arch, model_args)


def fetch(name: str, model_args: Mapping[str, Any], *, pretrained: bool = True) -> nn.Module:
    """The network with timm's published weights, from the local cache if the hub cannot be reached.

    Raises:
        CheckpointError: no such name, no published weights, or no way to get them.
    """
    online = not hub.HF_HUB_OFFLINE and _answers(hub.ENDPOINT)
    try:
        with _fixed_seed(), _hub_offline(not online):
            network: nn.Module = timm.create_model(name, pretrained=pretrained, **model_args)
    except Exception as error:  # the hub, its cache and timm each raise their own kinds
        why = first_line(error) if online else f"{hub.ENDPOINT} cannot be reached and the local cache has none"
        raise CheckpointError(f"weights: {name}: not available, {why}. Pass a checkpoint file.") from error
    return network.eval()


def first_line(error: Exception) -> str:
    """The first sentence of a foreign error."""
    text = str(error).strip() or type(error).__name__
    return text.split("\n", maxsplit=1)[0].split(". ", maxsplit=1)[0].rstrip(".")[:160]


def _answers(url: str) -> bool:
    """One short question, as the hub's own client goes on asking for most of a minute."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def _hub_offline(offline: bool) -> Iterator[None]:
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = offline
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


@contextmanager
def _fixed_seed() -> Iterator[None]:
    """Drawn weights neither depend on the caller's random state nor move it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


class _NoInitialisation(TorchFunctionMode):
    """Leaves parameters as allocated: drawing values to overwrite them is most of the time a network takes to make."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        fills = func in _FILLS or getattr(func, "__module__", None) == "torch.nn.init"
        return target if fills and isinstance(target, nn.Parameter) else func(*args, **kwargs)
