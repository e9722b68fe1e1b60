"""What answers at once, and in which shape."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

from gazeeval.config import RunConfig

AT_ONCE = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["list", "-h"],
    ["rnu"],
    ["run", "--modl", "x"],
    ["run", "-n", "many"],
    ["run", "-o", "x.csv"],
    ["run", "--config", "nowhere.yaml"],
    ["compare", "--help"],
    ["compare"],
    ["compare", "x", "--breakdown", "all", "--baseline", "y"],
]


def test_help_and_mistakes_import_nothing_heavy() -> None:
    code = f"""
import contextlib, io, json, sys
from gazeeval.cli.main import main
for args in {AT_ONCE!r}:
    sys.argv[1:] = args
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main()
heavy = {{"torch", "torchvision", "timm", "numpy", "pandas", "scipy", "cv2", "PIL", "tqdm"}}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    assert len(done.stderr.splitlines()) == 7, "one line for each mistake"


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["run", "--help"], ["run", "-h"], ["list", "--help"]])
def test_help(gazeeval: Command, args: list[str]) -> None:
    done = gazeeval(*args)
    assert done.code == 0
    assert done.out.startswith("Usage: gazeeval")
    assert not done.err


def test_help_lists_every_option_under_a_subject(gazeeval: Command) -> None:
    text = gazeeval("run", "--help").out
    before, _, output = text.partition("\nOutput:\n")
    for name in RunConfig.model_fields:
        where = output if name in {"out", "format", "masks", "save_images"} else before
        assert f"--{name.replace('_', '-')}" in where


def test_without_a_command_help_is_shown(gazeeval: Command) -> None:
    done = gazeeval()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err


def test_version(gazeeval: Command) -> None:
    assert gazeeval("--version").out.startswith("gazeeval, version ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["rnu"], "error: command: unknown name, got 'rnu' (did you mean 'run'?). See gazeeval --help."),
        (["run", "--modl", "x"], "error: --modl: no such option (did you mean '--model'?). See gazeeval run --help."),
        (["run", "--num-pair=5"], "error: --num-pair: no such option (did you mean '--num-pairs'?). See "),
        (["run", "--no-reference"], "error: --no-reference: no such option (did you mean '--no-references'?)"),
        (["run", "extra"], "error: Got unexpected extra argument (extra). See gazeeval run --help."),
        (["run", "-n"], "error: Option '-n' requires an argument."),
        (["list", "method"], "'method' is not one of 'methods', 'datasets', 'metrics'"),
    ],
)
def test_what_is_no_command_or_option(gazeeval: Command, args: list[str], message: str) -> None:
    done = gazeeval(*args)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert message in done.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-n", "0"], "--num-pairs: got '0'. Give a number of at least 1."),
        (["-n", "x"], "--num-pairs: got 'x'. Give a whole number."),
        (["--seed", "-1"], "--seed: got '-1'. Give a number of at least 0."),
        (["--group-size", "1"], "--group-size: got '1'. Give a number of at least 2."),
        (["--top-k", "0,2"], "--top-k: got '0,2'. Give a number of at least 1."),
        (["--top-k", "abc"], "--top-k: got 'abc'. Give a whole number."),
        (["--ci", "1.5"], "--ci: got '1.5'. Give a number below 1."),
        (["--crop-pct", "0"], "--crop-pct: got '0'. Give a number above 0."),
        (["--crop-pct", "wide"], "--crop-pct: got 'wide'. Give a number."),
        (["--mean", "1,2"], "--mean: got '1,2'. Give three numbers, as R,G,B."),
        (["--std", "1,2,3,4"], "--std: got '1,2,3,4'. Give three numbers, as R,G,B."),
        (["--batch-size", "all"], "--batch-size: got 'all'. Give a whole number."),
        (
            ["--labels", "diferent"],
            "--labels: got 'diferent' (did you mean 'different'?). Use one of different, any, same.",
        ),
        (["--carry-over", "x"], "--carry-over: got 'x'. Use one of keep, drop-first, halve."),
        (["--out", "x.csv"], "--out: got 'x.csv'. A run is a folder of files, not one file: write x."),
    ],
)
def test_what_is_no_value(gazeeval: Command, args: list[str], message: str) -> None:
    assert gazeeval("run", *args) == (2, "", f"error: {message}\n")


def test_every_mistake_is_named(gazeeval: Command) -> None:
    done = gazeeval("run", "-n", "x", "--seed", "y", "--ci", "2")
    assert [line.split(":")[1] for line in done.errors] == [" --num-pairs", " --seed", " --ci"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede: 3", "sede: unknown option (did you mean 'seed'?). See gazeeval run --help."),
        ("seed: abc", "seed: got 'abc'. Give a whole number."),
        ("a: [", "no plain YAML, expected the node content, but found '<stream end>' at line 1"),
        ("- seed", "got ['seed']. Write one 'option: value' per line, e.g. seed: 0."),
    ],
)
def test_a_config_file_with_a_mistake(gazeeval: Command, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    done = gazeeval("run", "--config", path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert done.err.startswith(f"error: --config: {path}: {message}")


def test_no_option_starts_like_one_of_torchrun() -> None:
    """torchrun takes what is short for one of its own options, even behind the program's name."""
    from torch.distributed.run import get_args_parser

    own = [option for option in get_args_parser()._option_string_actions if option.startswith("--")]
    flags = [f"--{name.replace('_', '-')}" for name in RunConfig.model_fields]
    flags += ["--json", "--strict", "--quiet", "--verbose", "--config"]
    assert [(flag, option) for flag in flags for option in own if option.startswith(flag)] == []
