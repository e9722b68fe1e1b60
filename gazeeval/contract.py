"""What every mixer keeps, checked on a few pairs: by `gazeeval.testing.check_mixer`, and before a long run."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gazeeval.data.random import PairRng
from gazeeval.errors import MixerError
from gazeeval.mixers.base import AnyMixer, Draws, FeatureMixer, GroupMixer
from gazeeval.signals.base import Signals
from gazeeval.signals.networks import Networks
from gazeeval.types import Labels, PairBatch, Placement


def check_pairs(
    mixer: AnyMixer, pairs: PairBatch, signals: Signals, seed: int = 0, networks: Networks | None = None
) -> None:
    """Raise MixerError where `mixer` breaks the contract on these pairs.

    Checked: shapes and ranges of mask, lam and what is visible of each image; that the mixed image is finite; inputs
    and the global random state unchanged; the same draws give the same result; a mixer of scope ``pair`` gives a pair
    the same result alone as among others. ``networks`` are for mixers that mix inside one or look at mixed images.
    """
    images, state = pairs.images.clone(), torch.get_rng_state()
    draws = _draw(mixer, pairs, range(len(pairs)), seed)
    work = partial(_results, mixer, networks=networks or Networks())
    results = work(pairs, signals, draws)
    _expect(torch.equal(images, pairs.images), "it writes to its input images")
    _expect(torch.equal(state, torch.get_rng_state()), "it draws from torch's global generator; draw from rng only")
    for name, again in work(pairs, signals, draws).items():
        _expect(torch.equal(again.nan_to_num(-1), results[name].nan_to_num(-1)), f"the same draws give another {name}")
    for row in range(len(pairs)) if mixer.scope == "pair" else ():
        alone = slice(row, row + 1)
        one = PairBatch(pairs.images, pairs.labels, pairs.source[alone], pairs.target[alone])
        apart = work(one, signals.of(one.source, one.target), _draw(mixer, one, [row], seed))
        for name, value in apart.items():
            same = torch.allclose(value, results[name][alone], rtol=1e-4, atol=1e-5, equal_nan=True)
            _expect(same, f'a pair alone gets another {name} than among others; set scope = "group" if that is meant')


def _draw(mixer: AnyMixer, pairs: PairBatch, ids: range | list[int], seed: int) -> Draws:
    ids = ids if mixer.scope == "pair" else [0]
    draws: Draws = mixer.draw(PairRng(seed, type(mixer).name, list(ids)), pairs.size)
    return draws.to(pairs.images.device)


def _results(
    mixer: AnyMixer, pairs: PairBatch, signals: Signals, draws: Draws, networks: Networks
) -> dict[str, Tensor]:
    """What a mixer makes of the pairs, by name, after checking shapes and ranges."""
    if isinstance(mixer, FeatureMixer):
        model = networks.judge
        if model is None:
            raise MixerError("contract: it mixes inside a network; pass a model.")
        labels = Labels(mixer.share(draws), mixer.extra(draws))
        logits = mixer.logits(model, pairs.source_images, pairs.target_images, draws)
        _check_labels(labels, pairs)
        _expect(logits.dim() == 2 and len(logits) == len(pairs), f"logits must be (b, classes), got {logits.shape}")
        return {"lam": labels.lam, "logits": logits}
    if isinstance(mixer, GroupMixer):
        composed = mixer.compose(pairs, signals, draws)
        shape, expected = tuple(composed.weights.shape[:2]), (len(pairs), len(pairs.images))
        _expect(shape == expected, f"weights must start with {expected} (pairs, images of the group), got {shape}")
        whole = composed.weights.sum(dim=1)
        _expect(torch.allclose(whole, torch.ones_like(whole), atol=1e-5), "the weights of a cell must sum to 1")
        return {"weights": composed.weights}
    placement = mixer.place(pairs, signals, draws)
    _expect(isinstance(placement, Placement), f"place() must return a Placement, got {type(placement).__name__}")
    mixed = placement.blend_pairs(pairs)
    _expect(bool(mixed.isfinite().all()), "the mixed image must be finite")
    each = torch.arange(len(pairs), device=mixed.device)
    seen = Signals(networks.answer(mixer.needs_mixed(), mixed, None), each, each)
    labels = mixer.weigh(pairs, placement, signals, draws, seen)
    _expect(isinstance(labels, Labels), f"weigh() must return Labels, got {type(labels).__name__}")
    _check_values(placement, labels, pairs)
    low, high = (float(bound) for bound in torch.stack(placement.visibility()).aminmax())
    _expect(low >= 0 and high <= 1, f"an own pixel must be visible by 0 to 1, got {low:g} .. {high:g}")
    return {"mask": placement.mask, "lam": labels.lam}


def _check_values(placement: Placement, labels: Labels, pairs: PairBatch) -> None:
    shape, expected = tuple(placement.mask.shape), (len(pairs), *pairs.size)
    _expect(shape == expected, f"the mask must have shape {expected} (pairs, height, width), got {shape}")
    low, high = float(placement.mask.min()), float(placement.mask.max())
    _expect(low >= 0 and high <= 1, f"the mask must lie in [0, 1], got {low:g} .. {high:g}")
    _check_labels(labels, pairs)


def _check_labels(labels: Labels, pairs: PairBatch) -> None:
    values = {"lam": labels.lam} | {f"extra {name!r}": value for name, value in labels.extra.items()}
    for name, value in values.items():
        _expect(value.shape == (len(pairs),), f"{name} must have shape ({len(pairs)},), got {tuple(value.shape)}")
    known = labels.lam[~labels.lam.isnan()]
    inside = bool(((known >= 0) & (known <= 1)).all())
    _expect(inside, f"lam must lie in [0, 1], got {labels.lam.tolist()}")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise MixerError(f"contract: {message}.")
