"""What every mixer keeps, checked on a few pairs: by `gazeeval.testing.check_mixer`, and before a long run."""

from __future__ import annotations

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import MixerError
from gazeeval.mixers.base import AnyMixer, Draws
from gazeeval.signals.base import Signals
from gazeeval.types import Labels, PairBatch, Placement


def check_pairs(mixer: AnyMixer, pairs: PairBatch, signals: Signals, seed: int = 0) -> None:
    """Raise MixerError where `mixer` breaks the contract on these pairs.

    Checked: shapes and ranges of mask and lam; inputs and the global random state unchanged; the same draws give the
        same
    result; a mixer of scope ``pair`` gives a pair the same result alone as among others.
    """
    images, state = pairs.images.clone(), torch.get_rng_state()
    draws = _draw(mixer, pairs, range(len(pairs)), seed)
    placement, labels = _place(mixer, pairs, signals, draws)
    _expect(torch.equal(images, pairs.images), "it writes to its input images")
    _expect(torch.equal(state, torch.get_rng_state()), "it draws from torch's global generator; draw from rng only")
    _check_values(placement, labels, pairs)
    again, labels_again = _place(mixer, pairs, signals, draws)
    _expect(torch.equal(again.mask, placement.mask), "the same draws give another mask")
    _expect(_equal(labels.lam, labels_again.lam), "the same draws give another lam")
    if mixer.scope == "pair":
        for row in range(len(pairs)):
            alone = slice(row, row + 1)
            one = PairBatch(pairs.images, pairs.labels, pairs.source[alone], pairs.target[alone])
            drawn = _draw(mixer, one, [row], seed)
            apart, labels_apart = _place(mixer, one, signals.of(one.source, one.target), drawn)
            same = torch.allclose(apart.mask, placement.mask[alone], atol=1e-5, equal_nan=True)
            _expect(same, 'a pair alone gets another mask than among others; set scope = "group" if that is meant')
            _expect(_equal(labels_apart.lam, labels.lam[alone]), "a pair alone gets another lam than among others")


def _draw(mixer: AnyMixer, pairs: PairBatch, ids: range | list[int], seed: int) -> Draws:
    ids = ids if mixer.scope == "pair" else [0]
    draws: Draws = mixer.draw(PairRng(seed, type(mixer).name, list(ids)), pairs.size)
    return draws.to(pairs.images.device)


def _place(mixer: AnyMixer, pairs: PairBatch, signals: Signals, draws: Draws) -> tuple[Placement, Labels]:
    placement = mixer.place(pairs, signals, draws)
    _expect(isinstance(placement, Placement), f"place() must return a Placement, got {type(placement).__name__}")
    labels = mixer.weigh(pairs, placement, signals, draws, None)
    _expect(isinstance(labels, Labels), f"weigh() must return Labels, got {type(labels).__name__}")
    return placement, labels


def _check_values(placement: Placement, labels: Labels, pairs: PairBatch) -> None:
    shape, expected = tuple(placement.mask.shape), (len(pairs), *pairs.size)
    _expect(shape == expected, f"the mask must have shape {expected} (pairs, height, width), got {shape}")
    low, high = float(placement.mask.min()), float(placement.mask.max())
    _expect(low >= 0 and high <= 1, f"the mask must lie in [0, 1], got {low:g} .. {high:g}")
    lam = labels.lam
    _expect(lam.shape == (len(pairs),), f"lam must have shape ({len(pairs)},), got {tuple(lam.shape)}")
    known = lam[~lam.isnan()]
    inside = bool(((known >= 0) & (known <= 1)).all())
    _expect(inside, f"lam must lie in [0, 1], got {lam.tolist()}")
    for name, value in labels.extra.items():
        _expect(
            value.shape == lam.shape, f"extra {name!r} must have shape {tuple(lam.shape)}, got {tuple(value.shape)}"
        )


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-6, equal_nan=True)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise MixerError(f"contract: {message}.")
