"""The pages of docs/: commands and Python blocks run, generated pages say what the code says, links lead somewhere."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shutil
import sys
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest

from gazeeval.metrics.base import METRICS
from gazeeval.mixers.base import MIXERS
from gazeeval.report.columns import FILES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TESTED_ELSEWHERE = {
    "datasets.md": "tests/data/test_datasets_doc.py",
    "tokenmixup.md": "tests/mixers/test_tokenmixup.py",
}
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text("utf-8") for path in sorted(DOCS.rglob("*.md"))}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    pieces = re.split(r"^```(\w*)\n", PAGES[page], flags=re.MULTILINE)  # text, language, block, "", text, language ...
    return [block for found, block in zip(pieces[1::4], pieces[2::4], strict=True) if found == language]


def commands() -> list[Any]:
    """Every ``gazeeval`` line of a block of shell commands; of those that mix, all but the first of a page are slow."""
    found = []
    for page in PAGES.keys() - TESTED_ELSEWHERE:
        text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
        lines = (" ".join(line.partition(" #")[0].split()) for line in text.splitlines())
        wanted = dict.fromkeys(line for line in lines if line.startswith("gazeeval "))
        runs = [line for line in wanted if line.startswith("gazeeval run")]
        found += [
            pytest.param(line, id=f"{page}: {line}", marks=[pytest.mark.slow] if line in runs[1:] else [])
            for line in wanted
        ]
    return sorted(found, key=lambda parameter: str(parameter.id))


def python_blocks() -> list[Any]:
    return [
        pytest.param(block, id=f"{page}, {number}")
        for page in sorted(PAGES.keys() - TESTED_ELSEWHERE)
        for number, block in enumerate(blocks(page, "python"))
    ]


def call(command: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command through its entry point, as the shell would."""
    (script,) = entry_points(group="console_scripts", name="gazeeval")
    monkeypatch.setattr("sys.argv", command.split())
    with pytest.raises(SystemExit) as stop:
        script.load()()
    return int(stop.value.code or 0)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run that commands about finished runs are tried on, and one made apart."""
    import gazeeval as ge

    folder = tmp_path_factory.mktemp("docs")
    ge.evaluate(["cutmix", "saliencymix", "tdattenmix-bottomup"], num_pairs=12, input_size=70, out=folder / "RUN")
    ge.evaluate(["fmix"], num_pairs=12, input_size=70, out=folder / "RUN_B")
    return folder


def lay_out(names: set[str], runs: Path, folder: Path) -> None:
    """Put a finished run under each of ``names`` into ``folder``."""
    for name in names:
        shutil.copytree(runs / ("RUN_B" if name == "RUN_B" else "RUN"), folder / name)


@pytest.mark.parametrize("command", commands())
def test_commands_run(
    command: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the demo data and its network, few pairs; names in capitals that are read are folders of a finished run."""
    monkeypatch.chdir(tmp_path)
    out = re.search(r"(?:-o|--out) (\S+)", command)
    lay_out(set(re.findall(r"\b[A-Z][A-Z_]+\b", command)) - {"DATA", "CKPT", "VIT", out and out[1]}, runs, tmp_path)
    command = re.sub(r"-d \S+|--root \S+|--(attention-)?model \S+|-n \d+", "", command)
    if command.startswith("gazeeval run") and "--resume" not in command:
        command += " -n 8" + (" --input-size 70" if re.search("tdattenmix|smmix", command) else "")
    if command.startswith("gazeeval show"):
        command = re.sub(r"--image \S+", "-d demo --image cross/cross_00.png", command)
    code = call(command.replace("validate cub-gha", "validate demo"), monkeypatch)
    if "official_float" in command and command.startswith("gazeeval run") and not hasattr(cv2, "saliency"):
        assert code == 2
        assert "opencv-contrib-python" in capsys.readouterr().err
    else:
        assert code == 0, capsys.readouterr().err


@pytest.mark.parametrize("block", python_blocks())
def test_python_blocks_run(block: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(set(re.findall(r'"(RUN(?:_[AB])?)"', block)), runs, tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    for registry in (MIXERS, METRICS):  # what a block registers is not there for other tests
        list(registry)
        monkeypatch.setattr(registry, "_items", dict(registry._items))
    module = ModuleType("docs_block")  # a module of its own, as a script would be
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(block, "docs", "exec"), vars(module))


def test_pages_tested_elsewhere_are() -> None:
    for page, test in TESTED_ELSEWHERE.items():
        assert page in (ROOT / test).read_text("utf-8")


# -- generated pages --------------------------------------------------------------------------------------------------


@cache
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pages", DOCS / "make_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def method_pages() -> dict[str, str]:
    pages: dict[str, str] = maker().method_pages()
    return pages


OURS = [name for name in MIXERS if MIXERS[name].__module__.startswith("gazeeval.")]


def test_every_method_has_a_page() -> None:
    assert sorted(method_pages()) == sorted(OURS)


@pytest.mark.parametrize("name", OURS)
def test_method_page(name: str) -> None:
    page, cls = method_pages()[name], MIXERS[name]
    assert page.startswith(f"# {name}\n")
    options = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]  # they all are
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE) == options
    assert "Raises:" not in page
    assert re.search(r"^\S.* \(`tests/mixers/test_\w+\.py`\)$", page, flags=re.MULTILINE), "no test is named"


def test_pages_name_the_stored_outputs() -> None:
    assert "`cutmix_official_odd_27x33`" in method_pages()["cutmix"]
    assert "no other implementation" in method_pages()["gazemix"]


def test_docstrings_become_markdown() -> None:
    text = maker().from_docstring(
        'Paper, "Title".\n\nSymbols: ``a`` is b; see `CutMix`, `Other`.\n\n'
        "Raises:\n    UsageError: one;\n        two.\n    Else: three."
    )
    assert text == (
        'Paper, "Title".\n\n**Symbols:** ``a`` is b; see [`cutmix`](cutmix.md), `Other`.\n\n'
        "**Raises**\n\n- `UsageError`: one; two.\n- `Else`: three."
    )


def test_marks_are_filled() -> None:
    filled = {page: maker().filled(text) for page, text in PAGES.items()}
    assert not [page for page, text in filled.items() if re.search(r"^<!-- \w+ -->$", text, flags=re.MULTILINE)]
    for name in OURS:
        assert f"[{name}]({name}.md)" in filled["methods/index.md"]
    for file, columns in FILES.items():
        assert f"\n## {file}\n" in filled["files.md"]
        assert all(f"| `{column.name}` |" in filled["files.md"] for column in columns)
    assert "gazeeval compare [OPTIONS] RUN..." in filled["commands.md"]
    assert "| G115 | gaze is inside images |" in filled["datasets.md"]


@pytest.mark.filterwarnings("default")
def test_the_site_builds_and_its_links_lead_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strict: a warning about a link, an anchor or a page that is not in the navigation ends the build."""
    pytest.importorskip("material", reason="mkdocs-material is not installed (pip install 'gazeeval[docs]')")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    built = {path.relative_to(tmp_path).with_suffix(".md").as_posix() for path in tmp_path.rglob("*.html")}
    assert {*PAGES, *(f"methods/{name}.md" for name in OURS)} <= built
    fetched = re.findall(r'(?:src|<link[^>]* href)="(https?:[^"]+)"', (tmp_path / "index.html").read_text("utf-8"))
    assert not fetched, "a page that fetches something is of no use offline"
