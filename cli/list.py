"""`gazeeval list`: what can be named on the command line."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import click
from tabulate import tabulate


@click.command(short_help="show methods, data sets or metrics")
@click.argument("what", type=click.Choice(["methods", "datasets", "metrics"]), default="methods")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(what: str, as_json: bool) -> None:
    """Show the methods, data sets or metrics that gazeeval knows, with what they need."""
    rows = {"methods": _methods, "datasets": _datasets, "metrics": _metrics}[what]()
    click.echo(json.dumps(rows, indent=2) if as_json else tabulate(rows, headers="keys", maxcolwidths=60))


def _methods() -> list[dict[str, Any]]:
    from gazeeval.mixers.base import MIXERS

    rows = []
    for name in MIXERS:
        cls = MIXERS[name]
        options = {field.name: field.default for field in dataclasses.fields(cls) if field.init}
        rows.append(
            {
                "name": name,
                "what": _headline(inspect.getmodule(cls)),
                "needs": ", ".join(sorted(map(repr, cls().needs()))) or "-",
                "options": ", ".join(f"{key}={value}" for key, value in options.items()) or "-",
                "source": _headline(cls),
                "note": "" if cls.scores_gaze else "score 0 by construction",
            }
        )
    for name, error in MIXERS.broken.items():
        rows.append({"name": name, "what": f"not available: {error}"})
    return rows


def _datasets() -> list[dict[str, Any]]:
    from gazeeval.data.spec import bundled_specs, read_spec

    specs = [read_spec(path) for _, path in sorted(bundled_specs().items())]
    return [{"name": spec.name, "title": spec.title, "reference": spec.reference} for spec in specs]


def _metrics() -> list[dict[str, Any]]:
    from gazeeval.metrics.base import METRICS, MetricOptions

    found = [METRICS[name](MetricOptions()) for name in METRICS]
    return [
        {"column": column, "what": meaning, "needs a model": metric.needs_model}
        for metric in found
        for column, meaning in metric.columns.items()
    ]


def _headline(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]
