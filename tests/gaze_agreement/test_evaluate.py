"""The rows of ``agreement.csv``: worked out again without the toolkit, and in the cases where something is missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

import gazeeval as ge
from gazeeval.data.dataset import RenderedGaze
from gazeeval.data.density import GazeRecipe, Sigma
from gazeeval.data.geometry import Geometry
from gazeeval.errors import DataError, ImageError
from gazeeval.gaze_agreement import evaluate
from gazeeval.gaze_agreement.evaluate import CENTRE, MAPS, VIEWER, Agreement, usable
from gazeeval.models.model import load_model
from gazeeval.models.passes import Passes
from gazeeval.signals.base import ClassMap, Saliency, Signal
from gazeeval.signals.fine_grained import fine_grained
from gazeeval.signals.networks import Networks

SIDE = 32
SHARED = Path(__file__).parents[3] / "shared" / "data"
RECIPE = GazeRecipe(Sigma.parse("3px"), "count")
SCORES = ["nss", "auc", "sauc", "cc", "sim", "kl", "ig"]
STATIC: dict[str, Signal] = {
    "fine_grained": Saliency("fine_grained"),
    "spectral_residual": Saliency("spectral_residual"),
}


def points(n: int = 20) -> pd.DataFrame:
    """Four fixations of each of three viewers per image; image 3 has none, image 4 one viewer, image 5 none inside."""
    rng = np.random.default_rng(1)
    rows = [
        (row, f"v{viewer}", *(rng.uniform(0, SIDE, 2) if row != 5 else (-2.0, 3.0)))
        for row in range(n)
        for viewer in range(3)
        for _ in range(4)
        if row != 3 and (row, viewer) not in {(4, 1), (4, 2)}
    ]
    return pd.DataFrame(rows, columns=["image", "viewer", "x", "y"])


def dataset(gaze: pd.DataFrame | None = None, n: int = 20) -> ge.Dataset:
    """Noise of the size of the input; image 7 is grey."""
    pictures = np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)
    pictures[7:8] = 99
    columns = {str(name): column for name, column in (points(n) if gaze is None else gaze).items()}
    return ge.Dataset.from_arrays(list(pictures), np.arange(n) % 4, columns, list("abcd"))


def agreement(data: ge.Dataset | None = None, maps: dict[str, Signal] | None = None, **options: Any) -> Agreement:
    geometry = options.pop("geometry", Geometry.stretch(SIDE, SIDE, "bilinear"))
    return Agreement(
        data or dataset(), STATIC if maps is None else maps, RECIPE, geometry, torch.device("cpu"), **options
    )


def rows_of(scored: Agreement) -> pd.DataFrame:
    return pd.concat(scored.run()).set_index(["map", "image_id"])


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return rows_of(agreement())


def row_of(frame: pd.DataFrame, name: str, image: int) -> Any:
    return frame.loc[name, f"{image:06d}"]


def gaussians(x: pd.Series[float], y: pd.Series[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Mean of Gaussians of 3 px sampled on a fine grid, so nearly their integral over each pixel; sum 1."""
    fine = (np.arange(8 * SIDE) + 0.5) / 8
    total = sum(np.exp(-(((fine - b) ** 2)[:, None] + (fine - a) ** 2) / 18) for a, b in zip(x, y, strict=True))
    density = np.asarray(total).reshape(SIDE, 8, SIDE, 8).sum((1, 3))
    return np.asarray(density / density.sum())


@pytest.mark.parametrize("image", [0, 4, 19])
def test_every_score_again_from_its_definition(rows: pd.DataFrame, image: int) -> None:
    data, gaze = dataset(), points()
    pixels = torch.from_numpy(np.array(data.read_image(image))).permute(2, 0, 1)[None]
    saliency = fine_grained(pixels)[0].numpy().astype(np.float64)
    own, others = gaze[gaze["image"] == image], gaze[(gaze["image"] != image) & (gaze["x"] >= 0)]
    at, negatives = (saliency[part["y"].astype(int), part["x"].astype(int)] for part in (own, others))
    found = row_of(rows, "fine_grained", image)

    def wins(those: Any) -> float:
        return float(((at[:, None] > those) + (at[:, None] == those) / 2).mean())

    q = gaussians(own["x"], own["y"])
    p = saliency / saliency.sum()
    rest = [gaussians(part["x"], part["y"]) for row, part in gaze.groupby("image") if row != image]
    centre = np.mean(rest, axis=0)[own["y"].astype(int), own["x"].astype(int)]
    eps = 2.2204e-16
    expected = {
        "n_fixations": len(own),
        "nss": (at.mean() - saliency.mean()) / saliency.std(),
        "auc": wins(saliency.ravel()),
        "sauc": wins(negatives),
        "cc": np.corrcoef(saliency.ravel(), q.ravel())[0, 1],
        "sim": np.minimum(p, q).sum(),
        "kl": (q * np.log(eps + q / (p + eps))).sum(),
        "ig": (np.log2(p[own["y"].astype(int), own["x"].astype(int)] + 1e-20) - np.log2(centre + 1e-20)).mean(),
    }
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, abs=2e-3), name
    assert found["status"] == "ok"


def test_rows_of_a_map_are_in_the_order_of_the_images(rows: pd.DataFrame) -> None:
    assert rows.index.get_level_values("map").unique().tolist() == [*STATIC, CENTRE, VIEWER]
    for name in (*STATIC, CENTRE, VIEWER):
        assert rows.loc[name].index.tolist() == [f"{row:06d}" for row in range(20)]


def test_what_is_missing_is_named(rows: pd.DataFrame) -> None:
    unseen, alone, outside = (row_of(rows, "fine_grained", image) for image in (3, 4, 5))
    assert (unseen["status"], unseen["note"]) == ("no_gaze", "no gaze in the frame")
    assert unseen[SCORES].isna().all()
    assert (alone["status"], alone["note"]) == ("ok", "")
    assert (outside["status"], outside["n_fixations"], outside["n_outside"]) == ("ok", 0, 12)
    assert outside[["nss", "auc", "sauc", "ig"]].isna().all()
    assert outside[["cc", "sim", "kl"]].notna().all(), "gaze just outside leaves its tails in the frame"
    assert outside["note"].startswith("no fixation in the frame")
    viewer = row_of(rows, VIEWER, 4)
    assert (viewer["status"], viewer["note"]) == ("no_gaze", "fewer than two viewers with gaze in the frame")


def test_a_constant_map_is_scored_and_flagged(rows: pd.DataFrame) -> None:
    grey = row_of(rows, "fine_grained", 7)
    assert rows.loc["fine_grained"]["flat"].eq(True).tolist() == [row == 7 for row in range(20)]
    assert grey[["nss", "auc", "sauc", "cc"]].tolist() == [0, 0.5, 0.5, 0]
    assert grey["status"] == "ok"


def test_the_centre_prior_gains_nothing_on_itself(rows: pd.DataFrame) -> None:
    gains = rows.loc[CENTRE]["ig"].dropna()
    assert len(gains) == 18
    np.testing.assert_allclose(gains, 0, atol=1e-12)


def test_viewers_that_look_alike_agree_fully() -> None:
    one = points().query("viewer == 'v0'")
    twins = pd.concat([one, one.assign(viewer="v1")])
    found = rows_of(agreement(dataset(twins))).loc[VIEWER].query("status == 'ok' and n_fixations > 0")
    assert len(found) == 18
    np.testing.assert_allclose(found[["cc", "sim"]].astype(float), 1, atol=1e-6)
    np.testing.assert_allclose(found["kl"].astype(float), 0, atol=1e-6)


def test_each_viewer_is_predicted_by_the_others() -> None:
    """Two viewers apart: each one's fixations lie where the other's density is nearly 0."""
    rows = [(image, f"v{viewer}", 4.5 + 23 * viewer, 16.5) for image in range(2) for viewer in range(2)]
    found = rows_of(agreement(dataset(pd.DataFrame(rows, columns=["image", "viewer", "x", "y"]), 8)))
    assert (found.loc[VIEWER]["nss"].dropna() < 0).all()
    assert (found.loc[VIEWER]["sim"].dropna() < 0.01).all()


@pytest.mark.parametrize("group", [3, 16])
@pytest.mark.parametrize("workers", [0, 3])
def test_groups_and_workers_change_no_row(
    rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, group: int, workers: int
) -> None:
    monkeypatch.setattr(evaluate, "_GROUP", group)
    found = rows_of(agreement(workers=workers)).loc[rows.index]
    pd.testing.assert_frame_equal(found, rows, rtol=1e-5, atol=1e-6)


def test_other_maps_change_no_row(rows: pd.DataFrame) -> None:
    alone = rows_of(agreement(maps={"spectral_residual": STATIC["spectral_residual"]}))
    pd.testing.assert_frame_equal(alone, rows.loc[alone.index])


def test_the_batch_size_changes_no_row() -> None:
    model = load_model("test_resnet", pretrained=False, device="cpu")
    maps = {"class_map": MAPS["class_map"], "bottom_up": MAPS["bottom_up"]}
    options: dict[str, Any] = {"maps": maps, "geometry": model.geometry}
    whole, parts = (
        rows_of(agreement(**options, networks=Networks(model, num_classes=4, passes=Passes(size))))
        for size in (None, 3)
    )
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-3, atol=1e-4)


def test_negatives_of_other_classes_alone(rows: pd.DataFrame) -> None:
    found = rows_of(agreement(shuffled="other-classes"))
    scored = rows["sauc"].notna() & (rows["flat"] == 0)
    assert (found["sauc"] != rows["sauc"])[scored].mean() > 0.9
    pd.testing.assert_frame_equal(found.drop(columns="sauc"), rows.drop(columns="sauc"))


def test_an_image_that_cannot_be_read_fails_alone(rows: pd.DataFrame) -> None:
    data = dataset()

    def read_image(row: int) -> Image.Image:
        if row == 2:
            raise ImageError("image: 2, cannot be decoded.")
        return data.read_image(row)

    found = rows_of(agreement(replace(data, read_image=read_image)))
    broken = found.xs("000002", level="image_id")
    assert (broken["status"] == "failed").all()
    assert (broken["note"] == "image: 2, cannot be decoded.").all()
    assert broken[SCORES].isna().to_numpy().all()
    others = rows.drop("000002", level="image_id")
    pd.testing.assert_frame_equal(found.loc[others.index], others, rtol=1e-9)


@dataclass(frozen=True)
class Broken(Networks):
    """Answers with maps of which the second is not finite, and the third tiny."""

    def answer(self, requests: Collection[Signal], images: Tensor, *args: Any, **kwargs: Any) -> dict[Signal, Tensor]:
        maps = images.mean(dim=1)
        maps[1, 4, 4] = torch.inf
        maps[2] *= 1e-30
        return dict.fromkeys(requests, maps)


def test_a_map_that_is_not_finite_has_no_scores() -> None:
    found = rows_of(agreement(maps={"class_map": ClassMap()}, networks=Broken()))
    wrong, tiny = row_of(found, "class_map", 1), row_of(found, "class_map", 2)
    assert (wrong["status"], wrong["note"]) == ("nonfinite", "the map is not finite")
    assert wrong[SCORES].isna().all()
    assert tiny["status"] == "ok"
    assert tiny["ig"] > -10, "no score depends on the scale of a map"
    assert (found.drop(("class_map", "000001"))["status"] != "nonfinite").all()


def test_gaze_maps_have_no_fixations(tmp_path: Path) -> None:
    data = dataset(n=4, gaze=points(3))
    paths = [(tmp_path / f"{row}.png",) for row in range(4)]
    for row, (path,) in enumerate(paths):
        Image.fromarray(np.random.default_rng(row).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(path)
    scored = agreement(replace(data, gaze=RenderedGaze((*paths[:3], ()), data.sizes)))
    assert not scored.has_points
    found = rows_of(scored)
    assert found.index.get_level_values("map").unique().tolist() == [*STATIC, CENTRE]
    assert found[["nss", "auc", "sauc", "ig"]].isna().to_numpy().all()
    assert (found.loc["fine_grained"]["status"] == ["ok", "ok", "ok", "no_gaze"]).all()
    assert (found.loc["fine_grained"]["note"] == ["", "", "", "no gaze in the frame"]).all()
    assert found.loc["fine_grained"][["cc", "sim", "kl"]][:3].notna().to_numpy().all()


def test_one_image_with_gaze_has_no_others_to_be_compared_with() -> None:
    with pytest.raises(DataError, match=r"got 1 images that have any\. Give two or more"):
        rows_of(agreement(dataset(points().query("image == 0"))))


def test_maps_that_nobody_can_give_are_refused_with_the_reason() -> None:
    given, refused = usable(MAPS, Networks())
    assert list(given) == ["fine_grained", "spectral_residual", "guided_residual"]
    assert set(given) | set(refused) == set(MAPS)
    assert refused["class_map"] == "needs a network for ClassMap(), got none. Pass --model CKPT."


@pytest.mark.skipif(not (SHARED / "checkpoints").is_dir(), reason="the data of ../shared is not on this machine")
def test_people_beat_the_centre_prior_and_it_beats_chance() -> None:
    data = ge.load_dataset("cub-gha", SHARED).subset(np.arange(0, 424, 16))
    scored = replace(agreement(data, {}), geometry=Geometry.from_config((64, 64), 0.875, "bilinear"))
    mean: Any = rows_of(scored)[SCORES].astype(float).groupby("map").mean()
    assert mean.loc[VIEWER, "nss"] > 2 * mean.loc[CENTRE, "nss"] > 1
    assert mean.loc[VIEWER, "auc"] > mean.loc[CENTRE, "auc"] > 0.75
    assert mean.loc[VIEWER, "sauc"] > 0.8
    assert 0.4 < mean.loc[CENTRE, "sauc"] < 0.55, "shuffled AUC gives no credit for the centre"
