"""From the parts of a run to its tables: everything here comes from the run folder, without network or data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from gazeeval.errors import UsageError
from gazeeval.report.columns import FILES, Column, describe, pair_columns
from gazeeval.report.files import PairWriter, Results, read_manifest, read_results, write_csv, write_json
from gazeeval.report.parquet import write_parquet
from gazeeval.report.tables import TABLE_COLUMNS, MetricInfo, group_table, summary_table
from gazeeval.statistics.compare import comparisons


def writer_of(folder: Path) -> PairWriter:
    """What takes the rows of the run in ``folder``."""
    manifest = read_manifest(folder)
    names, top_k = [*manifest["methods"], *manifest["references"]], manifest["config"]["top_k"]
    known = {column.name for column in pair_columns(top_k)}
    own = [
        Column(metric["name"], "Float64", metric["unit"], "metric of the user's own")
        for metric in manifest["metrics"]
        if metric["name"] not in known
    ]
    return PairWriter(folder, names, pair_columns(top_k, metrics=own))


def missing_chunks(folder: Path) -> list[int]:
    """First pairs of the chunks that are still to be done."""
    writer = writer_of(folder)
    return [first for first in read_manifest(folder)["pairs"]["chunks"] if not writer.is_finished(first)]


def finish(folder: Path) -> Results:
    """Join the parts into the tables of the run and mark it complete; a run that is complete is only read.

    Raises:
        UsageError: parts are missing.
        DataError: this is no run folder, or a file is damaged.
    """
    manifest = read_manifest(folder)
    if manifest["status"] == "complete":
        return read_results(folder)
    missing = missing_chunks(folder)
    if missing:
        raise UsageError(
            f"{folder}: not complete, got {len(manifest['pairs']['chunks']) - len(missing)} of "
            f"{len(manifest['pairs']['chunks'])} chunks. Go on with: gazeeval run --resume {folder}"
        )
    columns = writer_of(folder).merge()
    manifest = manifest | {"status": "complete", "columns": describe(FILES | {"inconsistency.csv": columns})}
    _write_tables(folder, manifest)
    write_json(folder / "manifest.json", manifest)
    shutil.rmtree(folder / "parts")
    for left_by_a_killed_process in folder.glob(".*.tmp"):
        left_by_a_killed_process.unlink()
    return read_results(folder)


def manifest_metrics(manifest: dict[str, object]) -> list[MetricInfo]:
    """The metrics of a run, as its manifest describes them."""
    return [MetricInfo(**metric) for metric in manifest["metrics"]]  # type: ignore[attr-defined]


def _write_tables(folder: Path, manifest: dict[str, Any]) -> None:
    """Everything that follows from inconsistency.csv and the parts, which are read a method at a time."""
    writer, options, metrics = writer_of(folder), manifest["config"], manifest_metrics(manifest)
    for name in ("failures.csv", "timing.csv"):
        write_csv(writer.side_table(name), folder / name, FILES[name])
    nothing = pd.DataFrame()
    run = Results(folder, manifest, nothing, nothing, nothing)
    groups, summaries = [], []
    for _, rows in run.by_method(*TABLE_COLUMNS, *(metric.column for metric in metrics)):
        groups.append(group_table(rows))
        summaries.append(
            summary_table(
                rows,
                metrics=metrics,
                level=options["ci"],
                ci_method=options["ci_method"],
                class_names=manifest["data"]["classes"],
            )
        )
        del rows  # before those of the next method are read
    write_csv(pd.concat(groups), folder / "groups.csv", FILES["groups.csv"])
    write_csv(pd.concat(summaries), folder / "summary.csv", FILES["summary.csv"])
    if "parquet" in options.get("format", ()):
        write_parquet(run, folder / "inconsistency.parquet")
    compared = comparisons(run, level=options["ci"])
    if len(compared):
        write_csv(compared, folder / "comparisons.csv", FILES["comparisons.csv"])
