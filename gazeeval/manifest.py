"""What ``manifest.json`` says: everything a reader needs to trust, quote or repeat a number."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import torch

from gazeeval.job import Job, own_code
from gazeeval.mixers.base import AnyMixer
from gazeeval.models.model import Model
from gazeeval.setting import Setting
from gazeeval.version import software

SCHEMA = 1


def manifest_of(job: Job) -> dict[str, Any]:
    """The manifest of a run, without status and times."""
    engine = job.engine
    plan = job.plan
    return {
        "schema": SCHEMA,
        "run_id": job.run_id,
        "signature": job.signature,
        "command": sys.argv,
        "config": job.settings(),
        "identity": job.identity,
        "warnings": job.warnings,
        **setting_part(job.setting),
        "accuracy_columns": engine.networks.judge is not None,
        "pairs": {
            "number": len(plan),
            "pairing": plan.pairing,
            "rounds": plan.rounds,
            "unpaired": plan.unpaired,
            "hash": job.identity["pairs"],
            "chunks": [int(chunk[0].start) for chunk in job.chunks],
        },
        "metrics": [
            {"name": name, "unit": metric.unit, "higher_is_better": metric.higher_is_better}
            for metric in engine.metrics()
            for name in metric.columns
        ],
        "methods": {name: _method(mixer) for name, mixer in engine.methods.items()},
        "references": list(engine.reference_names()),
    }


def setting_part(setting: Setting) -> dict[str, Any]:
    """What the manifest says of data, gaze, geometry, networks, device and software."""
    return {
        "data": {
            "name": setting.dataset.name,
            "spec": setting.dataset.source,
            "split": setting.dataset.split,
            "images": len(setting.dataset),
            "classes": list(setting.dataset.class_names),
            "viewers": list(setting.dataset.gaze.viewers),
            "fingerprint": setting.dataset.fingerprint,
            "notes": list(setting.dataset.notes),
        },
        "gaze": {
            "sigma": str(setting.recipe.sigma),
            "weight": setting.recipe.weight,
            "border": setting.recipe.border,
            **setting.dataset.choices,
        },
        "geometry": setting.geometry.describe(),
        "model": _network(setting.model),
        "attention_model": _network(setting.attention_model),
        "device": _device(setting.device),
        "software": software(),
    }


def _network(model: Model | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {
        "path": model.path,
        "arch": model.arch,
        "arch_origin": model.arch_origin,
        "weights": model.weights,
        "num_classes": model.num_classes,
        "geometry": model.geometry.describe(),
        "mean": list(model.mean),
        "std": list(model.std),
        "sha256": model.sha256,
    }


def _method(mixer: AnyMixer) -> dict[str, Any]:
    """Parameters and origin; the hash tells which code of a user's own was run."""
    cls = type(mixer)
    values = {field.name: getattr(mixer, field.name) for field in dataclasses.fields(mixer)}  # type: ignore[arg-type]
    parameters = {
        name: value if isinstance(value, bool | int | float) else str(value) for name, value in values.items()
    }
    origin = {"class": f"{cls.__module__}.{cls.__qualname__}", "pairs": "own" if mixer.has_own_pairs else "run"}
    return {**origin, "parameters": parameters, **own_code(mixer)}


def _device(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
