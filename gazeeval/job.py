"""A run that is ready to start: everything that was asked for, loaded and checked."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from gazeeval.config import RunConfig
from gazeeval.data.pairs import PairPlan, plan_pairs, read_pair_file
from gazeeval.engine import Engine
from gazeeval.errors import UsageError
from gazeeval.mixers.base import AnyMixer, Mixer, canonical_name, parse_method
from gazeeval.optional import optional_module
from gazeeval.pairing import SaliencyDistances
from gazeeval.setting import Setting, fingerprint, prepare_setting
from gazeeval.signals.base import Saliency
from gazeeval.version import __version__

CHUNK = 256
"""Pairs that a chunk of a run has at least, unless it is the last."""

_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Job:
    """A run that is ready to start."""

    config: RunConfig
    setting: Setting
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
        engine, setting = self.engine, self.setting
        of_model = _model_warnings(setting, engine.methods.values())
        return [*setting.warnings, *of_model, *_plan_warnings(self.plan, engine)]

    def header(self) -> str:
        """One line: what is measured on what."""
        return f"{self.setting.header()}  seed {self.engine.seed}"

    def settings(self) -> dict[str, Any]:
        """The options as ``--config`` takes them back, with what the data decided: for ``config.yaml``."""
        options = self.setting.settings(self.config)
        del options["shard"]
        specs = zip(self.config.method, self.engine.methods, strict=True)
        return options | {"method": [spec if isinstance(spec, str) else name for spec, name in specs]}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the rows."""
        engine, plan = self.engine, self.plan
        pairs = hashlib.sha256()
        for column in (plan.source, plan.target, plan.group):
            pairs.update(column.data)
        return {
            **self.setting.identity,
            "pairs": pairs.hexdigest(),
            "pairing": plan.pairing,
            "methods": [[name, own_code(mixer).get("sha256")] for name, mixer in engine.methods.items()],
            "seed": engine.seed,
            "top_k": list(engine.top_k),
            "references": engine.references,
            **({"amp": self.config.amp} if self.config.amp else {}),
        }

    @cached_property
    def run_id(self) -> str:
        """Fingerprint of `identity`: equal for equal rows, not of the moment."""
        return fingerprint(self.identity)

    @property
    def signature(self) -> dict[str, str]:
        """What to quote beside a number."""
        pairs = f"{self.plan.pairing}:{len(self.plan)}@{self.identity['pairs'][:8]}"
        amp = {"amp": self.config.amp} if self.config.amp else {}
        return {**self.setting.signature, **amp, "pairs": pairs, "seed": str(self.engine.seed), "v": __version__}


def prepare(config: RunConfig) -> Job:
    """Load and check everything that a run needs. Raises UsageError."""
    methods = _methods(config.method)
    if "parquet" in config.format:
        optional_module("pyarrow.parquet", "--format parquet")
    setting = prepare_setting(config)
    dataset = setting.dataset
    engine = Engine(
        dataset=dataset,
        methods=methods,
        recipe=setting.recipe,
        geometry=setting.geometry,
        device=setting.device,
        networks=setting.networks,
        seed=config.seed,
        top_k=tuple(sorted(set(config.top_k))),
        references=config.references,
        amp=_AMP[config.amp] if config.amp else None,
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
    return Job(config, setting, engine, plan)


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


def _methods(specs: Sequence[str | AnyMixer]) -> dict[str, AnyMixer]:
    mixers = [parse_method(spec) if isinstance(spec, str) else spec for spec in specs]
    for mixer in mixers:
        if not isinstance(mixer, Mixer):
            raise UsageError(f"method: got {mixer!r}. Give a name such as 'cutmix', or a mixer such as CutMix().")
    named = {canonical_name(mixer): mixer for mixer in mixers}
    if len(named) < len(mixers) or not mixers:
        raise UsageError(f"method: got {', '.join(map(str, specs)) or 'none'}. Name one or more, each once.")
    return named


def _model_warnings(setting: Setting, methods: Collection[AnyMixer]) -> list[str]:
    notes = setting.network_notes({request for mixer in methods for request in mixer.needs() | mixer.needs_mixed()})
    if setting.model is None:
        return ["no model: the accuracy columns stay empty (pass --model CKPT)", *notes]
    if setting.networks.judge is None:
        notes.append(
            f"the model has {setting.model.num_classes} classes and the data set {len(setting.dataset.class_names)}: "
            "the accuracy columns stay empty"
        )
    return notes


def _plan_warnings(plan: PairPlan, engine: Engine) -> list[str]:
    own = [name for name, mixer in engine.methods.items() if mixer.has_own_pairs]
    notes = [f"method {name} has pairs of its own: compare it with the others unpaired" for name in own]
    if plan.unpaired:
        where = "" if plan.rounds == 1 else f", summed over {plan.rounds} rounds of pairs"
        notes.append(f"images without a partner in their group: {plan.unpaired}{where}")
    return notes
