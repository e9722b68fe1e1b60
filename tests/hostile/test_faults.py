"""Every fault of benchmarks/faults.py ends as docs/reliability.md says, without a traceback and without much memory."""

from __future__ import annotations

import importlib.util
import re
import resource
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from command import Command
from little import lay_out

ROOT = Path(__file__).parents[2]
MOST_MEMORY = 400_000_000
ROW = re.compile(r"^\| (?P<what>.+?) \| (?P<code>\d+) \| (?P<said>.+) \|$", flags=re.MULTILINE)


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("faults", ROOT / "benchmarks" / "faults.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["faults"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


faults = script()


def documented() -> dict[tuple[str, str], int]:
    """(group, fault) -> exit code, as the page says."""
    found = {}
    for section in faults.PAGE.read_text("utf-8").split("\n## ")[1:]:
        for row in ROW.finditer(section):
            found[section.partition("\n")[0], row["what"].replace("\\", "")] = int(row["code"])
    return found


def cases() -> list[object]:
    """Those that need a whole run are slow, but for one of each kind."""
    whole = [fault for fault in faults.FAULTS if fault.group == "Images" and not fault.what.startswith("an image that")]
    return [
        pytest.param(fault, id=f"{fault.group}: {fault.what}", marks=[pytest.mark.slow] if fault in whole[1:] else [])
        for fault in faults.FAULTS
    ]


def test_the_page_has_the_faults_of_the_script() -> None:
    assert list(documented()) == [(fault.group, fault.what) for fault in faults.FAULTS]


@pytest.mark.parametrize("fault", cases())
def test_it_ends_as_the_page_says(fault: object) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = faults.observe(fault)
    assert outcome.code == documented()[fault.group, fault.what], outcome.said  # type: ignore[attr-defined]
    assert bool(outcome.said) == bool(outcome.code)
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MOST_MEMORY


def test_formulas_and_markup_come_out_as_they_went_in(gazeeval: Command, tmp_path: Path) -> None:
    """A spreadsheet would calculate the name; quoting it would make it another name. Files say what the data say."""
    lay_out(tmp_path, faults.SPEC)
    with faults.formulas(tmp_path) as args:
        assert gazeeval(*args).code == 0
    pairs = pd.read_csv(tmp_path / "out" / "pairs.csv", dtype=str)
    assert "=1+1.png" in {*pairs["source_id"], *pairs["target_id"]}
    assert gazeeval("report", tmp_path / "out").code == 0
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<script>alert(1)" not in page
