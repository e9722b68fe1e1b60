"""Mixers as a user would write them in a file of their own: one that works, others that break one rule each.

The annotations that our own mixers have are left out, as users do.
"""
# mypy: ignore-errors

import os
from dataclasses import dataclass

import torch

import gazeeval as ge


@dataclass(frozen=True)
class Half(ge.Mixer):
    """The left part of the source."""

    share: float = 0.5

    def draw(self, rng, size):
        return ge.Draws()

    def place(self, pairs, signals, draws):
        h, w = pairs.size
        mask = (torch.arange(w) < self.share * w).float().expand(len(pairs), h, w)
        return ge.Placement.from_mask(mask, "binary")


@dataclass(frozen=True)
class Loud(Half):
    """A mask of 2."""

    def place(self, pairs, signals, draws):
        return ge.Placement.from_mask(torch.full((len(pairs), *pairs.size), 2.0), "soft")


@dataclass(frozen=True)
class Dirty(Half):
    """Writes to its input."""

    def place(self, pairs, signals, draws):
        pairs.images.mul_(0.5)
        return super().place(pairs, signals, draws)


@dataclass(frozen=True)
class Wild(Half):
    """Draws from torch's own generator."""

    def place(self, pairs, signals, draws):
        return ge.Placement.from_mask(torch.rand(len(pairs), *pairs.size), "soft")


@dataclass(frozen=True)
class Crowd(Half):
    """A label that depends on how many pairs there are."""

    def weigh(self, pairs, placement, signals, draws, mixed):
        return ge.Labels(torch.full((len(pairs),), 1 / len(pairs), dtype=torch.float64))


@dataclass(frozen=True)
class Raises(Half):
    """Fails."""

    def place(self, pairs, signals, draws):
        return 1 // 0


@dataclass(frozen=True)
class Beyond(Half):
    """A label above 1."""

    def weigh(self, pairs, placement, signals, draws, mixed):
        return ge.Labels(placement.mask_share() + 2)


class Plain(ge.Mixer):
    """Not a dataclass."""


@dataclass(frozen=True)
class Stopped(Half):
    """Gets a signal in the second group."""

    number: int = 2

    def place(self, pairs, signals, draws):
        if not (pairs.labels == 0).all() and len(pairs) == 2:
            os.kill(os.getpid(), self.number)
        return super().place(pairs, signals, draws)
