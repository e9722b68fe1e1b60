"""The ranked methods as a LaTeX table."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import gazeeval as ge
from gazeeval.report.latex import latex_table, latex_text
from gazeeval.report.ranked import Ranked

HOSTILE = r"50% \of_{a} & b # $c$ ~^ |<x>| \input{y} " + '"z"'


def test_rows_are_those_of_the_ranking(results: ge.Results) -> None:
    ranked = Ranked.of([results])
    lines = latex_table(ranked).splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert body.count(r"\midrule") == 1
    assert body.index(r"\midrule") == 4  # below it the references
    names = [line.split(" & ")[0] for line in body if line != r"\midrule"]
    assert names == [entry.name for entry in ranked.entries]
    columns = len(re.search(r"\{@\{\}(lr+)@\{\}\}", "\n".join(lines))[1])  # type: ignore[index]
    assert all(line.count(" & ") == columns - 1 and line.endswith(r" \\") for line in body if line != r"\midrule")
    assert not re.search(r"[ \[]-\d", "\n".join(body)), "a hyphen is no minus sign"


def test_the_caption_states_the_recipe(results: ge.Results) -> None:
    text = latex_table(Ranked.of([results]))
    caption = next(line for line in text.splitlines() if line.startswith(r"\caption"))
    for part in ("demo/all@", "sigma=3.5\\%", "weight=duration", "border=renormalise", "seed: 3", "95\\% confidence"):
        assert part in caption
    assert r"$|\lambda - \lambda_g|$" in caption


def test_every_special_character_is_escaped() -> None:
    escaped = latex_text(HOSTILE)
    assert escaped.startswith(r"50\% \textbackslash{}of\_\{a\} \& b \# \$c\$ \textasciitilde{}\textasciicircum{}")
    assert r"\input" not in escaped


def compiled(table: str, folder: Path) -> str:
    """What pdflatex says about an article that holds the table."""
    (folder / "table.tex").write_text(table)
    (folder / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 page" in done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_fits_the_page(results: ge.Results, tmp_path: Path) -> None:
    """With the columns of mixes of several images, the longest name of a method, and scores of two digits."""
    table = latex_table(Ranked.of([results])).replace("\nsaliencymix &", "\ntdattenmix-bottomup &")
    assert "tdattenmix-bottomup" in table
    assert "elsewhere" in table
    assert "Overfull" not in compiled(table, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles_as_it_is(results: ge.Results, tmp_path: Path) -> None:
    """Also where the data set's name and the signature hold what LaTeX reads as commands."""
    manifest = results.manifest
    data, signature = {**manifest["data"], "name": HOSTILE}, {**manifest["signature"], "data": HOSTILE}
    hostile = replace(results, manifest={**manifest, "data": data, "signature": signature})
    compiled(latex_table(Ranked.of([hostile])), tmp_path)
