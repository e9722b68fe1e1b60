"""The registry, and what holds for everything in it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from gazeeval.errors import MixerError, PluginError, UsageError
from gazeeval.metrics.base import METRICS, MetricOptions
from gazeeval.mixers.base import MIXERS, canonical_name, parse_method
from gazeeval.registry import Registry
from gazeeval.testing import check_mixer


@pytest.mark.parametrize("name", list(MIXERS))
def test_every_mixer_keeps_the_contract(name: str) -> None:
    cls: Any = MIXERS[name]
    if any(field.default is dataclasses.MISSING for field in dataclasses.fields(cls)):
        with pytest.raises(UsageError, match=f"method {name}: .* Pass -m {name}:"):
            cls()  # its own tests give it what it needs to be checked
    else:
        check_mixer(cls())


@pytest.mark.parametrize("name", list(MIXERS))
def test_every_mixer_says_where_it_comes_from(name: str) -> None:
    cls = MIXERS[name]
    doc = inspect.getdoc(cls) or ""
    assert cls.name == name
    assert "Deviations" in doc or cls.reference
    file = cls.__module__.rpartition(".")[2]
    assert any(known.startswith(file) for known in MIXERS), "the file bears the name of one of its mixers"


def test_metric_columns_are_unique() -> None:
    columns = [column for name in METRICS for column in METRICS[name](MetricOptions()).columns]
    assert len(columns) == len(set(columns))
    assert {"inconsistency", "delta", "hit1_any", "hit1_main", "hit2_both", "hit5_any", "acc1_weighted"} <= set(columns)


def test_a_plugin_that_cannot_be_imported_breaks_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_plugins"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "fine.py").write_text("import __main__\n__main__.TEST_REGISTRY.register('fine')(object())\n")
    (package / "broken.py").write_text("import a_library_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry: Registry[object] = Registry("thing", "some_plugins")
    monkeypatch.setattr(sys.modules["__main__"], "TEST_REGISTRY", registry, raising=False)
    assert list(registry) == ["fine"]
    with pytest.raises(PluginError, match="a_library_that_nobody_has"):
        registry["broken"]
    with pytest.raises(UsageError, match="did you mean 'fine'"):
        registry["fien"]


def test_a_mixer_from_a_file(mine: Path) -> None:
    mixer = parse_method(f"{mine}:Half:share=0.25")
    check_mixer(mixer)
    assert canonical_name(mixer) == "Half:share=0.25"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Loud", r"mask must lie in \[0, 1\]"),
        ("Dirty", "writes to its input"),
        ("Wild", "global generator|another mask"),
        ("Crowd", "another lam than among others"),
    ],
)
def test_a_mixer_that_breaks_the_contract_is_told_how(mine: Path, name: str, complaint: str) -> None:
    with pytest.raises(MixerError, match=complaint):
        check_mixer(parse_method(f"{mine}:{name}"))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("nowhere.py:Half", "no such file"),
        ("{mine}:Haf", "did you mean 'Half'"),
        ("{mine}:Half:share=much", "share, got 'much'"),
        ("{mine}:Half:shore=1", "did you mean 'share'"),
        ("json:JSONDecoder", "no mixer of this name"),
        ("no_such_package.module:Mix", "cannot be imported"),
        ("cutmix:alpha", "unknown|no mixer|write|cannot be imported"),
    ],
)
def test_what_cannot_be_a_method(mine: Path, spec: str, complaint: str) -> None:
    with pytest.raises((PluginError, UsageError), match=f"(?i){complaint}"):
        parse_method(spec.format(mine=mine))


def test_importing_the_package_does_not_import_torch() -> None:
    """So that --help and mistakes answer at once; see also tests/cli."""
    assert importlib.util.find_spec("gazeeval") is not None
    source = (Path(__file__).parents[1] / "gazeeval" / "__init__.py").read_text()
    body, _, _ = source.partition("if TYPE_CHECKING:")
    assert "torch" not in body
