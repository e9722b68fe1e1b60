"""A whole run: its files, and numbers that are worked out again without the toolkit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image
from scipy.special import ndtr

import gazeeval as ge
from gazeeval.config import RunConfig
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.geometry import Geometry
from gazeeval.data.random import PairRng
from gazeeval.errors import ImageError, MixerError, UsageError
from gazeeval.mixers.base import MIXERS, Scope
from gazeeval.mixers.cutmix import CutMix, CutMixDraws
from gazeeval.mixers.saliencymix import SaliencyMix
from gazeeval.models.demo import demo_checkpoint
from gazeeval.report.columns import FILES, pair_columns
from gazeeval.report.files import Results

SIDE = 32
ARRAYS: dict[str, Any] = {"input_size": SIDE, "geometry": "stretch", "sigma": "4px", "group_size": 16}
SHARED = Path(__file__).parents[2] / "shared" / "data"
DEMO_PAIRS = 36  # two groups
TABLES = ("inconsistency.csv", "pairs.csv", "groups.csv", "summary.csv", "failures.csv")
Floats = NDArray[np.float64]


def fixations(rng: np.random.Generator, sizes: list[tuple[int, int]]) -> pd.DataFrame:
    """Two to five fixations of each of three viewers per image; image 3 has none, image 4 lacks a viewer."""
    rows = [
        (row, f"v{viewer}", rng.uniform(0, width), rng.uniform(0, height), rng.uniform(50, 500))
        for row, (width, height) in enumerate(sizes)
        for viewer in range(3)
        for _ in range(rng.integers(2, 6))
        if row != 3 and (row, viewer) != (4, 1)
    ]
    return pd.DataFrame(rows, columns=["image", "viewer", "x", "y", "duration_ms"])


def small_dataset(sizes: list[tuple[int, int]]) -> ge.Dataset:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in sizes]
    points = {str(name): column for name, column in fixations(rng, sizes).items()}
    return ge.Dataset.from_arrays(pictures, np.arange(len(sizes)) % 4, points, list("abcd"), "small")


SIZES = [(40 + row, 60 - row) for row in range(40)]


@pytest.fixture(scope="module")
def small() -> ge.Dataset:
    return small_dataset(SIZES)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run of the demo with its network."""
    out = tmp_path_factory.mktemp("demo") / "run"
    return ge.evaluate(["cutmix", "mixup", "saliencymix:alpha=0.5"], num_pairs=DEMO_PAIRS, seed=5, out=out)


def tables(run: Results) -> dict[str, bytes]:
    return {name: (run.folder / name).read_bytes() for name in TABLES}


def plain(run: Results, name: str = "inconsistency.csv") -> pd.DataFrame:
    """As anybody would read it."""
    return pd.read_csv(run.folder / name, dtype={"source_id": str, "target_id": str})


# What a run leaves behind


def test_a_run_leaves_the_files_of_the_agreement(demo: Results) -> None:
    names = {path.name for path in demo.folder.iterdir()}
    assert names == {"manifest.json", "config.yaml", "run.log", "timing.csv", "comparisons.csv", "masks", *TABLES}
    assert demo.manifest["status"] == "complete"


@pytest.mark.parametrize("name", [*TABLES, "timing.csv"])
def test_every_table_has_the_stated_columns_in_order(demo: Results, name: str) -> None:
    header = (demo.folder / name).read_text().partition("\n")[0].split(",")
    assert header == [column.name for column in FILES[name]]
    assert header == [column["name"] for column in demo.manifest["columns"][name]]


def test_the_columns_follow_the_options(tmp_path: Path) -> None:
    run = ge.evaluate("cutmix", num_pairs=3, top_k=(3, 1), references=False, out=tmp_path / "run")
    header = (run.folder / "inconsistency.csv").read_text().partition("\n")[0].split(",")
    assert header == [column.name for column in pair_columns((1, 3))]
    assert {"pred3", "hit3_both"} <= set(header)
    assert "pred4" not in header


def test_rows_are_ordered_by_method_and_pair(demo: Results) -> None:
    methods = ["cutmix", "mixup", "saliencymix:alpha=0.5", "ref:constant", "ref:area", "ref:centre", "ref:viewer"]
    assert demo.pairs["method"].tolist() == [method for method in methods for _ in range(DEMO_PAIRS)]
    assert demo.pairs["pair_id"].tolist() == list(range(DEMO_PAIRS)) * len(methods)


def test_the_log_and_the_manifest_say_what_was_measured_on_what(demo: Results) -> None:
    log = (demo.folder / "run.log").read_text()
    assert "data demo (95 images, 2469 fixations)" in log
    for warning in demo.manifest["warnings"]:
        assert f"warning: {warning}" in log
    assert demo.manifest["gaze"]["sigma"] == "3.5%"
    assert demo.manifest["model"]["arch"] == "resnet10t"
    assert demo.manifest["methods"]["saliencymix:alpha=0.5"]["parameters"]["alpha"] == 0.5
    assert set(demo.pairs["run_id"]) == {demo.manifest["run_id"]}


def test_mixup_is_not_applicable_but_keeps_its_gaze_columns(demo: Results) -> None:
    rows = demo.pairs[demo.pairs["method"] == "mixup"]
    assert set(rows["status"]) == {"not_applicable"}
    np.testing.assert_allclose(rows["lam"].astype(float), rows["lam_gaze"].astype(float), atol=1e-6)


# What does not change the rows


@pytest.fixture(scope="module")
def unbatched(small: ge.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("small") / "run"
    return ge.evaluate(["cutmix", "saliencymix", "mixup"], data=small, num_pairs=30, workers=0, out=out, **ARRAYS)


def test_a_method_alone_is_the_same_as_among_others(small: ge.Dataset, unbatched: Results) -> None:
    for method in ("saliencymix", "mixup"):
        alone = ge.evaluate(method, data=small, num_pairs=30, references=False, **ARRAYS).pairs
        among = unbatched.pairs[unbatched.pairs["method"] == method].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone.drop(columns="run_id"), among.drop(columns="run_id"), check_exact=True)


def test_fewer_pairs_are_the_first_ones(small: ge.Dataset, unbatched: Results) -> None:
    fewer = ge.evaluate("cutmix", data=small, num_pairs=11, references=False, **ARRAYS).pairs
    first = unbatched.pairs.query("method == 'cutmix'").head(11).reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer.drop(columns="run_id"), first.drop(columns="run_id"), check_exact=True)


def test_a_pair_file_gives_the_same_rows_again(small: ge.Dataset, unbatched: Results) -> None:
    run = ge.evaluate("saliencymix", data=small, pair_file=unbatched.folder / "pairs.csv", references=False, **ARRAYS)
    drawn = unbatched.pairs.query("method == 'saliencymix'").reset_index(drop=True)
    columns = ["pair_id", "source_id", "target_id", "box_x0", "lam", "lam_gaze", "status"]
    pd.testing.assert_frame_equal(run.pairs[columns], drawn[columns], check_exact=True)


def test_the_run_id_is_a_fingerprint_of_what_decides_the_rows(small: ge.Dataset) -> None:
    def run_id(**options: Any) -> str:
        given = {**ARRAYS, "data": small, "num_pairs": 4, "references": False, **options}
        return str(ge.evaluate(given.pop("methods", ["cutmix"]), **given).manifest["run_id"])

    same = run_id()
    assert run_id(batch_size=2, workers=0, device="cpu") == same
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"num_pairs": 5},
        {"sigma": "5px"},
        {"weight": "count"},
        {"methods": ["cutmix:alpha=0.5"]},
        {"data": small.subset(range(30))},
        {"geometry": "eval"},
        {"top_k": (1,)},
    ]
    assert len({same, *(run_id(**change) for change in changes)}) == 1 + len(changes)


def test_the_run_id_knows_the_code_of_a_users_mixer(small: ge.Dataset, tmp_path: Path) -> None:
    text = (
        "from dataclasses import dataclass\nfrom gazeeval.mixers.cutmix import CutMix\n"
        "@dataclass(frozen=True)\nclass Own(CutMix):\n    pass\n"
    )
    ids = []
    for name, added in (("a", ""), ("b", ""), ("c", "# changed\n")):
        path = tmp_path / f"{name}.py"
        path.write_text(text + added)
        run = ge.evaluate(f"{path}:Own", data=small, num_pairs=2, references=False, **ARRAYS)
        assert list(run.manifest["methods"]) == ["Own"], "not the name of the class that it extends"
        ids.append(run.manifest["run_id"])
    assert ids[0] == ids[1] != ids[2]


# Numbers worked out again


def expected_summary(rows: pd.DataFrame, metric: str) -> float:
    gaze = rows[rows["status"] == "ok"]
    error = gaze["inconsistency"]
    special: dict[str, Callable[[], float]] = {
        "inconsistency_median": error.median,
        "inconsistency_rmse": lambda: float(np.sqrt((error**2).mean())),
        "lam_correlation": lambda: float(np.corrcoef(gaze["lam"], gaze["lam_gaze"])[0, 1]),
    }
    if metric in special:
        return float(special[metric]())
    return float((gaze if metric in {"inconsistency", "delta"} else rows)[metric].astype(float).mean())


def test_the_summary_follows_from_the_rows(demo: Results) -> None:
    rows = plain(demo)
    names = demo.manifest["data"]["classes"]
    checked = 0
    for line in plain(demo, "summary.csv").to_dict("records"):
        part = rows[rows["method"] == line["method"]]
        if line["subset"].startswith("class="):
            part = part[part["source_label"] == names.index(line["subset"].removeprefix("class="))]
        elif line["subset"] != "all":
            continue
        if line["metric"] == "lam_correlation" and part.loc[part["status"] == "ok", "lam"].nunique() < 2:
            continue  # nothing correlates with a constant
        expected = expected_summary(part, line["metric"])
        np.testing.assert_allclose(line["estimate"], expected, rtol=1e-7, equal_nan=True)
        checked += 1
    assert checked > 100


def test_delta_and_accuracy_follow_from_the_other_columns(demo: Results) -> None:
    rows = plain(demo)
    scored = rows[~rows["method"].isin(["ref:viewer"])]
    np.testing.assert_allclose(scored["delta"], scored["lam"] - scored["lam_gaze"], atol=1e-8)
    np.testing.assert_allclose(scored["inconsistency"], scored["delta"].abs(), atol=1e-8)
    kept = rows["gaze_kept_source"] / (rows["gaze_kept_source"] + rows["gaze_kept_target"])
    np.testing.assert_allclose(rows["lam_gaze"], kept, atol=1e-8)
    seen = rows[rows["pred1"].notna()]
    source, target = seen["pred1"] == seen["source_label"], seen["pred1"] == seen["target_label"]
    assert (seen["hit1_any"].astype(bool) == (source | target)).all()
    both = [{a, b} == {s, t} for a, b, s, t in seen[["pred1", "pred2", "source_label", "target_label"]].to_numpy()]
    assert seen["hit2_both"].astype(bool).tolist() == both
    assert 0 < np.mean(both) < 1
    np.testing.assert_allclose(seen["acc1_weighted"], seen["lam"] * source + (1 - seen["lam"]) * target, atol=1e-8)


def box_mass(points: Floats, box: Floats, sigma: Floats) -> float:
    """Mass of a mixture of Gaussians in a box: points (k, 3) x, y, weight; box x0, y0, x1, y1; sigma of x and y."""
    x, y, weight = points.T
    along_x = ndtr((box[2] - x) / sigma[0]) - ndtr((box[0] - x) / sigma[0])
    along_y = ndtr((box[3] - y) / sigma[1]) - ndtr((box[1] - y) / sigma[1])
    return float((weight * along_x * along_y).sum())


def gaze_share(
    source: tuple[Floats, Floats], target: tuple[Floats, Floats], box: Floats, size: int
) -> tuple[float, float, float]:
    """lam_gaze, S and T of a box of the source over the target; each image is its points and sigmas."""
    whole = np.array([0, 0, size, size], dtype=float)
    inside = [box_mass(points, box, sigma) / box_mass(points, whole, sigma) for points, sigma in (source, target)]
    kept_source, kept_target = inside[0], 1 - inside[1]
    return kept_source / (kept_source + kept_target), kept_source, kept_target


def resize_and_crop(width: int, height: int, resize: int, crop: int) -> tuple[Floats, Floats]:
    """Scales and shifts (x, y) of torchvision's Resize(resize) and CenterCrop(crop)."""
    short = min(width, height)
    new = np.array([int(resize * width / short), int(resize * height / short)], dtype=float)
    return new / (width, height), -np.round((new - crop) / 2)


def compare_with_boxes(rows: pd.DataFrame, gaze: dict[str, tuple[Floats, Floats]], size: int) -> None:
    boxes = rows[["box_x0", "box_y0", "box_x1", "box_y1"]].to_numpy(dtype=float)
    pairs = zip(rows["source_id"], rows["target_id"], boxes, strict=True)
    expected = np.array([gaze_share(gaze[s], gaze[t], box, size) for s, t, box in pairs])
    columns = ["lam_gaze", "gaze_kept_source", "gaze_kept_target"]
    np.testing.assert_allclose(rows[columns].to_numpy(dtype=float), expected, rtol=0, atol=1e-4)


def test_lam_gaze_follows_from_the_boxes_and_the_fixations_of_the_demo(demo: Results) -> None:
    folder = demo_checkpoint().parent
    raw = pd.read_csv(folder / "fixations.csv")
    gaze = {}
    for image, points in raw.groupby("image"):
        with Image.open(folder / "images" / str(image)) as picture:
            width, height = picture.size
        scale, shift = resize_and_crop(width, height, 73, 64)
        xy = points[["x", "y"]].to_numpy(dtype=float) * scale + shift
        sigma = 0.035 * min(width, height) * scale
        gaze[str(image)] = np.column_stack([xy, points["duration_ms"]]), sigma
    rows = plain(demo)
    assert demo.manifest["geometry"].startswith("Resize 73, CenterCrop 64")
    compare_with_boxes(rows[rows["method"].isin(["cutmix", "saliencymix:alpha=0.5"])], gaze, 64)


def cub_gha_lines(folder: Path) -> dict[int, list[float]]:
    """Image number -> x, y, ms, x, y, ms ... of all runs."""
    found: dict[int, list[float]] = {}
    for path in sorted(folder.glob("Fixation_run*.txt")):
        for line in path.read_text().splitlines():
            number, _, _, *values = line.strip().rstrip(",").split(",")
            found.setdefault(int(number), []).extend(map(float, values))
    return found


@pytest.mark.skipif(not (SHARED / "cub_gha").is_dir(), reason="needs the real gaze of ../shared/data")
def test_lam_gaze_follows_from_the_boxes_and_the_raw_files_of_cub_gha(tmp_path: Path) -> None:
    options: dict[str, Any] = {"root": SHARED, "num_pairs": 64, "sigma": "9px", "references": False}
    run = ge.evaluate(["cutmix", "saliencymix"], data="cub-gha", out=tmp_path / "run", **options)
    names = (SHARED / "CUB_200_2011" / "images.txt").read_text().split()
    lines = cub_gha_lines(SHARED / "cub_gha")
    gaze = {}
    rows = plain(run)
    for number, name in zip(map(int, names[::2]), names[1::2], strict=True):
        if name in {*rows["source_id"], *rows["target_id"]}:
            with Image.open(SHARED / "CUB_200_2011" / "images" / name) as picture:
                scale, shift = resize_and_crop(*picture.size, 256, 224)
            points = np.reshape(lines[number], (-1, 3))
            gaze[name] = np.column_stack([(points[:, :2] + 0.5) * scale + shift, points[:, 2]]), np.array([9.0, 9.0])
    compare_with_boxes(rows, gaze, 224)


def drawn_density(points: pd.DataFrame, size: tuple[int, int]) -> Floats:
    """(SIDE, SIDE), mass 1: a Gaussian of 4 px per fixation, on an image stretched to the input; zero without any."""
    edges = np.arange(SIDE + 1)
    x, y = (points[axis].to_numpy() * SIDE / side for axis, side in zip("xy", size, strict=True))
    along_x, along_y = (np.diff(ndtr((edges - at[:, None]) / 4.0), axis=1) for at in (x, y))
    total = np.einsum("k,ky,kx->yx", points["duration_ms"].to_numpy(), along_y, along_x)
    return np.asarray(total / total.sum() if len(points) else total)


@dataclass(frozen=True)
class Pair:
    """Rows of the two images, and where the source shows (SIDE, SIDE)."""

    source: int
    target: int
    mask: NDArray[np.bool_]

    def share(self, source: Floats, target: Floats) -> float:
        """lam_gaze; missing where an image has no gaze."""
        if not (source.any() and target.any()):
            return float("nan")
        kept_source, kept_target = source[self.mask].sum(), target[~self.mask].sum()
        return float(kept_source / (kept_source + kept_target))


def pairs_of(rows: pd.DataFrame) -> list[Pair]:
    pairs = []
    for row in rows.to_dict("records"):
        x0, y0, x1, y1 = (int(row[f"box_{edge}"]) for edge in ("x0", "y0", "x1", "y1"))
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        mask[y0:y1, x0:x1] = True
        pairs.append(Pair(int(row["source_id"]), int(row["target_id"]), mask))
    return pairs


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """The fixations of the small data set."""
    rng = np.random.default_rng(1)
    for width, height in SIZES:
        rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return fixations(rng, SIZES)


def test_references_follow_from_cutmix_boxes_and_fixations(unbatched: Results, raw: pd.DataFrame) -> None:
    density = np.stack([drawn_density(raw[raw["image"] == row], size) for row, size in enumerate(SIZES)])
    rows = plain(unbatched)
    cutmix = rows[rows["method"] == "cutmix"]
    lam: dict[str, list[float]] = {"ref:constant": [], "ref:area": [], "ref:centre": []}
    truth = []
    for pair in pairs_of(cutmix):
        others = np.delete(density, [pair.source, pair.target], axis=0).mean(axis=0)
        truth.append(pair.share(density[pair.source], density[pair.target]))
        lam["ref:constant"].append(0.5)
        lam["ref:area"].append(pair.mask.mean())
        lam["ref:centre"].append(pair.share(others, others))
    assert np.isnan(truth).sum() == cutmix["status"].eq("no_gaze").sum() > 0
    np.testing.assert_allclose(cutmix["lam_gaze"], truth, atol=1e-6)
    for name, expected in lam.items():
        found = rows[rows["method"] == name]
        np.testing.assert_allclose(found["lam"], expected, atol=1e-6)
        np.testing.assert_allclose(found["delta"], np.subtract(expected, truth), atol=1e-6)


def test_the_viewer_reference_is_each_viewer_against_the_others(unbatched: Results, raw: pd.DataFrame) -> None:
    rows = plain(unbatched)
    found = rows[rows["method"] == "ref:viewer"]
    expected = []
    for pair in pairs_of(found):
        alone: list[float] = []
        rest: list[float] = []
        for viewer in ("v0", "v1", "v2"):
            own = raw["viewer"] == viewer
            for shares, chosen in ((alone, own), (rest, ~own)):
                maps = (
                    drawn_density(raw[chosen & (raw["image"] == row)], SIZES[row]) for row in (pair.source, pair.target)
                )
                shares.append(pair.share(*maps))
        delta = np.subtract(alone, rest)
        known = ~np.isnan(delta)
        numbers = (np.array(alone)[known], delta[known], np.abs(delta[known]))
        expected.append([values.mean() if known.any() else np.nan for values in numbers])
    np.testing.assert_allclose(found[["lam", "delta", "inconsistency"]], expected, atol=1e-6)


# Objects, plugins, groups


def test_evaluate_takes_objects(demo: Results) -> None:
    model = ge.load_model(demo_checkpoint(), device="cpu")
    data = ge.load_dataset("demo")
    run = ge.evaluate([CutMix(), SaliencyMix(alpha=0.5)], model=model, data=data, num_pairs=DEMO_PAIRS, seed=5)
    named = demo.pairs[demo.pairs["method"].isin(["cutmix", "saliencymix:alpha=0.5"])].reset_index(drop=True)
    given = run.pairs[~run.pairs["method"].str.startswith("ref:")].reset_index(drop=True)
    pd.testing.assert_frame_equal(given.drop(columns="run_id"), named.drop(columns="run_id"))
    assert run.manifest["config"]["model"] == str(demo_checkpoint())
    assert run.manifest["config"]["data"] == "demo"
    assert run.manifest["config"]["method"] == ["cutmix", "saliencymix:alpha=0.5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_pair": 5}, r"num_pair: unknown option \(did you mean 'num_pairs'\?\)"),
        ({"num_pairs": 0}, "num_pairs: got '0'. Give a number of at least 1."),
        ({"methods": []}, "method: got none. Name one or more"),
        ({"methods": [CutMix]}, r"method: got <class .*CutMix'>. Give a name such as 'cutmix', or a mixer"),
        ({"methods": ["cutmix", CutMix()]}, "Name one or more, each once"),
    ],
)
def test_evaluate_refuses_what_makes_no_sense(options: dict[str, Any], message: str) -> None:
    given = {"methods": ["cutmix"], **options}
    with pytest.raises(UsageError, match=message):
        ge.evaluate(given.pop("methods"), **given)


def test_the_config_file_holds_every_option_but_the_folder(demo: Results) -> None:
    stored = yaml.safe_load((demo.folder / "config.yaml").read_text())
    assert set(stored) == set(RunConfig.model_fields) - {"out", "shard"}
    assert {name: stored[name] for name in ("sigma", "split", "seed")} == {"sigma": "3.5%", "split": "all", "seed": 5}
    again = ge.evaluate(stored.pop("method"), **stored)
    assert again.manifest["run_id"] == demo.manifest["run_id"]


@pytest.mark.parametrize("method", ["cutmix", "saliencymix", "mixup"])
def test_mix_is_what_a_run_does(method: str) -> None:
    dataset, model = ge.load_dataset("demo"), ge.load_model(demo_checkpoint(), device="cpu")
    rows = ge.evaluate(method, num_pairs=8, seed=2, references=False).pairs
    index = [dataset.image_ids.index(name) for name in [*rows["source_id"], *rows["target_id"]]]
    pixels = np.stack([model.geometry.apply(dataset.read_image(row)) for row in index])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.from_numpy(dataset.labels[index])
    recipe = GazeRecipe(Sigma.parse("3.5%"))
    gaze = dataset.gaze.density(np.array(index), model.geometry, recipe, torch.device("cpu"))
    mix = ge.mix(
        method, images[:8], images[8:], labels[:8], labels[8:], seed=2, source_gaze=gaze[:8], target_gaze=gaze[8:]
    )
    assert mix.lam_gaze is not None
    found = torch.stack((mix.lam, mix.lam_gaze, mix.mask.double().mean(dim=(1, 2))))
    expected = rows[["lam", "lam_gaze", "mask_share"]].to_numpy(dtype=float).T
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    if mix.target_box is not None:
        boxes = rows[["box_x0", "box_y0", "box_x1", "box_y1"]].to_numpy(dtype=int)
        np.testing.assert_array_equal(mix.target_box.numpy(), boxes)
    chance = model.logits(mix.image).softmax(dim=1).gather(1, labels[:8, None])[:, 0]
    np.testing.assert_allclose(chance.numpy(), rows["p_source"].to_numpy(dtype=float), atol=1e-5)


@dataclass(frozen=True)
class OneBox(CutMix):
    """One box for all pairs of a group."""

    @property
    def scope(self) -> Scope:
        return "group"

    def place(self, pairs: ge.PairBatch, signals: Any, draws: CutMixDraws) -> ge.Placement:
        placement = super().place(pairs, signals, draws)
        return placement[torch.zeros(len(pairs), dtype=torch.int64)]


def test_a_method_that_works_on_groups_draws_once_per_group(small: ge.Dataset) -> None:
    rows = ge.evaluate([OneBox(), "cutmix"], data=small, num_pairs=30, references=False, **ARRAYS).pairs
    boxes = rows.groupby(["method", "group_id"])[["box_x0", "box_y0", "box_x1", "box_y1"]].nunique().max(axis=1)
    assert (boxes["OneBox"] == 1).all()
    assert (boxes["cutmix"] > 1).all()
    assert rows.query("method == 'OneBox'")["lam"].nunique() == rows["group_id"].nunique() > 1


def test_one_box_for_all_as_released_needs_another_opencv(small: ge.Dataset, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    if hasattr(cv2, "saliency"):
        run = ge.evaluate("saliencymix:official_float=true", data=small, num_pairs=16, references=False, **ARRAYS)
        assert run.pairs.groupby("group_id")["box_x0"].nunique().max() == 1
        return
    with pytest.raises(UsageError, match=r"cv2\.saliency is missing.*pip install opencv-contrib-python"):
        ge.evaluate("saliencymix:official_float=true", data=small, out=tmp_path / "run", **ARRAYS)
    assert not (tmp_path / "run").exists()


def test_an_installed_package_brings_a_mixer(
    small: ge.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "their_mixers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-mixers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gazeeval.mixers]\ntheirs = their_mixers\nlost = their_lost_mixers\n")
    (tmp_path / "their_mixers.py").write_text(
        "from dataclasses import dataclass\nimport gazeeval as ge\nfrom gazeeval.mixers.cutmix import CutMix\n"
        "@ge.register_mixer('theirmix')\n@dataclass(frozen=True)\nclass TheirMix(CutMix):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, fresh in (("_items", dict(MIXERS._items)), ("_broken", {}), ("_discovered", False)):
        monkeypatch.setattr(MIXERS, name, fresh)
    rows = ge.evaluate(["cutmix", "theirmix:alpha=1.0"], data=small, num_pairs=4, references=False, **ARRAYS).pairs
    ours, theirs = (rows[rows["method"] == name].reset_index(drop=True) for name in ("cutmix", "theirmix"))
    pd.testing.assert_frame_equal(theirs.drop(columns="method"), ours.drop(columns="method"))
    assert list(MIXERS.broken) == ["lost"]


# What fails


def test_an_image_that_cannot_be_read_fails_its_pairs_alone(small: ge.Dataset, unbatched: Results) -> None:
    def read(row: int) -> Image.Image:
        if row == 7:
            raise ImageError("image: 000007, cannot be decoded")
        return small.read_image(row)

    broken = dataclasses.replace(small, read_image=read)
    run = ge.evaluate(["cutmix", "saliencymix", "mixup"], data=broken, num_pairs=30, **ARRAYS)
    with_it = run.pairs["source_id"].eq("000007") | run.pairs["target_id"].eq("000007")
    assert with_it.any()
    assert set(run.pairs.loc[with_it, "status"]) == {"failed"}
    assert run.pairs.loc[with_it, ["lam", "lam_gaze", "inconsistency"]].isna().all(axis=None)
    fine = unbatched.pairs[~with_it]
    pd.testing.assert_frame_equal(run.pairs[~with_it], fine, check_exact=True)
    assert set(run.failures["pair_id"]) == set(run.pairs.loc[with_it, "pair_id"])
    assert set(run.failures["message"]) == {"image: 000007, cannot be decoded"}
    everything = run.summary[run.summary["subset"].eq("all")]
    assert (everything["n_failed"] == run.pairs.loc[with_it, "pair_id"].nunique()).all()


@dataclass(frozen=True)
class FailsInTheSecondGroup(CutMix):
    """Groups of 16 images hold 8 pairs: of 10, two are in the second group."""

    interrupt: bool = False

    def draw(self, rng: PairRng, size: tuple[int, int]) -> CutMixDraws:
        draws = super().draw(rng, size)
        if len(draws.lam) == 2:
            raise KeyboardInterrupt if self.interrupt else ValueError("the second group")
        return draws


@pytest.mark.parametrize(
    ("interrupt", "kind", "status"), [(True, KeyboardInterrupt, "interrupted"), (False, MixerError, "failed")]
)
def test_a_run_that_breaks_off_does_not_look_whole(
    small: ge.Dataset, tmp_path: Path, interrupt: bool, kind: type[BaseException], status: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises(kind) as stopped:
        ge.evaluate(FailsInTheSecondGroup(interrupt=interrupt), data=small, num_pairs=10, out=out, **ARRAYS)
    assert stopped.value.__notes__ == [f"{out} is not complete. Go on with: gazeeval run --resume {out}"]
    assert json.loads((out / "manifest.json").read_text())["status"] == status
    assert not {"inconsistency.csv", "summary.csv", "groups.csv"} & {path.name for path in out.iterdir()}
    with pytest.raises(ge.GazeEvalError, match="incomplete run"):
        ge.read_results(out)


def test_no_pair_can_be_made(small: ge.Dataset) -> None:
    with pytest.raises(UsageError, match="images with different labels"):
        ge.evaluate("cutmix", data=small.subset([0, 4, 8]), **ARRAYS)


def test_geometry_without_a_network_is_the_one_asked_for(small: ge.Dataset) -> None:
    run = ge.evaluate("cutmix", data=small, num_pairs=2, references=False, **ARRAYS)
    assert run.manifest["geometry"] == Geometry.stretch(SIDE, SIDE, "bicubic").describe()
