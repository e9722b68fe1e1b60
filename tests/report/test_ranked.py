"""Ranked methods, and their forms for text: Markdown and CSV."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from results import with_pairs

import gazeeval as ge
from gazeeval.errors import UsageError
from gazeeval.report.markdown import markdown_table
from gazeeval.report.ranked import Ranked, ranked_table, summary_pivot


def test_methods_are_ranked_and_references_follow(results: ge.Results) -> None:
    entries = Ranked.of([results]).entries
    own = [entry for entry in entries if not entry.is_reference]
    assert [entry.rank for entry in own] == [1, 2, 3, None]
    assert own[-1].name == "mixup"
    assert own[-1].is_constructed
    scores = [entry.score.value for entry in own[:3]]
    assert scores == sorted(scores)
    references = entries[len(own) :]
    assert all(entry.rank is None and entry.name.startswith("ref:") for entry in references)
    assert [entry.score.value for entry in references] == sorted(entry.score.value for entry in references)


def test_numbers_are_those_of_the_summary(results: ge.Results) -> None:
    rows = results.summary[results.summary["subset"].eq("all")].set_index(["method", "metric"])
    for entry in Ranked.of([results]).entries:
        for metric, estimate in entry.estimates.items():
            row: Any = rows.loc[(entry.method, metric)]
            assert estimate.value == row["estimate"]
            assert estimate.has_interval == (not pd.isna(row["ci_low"]))
        assert sum(entry.counts.values()) == 24


def test_a_table_has_the_columns_that_have_numbers(results: ge.Results) -> None:
    header, *rows = ranked_table(Ranked.of([results]), details=True)
    assert header[2:5] == ["inconsistency % (95% CI)", "pair inconsistency % (95% CI)", "label elsewhere %"]
    assert header[-1] == "left out"  # those of mixup, which has no score
    of = {row[1]: dict(zip(header, row, strict=True)) for row in rows}
    assert of["mixup"]["inconsistency % (95% CI)"] == "n/a"
    assert of["mixup"]["left out"] == "24"
    assert of["ref:area"]["top-1 any %"] == "-"
    assert of["comixup"]["label elsewhere %"] != "-"
    brief, *_ = ranked_table(Ranked.of([results]))
    assert set(header) - set(brief) == {"median %", "correlation"}


def test_a_run_without_a_score_still_has_a_table(results: ge.Results) -> None:
    manifest = {**results.manifest, "methods": {"mixup": {}}, "references": []}
    pairs, summary = (table[table["method"].eq("mixup")] for table in (results.pairs, results.summary))
    only = with_pairs(results, pairs, manifest=manifest, summary=summary)
    ranked = Ranked.of([only])
    assert not ranked.scored
    assert ranked_table(ranked)[1][:3] == ["-", "mixup", "n/a"]


def test_several_runs_are_ranked_together(results: ge.Results, tmp_path: Path) -> None:
    """A method of two runs is named with its run; references appear once."""
    other = tmp_path / "second"
    quick = {"input_size": 32, "num_pairs": 24, "workers": 0}
    ge.evaluate(["cutmix", "resizemix"], out=other, pair_file=results.folder / "pairs.csv", seed=1, **quick)
    ranked = Ranked.of([results, ge.read_results(other)])
    names = [entry.name for entry in ranked.entries]
    assert {"cutmix@first", "cutmix@second", "resizemix", "saliencymix"} < set(names)
    assert len([name for name in names if name.startswith("ref:")]) == 4
    assert len(ranked.signatures) == 2
    first, second = (ranked.find(f"cutmix@{run}") for run in ("first", "second"))
    assert first is not None
    assert second is not None
    assert first.score != second.score


def test_runs_on_other_pairs_are_refused(results: ge.Results, tmp_path: Path) -> None:
    shutil.copytree(results.folder, tmp_path / "second")
    other = ge.read_results(tmp_path / "second")
    changed = replace(other, manifest={**other.manifest, "identity": {**other.manifest["identity"], "pairs": "0" * 64}})
    with pytest.raises(UsageError, match="do not measure the same"):
        Ranked.of([results, changed])


def test_markdown(results: ge.Results) -> None:
    shown = markdown_table(Ranked.of([results])).splitlines()
    columns = shown[0].count("|")
    assert all(line.count("|") == columns for line in shown[:10])
    assert "| `" not in shown[2]
    assert "- bias: mean of lam - lam_gaze: above 0 the label gives the source too much" in shown
    assert shown[-1].startswith("Quote with a number: `data:demo/")


def test_markup_in_a_name_stays_text_in_markdown(results: ge.Results) -> None:
    text = markdown_table(Ranked.of([_renamed(results, "cutmix", "my|<b>*mix*")]))
    assert "my\\|\\<b\\>\\*mix\\*" in text


def test_the_pivot_holds_every_number(results: ge.Results) -> None:
    table = summary_pivot(Ranked.of([results]))
    back = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert list(back.columns[:6]) == ["rank", "method", "pairs", "ok", "not_applicable", "acc1_weighted"]
    assert "lam_correlation_ci_low" not in back
    row = back.set_index("method").loc["cutmix"]
    summary = results.summary.query("method == 'cutmix' and metric == 'hit1_any' and subset == 'all'").iloc[0]
    assert row["hit1_any"] == summary["estimate"]
    assert row["hit1_any_ci_high"] == summary["ci_high"]


def _renamed(results: ge.Results, old: str, new: str) -> ge.Results:
    """The run with another name of a method."""
    methods = {new if name == old else name: each for name, each in results.manifest["methods"].items()}
    tables = (table.assign(method=table["method"].replace(old, new)) for table in (results.pairs, results.summary))
    pairs, summary = tables
    return with_pairs(results, pairs, manifest={**results.manifest, "methods": methods}, summary=summary)
