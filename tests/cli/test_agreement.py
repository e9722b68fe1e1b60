"""`gazeeval agreement` as a newcomer uses and misuses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Command

QUICK = ("--input-size", 24, "--sigma", "3px")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_stdout_is_the_table_and_the_folder_and_the_rest_is_stderr(gazeeval: Command, little: Path, out: Path) -> None:
    done = gazeeval("agreement", "-d", little, "--maps", "fine_grained", "--maps", "guided_residual", *QUICK, "-o", out)
    assert done.code == 0
    table = done.out.splitlines()
    assert table[0].split()[:6] == ["map", "images", "excluded", "NSS", "AUC", "sAUC"]
    names = [line.split()[0] for line in table[1:5]]
    assert names == ["fine_grained", "guided_residual", "-" * len(table[3]), "ref:centre"], (
        "nobody is known as a viewer"
    )
    assert any(line.startswith("data:little") and "|gaze:sigma=3px" in line for line in table)
    assert table[-1] == str(out)
    assert done.err.splitlines()[0].startswith("gazeeval 0.")
    assert (out / "agreement.csv").is_file()


def test_the_demo_scores_all_maps_of_its_network(gazeeval: Command, out: Path) -> None:
    done = gazeeval("agreement", "-o", out)
    assert done.code == 0
    names = [line.split()[0] for line in done.out.splitlines()]
    assert {"input_gradient", "class_map", "feature_mean", "ref:centre", "ref:viewer"} <= set(names)
    assert any(line.startswith("warning: map class_attention is left out: ") for line in done.err.splitlines())
    assert any(line.startswith("warning: demo data:") for line in done.err.splitlines())


def test_json_is_the_summary_and_nothing_else(gazeeval: Command, little: Path, out: Path) -> None:
    done = gazeeval("agreement", "-d", little, "--maps", "fine_grained", *QUICK, "--json", "-o", out)
    rows = json.loads(done.out)
    assert {row["map"] for row in rows} == {"fine_grained", "ref:centre"}
    assert {row["metric"] for row in rows} == {"nss", "auc", "sauc", "cc", "sim", "kl", "ig"}
    assert done.err.splitlines()[-1] == str(out)


def test_the_config_of_a_call_gives_the_same_rows(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    options = ("--maps", "fine_grained", "--kl-form", "pysaliency", "--shuffled", "other-classes", *QUICK)
    assert gazeeval("agreement", "-d", little, *options, "-o", first).code == 0
    done = gazeeval("agreement", "--config", first / "config.yaml", "-o", again)
    assert done.code == 0, done.err
    for name in ("agreement.csv", "agreement_summary.csv", "config.yaml"):
        assert (first / name).read_bytes() == (again / name).read_bytes()


def test_an_image_that_does_not_decode(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    picture = little.parent / "04.png"
    picture.write_bytes(picture.read_bytes()[:300])
    options = ("agreement", "-d", little, "--maps", "fine_grained", *QUICK)
    done = gazeeval(*options, "-o", tmp_path / "cut")
    assert done.code == 4
    assert "warning: 1 images failed with at least one map: see agreement.csv" in done.err
    assert done.out.splitlines()[1].split()[:3] == ["fine_grained", "11", "1"]
    assert gazeeval(*options, "--strict", "-o", tmp_path / "strict").code == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--maps", "class_mpa"], "--maps: got 'class_mpa' (did you mean 'class_map'?). Known: fine_grained, "),
        (["--seed", "1"], "--seed: no such option"),
        (["--kl-form", "x"], "--kl-form: got 'x'. Use one of benchmark, pysaliency."),
        (["-o", "x.csv"], "--out: got 'x.csv'. A run is a folder of files"),
        (["--config", "{tmp}/run.yaml"], "num_pairs: unknown option. See gazeeval agreement --help."),
    ],
)
def test_what_cannot_be_asked(gazeeval: Command, tmp_path: Path, args: list[str], message: str) -> None:
    (tmp_path / "run.yaml").write_text("num_pairs: 3")
    done = gazeeval("agreement", *(arg.format(tmp=tmp_path) for arg in args))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert message in done.err
