"""What an HTML report says before its numbers: what was measured on what, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gazeeval.report.beside import Cells
from gazeeval.report.files import Results
from gazeeval.report.ranked import STATUSES, Ranked, run_names

_REASONS = 10  # that are named
_LEFT_OUT = {
    "no_gaze": "no gaze visible",
    "not_applicable": "0 by construction",
    "flat_map": "flat map",
    "nonfinite": "not finite",
    "failed": "failed",
}


def facts(runs: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """Term and value of what was measured on what; where runs differ, a value for each, after its folder's name."""
    found = [dict(_facts(run.manifest)) for run in runs]
    terms = dict.fromkeys(term for each in found for term in each)
    listed = []
    for term in terms:
        values = [each.get(term, "none") for each in found]
        labelled = [f"{name}: {value}" for name, value in zip(run_names(runs), values, strict=True)]
        listed.append((term, values[:1] if len(set(values)) == 1 else labelled))
    return listed


def _facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data, config, pairs, software = (manifest[name] for name in ("data", "config", "pairs", "software"))
    viewers = f", gaze of {len(data['viewers'])} viewers" if data["viewers"] else ""
    yield (
        "data",
        f"{data['name']}, split {data['split']}: {data['images']} images, {len(data['classes'])} classes{viewers}",
    )
    alone = f", {pairs['unpaired']} images without a partner" if pairs["unpaired"] else ""
    yield (
        "pairs",
        f"{pairs['number']} of {config['labels']} labels by {pairs['pairing']}, rounds: {pairs['rounds']}{alone}",
    )
    yield "network", _network(manifest["model"])
    if manifest["attention_model"]:
        yield "attention from", _network(manifest["attention_model"])
    yield "network input", manifest["geometry"]
    yield "gaze recipe", ", ".join(f"{name.replace('_', '-')} {value}" for name, value in manifest["gaze"].items())
    yield "seed", str(manifest["identity"]["seed"])
    yield "intervals", f"{100 * config['ci']:g} %, {config['ci_method']}"
    yield "computed", f"{manifest['start'][:10]} on {manifest['device']}, torch {software['torch']}"
    yield "version", f"gazeeval {software['gazeeval']}, run {manifest['run_id']}"


def _network(model: Mapping[str, Any] | None) -> str:
    if model is None:
        return "none"
    file = f"{Path(model['path']).name}, " if model["path"] else ""
    return f"{model['arch']}, {model['num_classes']} classes ({file}{model['weights']}, sha256 {model['sha256'][:8]})"


def warnings(runs: Sequence[Results]) -> list[str]:
    """What a reader of the numbers must know."""
    return list(dict.fromkeys(text for run in runs for text in run.manifest["warnings"]))


def left_out(ranked: Ranked) -> Cells | None:
    """Pairs of each method by what became of them; None where every pair has a score."""
    statuses = [status for status in STATUSES[1:] if any(status in entry.counts for entry in ranked.entries)]
    if not statuses:
        return None
    header = ["method", "pairs", "with a score", *(_LEFT_OUT[status] for status in statuses)]
    rows = [
        [entry.name, *(str(entry.counts.get(status, 0)) for status in ("ok", *statuses))] for entry in ranked.entries
    ]
    totals = [sum(entry.counts.values()) for entry in ranked.entries]
    return [header, *([row[0], str(total), *row[1:]] for row, total in zip(rows, totals, strict=True))]


def reasons(ranked: Ranked) -> list[str]:
    """Why pairs have no score, the most frequent reasons first."""
    rows = pd.concat([entry.rows[["status", "note"]] for entry in ranked.entries])
    without = rows[rows["status"].ne("ok")].fillna({"note": ""})
    times = Counter(zip(without["status"], without["note"], strict=True))
    named = [
        f"{_LEFT_OUT[status]}{f': {note}' if note else ''} ({count} rows)"
        for (status, note), count in times.most_common(_REASONS)
    ]
    more = len(times) - len(named)
    return [*named, *([f"and {more} more reasons, see failures.csv"] if more > 0 else [])]
