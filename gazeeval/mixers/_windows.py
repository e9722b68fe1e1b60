"""Search for the window that holds most or least of a map, for all pairs at once."""

from __future__ import annotations

import torch
from torch import Tensor

_EQUAL = 1e-9
_ROUNDING = 1e-13  # of the whole map: what differences of float64 integrals may leave where a window holds nothing


def best_window(maps: Tensor, sides: Tensor, *, largest: bool = True) -> Tensor:
    """(b, 4) int64 xyxy: the window whose sum over ``maps`` (b, h, w) >= 0 is largest (or smallest).

    ``sides`` (b, 2) int64 are height and width of each pair's window, at most those of the map. Sums are float64; among
    windows within a relative 1e-9 of the best one the first in raster order: rounding must not choose. A map that is
    not finite gives the window in the corner.
    """
    count, h, w = maps.shape
    integral = torch.nn.functional.pad(maps.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    rows = torch.arange(h + 1, device=maps.device)
    cols = torch.arange(w + 1, device=maps.device)
    height, width = sides[:, :1], sides[:, 1:]
    below = (rows + height).clamp(max=h).unsqueeze(2).expand(count, h + 1, w + 1)
    right = (cols + width).clamp(max=w).unsqueeze(1).expand(count, h + 1, w + 1)
    strips = integral.gather(1, below) - integral
    sums = strips.gather(2, right) - strips
    outside = (rows + height > h).unsqueeze(2) | (cols + width > w).unsqueeze(1)
    sums = (sums if largest else -sums).masked_fill(outside, -torch.inf)
    best = sums.amax(dim=(1, 2), keepdim=True)
    slack = _EQUAL * best.abs() + _ROUNDING * integral[:, -1:, -1:]
    first = (sums >= best - slack).flatten(1).byte().argmax(dim=1)
    corner = torch.stack((first % (w + 1), first // (w + 1)), dim=1)
    return torch.cat((corner, corner + sides.flip(1)), dim=1)
