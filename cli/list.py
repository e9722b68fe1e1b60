"""`gazeeval list`: what can be named on the command line."""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
from collections.abc import Iterable
from typing import Any

import click

from gazeeval.errors import UsageError

Entry = dict[str, Any]
WIDTH = 100


@click.command(short_help="show methods, data sets or metrics")
@click.argument("what", type=click.Choice(["methods", "datasets", "metrics"]), default="methods")
@click.argument("name", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(what: str, name: tuple[str, ...], as_json: bool) -> None:
    """Show the methods, data sets or metrics that gazeeval knows, all or those of the given NAMEs.

    Methods say what they need, their options with defaults, and where they deviate from paper or released code.
    """
    entries, lines = {"methods": (_methods, _method_lines), "datasets": (_datasets, _dataset_lines)}.get(
        what, (_metrics, _metric_lines)
    )
    found = [entry for entry in entries() if not name or entry["name"] in name]
    missing = set(name) - {entry["name"] for entry in found}
    if missing:
        raise UsageError(f"list {what}: unknown name, got {', '.join(sorted(missing))}. See gazeeval list {what}.")
    click.echo(
        json.dumps(found, indent=2, default=str) if as_json else _text({entry["name"]: lines(entry) for entry in found})
    )


def _text(paragraphs: dict[str, list[str]]) -> str:
    """Names on the left, their lines on the right, wrapped."""
    margin = 2 + max(map(len, paragraphs), default=0)
    shown = []
    for name, lines in paragraphs.items():
        wrapped = [part for line in lines for part in textwrap.wrap(line, WIDTH - margin, subsequent_indent="  ")]
        shown += [f"{'' if row else name:{margin}}{line}" for row, line in enumerate(wrapped)]
    return "\n".join(shown)


def _methods() -> list[Entry]:
    from gazeeval.mixers.base import MIXERS

    known = [_method(name, MIXERS[name], MIXERS.aliases(name)) for name in MIXERS]
    return known + [{"name": name, "error": f"{error}"} for name, error in MIXERS.broken.items()]


def _method(name: str, cls: type[Any], aliases: Iterable[str]) -> Entry:
    fields = [field for field in dataclasses.fields(cls) if field.init]
    required = [field.name for field in fields if field.default is dataclasses.MISSING]
    return {
        "name": name,
        "aliases": list(aliases),
        "what": _headline(inspect.getmodule(cls)),
        "source": _headline(cls),
        "deviations": _paragraph(cls, "Deviations"),
        "options": {field.name: None if field.name in required else field.default for field in fields},
        "required": required,
        "needs": [] if required else sorted(map(_request, cls().needs() | cls().needs_mixed())),
        "scores_gaze": cls.scores_gaze,
        "reference": cls.reference,
        "class": f"{cls.__module__}.{cls.__qualname__}",
    }


def _method_lines(entry: Entry) -> list[str]:
    if "error" in entry:
        return [f"not available: {entry['error']}"]
    shown = {key: "(required)" if key in entry["required"] else value for key, value in entry["options"].items()}
    options = ", ".join(f"{key}={value}" for key, value in shown.items())
    lines = [entry["what"], entry["source"]]
    lines += [f"options: {options}"] if options else []
    lines += [f"needs: {', '.join(entry['needs'])}"] if entry["needs"] else []
    lines += [entry["deviations"]] if entry["deviations"] else []
    lines += [f"also called {', '.join(entry['aliases'])}"] if entry["aliases"] else []
    lines += [] if entry["scores_gaze"] else ["its score is 0 by construction, shown as n/a"]
    lines += [] if entry["class"].startswith("gazeeval.") else [f"from {entry['class']}"]
    return lines


def _request(signal: Any) -> str:
    """``Saliency(detector='fine_grained')`` as ``Saliency fine_grained``."""
    return " ".join([type(signal).__name__, *map(str, dataclasses.astuple(signal))])


def _datasets() -> list[Entry]:
    from gazeeval.data.dataset import list_datasets

    return [
        {"name": name, "title": spec.title, "reference": spec.reference, "license": spec.license}
        for name, spec in list_datasets().items()
    ]


def _dataset_lines(entry: Entry) -> list[str]:
    return [line for line in (entry["title"], entry["reference"]) if line]


def _metrics() -> list[Entry]:
    from gazeeval.metrics.base import METRICS, MetricOptions

    found = [METRICS[name](MetricOptions()) for name in METRICS]
    return [
        {"name": column, "what": meaning, "unit": metric.unit, "needs_model": metric.needs_model}
        for metric in found
        for column, meaning in metric.columns.items()
    ]


def _metric_lines(entry: Entry) -> list[str]:
    return [f"{entry['what']}{' (needs a network)' if entry['needs_model'] else ''}"]


def _paragraph(thing: object, start: str) -> str:
    """The paragraph of a docstring that begins with ``start``, as one line; empty if there is none."""
    paragraphs = (" ".join(part.split()) for part in (inspect.getdoc(thing) or "").split("\n\n"))
    return next((part for part in paragraphs if part.startswith(start)), "")


def _headline(thing: object) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
