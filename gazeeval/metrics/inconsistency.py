"""lam_gaze and the inconsistency score: how far the label is from where people look.

Definition: TdAttenMix (AAAI 2025), section 5.5 and eq. 21, with S and T computed in each image's own frame: what of its
gaze mass is visible in the mixed image. The paper leaves the formula of lam_gaze open; ours equals the attention ratio
of its eqs. 11-13 with gaze in place of attention.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gazeeval.metrics.base import Metric, MetricOptions, register_metric
from gazeeval.types import GroupPlacement, Placement, mass


def lam_gaze(placement: Placement, source_density: Tensor, target_density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Share of the visible gaze that comes from the source: ``lam_gaze = S / (S + T)``.

    Args:
        placement: what of each image is visible where, b pairs.
        source_density, target_density: (b, h, w), gaze density of each image over the network input, mass 1, or all
            zero for an image without gaze.

    Returns:
        ``lam_gaze, S, T``, each (b,) float64: the share (NaN where an image has no gaze or nothing of it is visible)
        and the visible gaze mass ``S = sum V_s G_s`` of the source and ``T = sum V_t G_t`` of the target.
    """
    seen_source, seen_target = placement.visibility()
    S = mass(seen_source * source_density)
    T = mass(seen_target * target_density)
    known = (source_density.amax(dim=(1, 2)) > 0) & (target_density.amax(dim=(1, 2)) > 0)
    return torch.where(known, S / (S + T), torch.nan), S, T


def gaze_shares(placement: GroupPlacement, density: Tensor) -> Tensor:
    """(b, g) float64: the share of the visible gaze that comes from each of the g images, ``density`` (g, h, w).

    NaN where an image of the mix has no gaze, or nothing of any is visible.
    """
    seen = placement.visible_gaze(density)
    unknown = (placement.shares() > 0) & (density.amax(dim=(1, 2)) == 0)
    return torch.where(unknown.any(dim=1, keepdim=True), torch.nan, seen / seen.sum(dim=1, keepdim=True))


def group_inconsistency(label_shares: Tensor, shares: Tensor) -> Tensor:
    """(b,) ``1/2 sum_i |o_i - g_i|`` of label shares o and gaze shares g, both (b, g).

    For two images it is ``|lam - lam_gaze|``.
    """
    return (label_shares.double() - shares.double()).abs().sum(dim=1) / 2


@register_metric("inconsistency")
def inconsistency(options: MetricOptions) -> Metric:
    return Metric(
        columns={"inconsistency": "|lam - lam_gaze|, the distance of the label from where people look"},
        compute=lambda batch: {"inconsistency": (batch.lam - batch.lam_gaze).abs()},
        higher_is_better=False,
    )


@register_metric("delta")
def delta(options: MetricOptions) -> Metric:
    return Metric(
        columns={"delta": "lam - lam_gaze: above 0 the label gives the source more than people's gaze does"},
        compute=lambda batch: {"delta": batch.lam - batch.lam_gaze},
    )
