"""`gazeeval compare` on runs of the demo data."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

import gazeeval as ge
from gazeeval.report.columns import FILES
from gazeeval.report.files import read_csv

OWN = "guidedmixup-sr:pairing=greedy"  # has pairs of its own


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``first``, ``second`` (another seed, same pairs) and ``wide`` (another gaze recipe)."""
    folder = tmp_path_factory.mktemp("runs")
    quick = {"input_size": 32, "num_pairs": 24, "workers": 0}
    ge.evaluate(["cutmix", "saliencymix", "mixup", OWN], out=folder / "first", **quick)
    again = {"pair_file": folder / "first" / "pairs.csv", "references": False}
    ge.evaluate(["cutmix", "resizemix"], out=folder / "second", seed=1, **again, **quick)
    ge.evaluate("cutmix", out=folder / "wide", sigma="9px", **again, **quick)
    return folder


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A copy of ``first`` to write to."""
    return Path(shutil.copytree(runs / "first", tmp_path / "first"))


def test_one_run_is_ranked_tested_and_recorded(gazeeval: Command, run: Path) -> None:
    done = gazeeval("compare", run)
    assert done.code == 0
    ranking, tests, sentences = done.out.split("\n\n")
    first, *rows = (line.split() for line in ranking.splitlines())
    assert first[:3] == ["rank", "method", "pairs"]
    assert [row[0] for row in rows] == ["1", "2", "3", *"----"]
    scores = [float(row[3]) for row in rows]
    assert scores[:3] == sorted(scores[:3])
    assert tests.splitlines()[0].split("  ")[0] == "a"
    assert len(tests.splitlines()) == 4
    assert sentences.endswith("inconsistency: lower is better; p is adjusted for 3 tests (Holm)\n")
    assert done.err.splitlines() == [
        "note: method mixup: left out, its inconsistency is 0 by construction",
        f"wrote {run / 'comparisons.csv'}",
    ]
    table = read_csv(run / "comparisons.csv", FILES["comparisons.csv"])
    assert list(table["test"]) == ["wilcoxon", "dyadic t, unpaired", "dyadic t, unpaired"]


def test_neighbours_that_cannot_be_told_apart_are_named(gazeeval: Command, run: Path) -> None:
    (row,) = json.loads(gazeeval("compare", run, "--baseline", "cutmix", "--metric", "hit2_both", "--json").out)[:1]
    shown = gazeeval("compare", run, "--baseline", "cutmix", "--metric", "hit2_both").out
    told = f"{row['method_a']} and cutmix cannot be told apart (p = {row['p_adjusted']:.2g}, "
    smallest = f"smallest difference this design finds: {100 * row['mde']:.1f} points)"
    assert (told + smallest in shown) == (row["p_adjusted"] >= 0.05)
    assert "hit2_both: higher is better" in shown


def test_a_clear_difference_is_not_called_none(gazeeval: Command, run: Path) -> None:
    shown = gazeeval("compare", run, "--baseline", "ref:constant").out
    assert "<0.001" in shown
    assert f"{OWN} and ref:constant cannot" not in shown


def left_in(folder: Path) -> dict[Path, int]:
    """Every file and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_several_runs(gazeeval: Command, runs: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "c.csv", left_in(runs)
    done = gazeeval("compare", runs / "first", runs / "second", "--baseline", "cutmix@first", "--to", "csv", "-o", out)
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[0] == "note: seed differs: 0 in first, 1 in second"
    assert done.err.splitlines()[-1] == f"wrote {out}"
    table = read_csv(out, FILES["comparisons.csv"])
    assert list(table["method_a"]) == ["saliencymix", OWN, "cutmix@second", "resizemix"]
    assert left_in(runs) == before, "of several runs nothing is left in their folders"


def test_runs_of_another_recipe_are_refused(gazeeval: Command, runs: Path) -> None:
    done = gazeeval("compare", runs / "first", runs / "wide")
    assert (done.code, done.out) == (2, "")
    assert "first and wide do not measure the same, got gaze: sigma=3.5%" in done.err
    assert "and sigma=9px" in done.err
    assert done.err.count("\n") == 1


def test_forms(gazeeval: Command, run: Path) -> None:
    markdown = gazeeval("compare", run, "--to", "md").out
    assert markdown.count("|---") > 1
    assert "\n\ninconsistency: lower" in markdown
    latex = gazeeval("compare", run, "--to", "latex").out
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == 2
    assert "\n% inconsistency: lower" in latex
    assert " -0" not in latex
    rows = json.loads(gazeeval("compare", run, "--json").out)
    assert list(rows[0]) == [column.name for column in FILES["comparisons.csv"]]
    assert rows[1]["cohen_dz"] is None
    assert gazeeval("compare", run, "--to", "csv").out == (run / "comparisons.csv").read_text()


@pytest.mark.parametrize(
    ("part", "subsets"),
    [
        ("all", ["all"]),
        ("lam", ["0.0-0.1", "0.1-0.2"]),
        ("class", ["cross", "disc"]),
        ("visible", ["q1", "q2", "q3", "q4"]),
    ],
)
def test_breakdown(gazeeval: Command, run: Path, part: str, subsets: list[str]) -> None:
    rows = json.loads(gazeeval("compare", run, "--breakdown", part, "--json").out)
    cutmix = [row for row in rows if row["method"] == "cutmix"]
    assert set(subsets) <= {row["subset"] for row in cutmix}
    assert sum(row["n"] for row in cutmix) == 24 * (2 if part == "visible" else 1)
    before = left_in(run)
    done = gazeeval("compare", run, "--breakdown", part)
    assert done.code == 0
    assert len(done.out.splitlines()) == len(rows) + 4
    assert "ref:area" in done.out
    assert done.out.endswith(
        "\nref:viewer: the inconsistency is of more than that one difference (a mean over viewers, "
        "or mixes of several images)\n"
    )
    assert not done.err
    assert left_in(run) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'RUN...'."),
        (["nowhere"], "not a run folder: nowhere/manifest.json"),
        (["first", "--metric", "hit3"], "--metric: not in these runs, got 'hit3'"),
        (["first", "--baseline", "mixup"], "--baseline: no method with inconsistency, got 'mixup'. Use one of cutmix"),
        (["first", "first"], "compare: got first, first. Give each run once."),
        (["second", "--baseline", "cutmix", "--breakdown", "all"], "--breakdown: got --baseline or --metric as well."),
        (["second", "--metric", "hit1_any", "--breakdown", "all"], "--breakdown: got --baseline or --metric as well."),
        (["wide"], "compare: inconsistency, got values of cutmix only. Run two methods on the same pairs"),
        (["second", "--level", "95"], "95.0 is not in the range 0<x<1"),
        (["second", "-o", "nowhere/c.csv"], "compare: nowhere/c.csv, cannot be written: No such file"),
    ],
)
def test_mistakes(
    gazeeval: Command, runs: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(runs)
    done = gazeeval("compare", *args)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert message in done.err


@pytest.mark.slow
def test_no_network_is_needed(run: Path) -> None:
    """The command answers without the seconds that importing torch takes."""
    code = """
import sys
from gazeeval.cli.main import main
sys.argv[1:] = ["compare", sys.argv[1]]
try:
    main()
finally:
    print(sorted({"torch", "timm", "torchvision", "cv2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, run], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
