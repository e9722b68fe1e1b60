from __future__ import annotations

import json

import pytest
from command import Command


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("methods", {"cutmix", "mixup", "saliencymix"}),
        ("datasets", {"aristo", "aristo-maps", "csv", "cub-gha", "demo"}),
        ("metrics", {"inconsistency", "delta", "hit1_any", "hit2_both", "hit5_both", "acc1_weighted"}),
    ],
)
def test_list(gazeeval: Command, what: str, names: set[str]) -> None:
    entries = json.loads(gazeeval("list", what, "--json").out)
    assert names <= {entry["name"] for entry in entries}
    shown = gazeeval("list", what)
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [entry["name"] for entry in entries]


def test_methods_say_what_they_need_and_take(gazeeval: Command) -> None:
    text = " ".join(gazeeval("list", "methods").out.split())
    assert "Yun et al." in text
    assert "options: alpha=1.0, rule=official" in text
    assert "needs: Saliency fine_grained" in text
    assert "its score is 0 by construction" in text
    assert "Deviations from the released code, all by default: the detector sees the 8-bit image" in text


def test_some_names_only(gazeeval: Command) -> None:
    shown = gazeeval("list", "methods", "cutmix", "fmix").out.splitlines()
    assert [line.split()[0] for line in shown if not line.startswith(" ")] == ["cutmix", "fmix"]
    wrong = gazeeval("list", "methods", "cutmx")
    assert wrong.code == 2
    assert "unknown name, got cutmx" in wrong.err
