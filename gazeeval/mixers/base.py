"""What a mixer is: three pure steps, `draw`, `place` and `weigh`, over a batch of pairs.

Adding one touches one file: a frozen dataclass whose fields are the paper's hyperparameters (they become command line
options, ``-m cutmix:alpha=0.2``), registered under its name.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from scipy.special import betaincinv
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import PluginError, UsageError, did_you_mean
from gazeeval.models.model import Model
from gazeeval.registry import Registry
from gazeeval.signals.base import Signal, Signals
from gazeeval.types import GroupPlacement, Labels, PairBatch, Placement

Scope = Literal["pair", "group"]


@dataclass(frozen=True)
class Draws:
    """Every random number of a mixer, one row per pair (per group where the scope is ``group``).

    Subclasses add fields, each a tensor with a leading axis. A field ``lam`` (the first draw as a share of the source)
    is written to the column ``lam_draw``.
    """

    def to(self, device: torch.device) -> Self:
        """The same numbers on a device."""
        return dataclasses.replace(
            self, **{name: value.to(device, non_blocking=True) for name, value in vars(self).items()}
        )

    def __getitem__(self, rows: slice) -> Self:
        """The draws of some of the pairs."""
        return dataclasses.replace(self, **{name: value[rows] for name, value in vars(self).items()})


D = TypeVar("D", bound=Draws)


class Mixer(Generic[D]):
    """A way to mix two images and their labels.

    Subclasses are frozen dataclasses and say:

    - `draw`: every random number, and nothing else;
    - `place`: what of each image shows where, from images, signals and draws; deterministic;
    - `weigh`: the label, from the placement and, where `needs_mixed` asks, from signals of the mixed image.

    Attributes:
        scope: ``pair``, or ``group`` for a method that sees all pairs of a group at once (and draws once per group).
        scores_gaze: False where the score is 0 by construction (constant masks): shown as not applicable.
        reference: True for a yardstick that is no training method.
    """

    name: ClassVar[str] = ""
    scores_gaze: ClassVar[bool] = True
    reference: ClassVar[bool] = False

    @property
    def scope(self) -> Scope:
        return "pair"

    @property
    def needs_model(self) -> bool:
        """Whether it works with a network only."""
        return any(request.needs_model for request in self.needs() | self.needs_mixed())

    @property
    def pairing(self) -> Literal["run", "greedy"]:
        """``greedy`` for a method that pairs the images of a group itself, those far apart in `pairing_maps`: then its
        pairs keep their targets, but have other sources than the run's."""
        return "run"

    @property
    def has_own_pairs(self) -> bool:
        """Whether its rows are about other pairs than those of the run, to be compared unpaired."""
        return self.pairing != "run"

    def pairing_maps(self, signals: Signals) -> Tensor:
        """(n, h, w) of mass 1, a map for each image. Asked of methods whose `pairing` is ``greedy``."""
        raise NotImplementedError

    def needs(self) -> frozenset[Signal]:
        """Signals of the unmixed images that `place` and `weigh` read."""
        return frozenset()

    def needs_mixed(self) -> frozenset[Signal]:
        """Signals of the mixed image that `weigh` reads."""
        return frozenset()

    def draw(self, rng: PairRng, size: tuple[int, int]) -> D:
        """Draw for the pairs of ``rng``; ``size`` is (height, width) of the network input."""
        raise NotImplementedError

    def place(self, pairs: PairBatch, signals: Signals, draws: D) -> Placement:
        """Where what of each image shows. Must not write to its inputs."""
        raise NotImplementedError

    def weigh(
        self, pairs: PairBatch, placement: Placement, signals: Signals, draws: D, mixed: Signals | None
    ) -> Labels:
        """The label that the method trains with. Default: the source's share of the pixels."""
        return Labels(placement.mask_share())


class FeatureMixer(Mixer[D]):
    """Mixes inside the network. No mixed image exists, so only the accuracy columns are measured, never the gaze."""

    scores_gaze: ClassVar[bool] = False

    @property
    def needs_model(self) -> bool:
        return True

    def share(self, draws: D) -> Tensor:
        """(b,) float64, share of the source label."""
        raise NotImplementedError

    def extra(self, draws: D) -> Mapping[str, Tensor]:
        """Columns of its own, (b,) each; written as ``x_<name>``. Default: none."""
        return {}

    def check(self, model: Model) -> None:
        """Raise UsageError, before a run, where `logits` cannot work with ``model``. Default: it can with all."""

    def logits(self, model: Model, source: Tensor, target: Tensor, draws: D) -> Tensor:
        """(b, classes) of the mixed features of ``source`` and ``target`` (b, 3, h, w) in [0, 1]. Deterministic."""
        raise NotImplementedError


class GroupMixer(Mixer[D]):
    """Makes every mixed image from any number of the group's images (Co-Mixup), with partners of its own choice."""

    @property
    def scope(self) -> Scope:
        return "group"

    @property
    def has_own_pairs(self) -> bool:
        return True

    def compose(self, pairs: PairBatch, signals: Signals, draws: D) -> GroupPlacement:
        """One mix per pair slot (b) over the group's images (n), what of each shows where. Deterministic.

        The label share of an image is the mean of its weight.
        """
        raise NotImplementedError


AnyMixer = Mixer[Any]
MIXERS: Registry[type[AnyMixer]] = Registry("method", "gazeeval.mixers")
M = TypeVar("M", bound=type[AnyMixer])


def register_mixer(name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[M], M]:
    """Class decorator: make a mixer known as ``name`` to the command line, the API and the contract tests."""

    def add(cls: M) -> M:
        cls.name = name
        MIXERS.register(name, aliases=aliases)(cls)
        return cls

    return add


def canonical_name(mixer: AnyMixer) -> str:
    """The method's name with the options that differ from their defaults, sorted: ``cutmix:alpha=0.2``."""
    fields = dataclasses.fields(mixer)  # type: ignore[arg-type]
    given = {f.name: getattr(mixer, f.name) for f in fields if getattr(mixer, f.name) != f.default}
    options = ",".join(f"{key}={_show(given[key])}" for key in sorted(given))
    base = vars(type(mixer)).get("name") or type(mixer).__name__  # not a name that it inherits
    return f"{base}:{options}" if options else base


def parse_method(spec: str) -> AnyMixer:
    """A mixer from ``NAME``, ``file.py:Class`` or ``package.module:Class``, each with ``:key=value,key=value``.

    Raises:
        UsageError: unknown name or option, or a value of the wrong type.
        PluginError: the file or module cannot be imported or holds no such mixer.
    """
    name, _, rest = spec.partition(":")
    if name in MIXERS:
        return _build(MIXERS[name], name, _split_options(name, rest))
    if spec.endswith(".py"):
        raise PluginError(f"method: no class, got {spec!r}. Write {spec}:Class.")
    head, options = spec, ""
    if ":" in spec and "=" in spec.rsplit(":", 1)[1]:
        head, options = spec.rsplit(":", 1)
    cls = _import_class(head) if ":" in head else MIXERS[head]
    return _build(cls, head, _split_options(head, options))


def beta_share(uniform: NDArray[np.float64], alpha: float) -> Tensor:
    """(n,) float64 ~ Beta(alpha, alpha) by inversion of uniforms. Symmetric: the source's share and the target's share
    have the same law."""
    return torch.from_numpy(uniform if alpha == 1 else betaincinv(alpha, alpha, uniform))


def require_positive(mixer: AnyMixer, *names: str) -> None:
    """Raise UsageError unless the named hyperparameters are positive numbers."""
    for name in names:
        value = getattr(mixer, name)
        if not value > 0:
            raise UsageError(f"method {type(mixer).name}: {name}, got {value}. Give a number above 0.")


def _show(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _split_options(method: str, text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    for key, equals, _ in pairs:
        if not (key and equals):
            raise UsageError(f"method {method}: option, got {key!r}. Write {method}:key=value,key=value.")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _build(cls: type[AnyMixer], method: str, options: dict[str, str]) -> AnyMixer:
    if not dataclasses.is_dataclass(cls):
        raise PluginError(f"method {method}: {cls.__name__} is no dataclass. Decorate it with @dataclass(frozen=True).")
    types = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    values: dict[str, object] = {}
    for key, text in options.items():
        if key not in known:
            told = f"Options: {', '.join(known)}." if known else "It has no options."
            raise UsageError(f"method {method}: unknown option, got {key!r}{did_you_mean(key, known)}. {told}")
        try:
            values[key] = TypeAdapter(types[key]).validate_python(None if text.lower() == "none" else text)
        except ValidationError as error:
            raise UsageError(f"method {method}: {key}, got {text!r}. {error.errors()[0]['msg']}.") from None
    return cls(**values)


def _import_class(head: str) -> type[AnyMixer]:
    where, _, name = head.rpartition(":")
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    cls = getattr(module, name, None)
    if not (inspect.isclass(cls) and issubclass(cls, Mixer)):
        found = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, Mixer)]
        raise PluginError(
            f"method {head}: no mixer of this name, got {name!r}{did_you_mean(name, found)}. "
            f"Name a class that derives from gazeeval.Mixer; {where} has: {', '.join(found) or 'none'}."
        )
    return cls


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise PluginError(f"method: no such file, got {str(path)!r}. Give the path of a Python file.")
    name = f"gazeeval_user_{path.stem}_{abs(hash(path.resolve()))}"
    if name in sys.modules:
        return sys.modules[name]
    loader = importlib.util.spec_from_file_location(name, path)
    assert loader is not None  # a .py file always has one
    assert loader.loader is not None
    module = importlib.util.module_from_spec(loader)
    sys.modules[name] = module
    try:
        loader.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(f"method {path}: cannot be imported, got {type(error).__name__}: {error}.") from error
    return module


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise PluginError(f"method {name}: cannot be imported, got {type(error).__name__}: {error}.") from error
