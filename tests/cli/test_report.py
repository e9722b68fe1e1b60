"""`gazeeval report` on runs of the demo data."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command import Command

import gazeeval as ge

QUICK: dict[str, Any] = {"input_size": 32, "num_pairs": 16, "workers": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    ge.evaluate(["cutmix", "saliencymix"], out=folder, **QUICK)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, named by a relative path."""
    shutil.copytree(finished, tmp_path / "first")
    monkeypatch.chdir(tmp_path)
    return Path("first")


def test_the_page_goes_to_the_folder_of_the_run(gazeeval: Command, run: Path) -> None:
    done = gazeeval("report", run)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1] == "wrote first/report.html"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 2 * 3 * 5
    assert "Demo data" in page


def test_without_pictures(gazeeval: Command, run: Path) -> None:
    done = gazeeval("report", run, "--no-gallery", "-o", "page.html")
    assert (done.code, done.out, done.err) == (0, "", "wrote page.html\n")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "Pictures were left out with --no-gallery." in page


@pytest.mark.parametrize(
    ("form", "start"), [("md", "|   rank | method "), ("latex", "% needs"), ("csv", "rank,method,pairs,ok,")]
)
def test_tables_are_printed_or_written(gazeeval: Command, run: Path, form: str, start: str) -> None:
    printed = gazeeval("report", run, "--to", form)
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.startswith(start)
    written = gazeeval("report", run, "--to", form, "-o", "table")
    assert (written.code, written.out, written.err) == (0, "", "wrote table\n")
    assert Path("table").read_text() == printed.out


def test_several_runs(gazeeval: Command, run: Path) -> None:
    ge.evaluate(["cutmix", "resizemix"], out="second", pair_file=run / "pairs.csv", seed=1, **QUICK)
    missing = gazeeval("report", run, "second")
    assert missing.code == 2
    assert missing.errors == ["error: --out: missing for the page of 2 runs. Say where it goes, as -o report.html."]
    done = gazeeval("report", run, "second", "-o", "both.html")
    assert done.code == 0
    page = Path("both.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 4 * 3 * 5
    assert "cutmix@first" in page
    assert "seed differs: 0 in first, 1 in second" in page
    csv = gazeeval("report", run, "second", "--to", "csv").out
    assert {line.split(",")[1] for line in csv.splitlines()} > {"cutmix@first", "cutmix@second", "resizemix"}


def test_shards_are_joined_first(gazeeval: Command, tmp_path: Path) -> None:
    for shard in ("1/2", "0/2"):
        folder = tmp_path / "run"
        if shard == "0/2":
            unfinished = gazeeval("report", folder)
            assert unfinished.code == 2
            assert "not complete, got 0 of 1 chunks. Go on with: gazeeval run --resume" in unfinished.err
        assert (
            gazeeval("run", "-m", "cutmix", "-n", 16, "--input-size", 32, "--out", folder, "--shard", shard).code == 0
        )
    assert not (folder / "summary.csv").exists()
    assert gazeeval("report", folder, "--no-gallery").code == 0
    assert (folder / "summary.csv").is_file()
    assert (folder / "report.html").is_file()


def test_a_run_whose_data_are_gone_has_a_page_without_pictures(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ge.evaluate("cutmix", data=str(little), out=folder, input_size=32, workers=0)
    moved = little.parent.rename(tmp_path / "elsewhere")
    done = gazeeval("report", folder)
    assert done.code == 0
    assert "note: No pictures of run, its mixes cannot be made again: " in done.err
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "No pictures of run" in page
    moved.rename(little.parent)
    assert gazeeval("report", folder).code == 0
    assert "<img" in (folder / "report.html").read_text(encoding="utf-8")


def test_pictures_of_other_mixes_are_refused(gazeeval: Command, run: Path) -> None:
    rows = pd.read_csv(run / "inconsistency.csv", dtype=str, keep_default_na=False)
    rows["lam"] = (1 - rows["lam"].astype(float)).map("{:.9g}".format)
    rows.to_csv(run / "inconsistency.csv", index=False, lineterminator="\n")
    done = gazeeval("report", run)
    assert done.code == 2
    assert len(done.errors) == 1
    assert "leave the pictures out with --no-gallery" in done.errors[0]
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'RUN...'."),
        (["nowhere"], "not a run folder: nowhere/manifest.json"),
        (["first", "first", "--to", "md"], "got first, first. Give each run once."),
        (["first", "--to", "pdf"], "'pdf' is not one of"),
        (["first", "-o", "no/where.html"], "--out: no is no folder. Make it, or write elsewhere."),
        (["first", "--to", "md", "-o", "first"], "report: first, cannot be written: Is a directory"),
    ],
)
def test_mistakes(gazeeval: Command, run: Path, args: list[str], message: str) -> None:
    done = gazeeval("report", *args)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.errors) == 1
