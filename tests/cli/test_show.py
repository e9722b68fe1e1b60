"""`gazeeval show`: what is asked for, and which file.

What is drawn: tests/report/test_{gaze_picture,pictures,sheet}.py. That it is what the run mixed: test_gallery.py there.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import Command
from numpy.typing import NDArray
from PIL import Image

import gazeeval as ge
from gazeeval.config import RunConfig
from gazeeval.job import prepare
from gazeeval.report import pictures
from gazeeval.report.gallery import redraw, select
from gazeeval.report.pictures import pair_sheet
from gazeeval.report.sheet import contact_sheet

ROOT = Path(__file__).parents[2]


def pixels(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as page:
        assert page.format == "PNG"
        return np.asarray(page).astype(np.int64)


# The gaze on an image


def test_a_picture_is_written(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    shown = gazeeval("show", "--data", little, "--image", "03.png", "--input-size", 32, "-o", target)
    assert shown.code == 0
    assert shown.out.splitlines() == [str(target)]
    wide = pixels(target)
    gazeeval("show", "--data", little, "--image", "03.png", "--input-size", 32, "--sigma", "20%", "-o", target)
    assert (pixels(target) != wide).any()


def test_the_end_of_a_path_will_do(gazeeval: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = gazeeval("show", "--image", "star_02.png", "--numbers", "--geometry", "stretch")
    assert shown.out.splitlines() == ["star_02-gaze.png"]
    assert (tmp_path / "star_02-gaze.png").is_file()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--image", "99.png"), "--image: got '99.png'"),
        (("--image", "03.png", "--sigma", "wide"), "--sigma: got 'wide'"),
        (("--image", "03.png", "--sigma", "1deg"), "px_per_degree"),
        (("--image", "03.png", "--input-size", "0"), "--input-size: got '0'"),
        (("--image", "03.png", "-o", "nowhere/sheet.png"), "--out: nowhere/sheet.png"),
        (("--image", "03.png", "--placement", "contain"), "--placement"),
        (("--pair", "03.png"), "--pair: got '03.png' without a run folder. Give two images"),
        (("--pair", "03,04,05"), "--pair: got '03,04,05' without a run folder"),
        (("--pair", "03,3"), "--pair: got '3'"),
        (("--pair", "03,003"), "--pair: got '003' (did you mean '03'?)"),
        (("--pair", "03,03.png"), "--pair: got 03.png twice"),
        (("--pair", "03,04", "-m", "cutmx"), "did you mean 'cutmix'?"),
        (("--pair", "03,04", "-m", "transmix"), "method transmix: needs a network"),
        (("--pair", "03,04", "-m", "manifoldmix"), "--method: got manifoldmix, which mixes inside a network"),
        (("--pair", "03,04", "--seed", "x"), "--seed: got 'x'"),
        (("--pair", "03,04", "--image", "03"), "show: got --pair and --image"),
        (("--worst", "3"), "show: got --worst without a run folder. Give one of --pair, --image, or a run folder."),
        ((), "show: got nothing to draw without a run folder"),
    ],
)
def test_wrong_usage(gazeeval: Command, little: Path, options: tuple[str, ...], says: str) -> None:
    wrong = gazeeval("show", "--data", little, *options)
    assert wrong.code == 2
    assert says in wrong.err
    assert len(wrong.errors) == 1


# Any two images


def test_any_two_images_are_mixed_as_by_mix(gazeeval: Command, tmp_path: Path) -> None:
    """The mix in the sheet is that of `ge.mix` with the seed: nothing is drawn anew."""
    target = tmp_path / "sheet.png"
    shown = gazeeval("show", "--pair", "disc_15,triangle_13.png", "-m", "mixup", "--seed", 5, "-o", target)
    assert (shown.code, shown.out.splitlines()) == (0, [str(target)])
    data, geometry = ge.load_dataset("demo"), ge.load_model("demo", device="cpu").geometry
    rows = [data.image_ids.index(name) for name in ("disc/disc_15.png", "triangle/triangle_13.png")]
    images = torch.from_numpy(np.stack([geometry.apply(data.read_image(row)) for row in rows])).movedim(-1, 1) / 255
    mix = ge.mix("mixup", images[:1], images[1:], torch.tensor([1]), torch.tensor([5]), seed=5)
    mixed = (mix.image[0] * 255).round().movedim(0, -1).numpy().repeat(4, axis=0).repeat(4, axis=1)
    left = pictures.MARGIN + 3 * (256 + pictures.GAP)
    top = pictures.MARGIN + 2 * pictures.TITLE + pictures.TEXT + 4 * pictures.GAP
    assert np.array_equal(pixels(target)[top : top + 256, left : left + 256], mixed)


def test_all_methods_that_work_are_drawn(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    target = tmp_path / "all.png"
    shown = gazeeval("show", "-d", little, "--pair", "03,04", "--input-size", 28, "-o", target)
    assert shown.code == 0
    left_out = re.findall(r"note: without (.*); -m attentivemix says what it needs", shown.err)[0].split(", ")
    assert {"automix", "manifoldmix", "transmix", "snapmix"} < set(left_out)
    assert not {"cutmix", "saliencymix", "gazemix", "mixup"} & set(left_out)
    few, rows = tmp_path / "few.png", tmp_path / "rows.png"
    two = "show", "-d", little, "--pair", "03,04", "--input-size", 28, "-m", "cutmix", "-m", "cutmix:alpha=0.2"
    gazeeval(*two, "-o", few)
    gazeeval(*two, "-o", rows, "--layout", "rows")
    assert len(pixels(few)) < len(pixels(target))
    assert len(pixels(few)) < len(pixels(rows))


def test_names_are_made_of_the_images(
    gazeeval: Command, little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = gazeeval("show", "-d", little, "--pair", "03,04", "--input-size", 28, "-m", "cutmix")
    assert shown.out.splitlines() == ["03-04.png"]


def test_the_picture_of_the_readme_is_what_its_command_draws(gazeeval: Command, tmp_path: Path) -> None:
    """Networks and solvers round otherwise on other machines: some masks may move a little."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"!\[[^]]*\]\((docs/images/[^)]*)\)", readme)
    (command,) = re.findall(r"`gazeeval (show --model [^`]*)`", readme)
    assert (ROOT / shown).stat().st_size < 600_000
    assert gazeeval(*shlex.split(command), "-o", tmp_path / "sheet.png").code == 0
    stored, drawn = pixels(ROOT / shown), pixels(tmp_path / "sheet.png")
    assert drawn.shape == stored.shape
    assert (abs(drawn - stored).max(axis=2) > 16).mean() < 0.02


# A finished run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "first"
    methods = ["cutmix", "cutmix:alpha=0.2", "mixup", "manifoldmix"]
    ge.evaluate(methods, out=folder, num_pairs=12, input_size=32, seed=2, workers=0)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run to write to."""
    return Path(shutil.copytree(finished, tmp_path / "first"))


def test_the_worst_of_a_run(gazeeval: Command, run: Path) -> None:
    shown = gazeeval("show", run, "--worst", 3)
    target = run / "images" / "worst-3.png"
    assert (shown.code, shown.out.splitlines()) == (0, [str(target)])
    results = ge.read_results(run)
    rows = select(results.pairs[~results.pairs["method"].str.startswith("ref:")], "worst", 3)
    assert rows["inconsistency"].is_monotonic_decreasing
    job = prepare(RunConfig.of(results.manifest["config"]))
    drawn = [*redraw(results, job.engine, job.plan, rows).values()]
    assert np.array_equal(pixels(target), pair_sheet(drawn, "demo, worst 3 of first"))
    gazeeval("show", run, "--worst", 3, "--layout", "grid", "-o", target)
    assert np.array_equal(pixels(target), contact_sheet(drawn, "demo, worst 3 of first"))


def test_some_methods_of_a_run(gazeeval: Command, run: Path) -> None:
    for method in ("cutmix", "cutmix:alpha=0.2"):
        gazeeval("show", run, "--best", 2, "-m", method, "-o", run / "one.png")
        pairs = ge.read_results(run).pairs
        rows = select(pairs[pairs["method"].eq(method)], "best", 2)
        job = prepare(RunConfig.of({**ge.read_results(run).manifest["config"], "method": method}))
        drawn = [*redraw(ge.read_results(run), job.engine, job.plan, rows).values()]
        assert np.array_equal(pixels(run / "one.png"), pair_sheet(drawn, "demo, best 2 of first"))


def test_a_pair_of_a_run(gazeeval: Command, run: Path) -> None:
    shown = gazeeval("show", run, "--pair", 7)
    assert shown.code == 0
    assert shown.out.splitlines() == [str(run / "images" / "pair-7.png")]
    assert "note: without manifoldmix, pair 7: it has no mixed image" in shown.err
    results = ge.read_results(run)
    rows = results.pairs[results.pairs["pair_id"].eq(7) & ~results.pairs["method"].str.startswith("ref:")]
    job = prepare(RunConfig.of(results.manifest["config"]))
    drawn = redraw(results, job.engine, job.plan, rows)
    assert [method for method, _ in drawn] == ["cutmix", "cutmix:alpha=0.2", "mixup"]
    expected = contact_sheet([*drawn.values()], "demo, pair 7 of first")
    assert np.array_equal(pixels(run / "images" / "pair-7.png"), expected)


def test_data_that_moved_are_asked_for(gazeeval: Command, little: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ge.evaluate("cutmix", data=str(little), out=folder, input_size=32, workers=0)
    elsewhere = little.parent.rename(tmp_path / "elsewhere")
    missing = gazeeval("show", folder, "--median", 2)
    assert missing.code == 2
    assert "cannot be made again: " in missing.err
    assert "say where with --root, --data or --model" in missing.err
    assert gazeeval("show", folder, "--median", 2, "--data", elsewhere / "little.yaml").code == 0
    assert (folder / "images" / "median-2.png").is_file()


def test_other_mixes_than_those_of_the_run_are_not_drawn(gazeeval: Command, run: Path) -> None:
    rows = pd.read_csv(run / "inconsistency.csv", dtype=str, keep_default_na=False)
    rows["lam"] = (1 - rows["lam"].astype(float)).map("{:.9g}".format)
    rows.to_csv(run / "inconsistency.csv", index=False, lineterminator="\n")
    done = gazeeval("show", run, "--worst", 2)
    assert done.code == 2
    assert re.search(r"got inconsistency and lam 0\.\d+ and 0\.\d+, the run had ", done.errors[0])
    assert not (run / "images").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--pair", "12"), "--pair: got '12' with a run folder. Give the number of one of its 12 pairs, from 0."),
        (("--pair", "a,b"), "--pair: got 'a,b' with a run folder"),
        (("--pair", "1", "-m", "manifoldmix"), "got 1, of which there is no mixed image"),
        (("--worst", "2", "-m", "mixup"), "got 2, of which there is no mixed image"),
        (("--worst", "2", "-m", "cutmx"), "--method: got 'cutmx' (did you mean 'cutmix'?)"),
        (("--worst", "2", "-m", "ref:area"), "--method: got 'ref:area'"),
        (("--worst", "0"), "0 is not in the range"),
        (("--worst", "2", "--sigma", "9px"), "--sigma: got 9px with a run folder, which has its own"),
        (("--worst", "2", "--image", "x"), "show: got --worst and --image of "),
        (("--image", "x"), "Give one of --worst, --best, --median, --pair."),
        (("--worst", "2", "-o", "nowhere/sheet.png"), "--out: nowhere/sheet.png"),
        ((), "show: got nothing to draw of "),
    ],
)
def test_wrong_usage_with_a_run(gazeeval: Command, finished: Path, options: tuple[str, ...], says: str) -> None:
    wrong = gazeeval("show", finished, *options)
    assert wrong.code == 2
    assert says in wrong.err
    assert not (finished / "images").exists()


def test_a_folder_that_is_no_run_is_named(gazeeval: Command, tmp_path: Path) -> None:
    assert "not a run folder" in gazeeval("show", tmp_path, "--worst", 2).err
