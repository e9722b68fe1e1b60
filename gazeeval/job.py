"""A run that is ready to start: everything that was asked for, loaded and checked."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gazeeval.config import RunConfig
from gazeeval.data.dataset import Dataset, load_dataset
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.geometry import Geometry
from gazeeval.data.pairs import PairPlan, plan_pairs, read_pair_file
from gazeeval.engine import Engine
from gazeeval.errors import UsageError
from gazeeval.mixers.base import AnyMixer, Mixer, canonical_name, parse_method
from gazeeval.models.device import resolve_device
from gazeeval.models.model import Model, load_model
from gazeeval.pairing import SaliencyDistances
from gazeeval.signals.attention import bottom_up_note, looks_twice, top_down_note
from gazeeval.signals.base import BottomUp, ClassMap, Saliency, TopDown
from gazeeval.signals.gradients import class_map_note
from gazeeval.version import __version__

CHUNK = 256
"""Pairs that a chunk of a run has at least, unless it is the last."""

_SIDE, _CROP = 224, 0.875
_DEMO = (
    "demo data: drawn shapes and simulated gaze, these numbers say nothing about real images; "
    "pass --data and --model for your own"
)


@dataclass(frozen=True)
class Job:
    """A run that is ready to start."""

    config: RunConfig
    engine: Engine
    plan: PairPlan

    @cached_property
    def chunks(self) -> list[list[slice]]:
        """The groups of pairs that are written together: what a run that is stopped may have to do again."""
        chunks: list[list[slice]] = [[]]
        for pairs in self.plan.groups():
            if chunks[-1] and pairs.start - chunks[-1][0].start >= CHUNK:
                chunks.append([])
            chunks[-1].append(pairs)
        return chunks

    @cached_property
    def warnings(self) -> list[str]:
        """What a reader of the numbers must know, one sentence each."""
        engine = self.engine
        demo = [_DEMO] if engine.dataset.source == "demo" else []
        return [*demo, *engine.dataset.notes, *_model_warnings(engine), *_plan_warnings(self.plan, engine)]

    def header(self) -> str:
        """One line: what is measured on what."""
        engine = self.engine
        points = int(engine.dataset.gaze.n_fixations(np.arange(len(engine.dataset))).clip(min=0).sum())
        model = engine.model.describe() if engine.model else f"none, {engine.geometry.describe()}"
        attention = f"attention model {engine.attention_model.describe()}  " if engine.attention_model else ""
        return (
            f"gazeeval {__version__}  data {engine.dataset.name} ({len(engine.dataset)} images, {points} fixations)  "
            f"model {model}  {attention}device {engine.device}  seed {engine.seed}"
        )

    def settings(self) -> dict[str, Any]:
        """The options as ``--config`` takes them back, with what the data decided: for ``config.yaml``."""
        engine, options = self.engine, self.config.plain()
        del options["out"], options["shard"]
        specs = zip(self.config.method, engine.methods, strict=True)
        options["method"] = [spec if isinstance(spec, str) else name for spec, name in specs]
        for name in ("model", "attention_model"):
            given = getattr(self.config, name)
            if isinstance(given, Model):
                options[name] = given.path
        if isinstance(self.config.data, Dataset):
            options["data"] = engine.dataset.source
        return options | {"split": engine.dataset.split, "sigma": str(engine.recipe.sigma)}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the rows."""
        engine, plan = self.engine, self.plan
        pairs = hashlib.sha256(np.concatenate((plan.source, plan.target, plan.group)).tobytes()).hexdigest()
        return {
            "version": __version__,
            "data": engine.dataset.fingerprint,
            "split": engine.dataset.split,
            "pairs": pairs,
            "pairing": plan.pairing,
            "methods": [[name, own_code(mixer).get("sha256")] for name, mixer in engine.methods.items()],
            "model": engine.model.sha256 if engine.model else None,
            "attention_model": engine.attention_model.sha256 if engine.attention_model else None,
            "geometry": engine.geometry.describe(),
            "gaze": str(engine.recipe),
            "gaze_choices": dict(engine.dataset.choices),
            "seed": engine.seed,
            "top_k": list(engine.top_k),
            "references": engine.references,
        }

    @cached_property
    def run_id(self) -> str:
        """Fingerprint of `identity`: equal for equal rows, not of the moment."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def signature(self) -> dict[str, str]:
        """What to quote beside a number."""
        engine, plan = self.engine, self.plan
        choices = [f"{name.replace('_', '-')}={value}" for name, value in engine.dataset.choices.items()]
        attention = {"attention": _named(engine.attention_model)} if engine.attention_model else {}
        return {
            "data": f"{engine.dataset.name}/{engine.dataset.split}@{engine.dataset.fingerprint[:8]}",
            "pairs": f"{plan.pairing}:{len(plan)}@{self.identity['pairs'][:8]}",
            "model": _named(engine.model),
            **attention,
            "geometry": engine.geometry.describe().replace(" ", ""),
            "gaze": ",".join([str(engine.recipe), *choices]),
            "seed": str(engine.seed),
            "v": __version__,
        }


def _named(model: Model | None) -> str:
    return f"{model.arch}@{model.sha256[:8]}" if model else "none"


def prepare(config: RunConfig) -> Job:
    """Load and check everything that a run needs. Raises UsageError."""
    methods = _methods(config.method)
    device = resolve_device(config.device)
    dataset = _dataset(config)
    model, attention_model = _model(config, dataset), _attention_model(config)
    geometry = next((network.geometry for network in (model, attention_model) if network), _plain_geometry(config))
    engine = Engine(
        dataset=dataset,
        methods=methods,
        recipe=GazeRecipe(_sigma(config.sigma, dataset), config.weight, config.border),
        geometry=geometry,
        device=device,
        model=model,
        attention_model=attention_model,
        seed=config.seed,
        top_k=tuple(sorted(set(config.top_k))),
        references=config.references,
        batch_size=config.batch_size,
        workers=config.workers,
    )
    engine.check()
    if config.pair_file is not None:
        plan = read_pair_file(config.pair_file, dataset.image_ids, config.group_size).first(config.num_pairs)
    else:
        plan = plan_pairs(
            dataset.labels,
            config.num_pairs,
            pairing=config.pairing,
            label_rule=config.labels,
            group_size=config.group_size,
            seed=config.seed,
            distances=_distances(config, engine),
        )
    return Job(config, engine, plan)


def _distances(config: RunConfig, engine: Engine) -> SaliencyDistances:
    saliency = Saliency(config.pairing_saliency)
    is_shared = any(saliency in mixer.needs() for mixer in engine.methods.values())
    cache = engine.cache if is_shared else None
    return SaliencyDistances(engine.loader, saliency, config.pairing_distance, cache=cache)


def own_code(mixer: AnyMixer) -> dict[str, str]:
    """``file`` and ``sha256`` of the code of a mixer that is not ours; empty for ours, and for code typed in."""
    cls = type(mixer)
    if cls.__module__.startswith("gazeeval."):
        return {}
    try:
        file = inspect.getsourcefile(cls) or ""
        return {"file": file, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
    except (OSError, TypeError):
        return {}


def demo_checkpoint() -> Path:
    """The bundled demo network."""
    return Path(str(files("gazeeval.data_specs"))) / "demo" / "cnn.safetensors"


def _methods(specs: Sequence[str | AnyMixer]) -> dict[str, AnyMixer]:
    mixers = [parse_method(spec) if isinstance(spec, str) else spec for spec in specs]
    for mixer in mixers:
        if not isinstance(mixer, Mixer):
            raise UsageError(f"method: got {mixer!r}. Give a name such as 'cutmix', or a mixer such as CutMix().")
    named = {canonical_name(mixer): mixer for mixer in mixers}
    if len(named) < len(mixers) or not mixers:
        raise UsageError(f"method: got {', '.join(map(str, specs)) or 'none'}. Name one or more, each once.")
    return named


def _dataset(config: RunConfig) -> Dataset:
    if isinstance(config.data, Dataset):
        return config.data
    return load_dataset(
        config.data,
        config.root,
        config.split,
        placement=config.placement,
        carry_over=config.carry_over,
        repeats=config.repeats,
        px_per_degree=config.px_per_degree,
        origin=config.origin,
    )


def _model(config: RunConfig, dataset: Dataset) -> Model | None:
    model = config.model
    if model is None and dataset.name == "demo":
        model = demo_checkpoint()
    if model is None or isinstance(model, Model):
        return model
    return load_model(
        str(model),
        arch=config.arch,
        device=config.device,
        weights_key=config.weights_key,
        unsafe_load=config.unsafe_load,
        input_size=config.input_size,
        crop_pct=config.crop_pct,
        mean=config.mean,
        std=config.std,
        geometry=config.geometry,
    )


def _attention_model(config: RunConfig) -> Model | None:
    model = config.attention_model
    if model is None or isinstance(model, Model):
        return model
    return load_model(str(model), arch=config.attention_arch, device=config.device, unsafe_load=config.unsafe_load)


def _plain_geometry(config: RunConfig) -> Geometry:
    side = config.input_size or _SIDE
    if config.geometry == "stretch":
        return Geometry.stretch(side, side, "bicubic")
    return Geometry.from_config((side, side), config.crop_pct or _CROP, "bicubic")


def _sigma(text: str | None, dataset: Dataset) -> Sigma:
    default = "1deg" if dataset.px_per_degree is not None else "3.5%"
    return Sigma.parse(text or default)


def _model_warnings(engine: Engine) -> list[str]:
    networks = [network for network in (engine.model, engine.attention_model) if network]
    notes = [note for network in networks for note in (*network.notes, *_signal_notes(engine, network))]
    if engine.model is None:
        return ["no model: the accuracy columns stay empty (pass --model CKPT)", *notes]
    if engine.networks.judge is None:
        notes.append(
            f"the model has {engine.model.num_classes} classes and the data set {len(engine.dataset.class_names)}: "
            "the accuracy columns stay empty"
        )
    return notes


def _signal_notes(engine: Engine, network: Model) -> Iterator[str]:
    """How ``network`` answers what can be answered in several ways, where a method asks for it."""
    requests = {request for mixer in engine.methods.values() for request in mixer.needs() | mixer.needs_mixed()}
    kinds = {type(request) for request in requests if engine.networks.asked(request) is network}
    if ClassMap in kinds:
        yield class_map_note(network)
    if BottomUp in kinds or (TopDown in kinds and not looks_twice(network)):
        yield bottom_up_note(network)
    if TopDown in kinds:
        yield top_down_note(network)


def _plan_warnings(plan: PairPlan, engine: Engine) -> list[str]:
    own = [name for name, mixer in engine.methods.items() if mixer.has_own_pairs]
    notes = [f"method {name} has pairs of its own: compare it with the others unpaired" for name in own]
    if plan.unpaired:
        where = "" if plan.rounds == 1 else f", summed over {plan.rounds} rounds of pairs"
        notes.append(f"images without a partner in their group: {plan.unpaired}{where}")
    return notes
