"""Nested files: SALICON's and COCO-Search18's JSON as documented, other nestings by their paths, damage named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.records import Lookup, load_json, read_records
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError, UsageError

SALICON: dict[str, Any] = {
    "info": {"year": 2014},
    "images": [
        {"id": 123855, "file_name": "COCO_train2014_000000123855.jpg", "height": 480, "width": 640},
        {"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "height": 480, "width": 640},
    ],
    "type": "fixations",
    "annotations": [
        {"id": 1, "image_id": 123855, "worker_id": 128, "fixations": [[242, 314], [480, 640]]},
        {"id": 2, "image_id": 7, "worker_id": 9, "fixations": [[1, 1]]},
        {"id": 3, "image_id": 7, "worker_id": 128, "fixations": []},
    ],
}
OF_SALICON: dict[str, Any] = {
    "columns": {"image": "image_id", "viewer": "worker_id", "points": "fixations"},
    "points": ["y", "x"],
    "records": "annotations",
    "lookup": Lookup("images", "id", "file_name"),
    "kind": "samples",
}
SEARCH: list[dict[str, Any]] = [
    {"name": "1.jpg", "subject": 2, "task": "cup", "condition": "present", "bbox": [1, 2, 3, 4], "X": [840.1, 30],
     "Y": [525.5, 40], "T": [200, 150], "length": 2, "correct": 1, "RT": 700, "split": "train"},
    {"name": "2.jpg", "subject": 1, "task": "car", "condition": "absent", "X": [10], "Y": [20], "T": [300], "length": 1,
     "correct": 0, "split": "valid"},
]  # fmt: skip
OF_SEARCH: dict[str, Any] = {
    "columns": {"image": "name", "viewer": "subject", "condition": "task", "x": "X", "y": "Y", "duration": "T"},
}


def read(content: Any, folder: Path, **options: Any) -> GazeTable:
    path = folder / "gaze.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_records([GazeFile(path, "gaze.json")], load_json, **options)


def keys(table: GazeTable) -> list[str]:
    """The image key of each row."""
    found: list[str] = table.images[table.image].tolist()
    return found


def test_salicon(tmp_path: Path) -> None:
    table = read(SALICON, tmp_path, **OF_SALICON)
    first, second = (image["file_name"] for image in SALICON["images"])
    assert keys(table) == [first, first, second]
    assert (table.x.tolist(), table.y.tolist()) == ([314, 640, 1], [242, 480, 1])
    assert [table.viewers[code] for code in table.viewer] == ["128", "128", "9"]
    assert (table.kind, table.notes) == ("samples", ("1 of 3 recordings hold no point",))


def test_coco_search(tmp_path: Path) -> None:
    table = read(SEARCH, tmp_path, **OF_SEARCH)
    assert keys(table) == ["1.jpg", "1.jpg", "2.jpg"]
    assert (table.x.tolist(), table.duration_ms.tolist()) == ([840.1, 30, 10], [200, 150, 300])
    assert (table.viewers, table.conditions) == (("2", "1"), ("cup", "car"))
    present = read(SEARCH, tmp_path, **OF_SEARCH, where={"condition": ["present"]})
    assert (len(present), present.notes) == (2, ("1 recordings are not those of gaze.where",))
    with pytest.raises(DataError, match=r"got 2 recordings, none as gaze\.where asks"):
        read(SEARCH, tmp_path, **OF_SEARCH, where={"condition": ["none"]})


def test_recordings_by_name_and_fields_of_the_file(tmp_path: Path) -> None:
    content = {
        "session": {"who": "ann"},
        "gaze": {"a.jpg": {"at": {"x": [1, 2], "y": [3, None]}}, "b.jpg": {"at": {"x": 5, "y": "6"}}},
    }
    columns = {"image": "#", "viewer": "/session.who", "x": "at.x", "y": "at.y"}
    table = read(content, tmp_path, records="gaze", columns=columns)
    assert (keys(table), table.viewers) == (["a.jpg", "b.jpg"], ("ann",))
    assert (table.x.tolist(), table.y.tolist()) == ([1, 5], [3, 6])
    assert table.notes == (
        "1 of 3 points lack an image, a position or a time: left out (first: gaze.json: recording 1)",
    )


def test_tables_of_points_may_say_who_and_when(tmp_path: Path) -> None:
    content = [[[1, 2, 7, 100, 0], [3, 4, 8.0, 120, 0]], [[5, 6, 7, 90, 0]]]
    points = ["x", "y", "viewer", "time"]
    table = read(content, tmp_path, columns={"image": "#", "points": "."}, points=points)
    assert keys(table) == ["1", "1", "2"]
    assert [table.viewers[code] for code in table.viewer] == ["7", "8", "7"]
    assert table.t_ms.tolist() == [100, 120, 90]


def test_words_may_be_one_for_each_point(tmp_path: Path) -> None:
    content = [{"i": ["a", "b", None], "x": [1, 2, 3], "y": [1, 2, 3], "ok": True}]
    table = read(content, tmp_path, columns={"image": "i", "x": "x", "y": "y", "condition": "ok"})
    assert (keys(table), table.conditions) == (["a", "b"], ("true",))


def test_one_file_per_image(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"x": [1, 2], "y": [3, 4]}))
        files.append(GazeFile(path, path.name, {"image": name}))
    table = read_records(files, load_json, {"x": "x", "y": "y"})
    assert keys(table) == ["a", "a", "b", "b"]


def test_numbers_do_not_stay_python_objects(tmp_path: Path) -> None:
    path = tmp_path / "gaze.json"
    path.write_text(json.dumps(SALICON))
    fixations = load_json(path)["annotations"][0]["fixations"]
    assert (type(fixations), fixations.dtype) == (np.ndarray, np.float64)


def changed(change: dict[str, Any], row: int = 1) -> list[dict[str, Any]]:
    return [{**scanpath, **change} if i == row else scanpath for i, scanpath in enumerate(SEARCH)]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (json.dumps(SALICON)[:-40], {}, r"gaze\.json:1, column \d+, not JSON: .*Fetch the file again if it ends there"),
        ('[{"a": 1, "b": 2, "a": 3}]', {}, r"gaze\.json: an object has the name 'a' twice"),
        ("", {}, r"the file is empty"),
        ("3", {}, r"'\.' is one value, not a list of recordings"),
        ("[1, 2]", {}, r"recording 1: no field 'name'"),
        ("[]", {}, r"got no recording"),
        ("[" * 10_000, {}, "not JSON"),
        (f'[{{"X": {"1" * 5000}}}]', {}, "not JSON that can be read"),
        (SEARCH, {"records": "scanpaths"}, r"gaze\.json: no field 'scanpaths', got none"),
        ({"scanpath": SEARCH}, {"records": "scanpaths"}, r"no field 'scanpaths' \(did you mean 'scanpath'\?\)"),
        ([{**SEARCH[0], "x": 1}], {"columns": {"image": "name", "x": "x.y", "y": "Y"}}, "no field 'x.y', got none"),
        (changed({"Y": [1, 2]}), {}, r"recording 2: lists of unequal length, got x \(1,\), y \(2,\), duration \(1,\)"),
        (changed({"X": [[1, 2], [3, 4]]}), {}, "recording 2: lists of unequal length"),
        (changed({"X": ["left"]}), {}, r"recording 2, x, got .*left.*\. Expected numbers"),
        (changed({"X": [[1], [2, 3]]}), {}, r"recording 2, x, got .*\. Expected numbers"),
        (changed({"T": [-5]}), {}, "recording 2, duration, got -5. Expected 0 or more"),
        (
            changed({"condition": [1, 2]}),
            {"where": {"condition": ["1"]}},
            "recording 2, condition, got 2 values. Expected one",
        ),
    ],
)
def test_damage_is_named(content: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(content, tmp_path, **{**OF_SEARCH, **options})


@pytest.mark.parametrize(
    ("fixations", "message"),
    [
        ([[1, 2], [3]], r"recording 1, points, got .*\. Expected numbers"),
        ([[1], [2]], r"recording 1, points, got shape \(2, 1\). Expected 2 numbers per point"),
        (5, r"recording 1, points, got shape \(\)"),
    ],
)
def test_wrong_tables_of_points(fixations: Any, message: str, tmp_path: Path) -> None:
    content = {**SALICON, "annotations": [{"image_id": 7, "worker_id": 1, "fixations": fixations}]}
    with pytest.raises(DataError, match=message):
        read(content, tmp_path, **OF_SALICON)


def test_images_of_one_number_have_one_name(tmp_path: Path) -> None:
    twice = {**SALICON, "images": [{"id": 7, "file_name": "a"}, {"id": 7, "file_name": "b"}]}
    with pytest.raises(DataError, match=r"recording 2: id 7 is both 'a' and 'b'\. Keep one of them"):
        read(twice, tmp_path, **OF_SALICON)
    unlisted = {**SALICON, "images": SALICON["images"][:1]}
    assert set(keys(read(unlisted, tmp_path, **OF_SALICON))) == {"COCO_train2014_000000123855.jpg", "7"}


def test_wrong_names_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gaze\.columns\.point: unknown name \(did you mean 'points'\?\)"):
        read(SALICON, tmp_path, **{**OF_SALICON, "columns": {"point": "fixations"}})


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.sampled_from(["a", "5", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["X", "Y", "name", "T"]), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.fixed_dictionaries({"name": values, "X": values, "Y": values, "T": values}), max_size=3) | values)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    columns = {"image": "name", "x": "X", "y": "Y", "duration": "T"}
    try:
        table = read(content, tmp_path_factory.getbasetemp(), columns=columns)
    except DataError:
        return
    assert np.isfinite(table.x).all()
    assert (table.image >= 0).all()
