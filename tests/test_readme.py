"""Every command and Python block of the README runs, and its numbers are those that come out today."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHARED = ROOT.parent / "shared" / "data"
CHECKPOINT = SHARED / "checkpoints" / "cub10_resnet10t_224.pt"


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language; "" for those that name none."""
    pieces = re.split(r"^```(\w*)\n", README, flags=re.MULTILINE)  # text, language, block, "", text, language ...
    return [block for found, block in zip(pieces[1::4], pieces[2::4], strict=True) if found == language]


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    inline = re.findall(r"`(gazeeval [^`]+)`", README)
    return [line for line in (*lines, *inline) if line]


def table(text: str) -> dict[str, list[float]]:
    """Method -> the numbers of its row, from the first table in a text."""
    rows = {}
    for line in text.splitlines():
        if found := re.match(r"(ref:\w+|\w+)\s+(\d+\s.*)", line):
            rows[found[1]] = [float(number) for number in re.findall(r"-?\d+\.?\d*", found[2].replace("+", ""))]
    assert rows
    return rows


def run(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a gazeeval command through its entry point, as the shell would."""
    (script,) = entry_points(group="console_scripts", name="gazeeval")
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as stop:
        script.load()()
    return int(stop.value.code or 0)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {target for command in commands() for target in re.findall(r"^make ([\w-]+)", command)}
    named |= set(re.findall(r"`make ([\w-]+)`", README))
    assert {"demo", "test"} <= named <= targets


def test_the_demo_prints_the_table_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe,) = re.findall(r"^\t\$\(BIN\)/(gazeeval run .*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert run(recipe.replace("$(DEMO_OUT)", str(tmp_path / "demo")), monkeypatch) == 0
    printed, expected = table(capsys.readouterr().out), table(blocks("")[0])
    assert printed.keys() == expected.keys()
    for method, numbers in expected.items():
        assert printed[method] == pytest.approx(numbers, abs=0.15), method


def others() -> list[str]:
    return [command for command in commands() if command.startswith("gazeeval ")]


@pytest.mark.parametrize("command", others())
def test_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the real data where they are beside the repository, with few pairs; else on the demo data."""
    monkeypatch.chdir(tmp_path)
    halfmix = next(block for block in blocks("python") if "class HalfMix" in block)
    (tmp_path / "halfmix.py").write_text(halfmix.partition("ge.testing")[0])
    if command.startswith("gazeeval run"):
        command = re.sub(r"-n \d+", "", command) + " -n 8"
        if "--root" in command and CHECKPOINT.exists():
            command = command.replace("DATA", str(SHARED)).replace("ckpt.pt", str(CHECKPOINT))
        else:
            command = re.sub(r"-d \S+|--root \S+|--model \S+", "", command)
    assert run(command, monkeypatch) == 0


@pytest.mark.slow
def test_the_table_on_real_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not CHECKPOINT.exists():
        pytest.skip("the photographs and gaze files are not beside the repository (../shared/data)")
    (command,) = [command for command in others() if "--root DATA" in command]
    command = command.replace("DATA", str(SHARED)).replace("ckpt.pt", str(CHECKPOINT)).replace("runs/", f"{tmp_path}/")
    assert run(command, monkeypatch) == 0
    printed, expected = table(capsys.readouterr().out), table(blocks("")[1])
    for method, numbers in expected.items():
        assert printed[method] == pytest.approx(numbers, abs=0.15), method


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("readme_block")  # a module of its own, as a script would be
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(block, "README.md", "exec"), vars(module))


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
