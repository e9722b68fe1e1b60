"""What a metric is: one number per pair, from a mixed batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from gazeeval.registry import Registry


@dataclass(frozen=True)
class MixedBatch:
    """What a metric may look at; all tensors have one row per pair.

    Attributes:
        lam: (b,) float64, share of the source label.
        lam_gaze: (b,) float64, share of the visible gaze from the source; NaN where there is none.
        source_label, target_label: (b,) int64.
        probabilities: (b, classes) float32 softmax on the mixed image, or None without a model.
    """

    lam: Tensor
    lam_gaze: Tensor
    source_label: Tensor
    target_label: Tensor
    probabilities: Tensor | None


@dataclass(frozen=True)
class Metric:
    """A named set of columns, each one number per pair.

    Attributes:
        columns: column name -> what it is, in one sentence.
        compute: MixedBatch -> column name -> (b,) float, NaN = missing (a boolean column holds 0 and 1).
        unit: of all its columns.
        higher_is_better: None where neither end is good (a signed bias).
        boolean: the columns hold true and false.
        needs_model: without a model the columns stay empty.
    """

    columns: Mapping[str, str]
    compute: Callable[[MixedBatch], Mapping[str, Tensor]]
    unit: str = "fraction"
    higher_is_better: bool | None = None
    boolean: bool = False
    needs_model: bool = False


@dataclass(frozen=True)
class MetricOptions:
    """What the user may choose: ``top_k``, the K of ``--top-k``, ascending."""

    top_k: tuple[int, ...] = (1, 2, 5)


METRICS: Registry[Callable[[MetricOptions], Metric]] = Registry("metric", "gazeeval.metrics")
register_metric = METRICS.register
