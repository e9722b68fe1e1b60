"""What mixing costs beside a training step: that the right work is timed, never how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

import gazeeval as ge
from gazeeval.bench import METHODS, PUBLISHED, interleaved, mixing_cost, training_step, wall_and_cpu
from gazeeval.data.random import PairRng
from gazeeval.errors import GazeEvalError, UsageError
from gazeeval.mixers.base import Draws, Mixer, parse_method
from gazeeval.models.model import Model
from gazeeval.signals.base import Signals
from gazeeval.types import PairBatch, Placement

CPU = torch.device("cpu")
COLUMNS = ["method", "batch_size", "device", "step_ms", "mix_ms", "percent", "percent_low", "percent_high"]


@pytest.fixture(scope="module")
def model() -> Model:
    return ge.load_model("demo", device="cpu")


@pytest.fixture
def ticks() -> Callable[[], NDArray[np.float64]]:
    """A clock on which everything takes one second."""
    seconds = count()
    return lambda: np.full(2, float(next(seconds)))


def test_every_work_has_its_own_time() -> None:
    now, calls = np.zeros(2), []

    def takes(name: str, wall: float, cpu: float) -> Callable[[], None]:
        def work() -> None:
            calls.append(name)
            now[:] += wall, cpu

        return work

    works = {"quick": takes("quick", 1, 2), "slow": takes("slow", 10, 5)}
    taken = interleaved(works, 4, CPU, clock=now.copy, before=takes("before", 100, 100))
    np.testing.assert_array_equal(taken["quick"], [[1, 2]] * 4)
    np.testing.assert_array_equal(taken["slow"], [[10, 5]] * 4)
    assert calls[:2] == ["quick", "slow"]
    rounds = [tuple(calls[start : start + 4]) for start in range(2, len(calls), 4)]
    assert set(rounds) == {("before", "quick", "before", "slow"), ("before", "slow", "before", "quick")}


def test_the_clock_runs() -> None:
    start = wall_and_cpu()
    sum(range(100_000))
    assert (wall_and_cpu() > start).all()


def test_a_row_for_every_method_and_size(model: Model, ticks: Callable[[], NDArray[np.float64]]) -> None:
    table = mixing_cost(["cutmix", "guidedmixup-sr:pairing=greedy"], model, batch_sizes=(3, 64), repeats=2, clock=ticks)
    assert list(table.columns) == [*COLUMNS, "published_percent"]
    assert table["method"].tolist() == ["cutmix", "guidedmixup-sr:pairing=greedy"] * 2
    assert table["batch_size"].tolist() == [3, 3, 64, 64]
    assert (table[["step_ms", "mix_ms"]] == 1000).all(axis=None)
    assert (table[["percent", "percent_low", "percent_high"]] == 100).all(axis=None)
    pd.testing.assert_series_equal(
        table["published_percent"], pd.Series([np.nan, np.nan, np.nan, 7.0]), check_names=False
    )


def test_real_times_are_positive(model: Model) -> None:
    table = mixing_cost(["puzzlemix", "comixup"], model, batch_sizes=(4,), repeats=2)
    assert np.isfinite(table[COLUMNS[3:]]).all(axis=None)
    assert (table[COLUMNS[3:]] > 0).all(axis=None)
    assert (table["percent_low"] <= table["percent"]).all()
    assert (table["percent"] <= table["percent_high"]).all()


def test_published_figures_are_of_methods_that_are_timed_by_default() -> None:
    assert {name for name, _ in PUBLISHED} < {type(parse_method(spec)).name for spec in METHODS}


def test_a_step_trains_a_copy(model: Model) -> None:
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    training_step(model, torch.rand(4, 3, 64, 64), torch.arange(4))()
    assert not model.network.training
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    assert all(parameter.grad is None for parameter in model.network.parameters())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("manifoldmix", "method manifoldmix: mixes inside the network, got a transform of images"),
        ("transmix", "method transmix: model resnet10t"),
        ("cutmx", "cutmx.*did you mean 'cutmix'"),
    ],
)
def test_what_cannot_be_timed_is_refused(spec: str, message: str, model: Model) -> None:
    with pytest.raises(UsageError, match=message):
        mixing_cost([spec], model, batch_sizes=(4,), repeats=1)


@dataclass(frozen=True)
class Greedy(Mixer[Draws]):
    """Wants more memory than there is."""

    name = "greedy"

    def draw(self, rng: PairRng, size: tuple[int, int]) -> Draws:
        return Draws()

    def place(self, pairs: PairBatch, signals: Signals, draws: Draws) -> Placement:
        raise torch.OutOfMemoryError


def test_too_large_a_batch_is_named(model: Model) -> None:
    with pytest.raises(GazeEvalError, match=r"a batch of 4 images, got out of memory. Pass a smaller"):
        mixing_cost([Greedy()], model, batch_sizes=(4,), repeats=1)
