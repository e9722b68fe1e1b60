"""Requests, answers and the cache between them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gazeeval.errors import PluginError, UsageError
from gazeeval.signals import answer as module
from gazeeval.signals.answer import answer, signal_cache
from gazeeval.signals.base import GazeDensity, Saliency, Signals, UndeclaredSignalError
from gazeeval.signals.fine_grained import fine_grained
from gazeeval.signals.spectral_residual import spectral_residual

FINE = Saliency("fine_grained")
SPECTRAL = Saliency("spectral_residual")


def bytes_and_floats(n: int) -> tuple[Tensor, Tensor]:
    images = torch.randint(0, 256, (n, 3, 20, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return images, images / 255


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each call of the fine-grained detector."""
    calls: list[int] = []

    def counting(images: Tensor) -> Tensor:
        calls.append(len(images))
        return fine_grained(images)

    monkeypatch.setattr(module, "fine_grained", counting)
    return calls


def test_requests_are_values() -> None:
    assert {Saliency(), FINE, SPECTRAL, GazeDensity(), GazeDensity()} == {FINE, SPECTRAL, GazeDensity()}


def test_a_misspelt_detector_is_named() -> None:
    with pytest.raises(UsageError, match=r"got 'finegrained' \(did you mean 'fine_grained'\?\)"):
        Saliency("finegrained")  # type: ignore[arg-type]


def test_answers_are_read_per_pair() -> None:
    signals = Signals({FINE: torch.tensor([[1], [2], [3]])}, torch.tensor([0, 2, 2, 1]), torch.tensor([1, 0, 1, 1]))
    assert signals.source(FINE).tolist() == [[1], [3], [3], [2]]
    assert signals.target(FINE).tolist() == [[2], [1], [2], [2]]
    assert signals.images(FINE).tolist() == [[1], [2], [3]]


@pytest.mark.parametrize("read", ["source", "target", "images"])
def test_reading_what_was_not_declared(read: str) -> None:
    signals = Signals({FINE: torch.zeros(1)}, torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(UndeclaredSignalError, match=r"^signals: not declared.*spectral.*Add it to needs\(\)\.$") as hit:
        getattr(signals, read)(SPECTRAL)
    assert isinstance(hit.value, PluginError)
    assert isinstance(hit.value, KeyError)


def test_detectors_see_the_8_bit_image() -> None:
    images, floats = bytes_and_floats(3)
    answers = answer([FINE, SPECTRAL], floats, normalise=lambda x: x)
    assert torch.equal(answers[FINE], fine_grained(images))
    assert torch.equal(answers[SPECTRAL], spectral_residual(images))


def test_opencv_float_sees_the_normalised_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "opencv_float", lambda images: images[:, 0])
    _, floats = bytes_and_floats(2)
    request = Saliency("opencv_float")
    found = answer([request], floats, normalise=lambda x: (x - 0.5) / 0.25)[request]
    assert torch.equal(found, (floats[:, 0] - 0.5) / 0.25)


def test_gaze_is_not_answered_from_images() -> None:
    with pytest.raises(PluginError, match=r"got GazeDensity\(\)"):
        answer([GazeDensity()], torch.zeros(1, 3, 8, 8), normalise=lambda x: x)


def test_the_cache_computes_only_what_is_missing(seen: list[int]) -> None:
    images, floats = bytes_and_floats(5)
    cache = signal_cache()
    for rows, keys in (([0, 1, 2], "abc"), ([2, 3, 0, 4], "cdae"), ([1, 4], "be")):
        found = answer([FINE], floats[rows], normalise=lambda x: x, keys=list(keys), cache=cache)[FINE]
        assert torch.equal(found, fine_grained(images[rows]))
    assert seen == [3, 2]
    assert len(cache) == 5


def test_requests_do_not_share_cached_answers() -> None:
    images, floats = bytes_and_floats(2)
    cache = signal_cache()
    answer([FINE], floats, normalise=lambda x: x, keys=[0, 1], cache=cache)
    found = answer([FINE, SPECTRAL], floats, normalise=lambda x: x, keys=[0, 1], cache=cache)
    assert torch.equal(found[SPECTRAL], spectral_residual(images))


def test_a_kept_answer_does_not_hold_its_batch() -> None:
    cache = signal_cache()
    _, floats = bytes_and_floats(8)
    answer([FINE], floats, normalise=lambda x: x, keys=list(range(8)), cache=cache)
    kept = cache.get((3, FINE))
    assert kept is not None
    assert kept.untyped_storage().nbytes() == kept.nbytes


def test_too_small_a_cache_still_answers(seen: list[int]) -> None:
    images, floats = bytes_and_floats(4)
    cache = signal_cache(1000)  # two maps
    for _ in range(2):
        found = answer([FINE], floats, normalise=lambda x: x, keys=[0, 1, 2, 3], cache=cache)[FINE]
        assert torch.equal(found, fine_grained(images))
    assert sum(seen) > 4
