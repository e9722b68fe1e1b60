"""The values that travel between the layers: pairs, placements, labels, mixes. Imports nothing of ours.

Shapes: ``b`` pairs, ``n`` distinct images, ``g`` images of a group, ``h`` x ``w`` pixels of the network input.
Boxes are ``x0, y0, x1, y1`` in pixels, half-open. ``lam`` is always the share of the SOURCE label (the pasted
image); timm, torchvision and most released codes report ``1 - lam``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

MaskKind = Literal["box", "patches", "binary", "soft", "none"]

_CHUNK = 2  # pairs at a time on the CPU: their temporaries fit into memory that the process already holds


@dataclass(frozen=True)
class PairBatch:
    """Pairs over a set of distinct images; an image may serve in several pairs.

    Attributes:
        images: (n, 3, h, w) float32, RGB in [0, 1].
        labels: (n,) int64, 0-based classes.
        source, target: (b,) int64, rows of ``images``. The target is the canvas, the source is pasted.
    """

    images: Tensor
    labels: Tensor
    source: Tensor
    target: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def source_images(self) -> Tensor:
        """(b, 3, h, w)"""
        return self.images[self.source]

    @property
    def target_images(self) -> Tensor:
        """(b, 3, h, w)"""
        return self.images[self.target]

    @property
    def source_labels(self) -> Tensor:
        """(b,) int64"""
        return self.labels[self.source]

    @property
    def target_labels(self) -> Tensor:
        """(b,) int64"""
        return self.labels[self.target]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Placement:
    """What of each image is visible where. The same object moves pixels and weighs gaze.

    Attributes:
        mask: (b, h, w) float32 in [0, 1], the share of the source at each pixel of the MIXED image.
        kind: what the mask is: one box, grid patches, binary, soft, or none (nothing is mixed).
        source_box, target_box: (b, 4) int64 or None. The content of ``source_box`` shows in ``target_box``.
        source_rows, source_cols: (b, h), (b, w) float64 or None. Where row (column) of the mixed image reads the
            source, in pixel indices (0 = centre of the first pixel), between pixels bilinearly. None: in place.
        source_index, target_index: (b, h, w) int64 or None. Which own pixel (flat, ``row * w + column``) shows at a
            pixel of the mixed image, -1 for none. None: in place.

    Boxes and indices exclude each other: a box moves or resizes one rectangle, indices move single pixels or blocks.
    """

    mask: Tensor
    kind: MaskKind
    source_box: Tensor | None = None
    target_box: Tensor | None = None
    source_rows: Tensor | None = None
    source_cols: Tensor | None = None
    source_index: Tensor | None = None
    target_index: Tensor | None = None

    @classmethod
    def from_mask(cls, mask: Tensor, kind: MaskKind | None = None) -> Placement:
        """Both images stay in place, blended by ``mask`` (b, h, w). Without ``kind``: binary or soft, by its values."""
        if kind is None:
            kind = "binary" if bool(((mask == 0) | (mask == 1)).all()) else "soft"
        return cls(mask, kind)

    @classmethod
    def from_boxes(
        cls,
        target_box: Tensor,
        size: tuple[int, int],
        source_box: Tensor | None = None,
        *,
        align_corners: bool = False,
    ) -> Placement:
        """Paste the content of ``source_box`` (default: the same place) into ``target_box``, both (b, 4) xyxy.

        Boxes of different sizes resize the content bilinearly, with pixel centres aligned at the edges of the boxes, or
        at their corner pixels if ``align_corners``. Boxes of one size copy pixels exactly.
        """
        h, w = size
        rows = torch.arange(h, device=target_box.device)
        cols = torch.arange(w, device=target_box.device)
        x0, y0, x1, y1 = target_box.unsqueeze(-1).unbind(1)
        inside_y = ((rows >= y0) & (rows < y1)).float()
        inside_x = ((cols >= x0) & (cols < x1)).float()
        mask = inside_y.unsqueeze(2) * inside_x.unsqueeze(1)
        if source_box is None:
            return cls(mask, "box", target_box, target_box)
        read_cols = _content_coordinate(cols, target_box[:, 0::2], source_box[:, 0::2], align_corners)
        read_rows = _content_coordinate(rows, target_box[:, 1::2], source_box[:, 1::2], align_corners)
        return cls(mask, "box", source_box, target_box, read_rows, read_cols)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.mask.shape[-2], self.mask.shape[-1]

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: slice | Tensor) -> Placement:
        """The placement of some of the pairs."""
        parts: dict[str, Any] = {name: value[rows] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **parts)

    def mask_share(self) -> Tensor:
        """(b,) float64: mean of the mask, the source's share of the pixels; exact for binary masks."""
        h, w = self.size
        return self.mask.sum(dim=2).sum(dim=1, dtype=torch.float64) / (h * w)

    def blend(self, source: Tensor, target: Tensor, out: Tensor | None = None) -> Tensor:
        """The mixed images (b, c, h, w) from ``source`` and ``target`` of the same shape. Inputs stay untouched.

        Where the mask is exactly 0 or 1 the pixel is copied bit for bit. ``out`` takes the result in place of a new
        tensor; it may be ``target``.
        """
        mask = self.mask.unsqueeze(1).to(source.dtype)
        return torch.lerp(self._moved_target(target), self._moved_source(source), mask, out=out)

    def blend_pairs(self, pairs: PairBatch) -> Tensor:
        """`blend` of the source and target images of ``pairs``, (b, 3, h, w).

        On the CPU a few pairs at a time: a new tensor of all images costs more than to mix them, since every page of it
        has to be mapped first. So the only one is the result.
        """
        mixed = pairs.target_images
        step = _CHUNK if mixed.device.type == "cpu" else max(len(self), 1)
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            self[part].blend(pairs.images[pairs.source[part]], mixed[part], out=mixed[part])
        return mixed

    def visibility(self) -> tuple[Tensor, Tensor]:
        """V_s, V_t (b, h, w) in [0, 1]: how much of each image's OWN pixel shows in the mixed image.

        A box that is moved or resized stays fully visible (its gaze mass is kept), a soft mask weighs, pixels that end
        nowhere are lost, and a pixel that shows in several places counts with its best one (card ``lam-gaze``).
        """
        rest = 1 - self.mask
        if self.source_rows is not None and self.source_box is not None:
            shown = Placement.from_boxes(self.source_box, self.size).mask
        else:
            shown = _best_view(self.mask, self.source_index)
        return shown, _best_view(rest, self.target_index)

    def _moved_source(self, source: Tensor) -> Tensor:
        if self.source_index is not None:
            return _gather_pixels(source, self.source_index)
        if self.source_rows is None or self.source_cols is None:
            return source
        rows, cols = self.source_rows.long(), self.source_cols.long()
        if bool((rows == self.source_rows).all() & (cols == self.source_cols).all()):
            return _gather_pixels(source, rows.unsqueeze(2) * source.shape[3] + cols.unsqueeze(1))
        return _read_axis(_read_axis(source, self.source_rows, 2), self.source_cols, 3)

    def _moved_target(self, target: Tensor) -> Tensor:
        return target if self.target_index is None else _gather_pixels(target, self.target_index)


@dataclass(frozen=True)
class GroupPlacement:
    """Mixes of any number of the ``g`` images of one group (Co-Mixup). All images stay in place.

    ``weights`` (b, g, rows, cols) is the share of each image in each cell of each mixed image; cells are equal blocks
    of pixels, down to single ones.
    """

    weights: Tensor

    def __len__(self) -> int:
        return len(self.weights)

    def shares(self) -> Tensor:
        """(b, g) float64: the label share of each image, the mean of its weight."""
        return self.weights.double().mean(dim=(2, 3))

    def blend(self, images: Tensor) -> Tensor:
        """The mixed images (b, c, h, w) from the group's ``images`` (g, c, h, w)."""
        blocks = self._blocks(images)
        mixed = torch.einsum("bgrs,gcrysx->bcrysx", self.weights.to(images.dtype), blocks)
        return mixed.reshape(len(self), *images.shape[1:])

    def visible_gaze(self, density: Tensor) -> Tensor:
        """(b, g) float64: how much of each image's gaze is visible, from the group's densities (g, h, w)."""
        mass = self._blocks(density.unsqueeze(1)).sum(dim=(1, 3, 5), dtype=torch.float64)
        return torch.einsum("bgrs,grs->bg", self.weights.double(), mass)

    def _blocks(self, images: Tensor) -> Tensor:
        """(g, c, rows, h / rows, cols, w / cols)"""
        g, c, h, w = images.shape
        rows, cols = self.weights.shape[2:]
        return images.reshape(g, c, rows, h // rows, cols, w // cols)


@dataclass(frozen=True)
class Labels:
    """What a mixer trains with.

    Attributes:
        lam: (b,) float64 in [0, 1], share of the source label.
        extra: columns of its own, (b,) each; written as ``x_<name>``.
    """

    lam: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Mix:
    """Mixed images with everything that says how they were made.

    ``image`` (b, 3, h, w) in [0, 1]; ``lam`` (b,) float64, share of the source label; ``lam_gaze`` (b,) float64 or None
    where no gaze was given.
    """

    image: Tensor
    lam: Tensor
    placement: Placement
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    lam_gaze: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """(b, h, w), 1 where the source shows."""
        return self.placement.mask

    @property
    def source_box(self) -> Tensor | None:
        """(b, 4) xyxy px, half-open, or None."""
        return self.placement.source_box

    @property
    def target_box(self) -> Tensor | None:
        """(b, 4) xyxy px, half-open, or None."""
        return self.placement.target_box


def mass(maps: Tensor) -> Tensor:
    """(b,) float64: the sum of each of ``maps`` (b, h, w), the same number whatever the others are.

    A few at a time, as torch first copies to float64 what it adds up; and row by row, as it splits a single map, but
    not several, among its threads.
    """
    return torch.cat([part.sum(dim=2, dtype=torch.float64).sum(dim=1) for part in torch.split(maps, _CHUNK)])


def _content_coordinate(at: Tensor, target: Tensor, source: Tensor, align_corners: bool) -> Tensor:
    """Where the mixed image's rows or columns ``at`` read the source: (b, len(at)) float64, inside the source interval.

    ``target`` and ``source`` (b, 2) are the intervals of the two boxes along this axis.
    """
    t0, t1 = target.double().unsqueeze(-1).unbind(1)
    s0, s1 = source.double().unsqueeze(-1).unbind(1)
    if align_corners:
        step = (s1 - s0 - 1) / (t1 - t0 - 1).clamp(min=1)
        read = s0 + (at - t0) * step
    else:
        read = s0 + (at - t0 + 0.5) * ((s1 - s0) / (t1 - t0).clamp(min=1)) - 0.5
    return torch.minimum(torch.maximum(read, s0), (s1 - 1).clamp(min=0))


def _read_axis(images: Tensor, at: Tensor, dim: int) -> Tensor:
    """Read ``images`` (b, c, h, w) along ``dim`` at fractional indices ``at`` (b, k), linearly."""
    last = images.shape[dim] - 1
    low = at.floor().clamp(0, last)
    shape = [len(images), 1, 1, 1]
    shape[dim] = at.shape[1]
    sizes = [-1, images.shape[1], images.shape[2], images.shape[3]]
    sizes[dim] = at.shape[1]
    first = low.long().view(shape).expand(sizes)
    second = (low + 1).clamp(max=last).long().view(shape).expand(sizes)
    weight = (at - low).to(images.dtype).view(shape)
    return torch.lerp(images.gather(dim, first), images.gather(dim, second), weight)


def _gather_pixels(images: Tensor, index: Tensor) -> Tensor:
    """Pixels of ``images`` (b, c, h, w) at flat ``index`` (b, h, w); black where the index is -1."""
    flat = index.flatten(1).unsqueeze(1)
    picked = images.flatten(2).gather(2, flat.clamp(min=0).expand(-1, images.shape[1], -1))
    return picked.masked_fill_(flat < 0, 0).view_as(images)


def _best_view(shown: Tensor, index: Tensor | None) -> Tensor:
    """How much of each own pixel shows, from how much shows (b, h, w) at each mixed pixel and which pixel it is."""
    if index is None:
        return shown
    flat = index.flatten(1)
    weight = torch.where(flat >= 0, shown.flatten(1), 0)
    seen = torch.zeros_like(weight).scatter_reduce(1, flat.clamp(min=0), weight, "amax")
    return seen.view_as(shown)
