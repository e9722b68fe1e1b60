"""Pictures of a finished run: the rows that are asked for, mixed as the run mixed them. In a page: test_html.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import gazeeval as ge
from gazeeval.config import RunConfig
from gazeeval.job import Job, prepare
from gazeeval.report.gallery import LEAST, OtherMixesError, redraw, select


def job(results: ge.Results, **changes: object) -> Job:
    return prepare(RunConfig.of({**results.manifest["config"], **changes}))


def test_pictures_are_the_mixes_of_the_run(results: ge.Results) -> None:
    """What `ge.mix` gives for the pairs of the run with its seed, and what the row says."""
    again, methods = job(results), ("cutmix", "saliencymix")
    plan, dataset, geometry = again.plan, again.engine.dataset, again.engine.geometry
    rows = results.pairs[results.pairs["method"].isin(methods) & (results.pairs["pair_id"] % 5 == 0)]
    found = redraw(results, again.engine, plan, rows)
    assert list(found) == list(zip(rows["method"], rows["pair_id"], strict=True))
    pixels = np.stack([geometry.apply(dataset.read_image(row)) for row in range(len(dataset))])
    images, labels = torch.from_numpy(pixels).movedim(-1, 1) / 255, torch.from_numpy(dataset.labels)
    for method in methods:
        mixes = ge.mix(
            method, images[plan.source], images[plan.target], labels[plan.source], labels[plan.target], seed=3
        )
        expected = (mixes.image * 255).round().to(torch.uint8).movedim(1, -1).numpy()
        of_method: Any = rows[rows["method"].eq(method)]
        for row in of_method.itertuples():
            picture = found[method, row.pair_id]
            assert np.array_equal(picture.mixed, expected[row.pair_id])
            assert np.array_equal(picture.source.weight, mixes.mask[row.pair_id])
            assert (picture.source.image_id, picture.target.image_id) == (row.source_id, row.target_id)
            assert picture.inconsistency == pytest.approx(row.inconsistency, abs=1e-6)
            inside = np.zeros_like(picture.source.region)
            inside[row.box_y0 : row.box_y1, row.box_x0 : row.box_x1] = True
            assert np.array_equal(picture.source.weight > 0, inside)


def test_only_what_is_asked_for_is_drawn(results: ge.Results) -> None:
    pairs = results.pairs.set_index(["method", "pair_id"], drop=False)
    keys = [("comixup", 20), ("cutmix", 3), ("mixup", 3), ("comixup", 1)]
    found = redraw(results, job(results).engine, job(results).plan, pairs.loc[keys])
    assert set(found) == set(keys)
    assert not found["mixup", 3].applicable
    for method, pair in keys:
        if method != "mixup":
            assert found[method, pair].inconsistency == pytest.approx(pairs["inconsistency"][method, pair], abs=1e-6)


def test_other_draws_are_refused(results: ge.Results) -> None:
    again = job(results, method="cutmix")
    rows = results.pairs[results.pairs["method"].eq("cutmix")]
    assert redraw(results, again.engine, again.plan, rows[:1])
    other = job(results, method="cutmix", seed=4)
    with pytest.raises(OtherMixesError, match=r"method cutmix, pair 0, got inconsistency and lam .*, the run had "):
        redraw(results, other.engine, again.plan, rows[:1])


def scores(*inconsistency: float | None, lam: float = 0.5, status: str = "ok") -> pd.DataFrame:
    columns = {"pair_id": range(len(inconsistency)), "inconsistency": inconsistency, "lam": lam, "status": status}
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("place", "count", "pairs"),
    [
        ("worst", 2, [1, 3]),  # of equal scores the first
        ("worst", 9, [1, 3, 4, 2, 0]),
        ("best", 2, [0, 2]),
        ("median", 1, [4]),
        ("median", 3, [2, 4, 1]),
        ("median", 9, [0, 2, 4, 1, 3]),
    ],
)
def test_rows_are_selected_by_score(place: str, count: int, pairs: list[int]) -> None:
    rows = scores(0.1, 0.8, 0.2, 0.8, 0.5)
    unscored = scores(None, 0.9, status="no_gaze").assign(pair_id=[5, 6])
    selected = select(pd.concat([unscored, rows]), place, count)  # type: ignore[arg-type]  # a word of the parameter
    assert selected["pair_id"].tolist() == pairs


def test_labels_of_one_image_are_not_the_best() -> None:
    rows = scores(0.01, 0.3, 0.9).assign(lam=[LEAST / 2, 0.5, 1 - LEAST / 2])
    assert select(rows, "best", 3)["pair_id"].tolist() == [1]
    assert select(rows, "worst", 3)["pair_id"].tolist() == [2, 1, 0]
    assert select(rows[:1], "best", 3)["pair_id"].tolist() == [0], "there are no others"
