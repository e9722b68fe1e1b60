"""Integer boxes shared by the cut-and-paste mixers, for all pairs at once."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

BoxRule = Literal["official", "timm", "torchvision"]


def half_sides(share: Tensor, size: tuple[int, int], rule: BoxRule = "official") -> tuple[Tensor, Tensor]:
    """How far a box that covers ``share`` (b,) float64 of the image reaches before and after its centre.

    Returns two (b, 2) int64 tensors, (y, x): rows before and after the centre, columns before and after it.

    ``official``: sides ``int(H*sqrt(share))`` cut to an even number; ``timm`` (since 1.0.26) keeps odd sides;
    ``torchvision`` halves before it truncates.
    """
    extent = torch.tensor(size, device=share.device, dtype=torch.float64)
    root = share.double().sqrt().unsqueeze(1)
    if rule == "torchvision":
        half = (0.5 * root * extent).long()
        return half, half
    side = (extent * root).long()
    return side // 2, (side + 1) // 2 if rule == "timm" else side // 2


def clipped_box(centre: Tensor, before: Tensor, after: Tensor, size: tuple[int, int]) -> Tensor:
    """(b, 4) xyxy boxes around ``centre`` (b, 2) (y, x), clipped at the border of the image, not shifted."""
    limit = torch.tensor(size, device=centre.device)
    low = torch.minimum((centre - before).clamp(min=0), limit)
    high = torch.minimum((centre + after).clamp(min=0), limit)
    return torch.stack((low[:, 1], low[:, 0], high[:, 1], high[:, 0]), dim=1)


def peak(maps: Tensor) -> Tensor:
    """(b, 2) int64 (y, x) of the first maximum in raster order of ``maps`` (b, h, w)."""
    flat = maps.flatten(1).argmax(dim=1)
    width = maps.shape[-1]
    return torch.stack((flat // width, flat % width), dim=1)
