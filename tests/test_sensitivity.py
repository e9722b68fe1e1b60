"""Scores under other gaze recipes are those of runs with these recipes, and rankings are compared as they should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from oracles import DEVICES
from PIL import Image

import gazeeval as ge
from gazeeval.data.density import gaze_density
from gazeeval.data.gaze import RenderedGaze
from gazeeval.data.geometry import Geometry
from gazeeval.errors import DataError, UsageError
from gazeeval.masks import load_masks, mask_file, save_masks
from gazeeval.report.files import Results, read_results
from gazeeval.robustness import sensitivity as module
from gazeeval.robustness.inputs import inputs_of_run, parse_geometry
from gazeeval.robustness.kept import KeptPairs, kept_pairs
from gazeeval.robustness.ranking import Ranking
from gazeeval.robustness.recipes import Gazes, Recipe, base_recipe, recipes_of, usual_choices
from gazeeval.robustness.rescoring import rescore
from gazeeval.robustness.sensitivity import Sensitivity, sensitivity
from gazeeval.robustness.tables import FILES, printed_sensitivity, read_table, statement, write_tables
from gazeeval.types import Placement

SIDE, IMAGES = 32, 24
METHODS = ["cutmix", "fmix", "smoothmix", "resizemix"]
REFERENCES = ["ref:constant", "ref:area", "ref:centre"]
OPTIONS: dict[str, Any] = {"input_size": SIDE, "geometry": "stretch", "group_size": 16, "num_pairs": 20}
Floats = NDArray[np.float64]


def points() -> pd.DataFrame:
    """Two to five fixations of each of three viewers per image; image 3 has none."""
    rng = np.random.default_rng(2)
    rows = [
        (image, f"v{viewer}", *rng.uniform(0, 40, 2), rng.uniform(50, 500))
        for image in range(IMAGES)
        for viewer in range(3)
        for _ in range(rng.integers(2, 6))
        if image != 3
    ]
    return pd.DataFrame(rows, columns=["image", "viewer", "x", "y", "duration_ms"])


def dataset(fixations: pd.DataFrame) -> ge.Dataset:
    pictures = list(np.random.default_rng(0).integers(0, 256, (IMAGES, 40, 40, 3), dtype=np.uint8))
    columns = {str(name): column for name, column in fixations.items()}
    return ge.Dataset.from_arrays(pictures, np.arange(IMAGES) % 4, columns, list("abcd"), "small")


@pytest.fixture(scope="module")
def small() -> ge.Dataset:
    return dataset(points())


def evaluated(folder: Path, data: ge.Dataset, **options: Any) -> Results:
    return ge.evaluate(METHODS, data=data, out=folder, **{"sigma": "4px", **OPTIONS, **options})


@pytest.fixture(scope="module")
def run(small: ge.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return evaluated(tmp_path_factory.mktemp("runs") / "run", small)


@pytest.fixture
def copied(run: Results, tmp_path: Path) -> Path:
    """The run, to be damaged."""
    return Path(shutil.copytree(run.folder, tmp_path / "run"))


def means(run: Results) -> pd.Series[float]:
    """Mean inconsistency of the methods and references that are scored again."""
    rows = run.summary.query("metric == 'inconsistency' and subset == 'all'").set_index("method")
    return rows["estimate"].astype(float)[[*METHODS, *REFERENCES]]


def under(found: Sensitivity, recipe: str) -> pd.DataFrame:
    return found.scores[found.scores["recipe"] == recipe].set_index("method")


# The run's own recipe


def again(run: Results, data: ge.Dataset | None = None, device: str = "cpu") -> dict[str, tuple[KeptPairs, Floats]]:
    """Method -> its pairs and their inconsistency, scored again under the recipe of the run."""
    inputs = inputs_of_run(run.folder, data=data, device=device)
    kept, _ = kept_pairs(run, inputs.dataset)
    found = {name: np.full(len(pairs.lam), np.nan) for name, pairs in kept.items()}
    for group in rescore(kept, [Gazes(inputs)(base_recipe(inputs))]):
        for name, (at, scores) in group.items():
            found[name][at] = scores[0]
    return {name: (kept[name], scores) for name, scores in found.items()}


@pytest.mark.parametrize("device", DEVICES)
def test_the_recipe_of_the_run_gives_the_scores_of_the_run(run: Results, small: ge.Dataset, device: str) -> None:
    found = again(run, small, device)
    assert list(found) == [*METHODS, *REFERENCES]
    for name, (pairs, scores) in found.items():
        soft = name == "smoothmix"
        np.testing.assert_allclose(scores, pairs.inconsistency, atol=2e-5 if soft else 1e-6)
        assert np.isnan(scores).sum() == pairs.table["status"].eq("no_gaze").sum() > 0


def test_so_it_does_for_moved_blocks_for_many_images_and_for_pairs_of_ones_own(tmp_path: Path) -> None:
    methods = ["puzzlemix", "comixup", "guidedmixup-sr:pairing=greedy"]
    run = ge.evaluate(methods, num_pairs=8, references=False, out=tmp_path / "run")
    for pairs, scores in again(run).values():
        np.testing.assert_allclose(scores, pairs.inconsistency, atol=2e-5)


# Other recipes


@pytest.mark.parametrize(
    ("name", "value"), [("sigma", "2px"), ("sigma", "9%"), ("weight", "count"), ("border", "per-fixation")]
)
def test_another_recipe_gives_the_scores_of_a_run_with_it(
    run: Results, small: ge.Dataset, tmp_path: Path, name: str, value: str
) -> None:
    other = evaluated(tmp_path / "other", small, **{name: value})
    tried: dict[str, Any] = {name: value}
    found = under(sensitivity(run, data=small, **tried), f"{name}={value}")
    np.testing.assert_allclose(found["estimate"].astype(float), means(other), atol=2e-5)
    assert not np.allclose(means(run), means(other), atol=1e-3)


def test_the_first_viewers_are_those_of_a_data_set_without_the_others(
    run: Results, small: ge.Dataset, tmp_path: Path
) -> None:
    other = evaluated(tmp_path / "other", dataset(points().query("viewer != 'v2'")))
    found = under(sensitivity(run, data=small, viewers=[2]), "viewers=2")
    np.testing.assert_allclose(found["estimate"].astype(float), means(other), atol=2e-5)


def scaled_share(rows: pd.DataFrame, maps: Floats) -> Floats:
    found = []
    for row in rows.to_dict("records"):
        box = slice(row["box_y0"], row["box_y1"]), slice(row["box_x0"], row["box_x1"])
        source, target = maps[int(row["source_id"])], maps[int(row["target_id"])]
        S, T = source[box].sum(), target.sum() - target[box].sum()
        found.append(S / (S + T))
    return np.array(found)


@pytest.mark.parametrize("normalise", ["raw", "peak"])
def test_maps_are_divided_by_nothing_or_their_peak(run: Results, small: ge.Dataset, normalise: str) -> None:
    maps = np.zeros((IMAGES, SIDE, SIDE))
    for image, own in points().groupby("image"):
        x, y, ms = (torch.tensor(own[name].tolist()).unsqueeze(0) for name in ("x", "y", "duration_ms"))
        (one,) = gaze_density(x * SIDE / 40, y * SIDE / 40, ms, 4.0, SIDE, SIDE, normalise=False)
        maps[int(str(image))] = one / (one.max() if normalise == "peak" else 1)
    rows = run.pairs.query("method == 'cutmix' and status == 'ok'")
    expected = np.abs(rows["lam"].astype(float) - scaled_share(rows, maps)).mean()
    found = under(sensitivity(run, data=small, normalise=normalise), f"normalise={normalise}")
    assert found["estimate"]["cutmix"] == pytest.approx(expected, abs=1e-6)
    assert found["estimate"]["ref:area"] == found["estimate"]["cutmix"]


CUB_RUNS = {  # image 2 of run 1 starts with the end of image 1, and so does image 4, which nobody else looked at
    "1": "1,40,40,10,11,200,33,29,300\n2,40,40,33,29,300,5,6,150\n3,40,40,12,30,250,4,4,90\n4,40,40,4,4,90\n",
    "2": "1,40,40,20,21,120\n2,40,40,30,6,110\n3,40,40,8,9,240\n5,40,40,8,30,140\n6,40,40,3,8,150\n",
}


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Six noisy images of two classes as CUB-GHA lays them out."""
    folder = tmp_path / "CUB_200_2011"
    names = [f"00{1 + row % 2}.Bird/{row}.png" for row in range(6)]
    for row, name in enumerate(names):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(row).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    (folder / "images.txt").write_text("".join(f"{row} {name}\n" for row, name in enumerate(names, 1)))
    (folder / "classes.txt").write_text("1 001.Bird\n2 002.Bird\n")
    (folder / "image_class_labels.txt").write_text("".join(f"{row} {1 + (row - 1) % 2}\n" for row in range(1, 7)))
    (tmp_path / "cub_gha").mkdir()
    for viewer, lines in CUB_RUNS.items():
        (tmp_path / "cub_gha" / f"Fixation_run{viewer}.txt").write_text(lines)
    return tmp_path


def test_gaze_is_read_again_where_the_recipe_is_about_reading(birds: Path, tmp_path: Path) -> None:
    options = {"data": "cub-gha", "root": birds, "sigma": "4px", "input_size": SIDE, "geometry": "stretch"}
    run, _ = (
        ge.evaluate("cutmix", pairing="cycle", carry_over=value, out=tmp_path / value, references=False, **options)
        for value in ("keep", "halve")
    )
    found = sensitivity(run, carry_over="halve,drop-first")
    halved = read_results(tmp_path / "halve").pairs["inconsistency"].astype(float).mean()
    assert under(found, "carry-over=halve")["estimate"]["cutmix"] == pytest.approx(halved, abs=1e-6)
    n = found.scores.set_index("recipe")["n"]
    assert n["base"] == 6
    assert n["carry-over=drop-first"] == 4, "image 4 was looked at by nobody then"
    assert found.scores["carry_over"].tolist() == ["keep", "halve", "drop-first"]


SCREEN = """
name: screen
images: {layout: csv, index: images.csv, image: image, label: label}
gaze:
  format: csv
  files: gaze.csv
  columns: {image: image, x: x, y: y}
  kind: fixations
  image_key: path
  time_unit: ms
  origin: upper-left
  pixel_origin: corner
  frame: {width: 120, height: 80, placement: stretch}
"""


def test_placements_in_the_frame_are_recipes_too(tmp_path: Path) -> None:
    rng, names = np.random.default_rng(0), [f"{row}.png" for row in range(8)]
    for name in names:
        Image.new("RGB", (40, 40)).save(tmp_path / name)
    (tmp_path / "images.csv").write_text("image,label\n" + "".join(f"{n},{'ab'[i % 2]}\n" for i, n in enumerate(names)))
    at = rng.uniform((22, 2), (98, 78), (len(names), 3, 2))  # inside under both placements
    rows = [f"{name},{x:.1f},{y:.1f}\n" for name, own in zip(names, at, strict=True) for x, y in own]
    (tmp_path / "gaze.csv").write_text("image,x,y\n" + "".join(rows))
    (tmp_path / "screen.yaml").write_text(SCREEN)
    options = {"data": tmp_path / "screen.yaml", "input_size": SIDE, "sigma": "4px", "references": False}
    run, other = (
        ge.evaluate("cutmix", placement=placement, out=tmp_path / placement, **options)
        for placement in ("stretch", "contain")
    )
    found = sensitivity(run, placement="contain")
    expected = other.pairs["inconsistency"].astype(float).mean()
    assert under(found, "placement=contain")["estimate"]["cutmix"] == pytest.approx(expected, abs=1e-6)


def test_recipes_do_not_depend_on_those_beside_them(
    run: Results, small: ge.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: dict[str, Any] = {"sigma": "2px,9px", "normalise": "raw"}
    whole = sensitivity(run, data=small, **tried)
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    alone = sensitivity(run, data=small, **tried)
    pd.testing.assert_frame_equal(alone.scores, whole.scores, rtol=1e-6)


# Which recipes

BASE = Recipe("9px", "duration", "renormalise", carry_over="keep")


def labels(tried: Mapping[str, Sequence[str]], *, grid: bool = False) -> list[str]:
    return [recipe.label(BASE) for recipe in recipes_of(BASE, tried, grid=grid)]


def test_one_change_at_a_time_or_all_combinations() -> None:
    tried = {"weight": ["duration", "count"], "sigma": ["9px", "18 px", "5px"]}
    assert labels(tried) == ["base", "sigma=18px", "sigma=5px", "weight=count"]
    several = ["sigma=18px", "sigma=5px", "weight=count", "sigma=18px,weight=count", "sigma=5px,weight=count"]
    assert labels(tried, grid=True)[0] == "base"
    assert set(labels(tried, grid=True)) == {"base", *several}
    assert labels({"carry_over": ["drop-first"]}) == ["base", "carry-over=drop-first"]


def test_unless_told_otherwise_everything_that_the_data_have_is_tried(small: ge.Dataset) -> None:
    usual = usual_choices(small)
    assert usual["viewers"] == ["all", "1", "2"]
    assert not usual["carry_over"]
    assert "placement" not in usual
    rendered = replace(small, gaze=RenderedGaze(files=((),) * IMAGES, sizes=small.sizes))
    assert usual_choices(rendered) == {"normalise": ("mass", "peak")}


@pytest.mark.parametrize(
    ("tried", "message"),
    [
        ({"sigma": "4px"}, "recipes: got none but that of the run"),
        ({"sigma": "wide"}, "--sigma: got 'wide'"),
        ({"sigma": "1deg"}, "--sigma: got 1deg, but the dataset does not say"),
        ({"weight": "durations"}, r"--weight: got 'durations' \(did you mean 'duration'\?\)"),
        ({"normalise": "max"}, "--normalise: got 'max'. Use one of mass, raw, peak"),
        ({"viewers": "4"}, "--viewers: got '4', but the gaze of small is of 3 viewers"),
        ({"viewers": "0"}, "--viewers: got '0'"),
        ({"carry_over": "halve"}, "--carry-over: got 'halve', but the gaze of small has no such setting"),
        ({"sigmas": "4px"}, r"unknown option, got 'sigmas' \(did you mean 'sigma'\?\)"),
    ],
)
def test_choices_that_cannot_be_tried_are_named(
    run: Results, small: ge.Dataset, tried: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sensitivity(run, data=small, **tried)


@pytest.mark.parametrize("tried", [{"sigma": "2px"}, {"viewers": "1"}, {"normalise": "raw"}])
def test_gaze_given_as_maps_is_drawn_already(run: Results, small: ge.Dataset, tried: dict[str, Any]) -> None:
    rendered = replace(small, gaze=RenderedGaze(files=((),) * IMAGES, sizes=small.sizes))
    with pytest.raises(UsageError, match="is given as maps, drawn already"):
        sensitivity(run, data=rendered, **tried)


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry.from_config((224, 224), 0.875, "bicubic"),
        Geometry.from_config((224, 224), 1.0, "bilinear", "squash"),
        Geometry.from_config((192, 256), 0.9, "bicubic"),
        Geometry.stretch(32, 48, "bicubic"),
    ],
)
def test_the_geometry_of_a_run_is_read_back_from_its_manifest(geometry: Geometry) -> None:
    assert parse_geometry(geometry.describe()) == geometry


# What a run did not keep


def test_methods_without_masks_are_left_out_by_name(small: ge.Dataset, tmp_path: Path) -> None:
    run = ge.evaluate(["cutmix", "fmix", "mixup"], data=small, sigma="4px", out=tmp_path / "a", masks=False, **OPTIONS)
    found = sensitivity(run, data=small, sigma="2px")
    assert set(found.scores["method"]) == {"cutmix", *REFERENCES}
    assert found.notes == (
        "fmix is left out: the run did not keep its masks",
        "mixup is left out: its score is 0 by construction",
        "ref:viewer is left out: it compares viewers, see gazeeval ceiling",
    )
    alone = ge.evaluate("fmix", data=small, references=False, out=tmp_path / "b", masks=False, **OPTIONS)
    with pytest.raises(UsageError, match=r"got none to score again \(fmix is left out: the run did not keep its masks"):
        sensitivity(alone, data=small, sigma="2px")


def test_methods_that_mix_by_gaze_are_named(small: ge.Dataset, tmp_path: Path) -> None:
    run = ge.evaluate("centermix", data=small, references=False, out=tmp_path / "run", **OPTIONS)
    assert sensitivity(run, data=small, sigma="2px").notes == (
        "centermix keeps the boxes that it made of the run's own gaze",
    )


def test_a_network_is_not_asked_for(run: Results, copied: Path, small: ge.Dataset) -> None:
    """A run whose checkpoint is gone can be scored again."""
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["config"]["model"] = "gone.pt"
    (copied / "manifest.json").write_text(json.dumps(manifest))
    found = sensitivity(copied, data=small, sigma="2px")
    pd.testing.assert_frame_equal(found.scores, sensitivity(run, data=small, sigma="2px").scores)


def test_masks_of_another_run_are_noticed(copied: Path, small: ge.Dataset) -> None:
    path = mask_file(copied, METHODS.index("fmix"), 0)
    kept = load_masks(path)
    assert isinstance(kept.placement, Placement)
    save_masks(path, replace(kept, placement=Placement.from_mask(1 - kept.placement.mask)))
    with pytest.raises(DataError, match=r"method fmix, pair \d+: inconsistency, got \S+, the run has"):
        sensitivity(copied, data=small, sigma="2px")


def test_a_run_folder_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run folder"):
        sensitivity(tmp_path, sigma="2px")


# The ranking


def ranking(usual: dict[str, list[float]], results: Results, unpaired: frozenset[str] = frozenset()) -> Ranking:
    count = len(next(iter(usual.values())))
    table = pd.DataFrame({"pair_id": np.arange(count), "group_id": 0})
    pairs = KeptPairs(results, table, np.arange(count), np.arange(count, 2 * count), None)
    return Ranking(dict.fromkeys(usual, pairs), unpaired, arrays(usual), 0.95, "dyadic")


def arrays(scores: dict[str, list[float]]) -> dict[str, Floats]:
    return {name: np.array(values) for name, values in scores.items()}


USUAL = {"a": [0.1, 0.1, 0.2, 0.2], "b": [0.3, 0.3, 0.4, 0.5], "c": [0.5, 0.5, 0.7, 0.7], "ref:area": [0.0] * 4}


def test_ranks_and_their_correlation(run: Results) -> None:
    ranked = ranking(USUAL, run)
    table = ranked.scores(arrays(USUAL))
    assert table["rank"].fillna(0).tolist() == [1, 2, 3, 0]
    assert table["tau"].unique() == [1]
    assert table["estimate"].tolist() == pytest.approx([0.15, 0.375, 0.6, 0])
    turned = {"a": USUAL["b"], "b": USUAL["a"], "c": USUAL["c"], "ref:area": USUAL["ref:area"]}
    assert ranked.scores(arrays(turned))["tau"].unique() == pytest.approx(1 / 3), "one of three pairs is turned"
    assert ranked.scores(arrays({**USUAL, "b": [np.nan] * 4}))["rank"].isna().tolist() == [False, True, False, True]


def test_who_changes_places_with_whom(run: Results) -> None:
    ranked = ranking(USUAL, run)
    assert ranked.swaps(arrays(USUAL)).empty
    (row,) = ranked.swaps(arrays({**USUAL, "a": [0.4, 0.41, 0.5, 0.61]})).to_dict("records")
    assert (row["method_a"], row["method_b"], row["clear"]) == ("a", "b", True)
    assert (row["usual_diff"], row["diff"]) == pytest.approx((-0.225, 0.105))
    assert row["ci_low"] < row["diff"] < row["ci_high"]
    (row,) = ranked.swaps(arrays({**USUAL, "a": [0.1, 0.1, 0.1, 1.3]})).to_dict("records")
    assert not row["clear"], "one pair makes the difference"


def test_methods_with_pairs_of_their_own_are_not_compared_pair_by_pair(run: Results) -> None:
    ranked = ranking(USUAL, run, frozenset({"b"}))
    (row,) = ranked.swaps(arrays({**USUAL, "a": [0.4, 0.41, 0.5, 0.61]})).to_dict("records")
    assert np.isnan(row["ci_low"])
    assert not row["clear"]


# What is said


@pytest.fixture(scope="module")
def found(run: Results, small: ge.Dataset) -> Sensitivity:
    return sensitivity(run, data=small)


def test_tables_are_read_as_they_were_written(found: Sensitivity, tmp_path: Path) -> None:
    tables = {"sensitivity.csv": found.scores, "sensitivity_swaps.csv": found.swaps}
    write_tables(tables, tmp_path)
    for file, table in tables.items():
        pd.testing.assert_frame_equal(read_table(file, tmp_path), table, rtol=1e-8)
        header = (tmp_path / file).read_text().partition("\n")[0].split(",")
        assert header == [column.name for column in FILES[file]]


def test_a_folder_that_cannot_be_written_is_named(found: Sensitivity, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--out: \S+file, cannot be written"):
        write_tables({"sensitivity.csv": found.scores}, tmp_path / "file")


def test_it_is_printed_in_percent(found: Sensitivity) -> None:
    text = printed_sensitivity(found.scores, found.swaps)
    methods, recipes = text.split("\n\n")[:2]
    assert [line.split()[0].strip("-") for line in methods.splitlines()[1:]] == [*METHODS, "", *REFERENCES]
    assert [line.split()[0] for line in recipes.splitlines()[1:]] == found.scores["recipe"].unique().tolist()
    cutmix = found.scores.query("method == 'cutmix'")["estimate"]
    line = methods.splitlines()[1]
    assert all(f"{100 * value:.1f}" in line for value in (cutmix.iloc[0], cutmix.min(), cutmix.max()))


def test_the_statement_names_what_moves(found: Sensitivity) -> None:
    swapped = found.swaps.groupby(["method_a", "method_b"]).ngroups
    for clear, said in ((True, f"hangs on the recipe: {swapped} of 6 pairs"), (False, "hardly hangs on the recipe")):
        assert said in statement(found.scores, found.swaps.assign(clear=clear))
    one = found.scores.query("method == 'cutmix' or method == 'ref:area'")
    assert statement(one, found.swaps[:0]).startswith("The score of cutmix alone moves from ")
    assert "is the same under all 11 recipes" in statement(found.scores, found.swaps[:0])
