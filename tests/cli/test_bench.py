"""`gazeeval bench` as a newcomer uses and misuses it. The demo network is small: this takes a second."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from command import Command

QUICK = ("--repeats", 1, "--device", "cpu")


def test_table_and_file(gazeeval: Command, tmp_path: Path) -> None:
    out = tmp_path / "bench.csv"
    done = gazeeval("bench", *QUICK, "-m", "cutmix", "-m", "guidedmixup-sr", "-b", "4,8", "--batch-size", 64, "-o", out)
    assert done.code == 0
    header, *lines = done.out.splitlines()
    assert header.split() == [
        "method",
        "batch",
        "step",
        "ms",
        "mixing",
        "ms",
        "%",
        "of",
        "the",
        "step",
        "(quartiles)",
        "published",
        "%",
    ]
    assert [line.split()[:2] for line in lines[:6]] == [
        [method, size] for size in ("4", "8", "64") for method in ("cutmix", "guidedmixup-sr")
    ]
    assert [line.split()[-1] for line in lines[:6]] == ["-"] * 5 + ["7"]
    assert "resnet10t" in lines[6]
    assert done.err.splitlines()[-1] == f"wrote {out}"
    table = pd.read_csv(out)
    assert table["batch_size"].tolist() == [4, 4, 8, 8, 64, 64]
    assert (table["percent"] > 0).all()


def test_json_and_nothing_else(gazeeval: Command) -> None:
    done = gazeeval("bench", *QUICK, "-m", "cutmix", "-b", 2, "--json")
    (row,) = json.loads(done.out)
    assert (row["method"], row["batch_size"], row["published_percent"]) == ("cutmix", 2, None)
    assert done.err == ""


def test_a_name_of_timm_needs_no_download(gazeeval: Command) -> None:
    done = gazeeval("bench", *QUICK, "-m", "cutmix", "-b", 2, "--model", "resnet10t", "--input-size", 64)
    assert done.code == 0
    assert "random (timm name, no weights)" in done.out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-b", "16,many"], "--batch-size: got 'many'. Give whole numbers of at least 2"),
        (["-b", "1"], "--batch-size: got '1'. Give whole numbers of at least 2"),
        (["--repeats", "0"], "Invalid value for '--repeats': 0 is not in the range x>=1"),
        (["-m", "cutmx"], "method: unknown name, got 'cutmx' (did you mean 'cutmix'?)"),
        (["-m", "manifoldmix"], "method manifoldmix: mixes inside the network"),
        (["--device", "gpu"], "device: got 'gpu'"),
        (
            ["-m", "cutmix", "-b", "2", "-o", "{tmp}/no/bench.csv"],
            "--out: {tmp}/no/bench.csv, got a folder that does not exist",
        ),
        (["-m", "cutmix", "-b", "2", "-o", "{tmp}"], "bench: {tmp}, cannot be written: Is a directory"),
    ],
)
def test_mistakes(gazeeval: Command, tmp_path: Path, args: list[str], message: str) -> None:
    done = gazeeval("bench", *QUICK[:2], *(arg.format(tmp=tmp_path) for arg in args))
    assert done.code == 2
    assert "Traceback" not in done.err
    (line,) = done.errors
    assert line.startswith(f"error: {message.format(tmp=tmp_path)}")
