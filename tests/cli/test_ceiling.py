"""`gazeeval ceiling` as a newcomer uses and misuses it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command import Command
from gazeeval.cli.ceiling import BESIDE_A_RUN, OPTIONS

from gazeeval.config import RunConfig
from gazeeval.robustness.tables import read_table


def test_of_a_run_it_goes_to_its_folder(gazeeval: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert gazeeval("run", "-m", "cutmix", "-n", 6, "-o", run).code == 0
    done = gazeeval("ceiling", run)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split()[0] == "viewer"
    assert [line.split()[0] for line in lines[1:6]] == ["v1", "v2", "v3", "v4", "mean"]
    assert any(re.match(r"one more viewer scores \d+\.\d %", line) for line in lines)
    assert lines[-1] == str(run)
    assert read_table("ceiling.csv", run)["measure"].iloc[0] == "leave_one_out"


def test_without_a_run_options_say_which_pairs(gazeeval: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = gazeeval("ceiling", "-n", 6, "--sigma", "5px", "--json", "-o", out)
    assert done.code == 0
    rows = json.loads(done.out)
    assert {row["gaze"].partition(",")[0] for row in rows} == {"sigma=5px"}
    assert max(row["n"] for row in rows) == 6
    assert done.err.splitlines()[-1] == str(out)
    assert [path.name for path in out.iterdir()] == ["ceiling.csv"]


def test_without_a_folder_one_is_named_by_time(
    gazeeval: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = gazeeval("ceiling", "-n", 6, "-q").out.splitlines()[-1]
    assert re.fullmatch(r"gazeeval-runs/\d{8}T\d{6}-ceiling", folder)
    assert (tmp_path / folder / "ceiling.csv").is_file()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["{tmp}"], "not a run folder: {tmp}/manifest.json"),
        (["{tmp}", "--sigma", "9px"], "--sigma: got it beside RUN, whose own options hold. Leave one of the two away."),
        (["-d", "{little}"], "viewers: little, got none that the gaze tells apart. A ceiling compares viewers"),
        (["--sigma", "wide"], "--sigma: got 'wide'"),
        (["-n", "0"], "--num-pairs: got '0'"),
        (["-o", "{tmp}/x.csv"], "--out: got '{tmp}/x.csv'"),
        (["-m", "cutmix"], "-m: no such option"),
    ],
)
def test_mistakes(gazeeval: Command, tmp_path: Path, little: Path, args: list[str], message: str) -> None:
    names = {"tmp": tmp_path, "little": little}
    done = gazeeval("ceiling", *(arg.format(**names) for arg in args))
    assert done.code == 2
    assert "Traceback" not in done.err
    (line,) = done.errors
    assert line.startswith(f"error: {message.format(**names)}")


def test_its_options_are_options_of_a_run() -> None:
    assert RunConfig.model_fields.keys() >= OPTIONS
    assert BESIDE_A_RUN <= OPTIONS
