"""Gaze density: what share of the looking falls on each pixel of the network input.

The density of an image is a weighted sum of Gaussians, one per fixation. Each is a product of a function of x and one
of y, so the maps of a batch are one batched matrix product, M = (w * Gy)^T Gx, exact at any sub-pixel position and
without a truncated kernel. Blurring fixation points with one degree of visual angle is the convention of Le Meur and
Baccino (2013), Behavior Research Methods 45, section "Continuous saliency maps".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gazeeval.data.geometry import PointMap
from gazeeval.errors import UsageError, did_you_mean

Unit = Literal["px", "%", "deg"]
Weight = Literal["duration", "count"]
Border = Literal["renormalise", "per-fixation", "reflect"]

_CHUNK = 64  # images at a time: factors and maps of a chunk stay in the cache
_PERIODS = 3  # mirror images on each side under border="reflect"


@dataclass(frozen=True)
class Sigma:
    """Standard deviation of the Gaussian around a fixation.

    ``px``: pixels of the network input, the same along x and y. ``%``: percent of the ORIGINAL image's short side.
    ``deg``: degrees of visual angle. The last two are lengths on the original image and scale with its resize.
    """

    value: float
    unit: Unit

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit) or not 0 < self.value < math.inf:
            raise UsageError(_sigma_message(str(self)))

    @classmethod
    def parse(cls, text: str) -> Sigma:
        """From ``"9px"``, ``"3.5%"`` or ``"1deg"``.

        Raises:
            UsageError: another form, or not a positive finite number.
        """
        match = re.fullmatch(r"\s*([0-9.eE+-]+)\s*(px|%|deg)\s*", text)
        try:
            number, unit = match.groups() if match else ("", "")
            return cls(float(number), unit)  # type: ignore[arg-type]  # checked on construction
        except ValueError:
            raise UsageError(_sigma_message(text)) from None

    def __str__(self) -> str:
        return f"{self.value!r}".removesuffix(".0") + self.unit

    def in_input(
        self,
        points: PointMap,
        widths: NDArray[np.int64],
        heights: NDArray[np.int64],
        px_per_degree: float | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(sigma_x, sigma_y), (n,) each, in pixels of the network input, for images of these original sizes.

        Raises:
            UsageError: degrees asked for where ``px_per_degree`` (original pixels) is unknown.
        """
        if self.unit == "px":
            same = np.full(len(points.ax), self.value)
            return same, same
        if self.unit == "%":
            length = self.value / 100 * np.minimum(widths, heights)
        elif px_per_degree is not None:
            length = np.full(len(points.ax), self.value * px_per_degree)
        else:
            raise UsageError(
                f"--sigma: got {self}, but the dataset does not say how many pixels a degree has. "
                "Set px_per_degree in its spec, or use 9px or 3.5%."
            )
        return length * points.scale_x, length * points.scale_y


@dataclass(frozen=True)
class GazeRecipe:
    """How gaze becomes a density; every result names it, because the numbers depend on it.

    ``weight``: fixations count by their duration or once each. ``border``: what happens at the frame, see
    ``gaze_density``.
    """

    sigma: Sigma
    weight: Weight = "duration"
    border: Border = "renormalise"

    def __post_init__(self) -> None:
        for option, value, known in (("weight", self.weight, Weight), ("border", self.border, Border)):
            if value not in get_args(known):
                hint = did_you_mean(value, get_args(known))
                raise UsageError(f"--{option}: got {value!r}{hint}. Use one of {', '.join(get_args(known))}.")

    def __str__(self) -> str:
        return f"sigma={self.sigma},weight={self.weight},border={self.border}"


def gaze_density(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    sigma: float | Tensor | tuple[Tensor, Tensor],
    height: int,
    width: int,
    *,
    border: Border = "renormalise",
    sampled: bool = False,
    normalise: bool = True,
) -> Tensor:
    """Densities (n, height, width) float32 of ``n`` images, each of mass 1, or all zero where no gaze is visible.

    Args:
        x, y: (n, k) positions in pixels of the network input, corner convention (first pixel centred at 0.5); may lie
            outside the frame. On the device that shall hold the result.
        weight: (n, k) >= 0, e.g. milliseconds; 0 marks padding.
        sigma: pixels; one number, (n,), or a pair (sigma_x, sigma_y) of (n,) each.
        border: ``renormalise`` divides the visible part of the sum by its mass, so points outside keep their tails;
            ``per-fixation`` drops points outside and scales each Gaussian to visible mass 1; ``reflect`` drops points
            outside and mirrors the tails back at the borders (3 periods; sigma up to the side of the frame).
        sampled: the Gaussian's value at pixel centres instead of its integral over each pixel (default, exact mass).
        normalise: False gives the plain weighted sum.

    The same batch gives the same bits; an image in another batch agrees to 1e-6 of its maximum. Gaze more than 37
    sigma outside the frame counts as not visible.

    Raises:
        ValueError: shapes differ, a value is not finite, a weight is negative, sigma is not positive, unknown border.
    """
    if border not in get_args(Border):
        raise ValueError(f"border: got {border!r}. Use one of {', '.join(get_args(Border))}.")
    x, y, weight, sigma_x, sigma_y = _checked(x, y, weight, sigma)
    maps = torch.empty(len(x), height, width, device=x.device)
    for start in range(0, len(x), _CHUNK):
        part = slice(start, start + _CHUNK)
        present = weight[part] > 0  # padding costs as much as gaze: leave it out of the factors
        fx, mass_x = _factors(x[part][present], sigma_x[part][present], width, border, sampled)
        fy, mass_y = _factors(y[part][present], sigma_y[part][present], height, border, sampled)
        visible = weight[part].log()
        visible[present] += mass_x + mass_y
        share = visible.softmax(1).nan_to_num(0) if normalise else visible.exp()
        fy *= share[present].unsqueeze(1)
        torch.bmm(_padded(fy, present).mT, _padded(fx, present), out=maps[part])
    return maps


def visible_mass(
    x: Tensor, y: Tensor, weight: Tensor, sigma: float | Tensor | tuple[Tensor, Tensor], height: int, width: int
) -> Tensor:
    """(n,) float64: share of the whole sum of Gaussians that lies in the frame; NaN without weight.

    Arguments and errors as in ``gaze_density``.
    """
    x, y, weight, sigma_x, sigma_y = _checked(x, y, weight, sigma)
    inside_x = _interval_mass(x, sigma_x, x.new_tensor([0, width]))
    inside_y = _interval_mass(y, sigma_y, x.new_tensor([0, height]))
    return (weight * inside_x.squeeze(2) * inside_y.squeeze(2)).sum(1) / weight.sum(1)


def _factors(mean: Tensor, sigma: Tensor, size: int, border: Border, sampled: bool) -> tuple[Tensor, Tensor]:
    """One axis of each of ``m`` Gaussians, scaled to sum 1 over the pixels (m, size), and the log of its sum (m,).

    Kept apart, so that Gaussians far outside the frame do not underflow before the sum over fixations is normalised.
    """
    if border == "reflect":
        shifts = 2 * size * torch.arange(-_PERIODS, _PERIODS + 1, device=mean.device)
        images = torch.cat([shifts + mean.unsqueeze(1), shifts - mean.unsqueeze(1)], dim=1)
        values = _values(images, sigma.unsqueeze(1), size, sampled).sum(1)
    else:
        values = _values(mean, sigma, size, sampled)
    tiny = torch.finfo(values.dtype).tiny
    mass = torch.nn.functional.threshold(values.sum(1), tiny, 0)  # too small to be scaled to 1: nothing is visible
    values *= 1 / mass.clamp(min=tiny).unsqueeze(1)
    if border == "renormalise":
        return values, mass.log()
    outside = (mean < 0) | (mean >= size)
    return values, torch.zeros_like(mass).masked_fill(outside, -math.inf)


def _padded(rows: Tensor, present: Tensor) -> Tensor:
    """``rows`` (m, size) at the places of ``present`` (n, k), zeros elsewhere: (n, k, size) float32."""
    padded = torch.zeros(*present.shape, rows.shape[1], device=rows.device)
    padded[present] = rows.float()
    return padded


def _values(mean: Tensor, sigma: Tensor, size: int, sampled: bool) -> Tensor:
    """Each Gaussian's integral over the pixels, or its value at their centres: (..., size) float64."""
    edges = torch.arange(size + 1, dtype=mean.dtype, device=mean.device)
    if not sampled:
        return _interval_mass(mean, sigma, edges)
    u = (edges[1:] - 0.5 - mean.unsqueeze(-1)) / sigma.unsqueeze(-1)
    return torch.exp(-u * u / 2) / (sigma.unsqueeze(-1) * math.sqrt(2 * math.pi))


def _interval_mass(mean: Tensor, sigma: Tensor, edges: Tensor) -> Tensor:
    """Integral of the Gaussian between neighbouring ``edges`` (m,): (..., m - 1).

    Differences of upper tails, each taken on the edge's own side of the mean: far from the mean, 1 - Phi still has
    all its digits where Phi has rounded to 1. Only the interval that holds the mean spans both sides.
    """
    z = (edges - mean.unsqueeze(-1)).mul_((math.sqrt(0.5) / sigma).unsqueeze(-1))
    tail = z.abs().erfc_().copysign_(z)
    mass = (tail[..., :-1] - tail[..., 1:]).mul_(0.5)
    holder = torch.searchsorted(edges, mean.contiguous()) - 1  # its upper edge is the first that is not below the mean
    inside = ((holder >= 0) & (holder < mass.shape[-1])).to(mass.dtype)
    holder = holder.clamp_(0, mass.shape[-1] - 1)
    return mass.scatter_add_(-1, holder.unsqueeze(-1), inside.unsqueeze(-1))


def _checked(
    x: Tensor, y: Tensor, weight: Tensor, sigma: float | Tensor | tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Everything as (n, k) float64; ValueError for what makes no density."""
    if not (x.ndim == 2 and x.shape == y.shape == weight.shape):
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, y, weight))
        raise ValueError(f"x, y, weight: got shapes {shapes}. Give three tensors of one shape (images, fixations).")
    pair = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    sigma_x, sigma_y = (_per_fixation(part, x) for part in pair)
    x, y, weight = x.double(), y.double(), weight.double()
    rules = {
        "x and y must be finite (mark padding by weight 0)": x.isfinite().all() & y.isfinite().all(),
        "weights must be finite and not negative": (weight.isfinite() & (weight >= 0)).all(),
        "sigma must be finite and positive": _positive(sigma_x) & _positive(sigma_y),
    }
    kept = torch.stack(list(rules.values())).tolist()  # one wait for the device
    for rule, holds in zip(rules, kept, strict=True):
        if not holds:
            raise ValueError(f"gaze density: {rule}.")
    return x, y, weight, sigma_x, sigma_y


def _per_fixation(sigma: float | Tensor, x: Tensor) -> Tensor:
    """One number or one per image, as (n, k) float64."""
    values = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
    if values.shape not in {(), (len(x),)}:
        raise ValueError(
            f"sigma: got shape {tuple(values.shape)} for {len(x)} images. Give one number or one per image."
        )
    return values.expand(len(x)).unsqueeze(1).expand_as(x)


def _positive(sigma: Tensor) -> Tensor:
    return (sigma.isfinite() & (sigma > 0)).all()


def _sigma_message(text: str) -> str:
    return (
        f"--sigma: got {text!r}. Give a positive length as 9px (of the network input), 3.5% (of the original image's "
        "short side) or 1deg."
    )
