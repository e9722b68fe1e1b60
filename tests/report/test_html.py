"""The HTML report: whole and safe as a file, right in its numbers, readable in a browser."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from html import escape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from results import with_pairs

import gazeeval as ge
from gazeeval.config import RunConfig
from gazeeval.errors import DataError
from gazeeval.gaze_agreement.tables import FILES as AGREEMENT
from gazeeval.job import prepare
from gazeeval.report import beside, facts, figures, findings, gallery
from gazeeval.report.files import write_csv
from gazeeval.report.gallery import Example, OtherMixesError
from gazeeval.report.html import html_report, write_html
from gazeeval.report.ranked import Estimate, Ranked
from gazeeval.robustness.tables import FILES as ROBUSTNESS

MARKUP = "<script>alert('1')</script>&\"'"
VOID = {"meta", "img", "br", "wbr", "link", "input"}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """Elements with their attributes, and the text; fails where tags are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@cache
def pictures_of(folder: Path) -> tuple[Example, ...]:
    """The pictures of a run, made once for all tests."""
    run = ge.read_results(folder)
    job = prepare(RunConfig.of(run.manifest["config"]))
    return tuple(gallery.gallery(run, job.engine, job.plan))


@pytest.fixture
def examples(finished: Path) -> tuple[Example, ...]:
    return pictures_of(finished)


@pytest.fixture
def ranked(results: ge.Results) -> Ranked:
    return Ranked.of([results])


def failed(results: ge.Results, status: str, note: str, count: int) -> ge.Results:
    """The run with ``count`` pairs of CutMix that have no score."""
    pairs = results.pairs.copy()
    rows = pairs.index[pairs["method"].eq("cutmix")][:count]
    pairs.loc[rows, "status"], pairs.loc[rows, "note"] = status, note
    return with_pairs(results, pairs)


# The file


def test_the_file_needs_nothing_else(ranked: Ranked, examples: tuple[Example, ...]) -> None:
    html = html_report(ranked, examples=examples)
    page = Page(html)
    assert not page.all("script")
    assert not page.all("link")
    assert all(str(link["href"]).startswith("#") for link in page.all("a"))
    assert all(str(image["src"]).startswith("data:image/webp;base64,") for image in page.all("img"))
    assert not re.search(r"https?:|url\(|@import", html)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    targets = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {str(link["href"])[1:] for link in page.all("a")} <= targets
    assert len(html) < 3_000_000


def test_every_picture_has_words(ranked: Ranked, examples: tuple[Example, ...]) -> None:
    page = Page(html_report(ranked, examples=examples))
    assert len(page.all("img")) == sum(len(example.tiles) for example in examples) > 30
    assert all(len(image["alt"] or "") > 30 for image in page.all("img"))
    described = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(described) == 2 * len(ranked.scored)
    assert all(svg["aria-label"] for svg in described)
    nested = [svg for svg in page.all("svg") if "x" in svg or svg.get("preserveaspectratio") == "none"]
    hidden = [svg for svg in page.all("svg") if svg.get("aria-hidden") == "true"]
    assert len(described) + len(hidden) + len(nested) >= len(page.all("svg"))


def test_markup_in_names_stays_text(results: ge.Results, examples: tuple[Example, ...]) -> None:
    """Class names, paths, warnings and notes come from strangers' files."""
    manifest, summary = dict(results.manifest), results.summary.copy()
    manifest["warnings"] = [MARKUP]
    manifest["data"] = {**manifest["data"], "name": MARKUP}
    manifest["signature"] = {**manifest["signature"], "data": MARKUP}
    manifest["model"] = {**manifest["model"], "path": f"/models/{MARKUP}"}
    summary["subset"] = summary["subset"].replace("class=disc", f"class={MARKUP}")
    strange = failed(replace(results, manifest=manifest, summary=summary), "failed", MARKUP, 2)
    tile = replace(examples[0].tiles[0], caption=(MARKUP,))
    html = html_report(Ranked.of([strange]), examples=[replace(examples[0], tiles=[tile])], notes=[MARKUP])
    page = Page(html)
    assert not page.all("script")
    assert page.text.count("alert('1')") >= 7
    assert all("<" not in (attributes.get("alt") or "") or "alert" in str(attributes) for attributes in page.all("img"))


def test_it_is_the_same_every_time(results: ge.Results, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_html([ge.read_results(results.folder)], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# The numbers


def test_every_score_is_on_the_page(ranked: Ranked) -> None:
    page = Page(html_report(ranked))
    for entry in ranked.entries:
        assert entry.name in page.text
        if entry.score.is_known:
            assert f"{100 * entry.score.value:.1f} [{100 * entry.score.low:.1f}, " in page.text
    for _, values in facts.facts(ranked.runs):
        assert all(value in page.text for value in values)


def test_what_was_measured_is_said_for_each_run_where_they_differ(results: ge.Results) -> None:
    other = replace(
        results, folder=results.folder.parent / "second", manifest={**results.manifest, "geometry": "Other"}
    )
    said = dict(facts.facts([results, other]))
    assert said["network input"] == [f"first: {results.manifest['geometry']}", "second: Other"]
    assert said["seed"] == ["3"]
    assert said["gaze recipe"][0].startswith("sigma 3.5%, weight duration, border renormalise")


def test_pairs_without_a_score_are_counted_with_their_reasons(results: ge.Results) -> None:
    ranked = Ranked.of([failed(failed(results, "no_gaze", "no gaze at all", 5), "failed", "photo.jpg: cut", 2)])
    header, *rows = facts.left_out(ranked) or []
    assert header == ["method", "pairs", "with a score", "no gaze visible", "0 by construction", "failed"]
    of = {row[0]: row[1:] for row in rows}
    assert of["cutmix"] == ["24", "19", "3", "0", "2"]
    assert of["mixup"] == ["24", "0", "0", "24", "0"]
    reasons = facts.reasons(ranked)
    assert "no gaze visible: no gaze at all (3 rows)" in reasons
    assert "failed: photo.jpg: cut (2 rows)" in reasons
    assert sum(int(re.findall(r"\((\d+) rows\)", reason)[-1]) for reason in reasons) == 29


def test_only_so_many_reasons_are_named(results: ge.Results) -> None:
    pairs = results.pairs.copy()
    pairs["status"], pairs["note"] = "failed", [f"reason {row}" for row in range(len(pairs))]
    reasons = facts.reasons(Ranked.of([with_pairs(results, pairs)]))
    assert len(reasons) == 11
    assert reasons[-1] == f"and {len(pairs) - 10} more reasons, see failures.csv"


def test_scatter_plots_show_every_scored_pair(ranked: Ranked, monkeypatch: pytest.MonkeyPatch) -> None:
    for scatter in figures.scatters(ranked):
        used = scatter.entry.rows.query("status == 'ok'")[["lam", "lam_gaze"]].dropna()
        assert scatter.is_dots
        assert scatter.shapes[0][1].count("h0") == len(used)
    monkeypatch.setattr(figures, "DOTS", 10)
    counted = figures.scatters(ranked)[0]
    assert not counted.is_dots
    assert counted.shapes[-1][0] == 1


def test_spreads_are_distributions_of_delta(ranked: Ranked) -> None:
    table = figures.spread_table(figures.spreads(ranked))
    assert table[0] == ["method", "mean", "5 %", "25 %", "median", "75 %", "95 %"]
    names = [row[0] for row in table[1:]]
    assert names == [entry.name for entry in ranked.entries if entry.score.is_known]
    cutmix = next(row for row in table if row[0] == "cutmix")
    delta = ranked.runs[0].pairs.query("method == 'cutmix'")["delta"].astype(float)
    assert cutmix[1] == f"{100 * delta.mean():+.1f}"
    assert cutmix[4] == f"{100 * delta.median():+.1f}"


def test_tenths_part_the_pairs_by_their_label(ranked: Ranked) -> None:
    for entry, bars in figures.tenths(ranked):
        rows = entry.rows.query("status == 'ok'").dropna(subset=["lam", "delta"])
        assert sum(bar.n for bar in bars if bar) == len(rows)
        lam, delta = (rows[name].to_numpy(dtype=float) for name in ("lam", "delta"))
        for number, bar in enumerate(bars):
            inside = (lam >= number / 10) & ((lam < (number + 1) / 10) | (number == 9))
            assert (bar is None) == (not inside.any())
            if bar is not None:
                assert bar.bias == pytest.approx(delta[inside].mean())
    assert figures.tenths_table(figures.tenths(ranked))[0][-1] == "0.9-1.0"


def test_classes_are_ordered_and_cut(ranked: Ranked, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = figures.class_bars(ranked)
    assert [bar.mean for bar in bars] == sorted((bar.mean for bar in bars), reverse=True)
    assert {bar.name for bar in bars} == {name for entry in ranked.scored for name in entry.classes}
    monkeypatch.setattr(figures, "CLASSES", 2)
    assert figures.shown_classes(bars) == [bars[0], bars[-1]]
    assert f"Of {len(bars)} classes the 1 with the largest mean" in Page(html_report(ranked)).text


def test_methods_are_tested_and_told_apart(ranked: Ranked) -> None:
    (tested,) = findings.tested(ranked)
    assert len(tested.every) == 1 + 3
    assert len(tested.shown) == 1 + 2, "neighbours only"
    table = ranked.methods.compare("inconsistency")
    numbers = table[["method_a", "method_b", "diff", "p_adjusted"]].to_numpy(dtype=object).tolist()
    for (a, b, diff, p), shown in zip(numbers, tested.every[1:], strict=True):
        assert shown[-1] == (f"{a if diff < 0 else b} is better" if p < 0.05 else "not told apart")


def test_recorded_comparisons_are_shown(results: ge.Results) -> None:
    """What `gazeeval compare` left in the folder: another metric, against one baseline."""
    ranked = Ranked.of([results])
    table = ranked.methods.compare("hit1_any", baseline="cutmix")
    table.to_csv(results.folder / "comparisons.csv", index=False)
    first, second = findings.tested(ranked)
    assert (first.metric, second.metric) == ("inconsistency", "hit1_any")
    assert sorted(second.shown) == sorted(second.every), "of tests against one baseline all are shown"
    assert "hit1_any: all tests" in Page(html_report(ranked)).text


@pytest.mark.parametrize(("p", "words"), [(0.0004, "is clear (p < 0.001)"), (0.2, "not tell the two apart (p = 0.2)")])
def test_the_page_begins_with_what_came_out(ranked: Ranked, p: float, words: str) -> None:
    (tested,) = findings.tested(ranked)
    said = findings.in_short(ranked, [replace(tested, table=tested.table.assign(p_adjusted=p))], None)
    best, second = ranked.scored[:2]
    assert said[0].startswith(f"{best.name} is nearest to where people look")
    assert said[1].startswith(f"{second.name} follows with {100 * second.score.value:.1f} points")
    assert words in said[1]
    centre = ranked.find("ref:centre")
    assert centre is not None
    below = sum(entry.score.value < centre.score.value for entry in ranked.scored)
    assert said[2].endswith(f"{below} of 3 methods.")


def test_a_run_without_a_score_has_a_page(results: ge.Results) -> None:
    (results.folder / "comparisons.csv").unlink()
    manifest = {**results.manifest, "methods": {"mixup": {}}, "references": []}
    pairs, summary = (table[table["method"].eq("mixup")] for table in (results.pairs, results.summary))
    page = Page(html_report(Ranked.of([with_pairs(results, pairs, manifest=manifest, summary=summary)])))
    assert "No method has a score." in page.text
    assert [section["id"] for section in page.all("section")] == ["ranking", "pairs", "measured"]


# What other commands left in the folder


def test_the_ceiling_is_the_reference_row_unless_there_is_a_file(ranked: Ranked) -> None:
    viewer = ranked.find("ref:viewer")
    assert viewer is not None
    assert beside.ceiling(ranked) == beside.Ceiling(viewer.score)
    one = {"dataset": "demo", "split": "all", "gaze": "sigma=9px", "ci_level": 0.95, "unit": "fraction", "n": 24}
    rows = [
        {"measure": "leave_one_out", "viewer": "NA", "viewers": 1, "estimate": 0.25, "ci_low": 0.2, "ci_high": 0.3},
        {"measure": "leave_one_out", "viewers": 1, "estimate": 0.125, "ci_low": 0.1, "ci_high": 0.15},
        {"measure": "reliability", "viewers": 1, "estimate": 0.5},
        {"measure": "noise", "viewers": 1, "estimate": 0.11},
    ]
    path = ranked.runs[0].folder / "ceiling.csv"
    write_csv(pd.DataFrame([one | row for row in rows]), path, ROBUSTNESS["ceiling.csv"])
    found = beside.ceiling(ranked)
    assert found is not None
    assert found.score == Estimate(0.125, 0.1, 0.15)
    assert found.tables[0][1:] == [["NA", "25.0 [20.0, 30.0]"], ["mean", "12.5 [10.0, 15.0]"]]
    assert found.tables[1][1:] == [["1", "0.500", "11.0"]]
    assert "One more viewer scores 12.5 [10.0, 15.0] %" in Page(html_report(ranked)).text


def test_sensitivity(ranked: Ranked) -> None:
    run = ranked.runs[0]
    rows = [
        {"recipe": recipe, "method": method, "estimate": estimate, "rank": rank, "tau": tau}
        for recipe, tau, scores in (
            ("base", 1.0, {"cutmix": (0.2, 1), "saliencymix": (0.3, 2), "ref:area": (0.25, None)}),
            ("sigma=5px", -1.0, {"cutmix": (0.35, 2), "saliencymix": (0.28, 1), "ref:area": (0.3, None)}),
        )
        for method, (estimate, rank) in scores.items()
    ]
    write_csv(pd.DataFrame(rows), run.folder / "sensitivity.csv", ROBUSTNESS["sensitivity.csv"])
    found = beside.sensitivity(run)
    assert found is not None
    assert found.statement == (
        "Kendall's tau with the ranking of the run goes down to -1.00 (sigma=5px); the score of cutmix moves most, "
        "from 20.0 to 35.0 %."
    )
    assert [one.name for one in found.ranges] == ["cutmix", "saliencymix", "ref:area"]
    assert [one.ranks for one in found.ranges] == ["1 to 2", "1 to 2", "-"]
    assert found.table[2] == ["sigma=5px", "-1.00", "35.0", "28.0", "30.0"]
    assert "Sensitivity to the gaze recipe" in Page(html_report(ranked)).text


def test_agreement(ranked: Ranked) -> None:
    run = ranked.runs[0]
    rows = [
        {"map": "ref:centre", "metric": "nss", "n": 20, "estimate": 1.25, "ci_low": 1, "ci_high": 1.5},
        {"map": "ref:centre", "metric": "ig", "n": 20, "estimate": None},
    ]
    write_csv(pd.DataFrame(rows), run.folder / "agreement_summary.csv", AGREEMENT["agreement_summary.csv"])
    assert beside.agreement(run) == [["map", "images", "NSS", "IG, bits"], ["ref:centre", "20", "1.250 ±0.250", "-"]]
    assert "1.250 ±0.250" in Page(html_report(ranked)).text


@pytest.mark.parametrize("content", ["", "recipe,method\nbase,cutmix\n", "recipe,method,estimate,rank,tau\n", '"'])
def test_a_damaged_table_is_named(ranked: Ranked, content: str) -> None:
    (ranked.runs[0].folder / "sensitivity.csv").write_text(content)
    with pytest.raises(DataError, match=r"malformed table: .*sensitivity.csv, got .* Write it again, or remove it"):
        beside.sensitivity(ranked.runs[0])


# The pictures


def test_the_best_the_median_and_the_worst_pair_are_shown(
    results: ge.Results, ranked: Ranked, examples: tuple[Example, ...]
) -> None:
    for entry in ranked.scored:
        shown = {each.place: each for each in examples if each.method == entry.method}
        rows = entry.rows[entry.rows["lam"].between(gallery.LEAST, 1 - gallery.LEAST)].set_index("pair_id")
        scores = rows["inconsistency"].sort_values()
        assert list(shown) == ["best", "median", "worst"]
        assert shown["best"].inconsistency == scores.iloc[0]
        assert shown["median"].inconsistency == scores.iloc[(len(scores) - 1) // 2]
        assert shown["worst"].inconsistency == scores.iloc[-1]
        for each in shown.values():
            assert rows["inconsistency"][each.pair_id] == each.inconsistency
    assert {each.method for each in examples} == {"cutmix", "saliencymix", "comixup"}
    assert list(Page(html_report(ranked, examples=examples)).all("details"))


def test_tiles_are_small_pictures_with_their_numbers(results: ge.Results, examples: tuple[Example, ...]) -> None:
    rows = results.pairs.set_index(["method", "pair_id"])
    for example in (each for each in examples if each.method == "cutmix"):
        row: Any = rows.loc[(example.method, example.pair_id)]
        source, target, _, mixed, left = example.tiles
        assert mixed.caption == (f"label: lam {100 * row['lam']:.1f} %",)
        assert left.caption == (f"gaze: lam_gaze {100 * row['lam_gaze']:.1f} %",)
        names = results.manifest["data"]["classes"]
        assert (source.caption, target.caption) == ((names[row["source_label"]],), (names[row["target_label"]],))
        assert [share.width for share in mixed.shares] == pytest.approx(
            [100 * row["lam"], 100 - 100 * row["lam"]], abs=0.01
        )
        for tile in example.tiles:
            image = Image.open(BytesIO(tile.webp))
            assert image.format == "WEBP"
            assert image.size == (tile.width, tile.height) == (224, 224)


def test_pictures_shrink_where_there_are_many(
    results: ge.Results, examples: tuple[Example, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sum(len(tile.webp) for example in examples if example.method == "cutmix" for tile in example.tiles)
    monkeypatch.setattr(gallery, "BUDGET", whole // 2)
    only = with_pairs(results, results.pairs.assign(status=_unless(results.pairs, "cutmix")))
    job = prepare(RunConfig.of({**results.manifest["config"], "method": "cutmix"}))
    small = gallery.gallery(only, job.engine, job.plan)
    assert 0 < sum(len(tile.webp) for example in small for tile in example.tiles) <= whole // 2
    assert {tile.width for example in small for tile in example.tiles} < {192, 160, 128, 96}


def _unless(pairs: pd.DataFrame, method: str) -> pd.Series[str]:
    return pairs["status"].where(pairs["method"].eq(method), "failed")


@pytest.mark.parametrize("column", ["lam", "inconsistency"])
def test_other_mixes_than_those_of_the_run_are_refused(results: ge.Results, column: str) -> None:
    job = prepare(RunConfig.of({**results.manifest["config"], "method": "cutmix"}))
    moved = np.clip(results.pairs[column].astype(float) + 0.01, 0, 1)
    with pytest.raises(OtherMixesError, match=r"method cutmix, pair \d+, got .*, the run had .*--no-gallery"):
        gallery.gallery(with_pairs(results, results.pairs.assign(**{column: moved})), job.engine, job.plan)


def test_other_pairs_than_those_of_the_run_are_refused(results: ge.Results) -> None:
    job = prepare(RunConfig.of({**results.manifest["config"], "num_pairs": 12}))
    with pytest.raises(OtherMixesError, match="got 12 pairs, the run had 24"):
        gallery.gallery(results, job.engine, job.plan)


# In a browser


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_shows_it(
    ranked: Ranked, examples: tuple[Example, ...], tmp_path: Path, width: int, scheme: str
) -> None:
    """Nothing is wider than the window, every picture is decoded, and dark is dark."""
    # a frame of its own width: windows cannot be as narrow as a phone
    html = escape(html_report(ranked, examples=examples))
    frame = (
        '<!doctype html><meta name="color-scheme" content="light dark">'
        f'<iframe width="{width}" height="900" style="border: 0" srcdoc="{html}"></iframe>'
        "<script>addEventListener('load', () => {const page = frames[0], d = page.document;"
        "document.documentElement.dataset.seen = [page.innerWidth, d.documentElement.scrollWidth,"
        "page.getComputedStyle(d.body).backgroundColor, [...d.images].every(i => i.naturalWidth > 0)].join('|')})"
        "</script>"
    )
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    assert CHROMIUM is not None
    call = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    call += [f"--blink-settings=preferredColorScheme={int(scheme == 'light')}", "--window-size=1400,1000", "--dump-dom"]
    done = subprocess.run(
        [*call, (tmp_path / "frame.html").as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen is not None
    inner, scroll, background, decoded = seen[1].split("|")
    assert int(scroll) <= int(inner) == width
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 150) == (scheme == "dark")
    assert decoded == "true"


def test_pictures_are_in_the_file_as_they_are(ranked: Ranked, examples: tuple[Example, ...]) -> None:
    page = Page(html_report(ranked, examples=examples))
    sources = {str(image["src"]).partition(",")[2] for image in page.all("img")}
    assert sources == {base64.b64encode(tile.webp).decode() for example in examples for tile in example.tiles}
