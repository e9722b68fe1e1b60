"""`gazeeval completion`: the script of each shell, and that what it calls completes."""

from __future__ import annotations

import pytest
from command import Command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_gazeeval(gazeeval: Command, shell: str) -> None:
    done = gazeeval("completion", shell)
    assert done.code == 0
    assert f"_GAZEEVAL_COMPLETE={shell}_complete" in done.out


def test_a_shell_that_is_not_known(gazeeval: Command) -> None:
    done = gazeeval("completion", "tcsh")
    assert done.code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.err


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("gazeeval comp", ["compare", "completion"]), ("gazeeval run --pairing gr", ["greedy"])],
)
def test_words_are_completed(
    gazeeval: Command, monkeypatch: pytest.MonkeyPatch, typed: str, expected: list[str]
) -> None:
    monkeypatch.setenv("_GAZEEVAL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    done = gazeeval()
    assert [line.partition(",")[2] for line in done.out.split()] == expected
