"""From what a method made of a group to the status of its rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.metrics.base import METRICS, MetricOptions
from gazeeval.mixers.base import Draws, GroupMixer
from gazeeval.mixing import Group, Judge, mix_group
from gazeeval.rows import result_columns, with_status
from gazeeval.signals.base import Signals
from gazeeval.signals.networks import Networks
from gazeeval.types import GroupPlacement, PairBatch


class Stripes(GroupMixer[Draws]):
    """Half of image 0, a third of image 1 and a sixth of image 2, from left to right."""

    def draw(self, rng: PairRng, size: tuple[int, int]) -> Draws:
        return Draws()

    def compose(self, pairs: PairBatch, signals: Signals, draws: Draws) -> GroupPlacement:
        return GroupPlacement(torch.eye(3)[[0, 0, 0, 1, 1, 2]].T[None, :, None])


def row_of(density: Tensor) -> pd.Series:
    """The row of one mix of three images with gaze ``density`` (3, 1, 6)."""
    each = torch.tensor([0])
    pairs = PairBatch(torch.zeros(3, 3, 1, 6), torch.arange(3), each, each + 1)
    group = Group(0, np.array([0]), np.arange(3), pairs, density, Signals({}, pairs.source, pairs.target))
    outcome = mix_group(Stripes(), group, 0, Judge(Networks()))
    metrics = [METRICS[name](MetricOptions((1, 2))) for name in ("inconsistency", "delta")]
    columns = result_columns(outcome.pairs or pairs, outcome, metrics, 2)
    return pd.DataFrame(with_status(columns, True, ["inconsistency", "delta"], own_partners=True)).iloc[0]


@pytest.mark.parametrize(
    ("looked_at", "status", "inconsistency", "lam_gaze", "note"),
    [
        ((0, 3, 5), "ok", 1 / 6, 1 / 2, "compare unpaired"),
        ((5, 0, 5), "ok", 5 / 6, np.nan, "compare unpaired; the two largest images show no gaze"),
        ((5, 0, 0), "no_gaze", np.nan, np.nan, "no gaze is visible in the mixed image"),
    ],
)
def test_a_mix_of_three_has_a_score_where_any_gaze_is_visible(
    looked_at: tuple[int, int, int], status: str, inconsistency: float, lam_gaze: float, note: str
) -> None:
    """The score is about all images, lam_gaze about the two largest (a third of the label and a half)."""
    row = row_of(torch.eye(6)[list(looked_at)].unsqueeze(1))
    assert row["status"] == status
    assert row["note"].endswith(note)
    found = row[["inconsistency", "lam_gaze", "delta"]].astype(float)
    np.testing.assert_allclose(found, [inconsistency, lam_gaze, 2 / 5 - lam_gaze], atol=1e-6)
