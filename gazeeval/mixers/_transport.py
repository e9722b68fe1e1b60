"""Moving salient blocks of an image into the part of it that the mixed image shows."""

from __future__ import annotations

import torch
from torch import Tensor

_COSTS_AT_ONCE = 2**24
_WORTH = 1e-12  # a block without saliency keeps its place, where the released code leaves a black cell


def transport_plan(saliency: Tensor, visible: Tensor, eps: float) -> Tensor:
    """(b, cells) int64: the block that each cell shows, -1 for none; cells and blocks are counted row by row.

    Moving block i to cell j costs ``eps * distance**2 - saliency_i * visible_j``, distances in units of the grid's
    sides. In every round each block asks for its cheapest cell, each cell takes the cheapest of those that gain there
    (the first among equals), and the others pay 1 more for it. A grid of m rows takes m rounds; what has found no cell
    by then is lost.

    Args:
        saliency: (b, rows, cols) float64, sum 1.
        visible: (b, rows, cols) bool.
    """
    rows, cols = saliency.shape[1:]
    distance = eps * _squared_distance(rows, cols, saliency.device)
    worth, shown = saliency.flatten(1) + _WORTH, visible.flatten(1).double()
    step = max(1, _COSTS_AT_ONCE // distance.numel())
    return torch.cat(
        [
            _settle(distance - some.unsqueeze(2) * cells.unsqueeze(1), max(rows, cols))
            for some, cells in zip(torch.split(worth, step), torch.split(shown, step), strict=True)
        ]
    )


def own_pixels(plan: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(b, h, w) int64: which own pixel (flat) shows at each pixel of the mixed image, -1 for none.

    ``plan`` (b, rows * cols) is over a ``grid`` of (rows, cols) that divides the image of (height, width) ``size``.
    """
    (rows, cols), (h, w) = grid, size
    high, wide = h // rows, w // cols
    corner = torch.where(plan >= 0, plan // cols * high * w + plan % cols * wide, -h * w)
    y, x = torch.arange(high, device=plan.device), torch.arange(wide, device=plan.device)
    own = corner.view(-1, rows, 1, cols, 1) + (y.unsqueeze(1) * w + x).view(high, 1, wide)
    return own.clamp_(min=-1).view(-1, h, w)


def _settle(cost: Tensor, rounds: int) -> Tensor:
    """(b, cells) int64: who has each cell after the last round. Writes to ``cost`` (b, blocks, cells)."""
    blocks = torch.arange(cost.shape[1], device=cost.device).expand(cost.shape[:2])
    nobody = torch.full_like(blocks, cost.shape[1])
    holder = nobody
    for _ in range(rounds):
        asked = cost.argmin(dim=2)
        price = cost.gather(2, asked.unsqueeze(2)).squeeze(2)
        lowest = torch.zeros_like(price).scatter_reduce(1, asked, price, "amin").gather(1, asked)
        cheapest = (price == lowest) & (price < 0)
        holder = nobody.scatter_reduce(1, asked, torch.where(cheapest, blocks, nobody), "amin")
        lost = holder.gather(1, asked) != blocks
        cost.scatter_add_(2, asked.unsqueeze(2), lost.unsqueeze(2).to(cost.dtype))
    return torch.where(holder == nobody, -1, holder)


def _squared_distance(rows: int, cols: int, device: torch.device) -> Tensor:
    """(cells, cells) float64: ``(di / (rows - 1))**2 + (dj / (cols - 1))**2``, one rounding, so that ties stay ties."""
    cell = torch.arange(rows * cols, device=device)
    di, dj = (at - at.unsqueeze(1) for at in (cell // cols, cell % cols))
    high, wide = rows - 1, cols - 1
    return (di**2 * wide**2 + dj**2 * high**2).double() / (high * wide) ** 2
