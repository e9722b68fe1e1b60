"""From a group's results to the rows of ``inconsistency.csv``: one frame per method, one row per pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.data.dataset import Dataset
from gazeeval.metrics.base import Metric, MixedBatch
from gazeeval.types import GroupPlacement, Labels, PairBatch, Placement

Columns = dict[str, NDArray[Any]]
"""Name -> the values of some pairs, one for each."""

_EDGES = ("x0", "y0", "x1", "y1")
_NOTES = {
    "no_gaze": "no gaze is visible in the mixed image",
    "not_applicable": "the score is 0 by construction",
    "flat_map": "a map that the method relies on is constant",
    "nonfinite": "a map or the label is not finite",
}


@dataclass(frozen=True)
class Outcome:
    """What one method made of a group's pairs.

    Attributes:
        labels: what the method trains with.
        gaze: lam_gaze, and how much of the gaze of source and target is visible, (b,) float64 each; NaN where there is
            no mixed image.
        placement: of two images; None where features or more than two images are mixed.
        composed: of more than two images, where the method makes such mixes.
        pairs: the images that the rows are about, where they are not the run's pair (partners of its own).
        n_images: (b,) how many images are in a mix.
        lam_draw: (b,) float64, share of the source as first drawn, or None.
        probabilities: (b, classes) float32 on the mixed image, or None.
        scores: columns that replace what the metrics give (a reference that is scored in its own way).
        flat, nonfinite: (b,) bool, pairs whose maps were of no use.
        applicable: False where the score is 0 by construction.
        label_from: which class the maps are about, where they are about one: the data set's or the predicted one.
    """

    labels: Labels
    gaze: tuple[Tensor, Tensor, Tensor]
    placement: Placement | None = None
    composed: GroupPlacement | None = None
    pairs: PairBatch | None = None
    n_images: Tensor | None = None
    lam_draw: Tensor | None = None
    probabilities: Tensor | None = None
    scores: Mapping[str, Tensor] | None = None
    flat: Tensor | None = None
    nonfinite: Tensor | None = None
    applicable: bool = True
    label_from: Literal["dataset", "prediction"] = "dataset"

    @property
    def irregular(self) -> Placement | GroupPlacement | None:
        """What shows where, if boxes in the rows do not say it."""
        if self.placement is None or self.placement.kind == "box":
            return self.composed
        return self.placement


def pair_columns(
    dataset: Dataset, group: int, pair_ids: NDArray[np.int64], source: NDArray[np.int64], target: NDArray[np.int64]
) -> Columns:
    """The columns that say which pair a row is about; ``source`` and ``target`` are rows of the data set."""
    return {
        "pair_id": pair_ids,
        "group_id": np.full(len(pair_ids), group),
        "source_id": np.array([dataset.image_ids[row] for row in source], dtype=object),
        "target_id": np.array([dataset.image_ids[row] for row in target], dtype=object),
        "source_label": dataset.labels[source],
        "target_label": dataset.labels[target],
        "n_fix_source": dataset.gaze.n_fixations(source),
        "n_fix_target": dataset.gaze.n_fixations(target),
    }


def result_columns(pairs: PairBatch, outcome: Outcome, metrics: Sequence[Metric], top: int) -> Columns:
    """Everything that was computed, carried to the host in one copy; ``top`` best classes are named."""
    placement, labels = outcome.placement, outcome.labels
    share, S, T = outcome.gaze
    batch = MixedBatch(labels.lam, share, pairs.source_labels, pairs.target_labels, outcome.probabilities)
    height, width = pairs.size
    columns = _box_columns(placement) if placement else {}
    columns |= {"lam": labels.lam, "lam_gaze": share, "n_images": _or(outcome.n_images, pairs, 2)}
    columns |= {"gaze_kept_source": S, "gaze_kept_target": T}
    if outcome.lam_draw is not None:
        columns["lam_draw"] = outcome.lam_draw.expand(len(pairs))
    if outcome.probabilities is not None:
        columns |= _predictions(batch, outcome.probabilities, top)
    for metric in metrics:
        if outcome.probabilities is not None or not metric.needs_model:
            columns |= metric.compute(batch)
    columns |= outcome.scores or {}
    columns |= {f"x_{name}": value for name, value in labels.extra.items()}
    columns |= {"_flat": _or(outcome.flat, pairs, 0), "_nonfinite": _or(outcome.nonfinite, pairs, 0)}
    values = torch.stack([column.double() for column in columns.values()]).cpu().numpy()
    kind = placement.kind if placement else "patches" if outcome.pairs else "none"
    stated = {"mask_kind": kind, "label_from": outcome.label_from, "height": height, "width": width}
    constant = {name: np.full(len(pairs), value, dtype=object) for name, value in stated.items()}
    return dict(zip(columns, values, strict=True)) | constant


def with_status(columns: Columns, applicable: bool, scored: Sequence[str], *, own_partners: bool = False) -> Columns:
    """Add ``status`` and ``note``; rows without a usable result lose their ``scored`` columns.

    A mix of several images whose two largest show no gaze still has a score, so it is ok; only lam_gaze is unknown.
    """
    kept = dict(columns)
    flat, nonfinite = kept.pop("_flat") > 0, kept.pop("_nonfinite") > 0
    lam = kept["lam"]
    status = np.full(len(lam), "ok" if applicable else "not_applicable", dtype=object)
    status[flat] = "flat_map"
    status[nonfinite | ~((lam >= 0) & (lam <= 1))] = "nonfinite"
    unseen = np.isnan(kept["lam_gaze"]) & ~np.isnan(kept["gaze_kept_source"] + kept["gaze_kept_target"])
    status[unseen & np.isnan(kept["inconsistency"])] = "no_gaze"
    useless = np.isin(status, ["nonfinite", "flat_map"])
    for name in {*scored, "lam_gaze"} & kept.keys():
        kept[name] = np.where(useless, np.nan, kept[name])
    notes = _NOTES | {"ok": "partners of its own, compare unpaired" if own_partners else ""}
    note = np.array([notes[value] for value in status], dtype=object)
    note[unseen & (status == "ok")] += "; the two largest images show no gaze"
    return kept | {"status": status, "note": note}


def joined(parts: Sequence[Columns]) -> Columns:
    """The rows of all ``parts``, one after the other; NaN where one lacks a column."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: np.concatenate([part[name] if name in part else np.full(len(part["pair_id"]), np.nan) for part in parts])
        for name in names
    }


def _box_columns(placement: Placement) -> dict[str, Tensor]:
    columns = {"mask_share": placement.mask_share()}
    for prefix, box in (("box", placement.target_box), ("src", placement.source_box)):
        if box is not None:
            columns |= {f"{prefix}_{edge}": box[:, i] for i, edge in enumerate(_EDGES)}
    return columns


def _predictions(batch: MixedBatch, probabilities: Tensor, top: int) -> dict[str, Tensor]:
    best = probabilities.topk(min(top, probabilities.shape[1]), dim=1).indices
    return {
        "p_source": probabilities.gather(1, batch.source_label.unsqueeze(1)).squeeze(1),
        "p_target": probabilities.gather(1, batch.target_label.unsqueeze(1)).squeeze(1),
        **{f"pred{rank + 1}": best[:, rank] for rank in range(best.shape[1])},
    }


def _or(column: Tensor | None, pairs: PairBatch, value: int) -> Tensor:
    return torch.full_like(pairs.source, value) if column is None else column
