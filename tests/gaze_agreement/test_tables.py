"""The summary against SciPy, and what is printed of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gazeeval.gaze_agreement.tables import FILES, SCORES, printed_table, summary_table
from gazeeval.report.files import conform

N = 12


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    """Two maps and the centre prior on twelve images; the second map lacks the scores of two of them."""
    rng = np.random.default_rng(0)
    parts = []
    for name in ("class_map", "fine_grained", "ref:centre"):
        part = pd.DataFrame(rng.normal(size=(N, len(SCORES))), columns=list(SCORES))
        part["image_id"] = [f"{row:03d}" for row in range(N)]
        part["flat"], part["mass_on_zero"] = [1.0] + [0.0] * (N - 1), [0.0, 0.5] * (N // 2)
        if name == "fine_grained":
            part.loc[[1, 2], [*SCORES, "flat", "mass_on_zero"]] = np.nan
        parts.append(part.assign(map=name, run_id="r", dataset="d", split="all"))
    return conform(pd.concat(parts, ignore_index=True), FILES["agreement.csv"])


def test_means_have_the_interval_of_student(images: pd.DataFrame) -> None:
    summary: Any = summary_table(images, level=0.9).set_index(["map", "metric"])
    values = images[images["map"] == "fine_grained"].set_index("image_id")["nss"].astype(float)
    centre = images[images["map"] == "ref:centre"].set_index("image_id")["nss"].astype(float)
    row = summary.loc["fine_grained", "nss"]
    known = values.dropna()
    se = known.std(ddof=0) / np.sqrt(10)
    assert (row["n"], row["n_excluded"], row["n_flat"], row["n_on_zero"]) == (10, 2, 1, 5)
    assert row["estimate"] == pytest.approx(known.mean())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(stats.t.interval(0.9, 9, known.mean(), se))
    above = (values - centre).dropna()
    se = above.std(ddof=0) / np.sqrt(10)
    assert row["diff"] == pytest.approx(above.mean())
    assert (row["diff_low"], row["diff_high"]) == pytest.approx(stats.t.interval(0.9, 9, above.mean(), se))


def test_the_centre_prior_is_not_compared_with_itself(images: pd.DataFrame) -> None:
    summary = summary_table(images)
    centre = summary[summary["map"] == "ref:centre"]
    assert centre["diff"].isna().all()
    assert centre["estimate"].notna().all()


def test_only_kl_is_better_when_lower(images: pd.DataFrame) -> None:
    summary = summary_table(images)
    assert set(summary[~summary["higher_is_better"]]["metric"]) == {"kl"}


def test_the_printed_table(images: pd.DataFrame) -> None:
    lines = printed_table(summary_table(images), "data:d|v:1").splitlines()
    assert lines[0].split()[:4] == ["map", "images", "excluded", "NSS"]
    assert [line.split()[0] for line in lines[1:5]] == ["class_map", "fine_grained", "-" * len(lines[3]), "ref:centre"]
    assert lines[2].split()[1:3] == ["10", "2"]
    mean = images.loc[images["map"] == "class_map", "nss"].mean()
    assert lines[1].split()[3] == f"{mean:.3f}"
    assert lines[-1] == "data:d|v:1"


def test_what_has_no_score_is_a_dash(images: pd.DataFrame) -> None:
    summary = summary_table(images.assign(nss=images["nss"].mask(images["nss"].notna())))
    assert printed_table(summary, "").splitlines()[1].split()[3] == "-"
