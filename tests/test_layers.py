"""The shape of the package: layers without cycles, names that match files, nothing forgotten in the wheel."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [  # bottom to top; a module imports from its own layer or from below
    {"errors", "types", "registry", "cache", "config", "share", "version", "optional", "plain_yaml"},
    {"data"},
    {"models"},
    {"signals"},
    {"mixers", "metrics"},
    {"statistics"},
    {"contract", "masks", "pairing", "references", "rows", "setting"},
    {"mixing"},
    {"engine"},
    {"report"},
    {"job"},
    {"manifest"},
    {"run", "api", "testing", "training", "bench", "doctor", "gaze_agreement", "robustness", "validation"},
    {"cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> dict[str, Path]:
    """Dotted name below ``gazeeval`` -> file."""
    found = {}
    for folder, prefix in ((ROOT / "gazeeval", ""), (ROOT / "cli", "cli.")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[-1] != "__init__":
                found[prefix + ".".join(parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports, at any depth of the code, without those for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {id(child) for node in ast.walk(tree) if _is_type_checking(node) for child in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in hidden and (node.module or "").startswith("gazeeval."):
            found.add((node.module or "").removeprefix("gazeeval."))
    return found


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("name", sorted(modules()))
def test_nothing_imports_from_above(name: str) -> None:
    level = LEVEL[name.split(".", maxsplit=1)[0]]
    above = {module for module in imports(modules()[name]) if LEVEL[module.split(".")[0]] > level}
    assert not above


def test_no_import_cycles() -> None:
    graph = {name: {module for module in imports(path) if module in modules()} for name, path in modules().items()}
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if name not in done and needs <= done}:
        done |= ready
    assert not set(graph) - done


def test_every_package_is_declared() -> None:
    """A sub-package that is missing here vanishes from the wheel, while the editable install still sees it."""
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"gazeeval", "gazeeval.cli", "gazeeval.data_specs"}
    for init in (ROOT / "gazeeval").rglob("__init__.py"):
        found.add(".".join(init.parent.relative_to(ROOT).parts))
    assert declared == found


def test_versions_are_pinned_by_name_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all("==" in line and "/" not in line for line in lines if line and not line.startswith("#"))
