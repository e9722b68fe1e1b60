"""Images divided into n x n blocks: sums, borders and back to pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d


def saliency_shares(saliency: Tensor, rows: int, cols: int) -> Tensor:
    """(b, k, rows, cols) float64, sum 1: the share of ``saliency`` (b, k, h, w) that each block holds.

    Uniform where the map holds nothing or is not finite.
    """
    cells = _pooled(saliency, rows, cols, 8)
    pooled = avg_pool2d(cells, (cells.shape[-2] // rows, cells.shape[-1] // cols))
    total = pooled.sum(dim=(2, 3), keepdim=True)
    return torch.where((total > 0) & total.isfinite(), pooled / total, 1 / (rows * cols))


def border_differences(images: Tensor, n: int, at_most: int) -> Tensor:
    """How visible the border between two blocks is: (b, 2, k, k, n, n) float64 from ``images`` (b, k, 3, h, w).

    At [:, 0, here, there, y, x] the mean absolute difference of the last row of cells of image ``here`` in a block and
    the first row of image ``there`` in the block below it, at [:, 1] the same for columns and the block to the right;
    0 where there is none. Cells are squares of up to ``at_most`` pixels, the largest that divide the block.
    """
    pooled = _pooled(images.flatten(0, 1), n, n, at_most)
    cells = pooled.view(*images.shape[:2], *pooled.shape[1:])
    across = _differences_down(cells.transpose(-1, -2), n).transpose(-1, -2)
    return torch.stack((_differences_down(cells, n), across), dim=1)


def _differences_down(cells: Tensor, n: int) -> Tensor:
    """(b, here, there, n, n) from (b, k, 3, n * rows, n * cols)."""
    blocks = cells.reshape(*cells.shape[:3], n, cells.shape[3] // n, n, cells.shape[4] // n)
    last, first = blocks[:, :, :, :-1, -1], blocks[:, :, :, 1:, 0]
    difference = (last.unsqueeze(2) - first.unsqueeze(1)).abs().mean(dim=(3, 6))
    return torch.nn.functional.pad(difference, (0, 0, 0, 1))


def _pooled(maps: Tensor, rows: int, cols: int, at_most: int) -> Tensor:
    """Float64 means over cells of up to ``at_most`` pixels a side that divide the blocks of a grid of rows x cols."""
    h, w = maps.shape[-2:]
    cell = (largest_divisor(h // rows, at_most), largest_divisor(w // cols, at_most))
    return avg_pool2d(maps, cell).double()  # few numbers each: float32 will do, and is five times as fast


def repeated(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """(b, h, w): every pixel of (height, width) ``size`` has the value of its cell of ``cells`` (b, rows, cols)."""
    count, rows, cols = cells.shape
    spread = cells.view(count, rows, 1, cols, 1).expand(-1, -1, size[0] // rows, -1, size[1] // cols)
    return spread.reshape(count, *size)


def top_left(maps: Tensor, rows: int, cols: int) -> Tensor:
    """(b, rows, cols): the value of ``maps`` (b, h, w) at the top left pixel of each cell of a grid, whatever the size.

    Nearest interpolation as torch does it, but in integers, so that rounding cannot take another pixel.
    """
    row, col = (
        torch.arange(count, device=maps.device) * pixels // count
        for count, pixels in zip((rows, cols), maps.shape[1:], strict=True)
    )
    return maps[:, row[:, None], col]


def first_cells(order: Tensor, count: Tensor | int) -> Tensor:
    """(b, cells) bool: which cells are among the first ``count``, (b, 1) or one number, of ``order`` (b, cells)."""
    place = torch.arange(order.shape[1], device=order.device)
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, order, (place < count).expand_as(order))


def largest_divisor(length: int, at_most: int) -> int:
    """The largest divisor of ``length`` up to ``at_most``."""
    return max(d for d in range(1, min(length, at_most) + 1) if length % d == 0)
