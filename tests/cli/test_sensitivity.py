"""`gazeeval sensitivity` as a newcomer uses and misuses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Command
from gazeeval.cli import sensitivity as command

import gazeeval as ge
from gazeeval.robustness.recipes import CHOICES
from gazeeval.robustness.tables import read_table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    ge.evaluate(["cutmix", "fmix", "mixup"], num_pairs=6, references=False, out=folder)
    return folder


def test_tables_go_to_the_run_and_notes_to_stderr(gazeeval: Command, run: Path) -> None:
    done = gazeeval("sensitivity", run, "--sigma", "2px,9px", "--weight", "count")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["method", "cutmix", "fmix"]
    assert lines[-1] == str(run)
    assert "note: mixup is left out: its score is 0 by construction" in done.err.splitlines()
    recipes = read_table("sensitivity.csv", run)["recipe"].unique().tolist()
    assert recipes == ["base", "sigma=2px", "sigma=9px", "weight=count"]
    read_table("sensitivity_swaps.csv", run)


def test_a_grid_as_json_elsewhere(gazeeval: Command, run: Path, tmp_path: Path) -> None:
    before = sorted(run.rglob("*"))
    done = gazeeval(
        "sensitivity",
        run,
        "--sigma",
        "2px,9px",
        "--normalise",
        "mass,peak",
        "--grid",
        "--json",
        "-q",
        "-o",
        tmp_path / "x",
    )
    assert {row["recipe"] for row in json.loads(done.out)} == {
        "base",
        "sigma=2px",
        "sigma=9px",
        "sigma=2px,normalise=peak",
        "sigma=9px,normalise=peak",
    }
    assert done.err.splitlines() == [str(tmp_path / "x")]
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{tmp}"], "not a run folder: {tmp}/manifest.json"),
        (["{run}", "--sigma", "wide"], "--sigma: got 'wide'"),
        (["{run}", "--sigma", "3.5%"], "recipes: got none but that of the run. Name other values"),
        (["{run}", "--carry-over", "halve"], "--carry-over: got 'halve', but the gaze of demo has no such setting"),
        (["{run}", "--sigmas", "2px"], "--sigmas: no such option (did you mean '--sigma'?)"),
        (["{run}", "--sigma", "2px", "--root", "/nowhere"], "data root: /nowhere, no such folder"),
        ([], "Missing argument 'RUN'"),
    ],
)
def test_mistakes(gazeeval: Command, run: Path, tmp_path: Path, args: list[str], message: str) -> None:
    names = {"tmp": tmp_path, "run": run}
    done = gazeeval("sensitivity", *(arg.format(**names) for arg in args))
    assert done.code == 2
    assert "Traceback" not in done.err
    (line,) = done.errors
    assert line.startswith(f"error: {message.format(**names)}")


def test_every_choice_has_an_option() -> None:
    assert tuple(command.CHOICES) == CHOICES
