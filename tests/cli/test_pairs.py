"""`gazeeval pairs`: the pairs of a run, without the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Command


@pytest.mark.parametrize("options", [("-n", 9, "--seed", 3), ("--pairing", "greedy", "--input-size", 32, "-n", 9)])
def test_they_are_those_of_a_run_with_these_options(
    gazeeval: Command, little: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    file, run = tmp_path / "pairs.csv", tmp_path / "run"
    done = gazeeval("pairs", "-d", little, *options, "-o", file)
    assert done[:2] == (0, f"{file}\n")
    assert done.err.startswith("9 pairs of 12 images")
    quick = ("-m", "cutmix", "--no-references", "--input-size", 32)
    assert gazeeval("run", "-d", little, *options, *quick, "-o", run).code == 0
    assert file.read_bytes() == (run / "pairs.csv").read_bytes()
    assert gazeeval("run", "-d", little, "--pair-file", file, *quick, "-o", tmp_path / "again").code == 0
    assert file.read_bytes() == (tmp_path / "again" / "pairs.csv").read_bytes()


def test_nothing_is_overwritten_and_a_file_is_asked_for(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    assert "got a file that is there" in gazeeval("pairs", "-d", little, "-o", little).err
    assert gazeeval("pairs", "-d", little).code == 2
    below = little / "pairs.csv"
    done = gazeeval("pairs", "-d", little, "-o", below)
    assert done.errors == [f"error: --out: {below}, cannot be written: File exists. Name another file."]


def test_options_are_checked_as_those_of_a_run(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    done = gazeeval("pairs", "-d", little, "--pairing", "gredy", "-o", tmp_path / "pairs.csv")
    assert done.errors == [
        "error: --pairing: got 'gredy' (did you mean 'greedy'?). Use one of matching, cycle, greedy, optimal."
    ]
