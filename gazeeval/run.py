"""A run, as `gazeeval run` and `ge.evaluate` do it: resolve what was asked for, loop, write the run folder."""

from __future__ import annotations

import fcntl
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from tqdm import tqdm

from gazeeval.config import COMPUTING, RunConfig
from gazeeval.data.pairs import write_pair_file
from gazeeval.engine import GroupResult
from gazeeval.errors import UsageError
from gazeeval.job import Job, prepare
from gazeeval.manifest import manifest_of
from gazeeval.masks import mask_file, save_masks
from gazeeval.mixers.base import AnyMixer, Mixer
from gazeeval.models.device import deterministic
from gazeeval.report.files import PairWriter, Results, read_manifest, read_results, write_json
from gazeeval.report.finish import finish, missing_chunks, writer_of
from gazeeval.report.pictures import save_pair_sheets
from gazeeval.rows import Columns, joined
from gazeeval.share import Share, share_of

log = logging.getLogger("gazeeval")

_PATIENCE = 0.5  # seconds between two looks at what other processes have finished


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
    with tempfile.TemporaryDirectory(prefix="gazeeval-") as folder:
        results = run(config.model_copy(update={"out": config.out or Path(folder) / "run"}))
        if results is None:
            raise UsageError("evaluate: got one of several processes, which has no tables. Call gazeeval.run.run.")
        if config.out is None:
            _ = results.pairs  # read before the folder goes
    return results


def run(config: RunConfig, *, progress: bool = False) -> Results | None:
    """Do what ``config`` says and return the run; None for a part of it, whose tables are made later.

    Raises as `evaluate`.
    """
    share = share_of(config.shard)
    if share.world > 1 and config.out is None:
        raise UsageError(f"--out: got none for one of {share.world} processes. Name the folder that they share.")
    if config.out is not None and share.world == 1:
        require_free(config.out)
    job = prepare(config.model_copy(update={"device": _own_device(config.device, share)}))
    out = new_folder(config.out or default_folder(job.run_id))
    if (out / "manifest.json").exists():
        _require_same_inputs(out, job)
    return _record(job, out, share, progress)


def resume(folder: Path, given: Mapping[str, object] | None = None, *, progress: bool = False) -> Results | None:
    """Go on with a run that was stopped; it ends with the files of one that was not.

    Args:
        folder: the run folder.
        given: options in place of those of the run: `COMPUTING` ones may differ, others must be as they were.

    Raises:
        UsageError: other options, or data, weights or pairs that are no longer the same; which is named.
        DataError: this is no run folder.
    """
    manifest, given = read_manifest(folder), given or {}
    if manifest["status"] == "complete":
        log.info("%s is complete already", folder)
        return read_results(folder)
    before = RunConfig.of(manifest["config"])
    config = RunConfig.of({**manifest["config"], **given, "out": folder})
    old, new = before.plain(), config.plain()
    _require_same(folder, {name: (old[name], new[name]) for name in set(given) - {"out", *COMPUTING}}, "option")
    share = share_of(config.shard)
    job = prepare(config.model_copy(update={"device": _own_device(config.device, share)}))
    _require_same_inputs(folder, job)
    return _record(job, folder, share, progress)


def _require_same_inputs(folder: Path, job: Job) -> None:
    was, now = read_manifest(folder)["identity"], json.loads(json.dumps(job.identity))
    _require_same(folder, {name: (was.get(name), now[name]) for name in now}, "input")


def _require_same(folder: Path, values: Mapping[str, tuple[object, object]], what: str) -> None:
    changed = [f"{name}: {was!r}, now {now!r}" for name, (was, now) in sorted(values.items()) if was != now]
    if changed:
        raise UsageError(
            f"{folder}: {what} that changes results, got {'; '.join(changed)}. "
            "Resume with what it was started with, or start a new run."
        )


def _own_device(device: str, share: Share) -> str:
    """Processes on one machine take its GPUs in turn."""
    count = torch.cuda.device_count() if device == "auto" and share.world > 1 else 0
    return f"cuda:{share.local % count}" if count else device


def _record(job: Job, out: Path, share: Share, progress: bool) -> Results | None:
    with logged(out / "run.log", alone=share.world == 1), deterministic(job.config.deterministic):
        for line in (job.header(), *(f"warning: {warning}" for warning in job.warnings)):
            log.info(line)
        try:
            _do_chunks(job, out, share, progress)
            if share.merges and job.config.save_images:
                save_pair_sheets(job.engine, job.plan, job.config.save_images, out / "images")
        except BaseException as error:
            if (out / "manifest.json").exists():
                stopped = isinstance(error, KeyboardInterrupt | SystemExit)
                _set_status(out, "interrupted" if stopped else "failed")
                error.add_note(f"{out} is not complete. Go on with: gazeeval run --resume {out}")
            raise
        if not share.merges:
            return None
        while missing_chunks(out):  # other processes are at work
            time.sleep(_PATIENCE)
        return finish(out)


def _do_chunks(job: Job, out: Path, share: Share, progress: bool) -> None:
    """Do what is not done yet of the chunks of this process."""
    begun = (out / "manifest.json").exists()
    mine = job.chunks[share.rank :: share.world]
    chunks = [chunk for chunk in mine if not (begun and writer_of(out).is_finished(chunk[0].start))]
    results = job.engine.run(job.plan, [pairs for chunk in chunks for pairs in chunk])
    if begun:
        _set_status(out, "running")
    else:
        results = _begin(job, out, results)
    writer = writer_of(out)
    total, left = (sum(pairs.stop - pairs.start for chunk in some for pairs in chunk) for some in (mine, chunks))
    shown = None if progress else True
    with tqdm(total=total, initial=total - left, unit="pair", disable=shown, file=sys.stderr) as bar:
        for chunk in chunks:
            _write_chunk(job, writer, chunk[0].start, islice(results, len(chunk)), bar)


def _begin(job: Job, out: Path, results: Iterator[GroupResult]) -> Iterator[GroupResult]:
    """Write what stands before the rows. The first group, in which the methods are tried out, is done before that."""
    start = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        first = list(islice(results, 1))
    except BaseException:
        (out / "run.log").unlink(missing_ok=True)
        if not any(out.iterdir()):
            out.rmdir()
        raise
    (out / "config.yaml").write_text(yaml.safe_dump(job.settings(), sort_keys=False), encoding="utf-8")
    write_pair_file(out / "pairs.csv", job.plan, job.engine.dataset.image_ids)
    write_json(out / "manifest.json", manifest_of(job) | {"status": "running", "start": start})
    return chain(first, results)


def _write_chunk(job: Job, writer: PairWriter, first_pair: int, results: Iterator[GroupResult], bar: Any) -> None:
    engine = job.engine
    fixed = {"run_id": job.run_id, "dataset": engine.dataset.name, "split": engine.dataset.split}
    rows: dict[str, list[Columns]] = {name: [] for name in writer.methods}
    failures: list[tuple[Any, ...]] = []
    timings: list[tuple[Any, ...]] = []
    for result in results:
        for name, columns in result.rows.items():
            rows[name].append(columns)
        if job.config.masks:
            for name, masks in result.masks.items():
                save_masks(mask_file(writer.run, writer.methods.index(name), result.group), masks)
        failures += result.failures
        timings += [(result.group, *work, seconds, len(result)) for work, seconds in result.seconds.items()]
        bar.update(len(result))
    for name, parts in rows.items():
        writer.write(pd.DataFrame(joined(parts)).assign(**fixed, method=name))
    writer.finish(
        first_pair,
        pd.DataFrame(failures, columns=["method", "pair_id", "stage", "exception", "message"]),
        pd.DataFrame(timings, columns=["group_id", "stage", "method", "seconds", "n"]),
    )


def _set_status(out: Path, status: str) -> None:
    write_json(out / "manifest.json", read_manifest(out) | {"status": status})


@contextmanager
def logged(path: Path, *, alone: bool = True) -> Iterator[None]:
    """Write the log to ``path``. The file is locked meanwhile: one process at a time, or several of one run."""
    level = log.level
    with path.open("a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"--out: {path.parent}, got a run that another process is at. Wait for it.") from error
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.setLevel(level)
            log.removeHandler(handler)


def default_folder(run_id: str) -> Path:
    """A folder that is not there yet, named by time and fingerprint."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{run_id}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(path for path in (Path("gazeeval-runs") / name for name in names) if not path.exists())


def require_free(out: Path) -> None:
    """Raise UsageError unless ``out`` is new or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        kind = "a folder with files in it" if out.is_dir() else "a file"
        raise UsageError(f"--out: {out}, got {kind}. Nothing is overwritten: name a new folder.")


def new_folder(out: Path) -> Path:
    """Make ``out`` with an empty run.log. Raises UsageError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "run.log").touch()
    except OSError as error:
        raise UsageError(f"--out: {out}, cannot be written: {error.strerror}. Name another folder.") from error
    return out
