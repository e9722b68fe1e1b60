"""ARISTO pickles: every likely container gives the same samples; unit and base are inferred; mistakes are named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gazeeval.data.readers.aristo import infer_base, read_aristo
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError

SAMPLES: dict[str, list[Any]] = {
    "img_id": [3, 3, 3, 7, 7],
    "times": [0.0, 0.02, 0.04, 1.0, 1.02],
    "x": [600.5, 610, 620, 300, 310],
    "y": [350.5, 340, 330, 200, 210],
    "hierarchy": ["species"] * 5,
    "label": [1, 1, 1, 2, 2],
}
PER_IMAGE: dict[str, list[Any]] = {
    "img_id": [3, 7],
    **{name: [SAMPLES[name][:3], SAMPLES[name][3:]] for name in ("times", "x", "y")},
    "hierarchy": ["species", "species"],
    "label": [1, 2],
}


def by_row(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def arrays(columns: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: [np.array(v) if isinstance(v, list) else v for v in values] for name, values in columns.items()}


with pd.option_context("mode.string_storage", "python"):  # Arrow's, where pyarrow is installed, is refused in pickles
    CONTAINERS = {
        "data frame": pd.DataFrame(SAMPLES),
        "dict of lists": SAMPLES,
        "dict of arrays": {name: np.array(values) for name, values in SAMPLES.items()},
        "list of dicts": by_row(SAMPLES),
        "list of dicts of numpy scalars": pd.DataFrame(SAMPLES).to_dict("records"),
        "data frame of lists": pd.DataFrame(PER_IMAGE),
        "data frame of arrays": pd.DataFrame(arrays(PER_IMAGE)),
        "dict of lists of lists": PER_IMAGE,
        "dict of lists of arrays": arrays(PER_IMAGE),
        "list of dicts of lists": by_row(PER_IMAGE),
    }
    OTHER_FRAME = pd.DataFrame({"image_id": [1]})


def read(content: object, folder: Path, level: str = "species", **options: Any) -> GazeTable:
    path = folder / f"{level}.pkl"
    path.write_bytes(pickle.dumps(content))
    return read_aristo({level: path}, **options)


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_agree(name: str, tmp_path: Path) -> None:
    table = read(CONTAINERS[name], tmp_path)
    assert table.images[table.image].tolist() == SAMPLES["img_id"]
    assert (table.x.tolist(), table.y.tolist()) == (SAMPLES["x"], SAMPLES["y"])
    np.testing.assert_allclose(table.t_ms, [0, 20, 40, 1000, 1020])
    np.testing.assert_allclose(table.duration_ms, 20)
    assert table.label is not None
    assert table.label.tolist() == SAMPLES["label"]
    assert (table.kind, table.conditions, table.condition.tolist()) == ("samples", ("species",), [0] * 5)
    assert table.notes == ("species: unit of time taken as s (median step 0.02, 50 per second)",)


def test_levels_become_conditions(tmp_path: Path) -> None:
    levels = {}
    for i, level in enumerate(("species", "genus")):
        levels[level] = tmp_path / f"{level}.pkl"
        levels[level].write_bytes(pickle.dumps(SAMPLES | {"hierarchy": [level] * 5, "img_id": [i + 1] * 5}))
    table = read_aristo(levels)
    assert table.conditions == ("species", "genus")
    assert table.condition.tolist() == [0] * 5 + [1] * 5
    assert table.images[table.image].tolist() == [1] * 5 + [2] * 5
    with pytest.raises(DataError, match="field 'hierarchy', got genus in the file declared as 'species'"):
        read_aristo({"species": levels["genus"], "genus": levels["species"]})


def test_a_declared_unit_wins_and_an_unclear_one_is_refused(tmp_path: Path) -> None:
    table = read(SAMPLES, tmp_path, time_unit="ms")
    np.testing.assert_allclose(table.duration_ms, 0.02)
    assert table.notes == ()
    for times in ([0.0] * 5, [0, 0.3, 0.6, 0, 0.3]):
        with pytest.raises(DataError, match=r"species\.pkl: the unit of time cannot be inferred"):
            read(SAMPLES | {"times": times}, tmp_path)


def test_blinks_are_left_out_and_counted(tmp_path: Path) -> None:
    table = read(SAMPLES | {"x": [600.5, None, 620, float("nan"), 310]}, tmp_path, time_unit="s")
    assert table.x.tolist() == [600.5, 620, 310]
    assert table.notes == ("species: 2 of 5 samples have no finite time or position and were left out",)


def test_samples_out_of_order_are_sorted(tmp_path: Path) -> None:
    table = read(SAMPLES | {"times": [0.04, 0.02, 0.0, 1.0, 1.02]}, tmp_path)
    assert table.x.tolist() == [620, 610, 600.5, 300, 310]
    assert "species: 1 recordings were not in time order" in table.notes[-1]


def test_unusual_labels_are_no_error(tmp_path: Path) -> None:
    table = read(SAMPLES | {"label": ["a"] * 5}, tmp_path)
    assert table.label is None
    assert "labels are not whole numbers" in table.notes[0]


def without(name: str) -> dict[str, list[Any]]:
    return {key: values for key, values in SAMPLES.items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (without("x"), "no field 'x', got img_id, times, y, hierarchy, label. Expected img_id, times, x, y"),
        (without("times") | {"time": SAMPLES["times"]}, r"no field 'times' \(did you mean 'time'\?\)"),
        (OTHER_FRAME, r"no field 'img_id' \(did you mean 'image_id'\?\)"),
        ({}, "got none"),
        ([], "got a list. Expected a data frame"),
        ([1, 2], "got a list"),
        (3.5, "got a float"),
        (PER_IMAGE | {"x": [[1.0, 2.0, 3.0], [1.0]]}, r"row 1, got lists of unequal length \(times 2, x 1, y 2\)"),
        (SAMPLES | {"x": [1.0]}, "fields of unequal length, got img_id 5, times 5, x 1"),
        (SAMPLES | {"y": [1.0, 2.0, "left", 3.0, 4.0]}, "field 'y', row 2, got 'left'. Expected a number"),
        (SAMPLES | {"img_id": [1, 2, 2.5, 3, 4]}, "field 'img_id', row 2, got 2.5. Expected whole numbers"),
        (SAMPLES | {"img_id": [1, 2, None, 3, 4]}, "field 'img_id', row 2, got nan"),
        (SAMPLES | {"x": [None] * 5}, "no sample has a time and a position"),
        (PER_IMAGE | {"x": [[[1.0], [2.0, 3.0]], [1.0]]}, "field 'x'"),
    ],
)
def test_mistakes_are_named(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(content, tmp_path)
    assert "species.pkl" in str(caught.value)


N = 1000
REFERENCE = np.arange(N) // 5  # five images per species


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("label_base", [0, 1])
def test_the_base_follows_from_the_ends_or_the_labels(base: int, label_base: int) -> None:
    every = np.arange(N) + base
    assert infer_base(every, N) == base
    inner = every[10:-10]
    labels = REFERENCE[inner - base] + label_base
    assert infer_base(inner, N, labels, REFERENCE) == base
    few_wrong = np.where(np.arange(len(labels)) % 200 == 0, 0, labels)
    assert infer_base(inner, N, few_wrong, REFERENCE) == base
    repeated = np.repeat(inner, 3)
    assert infer_base(repeated, N, np.repeat(labels, 3), REFERENCE) == base


def test_numbers_beyond_the_list_do_not_disturb() -> None:
    numbers = np.arange(50, 2 * N)
    labels = (numbers - 1) // 5
    assert infer_base(numbers, N, labels, REFERENCE) == 1


def test_an_undecidable_base_is_refused() -> None:
    inner = np.arange(10, 900)
    for labels in (None, np.zeros(len(inner), dtype=np.int64), np.random.default_rng(0).permutation(inner) // 5):
        with pytest.raises(DataError, match=r"got 10 to 899 for a list of 1,000 .* gaze\.image_id_base: 0 or 1"):
            infer_base(inner, N, labels, REFERENCE)
    with pytest.raises(DataError, match="got -1"):
        infer_base(np.array([-1, 4]), N)
    with pytest.raises(DataError, match="got none"):
        infer_base(np.array([], dtype=np.int64), N)
