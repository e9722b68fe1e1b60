"""From the scores of every image to their summary, and the table that is printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from gazeeval.gaze_agreement.evaluate import CENTRE, VIEWER
from gazeeval.report.columns import Column, Columns
from gazeeval.report.files import conform
from gazeeval.report.tables import REFERENCE
from gazeeval.statistics.intervals import Interval, mean_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """A score as the tables show it."""

    title: str
    unit: str
    higher_is_better: bool
    meaning: str


SCORES = {
    "nss": Score("NSS", "SD", True, "normalised scanpath saliency: the map at the fixations, in SD from its mean"),
    "auc": Score("AUC", "1", True, "exact area under the ROC curve, all pixels as negatives"),
    "sauc": Score("sAUC", "1", True, "the same with fixations of other images as negatives: centre bias earns nothing"),
    "cc": Score("CC", "1", True, "correlation with the gaze density"),
    "sim": Score("SIM", "1", True, "histogram intersection with the gaze density"),
    "kl": Score("KL nats", "nats", False, "divergence of the map, scaled to sum 1, from the gaze density"),
    "ig": Score("IG bits", "bits", True, "bits per fixation above ref:centre; calibrated for densities only"),
}

_KEY = (
    Column("run_id", "string", "", "fingerprint of everything that decides the rows"),
    Column("dataset", "string", "", "name of the data set"),
    Column("split", "string", "", "part of the data set"),
    Column("map", "string", "", "what is scored; ref:centre and ref:viewer are the references"),
)
FILES: dict[str, Columns] = {
    "agreement.csv": (
        *_KEY,
        Column("image_id", "string", "", "key of the image in the data set"),
        Column("label", "Int32", "class", "class index"),
        Column("n_fixations", "Int32", "", "fixations (or raw samples) in the frame; empty where gaze is a map"),
        Column("n_outside", "Int32", "", "fixations outside the frame, left out of nss, auc, sauc and ig"),
        *(Column(name, "Float64", score.unit, score.meaning) for name, score in SCORES.items()),
        Column("flat", "boolean", "", "the map is constant (of ref:viewer: for one viewer at least)"),
        Column(
            "mass_on_zero", "Float64", "fraction", "gaze where the map is 0, which kl and ig score by a floor alone"
        ),
        Column("status", "string", "", "ok, no_gaze, nonfinite or failed"),
        Column("note", "string", "", "short reason for a status that is not ok, or for scores that are missing"),
    ),
    "agreement_summary.csv": (
        *_KEY,
        Column("metric", "string", "", "column of agreement.csv"),
        Column("n", "Int64", "images", "images with the score"),
        Column("n_excluded", "Int64", "images", "the others: no gaze in the frame, or no usable map"),
        Column("n_flat", "Int64", "images", "images with a constant map, which count with the score of one"),
        Column("n_on_zero", "Int64", "images", "images with gaze where the map is 0"),
        Column("estimate", "Float64", "", "mean over the images"),
        Column("se", "Float64", "", "standard error of the mean"),
        Column("ci_low", "Float64", "", "lower end of its interval, Student t over images"),
        Column("ci_high", "Float64", "", "upper end of its interval"),
        Column("diff", "Float64", "", "mean over the images of the score minus that of ref:centre"),
        Column("diff_low", "Float64", "", "lower end of its interval"),
        Column("diff_high", "Float64", "", "upper end of its interval"),
        Column("ci_level", "Float64", "fraction", "probability that the intervals claim"),
        Column("unit", "string", "", "unit of the estimates"),
        Column("higher_is_better", "boolean", "", "whether a higher score agrees more with gaze"),
    ),
}


def summary_table(images: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """agreement_summary.csv: mean of every score of every map, and how far it is from the centre prior's.

    Args:
        images: the rows of agreement.csv.
        level: of the intervals, which take images as independent.
    """
    parts = {str(name): part.set_index("image_id") for name, part in images.groupby("map", sort=False)}
    rows = [row for name, part in parts.items() for row in _rows(name, part, parts[CENTRE], level)]
    return conform(pd.DataFrame(rows), FILES["agreement_summary.csv"])


def _rows(name: str, part: pd.DataFrame, centre: pd.DataFrame, level: float) -> Iterator[dict[str, Any]]:
    head = {key.name: part[key.name].iloc[0] for key in _KEY[:3]} | {"map": name, "ci_level": level}
    for metric, score in SCORES.items():
        mean = _interval(_floats(part[metric]), level)
        row = {
            "metric": metric,
            "n": mean.n,
            "n_excluded": len(part) - mean.n,
            "n_flat": int(part["flat"].sum()),
            "n_on_zero": int(part["mass_on_zero"].gt(0).sum()),
            "estimate": mean.mean,
            "se": mean.se,
            "ci_low": mean.low,
            "ci_high": mean.high,
            "unit": score.unit,
            "higher_is_better": score.higher_is_better,
        }
        if name != CENTRE:
            above = _interval(_floats(part[metric] - centre[metric]), level)
            row |= {"diff": above.mean, "diff_low": above.low, "diff_high": above.high}
        yield head | row


def _interval(values: Floats, level: float) -> Interval:
    images = np.arange(len(values))
    return mean_interval(values, images, images, level=level, method="iid")


def _floats(values: pd.Series[Any]) -> Floats:
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def printed_table(summary: pd.DataFrame, signature: str) -> str:
    """The closing table: scores with half of their interval, references under a line, the signature below.

    Args:
        summary: of `summary_table`.
        signature: what to quote beside a number.
    """
    rows = [["map", "images", "excluded", *(score.title for score in SCORES.values())]]
    for name, part in summary.groupby("map", sort=False):
        cells = [_cell(*numbers) for numbers in zip(part["estimate"], part["ci_high"], strict=True)]
        # where no fixation is in the frame, or gaze is a map, some scores have fewer images than others
        rows.append([str(name), str(part["n"].max()), str(part["n_excluded"].min()), *cells])
    align = ("left", *("right",) * (len(rows[0]) - 1))
    lines = tabulate(rows, tablefmt="plain", colalign=align, disable_numparse=True).splitlines()
    first = next(number for number, row in enumerate(rows) if row[0].startswith(REFERENCE))
    if first > 1:
        lines.insert(first, "-" * max(map(len, lines)))
    lines += [
        f"mean over images ± half of its {100 * summary['ci_level'].max():g}% interval; higher is better but for KL",
        f"{CENTRE}: where people look on other images; {VIEWER}: where the other viewers look, against each one",
        f"KL and IG (bits above {CENTRE}) take maps for probabilities, which they are not, and suffer from a narrow "
        "--sigma; quote the signature with a number:",
        signature,
    ]
    return "\n".join(lines)


def _cell(estimate: float, high: float) -> str:
    if pd.isna(estimate):
        return "-"
    return f"{estimate:z.3f}" if pd.isna(high) else f"{estimate:z.3f} ±{high - estimate:.3f}"
