"""From the parts of a run to its tables: everything here comes from the run folder, without network or data."""

from __future__ import annotations

import shutil
from pathlib import Path

from gazeeval.errors import UsageError
from gazeeval.report.columns import FILES, Column, Columns, describe, pair_columns
from gazeeval.report.files import PairWriter, Results, read_csv, read_manifest, read_results, write_csv, write_json
from gazeeval.report.tables import MetricInfo, group_table, summary_table
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
    columns = _write_tables(folder, manifest_metrics(manifest))
    files = describe(FILES | {"inconsistency.csv": columns})
    write_json(folder / "manifest.json", manifest | {"status": "complete", "columns": files})
    shutil.rmtree(folder / "parts")
    for left_by_a_killed_process in folder.glob(".*.tmp"):
        left_by_a_killed_process.unlink()
    return read_results(folder)


def manifest_metrics(manifest: dict[str, object]) -> list[MetricInfo]:
    """The metrics of a run, as its manifest describes them."""
    return [MetricInfo(**metric) for metric in manifest["metrics"]]  # type: ignore[attr-defined]


def _write_tables(folder: Path, metrics: list[MetricInfo]) -> Columns:
    manifest, writer = read_manifest(folder), writer_of(folder)
    columns = writer.merge()
    pairs = read_csv(folder / "inconsistency.csv", columns)
    summary = summary_table(
        pairs,
        metrics=metrics,
        level=manifest["config"]["ci"],
        ci_method=manifest["config"]["ci_method"],
        class_names=manifest["data"]["classes"],
    )
    groups = group_table(pairs)
    write_csv(groups, folder / "groups.csv", FILES["groups.csv"])
    write_csv(summary, folder / "summary.csv", FILES["summary.csv"])
    for name in ("failures.csv", "timing.csv"):
        write_csv(writer.side_table(name), folder / name, FILES[name])
    run = Results(folder, manifest, pairs, groups, summary, writer.side_table("failures.csv"))
    compared = comparisons(run, level=manifest["config"]["ci"])
    if len(compared):
        write_csv(compared, folder / "comparisons.csv", FILES["comparisons.csv"])
    return columns
