"""The human ceiling, worked out again viewer by viewer, and who cannot have one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from oracles import DEVICES
from scipy.special import ndtr

import gazeeval as ge
from gazeeval.config import RunConfig
from gazeeval.data.gaze import RenderedGaze
from gazeeval.errors import UsageError
from gazeeval.report.files import Results
from gazeeval.robustness import ceiling as module
from gazeeval.robustness.ceiling import ceiling, limit_of, measure, viewer_masses
from gazeeval.robustness.inputs import inputs_of_config, inputs_of_run
from gazeeval.robustness.tables import printed_ceiling, read_table, write_tables
from gazeeval.statistics.reliability import icc, mean_r, spearman_brown, within_var

SIDE, SIGMA, IMAGES, VIEWERS = 32, 4.0, 40, 4
OPTIONS: dict[str, Any] = {"input_size": SIDE, "geometry": "stretch", "sigma": "4px", "group_size": 16, "num_pairs": 30}
Floats = NDArray[np.float64]


def points(viewers: int = VIEWERS, unseen: tuple[tuple[int, int], ...] = ()) -> pd.DataFrame:
    """Three fixations of each viewer around a place of interest per image, but for (image, viewer) in ``unseen``."""
    rng = np.random.default_rng(1)
    place = rng.uniform(8, 32, (IMAGES, 2))
    rows = [
        (image, f"v{viewer}", *(place[image] + rng.normal(0, 5, 2)), rng.uniform(50, 500))
        for image in range(IMAGES)
        for viewer in range(viewers)
        for _ in range(3)
        if (image, viewer) not in unseen
    ]
    return pd.DataFrame(rows, columns=["image", "viewer", "x", "y", "duration_ms"])


def dataset(fixations: pd.DataFrame) -> ge.Dataset:
    pictures = [np.zeros((40, 40, 3), dtype=np.uint8)] * IMAGES
    columns = {str(name): column for name, column in fixations.items()}
    return ge.Dataset.from_arrays(pictures, np.arange(IMAGES) % 4, columns, list("abcd"), "watched")


@pytest.fixture(scope="module")
def watched() -> ge.Dataset:
    return dataset(points())


@pytest.fixture(scope="module")
def run(watched: ge.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return ge.evaluate("cutmix", data=watched, out=tmp_path_factory.mktemp("runs") / "run", **OPTIONS)


def density(fixations: pd.DataFrame) -> Floats:
    """(SIDE, SIDE) of mass 1, on an image of 40 x 40 stretched to the input."""
    edges = np.arange(SIDE + 1)
    x, y = (fixations[axis].to_numpy() * SIDE / 40 for axis in "xy")
    along_x, along_y = (np.diff(ndtr((edges - at[:, None]) / SIGMA), axis=1) for at in (x, y))
    total = np.einsum("k,ky,kx->yx", fixations["duration_ms"].to_numpy(), along_y, along_x)
    return np.asarray(total / total.sum())


def lam_gaze(rows: pd.DataFrame, fixations: pd.DataFrame, viewers: list[str]) -> Floats:
    """(m,) of CutMix's boxes, from the gaze of some viewers."""
    of_image = fixations[fixations["viewer"].isin(viewers)].groupby("image")
    maps = np.stack([density(of_image.get_group(image)) for image in range(IMAGES)])
    found = []
    for row in rows.to_dict("records"):
        box = slice(row["box_y0"], row["box_y1"]), slice(row["box_x0"], row["box_x1"])
        S = maps[int(row["source_id"])][box].sum()
        T = 1 - maps[int(row["target_id"])][box].sum()
        found.append(S / (S + T))
    return np.array(found)


@pytest.fixture(scope="module")
def worked_out(run: Results) -> Callable[..., Floats]:
    rows = run.pairs[run.pairs["method"] == "cutmix"]
    return lambda *viewers: lam_gaze(rows, points(), [f"v{viewer}" for viewer in viewers])


def estimates(table: pd.DataFrame, measure: str) -> Floats:
    return table.loc[table["measure"] == measure, "estimate"].to_numpy(dtype=np.float64)


@pytest.fixture(scope="module")
def table(run: Results, watched: ge.Dataset) -> pd.DataFrame:
    return ceiling(run.folder, data=watched)


def test_each_viewer_against_the_others(table: pd.DataFrame, worked_out: Callable[..., Floats]) -> None:
    errors = [
        np.abs(worked_out(viewer) - worked_out(*(other for other in range(VIEWERS) if other != viewer))).mean()
        for viewer in range(VIEWERS)
    ]
    np.testing.assert_allclose(estimates(table, "leave_one_out"), [*errors, np.mean(errors)], atol=1e-6)
    rows = table[table["measure"] == "leave_one_out"]
    assert rows["viewer"].fillna("mean").tolist() == ["v0", "v1", "v2", "v3", "mean"]
    assert (rows["ci_low"] < rows["estimate"]).all()


def test_one_more_viewer_is_the_reference_row_of_the_run(table: pd.DataFrame, run: Results) -> None:
    summary = run.summary.query("method == 'ref:viewer' and metric == 'inconsistency' and subset == 'all'").iloc[0]
    found = table[table["measure"] == "leave_one_out"].iloc[-1]
    for column in ("n", "estimate", "ci_low", "ci_high"):
        assert found[column] == pytest.approx(summary[column], abs=1e-7)


def test_one_viewer_against_few_others(table: pd.DataFrame, worked_out: Callable[..., Floats]) -> None:
    for k, found in enumerate(estimates(table, "one_against")[: VIEWERS - 1], start=1):
        errors = [
            np.abs(worked_out(v) - worked_out(*((v + 1 + step) % VIEWERS for step in range(k)))).mean()
            for v in range(VIEWERS)
        ]
        assert found == pytest.approx(np.mean(errors), abs=1e-6)


def test_reliability_is_that_of_each_viewers_own_lam_gaze(
    table: pd.DataFrame, worked_out: Callable[..., Floats]
) -> None:
    values = np.stack([worked_out(viewer) for viewer in range(VIEWERS)], axis=1)
    k = np.arange(1, VIEWERS + 1)
    assert estimates(table, "mean_r") == pytest.approx(mean_r(values), abs=1e-5)
    assert estimates(table, "icc") == pytest.approx(icc(values), abs=1e-5)
    assert estimates(table, "within_variance") == pytest.approx(within_var(values), abs=1e-6)
    np.testing.assert_allclose(estimates(table, "reliability"), spearman_brown(mean_r(values), k), atol=1e-5)
    np.testing.assert_allclose(estimates(table, "noise"), np.sqrt(within_var(values) / k), atol=1e-6)


def test_without_a_run_the_same_pairs_are_made(table: pd.DataFrame, watched: ge.Dataset) -> None:
    pd.testing.assert_frame_equal(ceiling(data=watched, **OPTIONS), table)


@pytest.mark.parametrize("device", DEVICES)
def test_pairs_do_not_depend_on_those_beside_them(
    run: Results, watched: ge.Dataset, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = viewer_masses(inputs_of_run(run.folder, data=watched))
    monkeypatch.setattr(module, "_CHUNK", 7)
    np.testing.assert_allclose(viewer_masses(inputs_of_run(run.folder, data=watched, device=device)), whole, rtol=1e-5)


def test_the_limit_is_that_of_the_law() -> None:
    """Differences of normal errors: s sqrt(2/pi) sqrt(1 + 1/k), whose limit is that of one viewer from the truth."""
    limit = 0.098 * np.sqrt(2 / np.pi)
    assert limit_of(limit * np.sqrt(1 + 1 / np.arange(1, 5))) == pytest.approx(limit)


def test_viewers_who_saw_other_images_leave_pairs_out(watched: ge.Dataset) -> None:
    """Whoever saw an image is asked about it; what needs all viewers needs pairs that all have seen."""
    part = ceiling(data=dataset(points(unseen=((3, 1), (17, 0)))), **OPTIONS)
    n = part.set_index("measure")["n"]
    config = RunConfig.of({"method": "cutmix", "data": watched, **OPTIONS})
    inputs = inputs_of_config(config)
    of_3, of_17 = (int(((inputs.source == image) | (inputs.target == image)).sum()) for image in (3, 17))
    assert of_3 > 0
    assert n["leave_one_out"].tolist() == [30 - of_17, 30 - of_3, 30, 30, 30]
    assert set(n["noise"]) == {30 - of_3 - of_17}


def test_where_nobody_saw_both_images_of_two_pairs_only_the_others_are_asked() -> None:
    """Images are seen by two of four viewers: there is a leave-one-out score and no more."""
    unseen = tuple((image, viewer) for image in range(IMAGES) for viewer in {0: (2, 3), 1: (0, 1)}[image % 2])
    found = ceiling(data=dataset(points(unseen=unseen)), **OPTIONS)
    assert set(found["measure"]) == {"leave_one_out"}
    assert "fewer than two pairs" in printed_ceiling(found)


def test_a_table_is_read_as_it_was_written(table: pd.DataFrame, tmp_path: Path) -> None:
    write_tables({"ceiling.csv": table}, tmp_path / "new")
    pd.testing.assert_frame_equal(read_table("ceiling.csv", tmp_path / "new"), table, rtol=1e-8)


def test_it_is_printed_in_percent(table: pd.DataFrame) -> None:
    text = printed_ceiling(table)
    human, noise = estimates(table, "leave_one_out")[-1], estimates(table, "noise")
    assert f"one more viewer scores {100 * human:.1f} %" in text
    lines = [line.split() for line in text.splitlines()]
    assert [line[2] for line in lines if line[:1] in (["1"], ["4"])] == [f"{100 * sd:.1f}" for sd in noise[[0, -1]]]
    assert lines[-1] == ["gaze:sigma=4px,weight=duration,border=renormalise"]


def test_a_viewer_alone_has_no_ceiling() -> None:
    with pytest.raises(UsageError, match="viewers: watched, got a single one"):
        ceiling(data=dataset(points(viewers=1)), **OPTIONS)


def test_viewers_that_are_not_told_apart_have_no_ceiling(watched: ge.Dataset) -> None:
    with pytest.raises(UsageError, match="got none that the gaze tells apart"):
        ceiling(data=dataset(points().drop(columns="viewer")), **OPTIONS)
    rendered = RenderedGaze(files=((),) * IMAGES, sizes=watched.sizes)
    inputs = inputs_of_config(RunConfig.of({"method": "cutmix", "data": watched, **OPTIONS}))
    with pytest.raises(UsageError, match="got none that the gaze tells apart"):
        measure(replace(inputs, dataset=replace(watched, gaze=rendered)))


def test_viewers_of_different_images_have_no_ceiling() -> None:
    fixations = points(viewers=2)
    apart = fixations[fixations["viewer"] == np.where(fixations["image"] < IMAGES / 2, "v0", "v1")]
    with pytest.raises(UsageError, match="got none of 30 pairs"):
        ceiling(data=dataset(apart), **OPTIONS)


def test_other_data_than_the_runs_are_refused(run: Results) -> None:
    with pytest.raises(UsageError, match=r"images and gaze, got \w{8}, the run had"):
        ceiling(run.folder, data=dataset(points(viewers=3)))
