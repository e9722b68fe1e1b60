"""A run, as `gazeeval run` and `ge.evaluate` do it: resolve what was asked for, loop, write the run folder."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm import tqdm

from gazeeval.config import RunConfig
from gazeeval.data.pairs import write_pair_file
from gazeeval.engine import GroupResult
from gazeeval.errors import UsageError
from gazeeval.job import Job, prepare
from gazeeval.manifest import manifest_of
from gazeeval.mixers.base import AnyMixer, Mixer
from gazeeval.report.columns import FILES, Columns, describe, pair_columns
from gazeeval.report.files import PairWriter, Results, read_csv, read_results, write_csv, write_json
from gazeeval.report.pictures import save_pair_sheets
from gazeeval.report.tables import MetricInfo, group_table, summary_table

log = logging.getLogger("gazeeval")

CHUNK = 256
"""Pairs of one method in a file under ``parts/``."""


def evaluate(methods: Sequence[str | AnyMixer] | str | AnyMixer = ("cutmix", "saliencymix"), **options: Any) -> Results:
    """Evaluate methods on the same pairs of one data set.

    Args:
        methods: specs such as ``"cutmix:alpha=0.2"``, or mixers.
        options: as on the command line, see `gazeeval.config.RunConfig`: ``model`` (a name, a file or a `Model`),
            ``data`` (a name, a spec or a `Dataset`), ``num_pairs``, ``seed``, ``sigma`` ... Without ``out`` nothing
            stays on disk.

    Raises:
        UsageError: wrong options, spec, data root or checkpoint.
        GazeEvalError: a failure while running.
    """
    methods = [methods] if isinstance(methods, str | Mixer) else methods
    config = RunConfig.of({"method": methods, **options})
    if config.out is not None:
        return run(config)
    with tempfile.TemporaryDirectory(prefix="gazeeval-") as folder:
        return run(config.model_copy(update={"out": Path(folder) / "run"}))


def run(config: RunConfig, *, progress: bool = False) -> Results:
    """Do what ``config`` says and return the run. Raises as `evaluate`."""
    if config.out is not None:
        _require_free(config.out)
    job = prepare(config)
    out = _new_folder(config.out or _default_folder(job))
    log_file = logging.FileHandler(out / "run.log", encoding="utf-8")
    log_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(log_file)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        return _record(job, out, progress)
    finally:
        log.setLevel(level)
        log.removeHandler(log_file)
        log_file.close()


def _record(job: Job, out: Path, progress: bool) -> Results:
    started = time.time()
    for line in (job.header(), *(f"warning: {warning}" for warning in job.warnings)):
        log.info(line)
    groups = _started(job, out)
    manifest = manifest_of(job) | {"status": "running", "start": _iso(started)}
    write_json(out / "manifest.json", manifest)
    try:
        columns = _write_tables(job, groups, out, progress)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        write_json(out / "manifest.json", manifest | {"status": "interrupted" if stopped else "failed"})
        error.add_note(f"{out} is not complete: start again with another --out, or remove it first")
        raise
    finished = {"status": "complete", "end": _iso(time.time()), "seconds": round(time.time() - started, 3)}
    files_of_run = describe(FILES | {"inconsistency.csv": columns})
    write_json(out / "manifest.json", manifest | finished | {"columns": files_of_run})
    return read_results(out)


def _started(job: Job, out: Path) -> Iterator[GroupResult]:
    """The groups. The first, in which the methods are tried out, is done before anything of a result is written."""
    groups = job.engine.run(job.plan)
    try:
        first = next(groups)
    except BaseException:
        (out / "run.log").unlink()
        out.rmdir()
        raise
    return chain([first], groups)


def _write_tables(job: Job, groups: Iterator[GroupResult], out: Path, progress: bool) -> Columns:
    """Write every file but the manifest; return the columns of inconsistency.csv."""
    engine = job.engine
    names = [*engine.methods, *engine.reference_names()]
    columns = pair_columns(engine.top_k)
    (out / "config.yaml").write_text(yaml.safe_dump(job.settings(), sort_keys=False), encoding="utf-8")
    write_pair_file(out / "pairs.csv", job.plan, engine.dataset.image_ids)
    if job.config.save_images:
        save_pair_sheets(engine, job.plan, job.config.save_images, out / "images")

    writer = PairWriter(out, names, columns)
    chunks: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    failures, timings = [], []
    fixed = {"run_id": job.run_id, "dataset": engine.dataset.name, "split": engine.dataset.split}
    with tqdm(total=len(job.plan), unit="pair", disable=None if progress else True, file=sys.stderr) as bar:
        for result in groups:
            for name, rows in result.rows.items():
                chunks[name].append(rows.assign(**fixed, method=name))
            if sum(map(len, chunks[names[0]])) >= CHUNK:
                _flush(writer, chunks)
            failures.append(result.failures)
            timings.append(_timing(result))
            bar.update(len(next(iter(result.rows.values()))))
    _flush(writer, chunks)
    columns = writer.merge()
    writer.remove_parts()

    pairs = read_csv(out / "inconsistency.csv", columns)
    infos = [
        MetricInfo(name, metric.unit, metric.higher_is_better) for metric in engine.metrics() for name in metric.columns
    ]
    summary = summary_table(
        pairs,
        metrics=infos,
        level=job.config.ci,
        ci_method=job.config.ci_method,
        class_names=engine.dataset.class_names,
    )
    write_csv(group_table(pairs), out / "groups.csv", FILES["groups.csv"])
    write_csv(summary, out / "summary.csv", FILES["summary.csv"])
    write_csv(pd.concat(failures), out / "failures.csv", FILES["failures.csv"])
    write_csv(pd.concat(timings), out / "timing.csv", FILES["timing.csv"])
    return columns


def _flush(writer: PairWriter, chunks: dict[str, list[pd.DataFrame]]) -> None:
    for frames in chunks.values():
        if frames:
            writer.write(pd.concat(frames))
            frames.clear()


def _timing(result: GroupResult) -> pd.DataFrame:
    rows = [(result.group, stage, method, seconds) for (stage, method), seconds in result.seconds.items()]
    frame = pd.DataFrame(rows, columns=["group_id", "stage", "method", "seconds"])
    return frame.assign(n=len(next(iter(result.rows.values()))))


def _default_folder(job: Job) -> Path:
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{job.run_id}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(path for path in (Path("gazeeval-runs") / name for name in names) if not path.exists())


def _require_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        kind = "a folder with files in it" if out.is_dir() else "a file"
        raise UsageError(f"--out: {out}, got {kind}. Nothing is overwritten: name a new folder.")


def _new_folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "run.log").touch()
    except OSError as error:
        raise UsageError(f"--out: {out}, cannot be written: {error.strerror}. Name another folder.") from error
    return out


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
