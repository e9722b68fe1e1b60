"""Maps that are of no use mark the pairs, or the mixes of several images, that rely on them."""

from __future__ import annotations

import torch

from gazeeval.signals.base import GazeDensity, Saliency, Signals

FLAT, NONFINITE, GOOD = torch.ones(2, 2), torch.tensor([[1.0, torch.nan], [0, 0]]), torch.arange(4.0).view(2, 2)


def signals() -> Signals:
    maps = torch.stack((FLAT, NONFINITE, GOOD))
    return Signals({Saliency(): maps, GazeDensity(): maps}, torch.tensor([2, 2, 2]), torch.tensor([0, 1, 2]))


def test_a_pair_is_marked_by_the_maps_that_were_read() -> None:
    read = signals()
    read.source(Saliency())
    read.target(GazeDensity())  # no map of importance: an image without gaze is another matter
    assert not any(bool(marks.any()) for marks in read.degenerate())
    read.target(Saliency())
    flat, nonfinite = read.degenerate()
    assert flat.tolist() == [True, False, False]
    assert nonfinite.tolist() == [False, True, False]


def test_a_mix_is_marked_by_the_images_that_it_shows() -> None:
    shown = torch.tensor([[True, False, True], [False, True, True], [False, False, True], [True, True, False]])
    flat, nonfinite = signals().degenerate_mixes({Saliency(), GazeDensity()}, shown)
    assert flat.tolist() == [True, False, False, True]
    assert nonfinite.tolist() == [False, True, False, True]
