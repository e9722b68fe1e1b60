"""What a finished run kept of its mixes, so that gaze can be weighed again: boxes in its rows, other masks in files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gazeeval.data.dataset import Dataset
from gazeeval.masks import AnyPlacement, load_masks, mask_file, placement_of_boxes
from gazeeval.report.files import Results
from gazeeval.robustness.inputs import Index
from gazeeval.statistics.intervals import Floats
from gazeeval.types import GroupPlacement

VIEWER = "ref:viewer"


@dataclass(frozen=True)
class View:
    """What b mixes of one group show.

    Attributes:
        at: which of the method's pairs they are, in its table.
        source, target: (b,) rows of the data set.
        images: (g,) rows of the data set that a `GroupPlacement` is about.
    """

    at: slice
    source: Index
    target: Index
    placement: AnyPlacement
    images: Index


@dataclass(frozen=True)
class KeptPairs:
    """The m pairs of one method that can be scored again.

    Attributes:
        results: the run.
        table: their rows of inconsistency.csv, ordered by group.
        source, target: (m,) rows of the data set.
        masks: number of the method among those that have masks; None where boxes say it all.
    """

    results: Results
    table: pd.DataFrame
    source: Index
    target: Index
    masks: int | None

    @cached_property
    def group(self) -> Index:
        """(m,) the groups that they come from, ascending."""
        return self.table["group_id"].to_numpy(dtype=np.int64)

    @cached_property
    def lam(self) -> Floats:
        """(m,) share of the source label."""
        return self._floats("lam")

    @cached_property
    def inconsistency(self) -> Floats:
        """(m,) as the run found it, NaN where no gaze is visible."""
        return self._floats("inconsistency")

    def _floats(self, column: str) -> Floats:
        return self.table[column].to_numpy(dtype=np.float64, na_value=np.nan)

    def view(self, group: int, device: torch.device) -> View:
        """What the pairs of ``group`` show. Raises DataError for masks that cannot be read."""
        at = slice(*np.searchsorted(self.group, (group, group + 1)).tolist())
        placement, images = self._placement(group, self.table[at])
        return View(at, self.source[at], self.target[at], _to(placement, device), images)

    def _placement(self, group: int, rows: pd.DataFrame) -> tuple[AnyPlacement, Index]:
        if self.masks is None:
            return placement_of_boxes(rows), np.empty(0, dtype=np.int64)
        kept = load_masks(mask_file(self.results.folder, self.masks, group))
        which = torch.from_numpy(np.searchsorted(kept.ids, rows["pair_id"].to_numpy(dtype=np.int64)))
        if isinstance(kept.placement, GroupPlacement):
            return GroupPlacement(kept.placement.weights[which]), kept.rows
        return kept.placement[which], np.empty(0, dtype=np.int64)


def _to(placement: AnyPlacement, device: torch.device) -> AnyPlacement:
    parts: dict[str, Any] = {
        key: value.to(device) for key, value in vars(placement).items() if isinstance(value, Tensor)
    }
    return replace(placement, **parts)


def kept_pairs(results: Results, dataset: Dataset) -> tuple[dict[str, KeptPairs], dict[str, str]]:
    """The methods of a run that can be scored again, and for each of the others why not.

    Args:
        dataset: of the run.
    """
    row_of = pd.Series(np.arange(len(dataset)), index=dataset.image_ids)
    kept, left_out = {}, {}
    names = [*results.manifest["methods"], *results.manifest["references"]]
    tables = dict(iter(results.pairs.groupby("method", sort=False)))
    for number, name in enumerate(names):
        table = tables[name]
        scored = table[table["status"].isin(["ok", "no_gaze"])]  # mixed: whether gaze is visible is up to the recipe
        boxes = scored["mask_kind"].eq("box").all()
        if name == VIEWER:
            left_out[name] = "it compares viewers, see gazeeval ceiling"
        elif table["status"].eq("not_applicable").any():
            left_out[name] = "its score is 0 by construction"
        elif not table["status"].eq("ok").any():
            left_out[name] = "none of its pairs has a score"
        elif not boxes and not mask_file(results.folder, number, 0).parent.is_dir():
            left_out[name] = "the run did not keep its masks"
        else:
            source, target = (row_of[scored[side]].to_numpy() for side in ("source_id", "target_id"))
            kept[name] = KeptPairs(results, scored, source, target, None if boxes else number)
    return kept, left_out
