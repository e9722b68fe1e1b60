"""A run that was stopped, cut into shards, or killed again and again ends with the files of one that was not."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gazeeval import job
from gazeeval.config import RunConfig
from gazeeval.errors import UsageError
from gazeeval.report.files import read_manifest
from gazeeval.report.finish import finish
from gazeeval.run import resume, run

OPTIONS: dict[str, Any] = {"method": ["cutmix", "fmix"], "num_pairs": 40, "group_size": 8, "references": False}
TABLES = ("pairs.csv", "inconsistency.csv", "groups.csv", "summary.csv", "failures.csv")


def config(out: Path, **options: Any) -> RunConfig:
    return RunConfig.of(OPTIONS | {"out": out} | options)


def tables(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


@pytest.fixture(scope="module", autouse=True)
def _small_chunks() -> Iterator[None]:
    """Three chunks of a few pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "CHUNK", 16)
        yield


@pytest.fixture(scope="module")
def whole(_small_chunks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run(config(folder))
    return folder


class Stop:
    """Interrupts a run before its ``after``-th chunk is finished."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        from gazeeval.report.files import PairWriter

        finish, self.left = PairWriter.finish, after

        def stopping(*args: Any) -> None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            finish(*args)

        monkeypatch.setattr(PairWriter, "finish", stopping)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was interrupted after its first chunk."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        Stop(patch, after=1)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(config(folder))
    assert f"gazeeval run --resume {folder}" in caught.value.__notes__[0]
    return folder


def test_resumed_it_is_the_run_that_was_not_stopped(stopped: Path, whole: Path) -> None:
    assert read_manifest(stopped)["status"] == "interrupted"
    with pytest.raises(UsageError, match="1 of 3 chunks"):
        finish(stopped)
    resume(stopped, {"batch_size": 5, "workers": 0})
    assert read_manifest(stopped)["status"] == "complete"
    assert tables(stopped) == tables(whole)
    assert sorted(path.relative_to(stopped) for path in stopped.rglob("*")) == sorted(
        path.relative_to(whole) for path in whole.rglob("*")
    )


def test_what_is_finished_is_not_done_again(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gazeeval.engine import Engine

    asked: list[int] = []
    evaluate = Engine.run

    def counting(self: Engine, plan: Any, groups: Any) -> Any:
        asked.append(sum(part.stop - part.start for part in groups))
        return evaluate(self, plan, groups)

    monkeypatch.setattr(Engine, "run", counting)
    resume(stopped)
    assert 0 < asked[0] < 32


@pytest.mark.parametrize(("options", "named"), [({"seed": 1}, "seed: 0, now 1"), ({"sigma": "9px"}, "sigma: ")])
def test_options_that_change_results_are_refused_by_name(stopped: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        resume(stopped, options)


def test_a_complete_run_is_only_read(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    results = resume(whole)
    assert results is not None
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


@pytest.mark.parametrize("world", [2, 3])
def test_shards_in_any_order_make_the_same_tables(tmp_path: Path, whole: Path, world: int) -> None:
    folder = tmp_path / "run"
    for rank in reversed(range(world)):
        assert run(config(folder, shard=f"{rank}/{world}")) is None
    finish(folder)
    assert tables(folder) == tables(whole)


def test_one_process_of_several_needs_a_folder() -> None:
    with pytest.raises(UsageError, match="--out"):
        run(RunConfig.of(OPTIONS | {"shard": "0/2"}))


def test_shards_of_another_run_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(config(folder, shard="0/2"))
    with pytest.raises(UsageError, match="seed: 0, now 1"):
        run(config(folder, shard="1/2", seed=1))


def test_a_folder_in_use_is_refused(tmp_path: Path, stopped: Path) -> None:
    import fcntl

    with (stopped / "run.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process"):
            resume(stopped)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_again_and_again_it_ends_with_the_same_files(tmp_path: Path, whole: Path, kills: int) -> None:
    folder, when = tmp_path / "run", random.Random(0)
    while kills:
        child = os.fork()
        if child == 0:
            try:
                _go_on(folder)
            finally:
                os._exit(0)
        time.sleep(when.uniform(0.05, 0.8))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if (folder / "summary.csv").exists():  # it was quicker than the kill
            shutil.rmtree(folder)
        else:
            kills -= 1
    _go_on(folder)
    assert tables(folder) == tables(whole)
    assert not list(folder.rglob("*.tmp"))


def _go_on(folder: Path) -> None:
    if (folder / "manifest.json").exists():
        resume(folder)
    else:  # killed before there was anything to go on with
        shutil.rmtree(folder, ignore_errors=True)
        run(config(folder))
