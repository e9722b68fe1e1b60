"""Top-k accuracy on the mixed image, in its several readings.

``hitK_any``: one of the K best classes is one of the two labels. ``hitK_both``: both labels are among the K best
(``hit2_both``: the two best are exactly the pair, the reading of TdAttenMix's top-2 figure). ``hit1_main``: the best
class is the label with the larger lam, empty for a tie. ``acc1_weighted``: the lam of the label that the best class
hits.
Pairs of one class: ``any`` and ``main`` coincide, ``both`` is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from gazeeval.metrics.base import Metric, MetricOptions, MixedBatch, register_metric


@register_metric("topk")
def topk(options: MetricOptions) -> Metric:
    columns = {
        "hit1_any": "the best class is one of the two labels",
        "hit1_main": "the best class is the label with the larger lam",
        "hit2_both": "the two best classes are exactly the pair",
    }
    for k in options.top_k:
        if k > 1:
            columns[f"hit{k}_any"] = f"one of the {k} best classes is one of the two labels"
            columns.setdefault(f"hit{k}_both", f"both labels are among the {k} best classes")
    return Metric(
        columns=columns,
        compute=partial(_hits, columns=tuple(columns)),
        higher_is_better=True,
        boolean=True,
        needs_model=True,
    )


@register_metric("acc1_weighted")
def acc1_weighted(options: MetricOptions) -> Metric:
    return Metric(
        columns={"acc1_weighted": "lam * [best class = source] + (1 - lam) * [best class = target]"},
        compute=_weighted,
        higher_is_better=True,
        needs_model=True,
    )


def _hits(batch: MixedBatch, columns: tuple[str, ...]) -> Mapping[str, Tensor]:
    assert batch.probabilities is not None
    classes = batch.probabilities.shape[1]
    ks = {name: int(name[3:].split("_")[0]) for name in columns}
    best = batch.probabilities.topk(min(max(ks.values()), classes), dim=1).indices
    hits_source = (best == batch.source_label.unsqueeze(1)).cumsum(1) > 0
    hits_target = (best == batch.target_label.unsqueeze(1)).cumsum(1) > 0
    one_class = batch.source_label == batch.target_label

    def hit(name: str) -> Tensor:
        at = min(ks[name], classes) - 1
        source, target = hits_source[:, at], hits_target[:, at]
        if name.endswith("any"):
            return (source | target).float()
        if name.endswith("both"):
            return torch.where(one_class, torch.nan, (source & target).float())
        tie = (batch.lam == 0.5) & ~one_class
        return torch.where(tie, torch.nan, torch.where(batch.lam > 0.5, source, target).float())

    return {name: hit(name) for name in columns}


def _weighted(batch: MixedBatch) -> Mapping[str, Tensor]:
    assert batch.probabilities is not None
    best = batch.probabilities.argmax(dim=1)
    hit_source, hit_target = best == batch.source_label, best == batch.target_label
    return {"acc1_weighted": batch.lam * hit_source + (1 - batch.lam) * hit_target}
