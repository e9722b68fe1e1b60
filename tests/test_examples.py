"""Every script in examples/ runs on the demo data and says what its first lines promise."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAYS = {
    "compare_five_mixers.py": ["saliencymix", "ref:viewer", "detectable"],
    "own_mixer.py": ["DiscMix:largest=0.3", "lam_gaze"],
    "own_gaze.py": ["ref:viewer", "saliencymix"],
    "audit_published_number.py": ["pairs; here there are 40", "sigma=5px", "weight=count", "the recipe alone moves"],
    "train_with_mixers.py": ["trained with", "saliencymix", "guidedmixup-sr"],
}
ARGUMENTS = {"train_with_mixers.py": ["--steps", "5"]}
SLOW = {"train_with_mixers.py"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in SAYS]
)
def test_example(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS.get(name, [])])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert not [words for words in SAYS[name] if words not in printed], printed
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


def test_the_mixer_in_a_file_is_known_by_its_name() -> None:
    from gazeeval.mixers.base import canonical_name, parse_method

    assert canonical_name(parse_method(f"{EXAMPLES / 'own_mixer.py'}:DiscMix:largest=0.3")) == "DiscMix:largest=0.3"
