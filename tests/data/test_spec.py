"""Specs: what is accepted, and that every mistake is named with its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gazeeval.data.spec import (
    CsvGaze,
    CsvImages,
    Frame,
    bundled_specs,
    find_spec,
    parse_spec,
    read_spec,
    validate,
    with_options,
)
from gazeeval.errors import SpecError, UsageError

FORMATS = "cub-gha, aristo, csv, parquet, json, mat, pysaliency, maps"


def content(**gaze: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "images": {"layout": "csv", "index": "images.csv"},
        "gaze": {
            "format": "csv",
            "files": "gaze.csv",
            "columns": {"image": "img", "x": "x", "y": "y"},
            "origin": "upper-left",
            "pixel_origin": "corner",
            **gaze,
        },
    }


COLUMNS = {"image": "img", "x": "x", "y": "y"}


def mistakes(spec: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(yaml.safe_dump(spec), "mine.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", bundled_specs())
def test_bundled_specs_parse_and_are_called_by_their_name(name: str) -> None:
    assert read_spec(find_spec(name)).name == name


def test_all_bundled_specs_are_there() -> None:
    published = {"aristo", "aristo-maps", "cub-gha", "cub-gha-merged", "cub-sw", "cub-vw", "gaze-cifar-10", "salicon"}
    published |= {"salicon-mat", "coco-search18", "coco-freeview", "cat2000", "pascal-s", "mit1003"}
    assert {"csv", "gaze-images", *published} <= set(bundled_specs())


def test_one_name_stands_for_a_list_of_one() -> None:
    gaze = parse_spec(yaml.safe_dump(content()), "mine.yaml").gaze
    assert isinstance(gaze, CsvGaze)
    assert gaze.files == ("gaze.csv",)


def test_every_mistake_is_reported_once_and_one_per_line() -> None:
    spec = content(orign="upper-left", unit="pixels")
    del spec["gaze"]["origin"]
    del spec["name"]
    spec["images"]["lable"] = "class"
    assert sorted(mistakes(spec).splitlines()) == [
        "mine.yaml: gaze.origin: missing. Write one of upper-left, lower-left, centre, centre-up.",
        "mine.yaml: gaze.orign: unknown field (did you mean 'origin'?)",
        "mine.yaml: gaze.unit: got 'pixels'. Write one of px, fraction, percent, mm, deg.",
        "mine.yaml: images.lable: unknown field (did you mean 'label'?)",
        "mine.yaml: name: missing. Add it.",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "cvs"}, f"gaze.format: got 'cvs' (did you mean 'csv'?). Write one of {FORMATS}."),
        ({"columns": {"imge": "a", "x": "b", "y": "c"}}, "gaze.columns.imge: got 'imge' (did you mean 'image'?)"),
        ({"columns": {"image": "a", "x": "b"}}, "gaze: 'columns' must name y."),
        ({"files": []}, "gaze.files: got []."),
        ({"px_per_degree": 0}, "gaze.px_per_degree: got 0."),
        ({"unit": "fraction", "pixel_origin": "centre"}, "gaze: 'unit: fraction' goes with 'pixel_origin: corner'."),
        ({"frame": {"width": 9, "height": 9, "plcement": "cover"}}, "gaze.frame.plcement: unknown field (did you mean"),
        (
            {"frame": {"width": 9, "height": 9, "placement": "cntain"}},
            "placement: got 'cntain' (did you mean 'contain'?)",
        ),
        ({"frame": {"width": 9, "height": 9, "placement": [1, 2, 3]}}, "gaze.frame.placement: got [1, 2, 3]."),
        ({"frame": "screen"}, "gaze.frame: got 'screen'."),
        ({"unit": "mm"}, "gaze: 'unit: mm' needs 'px_per_mm'"),
        ({"files": "{img}.csv"}, "gaze: 'files': got {img} in '{img}.csv'; write {image}, {viewer} or {condition}"),
        ({"encoding": "utf-9"}, "gaze: 'encoding': got 'utf-9', which Python does not know."),
        ({"delimiter": "::"}, "gaze: 'delimiter': got '::', but it is one character."),
        ({"decimal": ";"}, "gaze.decimal: got ';'. Write one of ., ,."),
        ({"detect": "ivt"}, "gaze: 'detect' finds fixations among samples: write 'kind: samples'."),
        ({"detect": "ivt", "kind": "samples"}, "gaze: 'detect' needs the times of the samples"),
        ({"detect": "itv"}, "gaze.detect.method: got 'itv' (did you mean 'ivt'?). Write one of ivt, idt."),
        ({"detect": {"method": "idt", "velocity_threshold": 3}}, "gaze.detect.velocity_threshold: unknown field"),
        (
            {"detect": {"method": "idt", "threshold_unit": "px"}},
            "needs 'dispersion_threshold', which has a usual value",
        ),
        ({"sampling_rate": 0}, "gaze.sampling_rate: got 0."),
        ({"sampling_rate": 90}, "gaze: 'sampling_rate' is that of samples: leave it out"),
        ({"immediate_repeats": "drop", "kind": "samples"}, "gaze: 'immediate_repeats' are those of fixations"),
        ({"columns": COLUMNS | {"offset": "t"}}, "gaze: 'columns' must name onset and offset, or duration"),
        ({"files": "{image}.csv"}, "gaze: 'image' is both in 'columns' and in the braces of 'files'"),
        ({"columns": COLUMNS | {"onset": "t", "offset": "e", "duration": "d"}}, "onset and offset, or duration"),
    ],
)
def test_a_mistake_is_named_with_its_field(change: dict[str, Any], message: str) -> None:
    line = mistakes(content(**change))
    assert line.startswith("mine.yaml: gaze")
    assert message in line
    assert "\n" not in line


def test_a_missing_format_names_the_formats() -> None:
    spec = content()
    del spec["gaze"]["format"]
    assert mistakes(spec) == f"mine.yaml: gaze.format: missing. Write one of {FORMATS}."


def test_usual_values_of_detection() -> None:
    columns = COLUMNS | {"time": "t"}
    for detect, threshold in (("ivt", 30), ("idt", 1)):
        gaze = validate(content(kind="samples", columns=columns, detect=detect), "mine.yaml").gaze
        assert isinstance(gaze, CsvGaze)
        assert gaze.detect is not None
        assert gaze.detect.model_dump().items() >= {"method": detect, "threshold_unit": "deg"}.items()
        assert threshold in gaze.detect.model_dump().values()
    assert getattr(validate(content(detect="none"), "mine.yaml").gaze, "detect", 0) is None


def test_paths_may_name_what_columns_do_not() -> None:
    gaze = validate(content(files="{viewer}/{image}.csv", columns={"x": "a", "y": "b"}), "mine.yaml").gaze
    assert gaze.format == "csv"


def test_events_may_have_an_onset_and_a_duration() -> None:
    columns = COLUMNS | {"onset": "t", "duration": "d"}
    assert validate(content(columns=columns), "mine.yaml").gaze.format == "csv"


def test_points_of_recordings_need_their_columns() -> None:
    spec = content(format="json", columns={"image": "i", "points": "p"}, points=["x", "y"])
    assert validate(spec, "mine.yaml").gaze.format == "json"
    del spec["gaze"]["columns"]["points"]
    assert "'columns.points' (where the table of points is) and 'points' (its columns) go together" in mistakes(spec)


def test_lengths_and_shares_have_no_pixel_origin() -> None:
    for unit in ({"unit": "fraction"}, {"unit": "mm", "px_per_mm": 3.6}):
        spec = content(**unit)
        del spec["gaze"]["pixel_origin"]
        gaze = validate(spec, "mine.yaml").gaze
        assert isinstance(gaze, CsvGaze)
        assert gaze.pixel_origin == "corner"


@pytest.mark.parametrize(
    ("text", "line"), [("x: 1\nx: 2", 2), ("gaze:\n  x: 1\n  y: 1\n  x: 1", 4), ("a: {b: {x: 1, y: 1, x: 1}}", 1)]
)
def test_a_key_that_stands_twice_is_refused(text: str, line: int) -> None:
    with pytest.raises(
        SpecError, match=rf"^mine\.yaml: not valid YAML: the key 'x' stands twice at line {line}, column"
    ):
        parse_spec(text, "mine.yaml")


def test_anchors_may_be_merged_and_overridden() -> None:
    text = yaml.safe_dump(content()) + "images: {<<: &index {index: a.csv}, layout: csv}\n"
    images = parse_spec(text.replace("images:\n  index: images.csv\n  layout: csv\n", ""), "mine.yaml").images
    assert images == CsvImages(layout="csv", index="a.csv")


KEYS = [
    (("images",), "delimiter"),
    (("gaze",), "time_unit"),
    (("gaze",), "pixel_origin"),
    (("gaze",), "conditions"),
    (("gaze", "frame"), "placement"),
    ((), "default_split"),
]


@given(st.sampled_from(KEYS), st.data())
def test_a_misspelt_key_is_refused_with_the_key_that_was_meant(
    where: tuple[tuple[str, ...], str], data: st.DataObject
) -> None:
    path, key = where
    cut = data.draw(st.integers(0, len(key) - 1))
    wrong = data.draw(
        st.sampled_from([key[:cut] + key[cut + 1 :], key[:cut] + "z" + key[cut:], key.upper()[:1] + key[1:]])
    )
    spec = content(frame={"width": 1280, "height": 720})
    place = spec
    for part in path:
        place = place[part]
    place[wrong] = "x"
    with pytest.raises(SpecError) as caught:
        validate(spec, "mine.yaml")
    assert str(caught.value) == f"mine.yaml: {'.'.join([*path, wrong])}: unknown field (did you mean {key!r}?)"


def test_photographs_are_not_taken_for_their_own_gaze_maps() -> None:
    spec = content()
    spec["images"] = {"layout": "folders", "path": "images"}
    spec["gaze"] = {"format": "maps", "layout": "mirrored", "path": "images"}
    assert mistakes(spec).startswith("mine.yaml: 'gaze.path' is the image folder itself;")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "mine.yaml: not valid YAML: "),
        ("a: 1\nb: : 2\n", "at line 2, column"),
        ("- a\n", "mine.yaml: got list, expected keys"),
        ("", "mine.yaml: got NoneType"),
        ("name: !!python/object/apply:os.system [ls]", "mine.yaml: not valid YAML: could not determine a constructor"),
    ],
)
def test_text_that_is_no_spec(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=r"^mine\.yaml: ") as caught:
        parse_spec(text, "mine.yaml")
    assert message in str(caught.value)


def test_unknown_names_and_files_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"got 'cub_gha' \(did you mean 'cub-gha'\?\)\. Known: aristo, .*gaze-images"):
        find_spec("cub_gha")
    with pytest.raises(UsageError, match="no such file"):
        find_spec(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(SpecError, match=r"latin\.yaml: cannot be read"):
        read_spec(tmp_path / "latin.yaml")


@pytest.mark.parametrize("rectangle", ["10,20,90,80", [10, 20, 90, 80]])
def test_a_rectangle_is_four_numbers_in_a_list_or_an_option(rectangle: object) -> None:
    frame = Frame.model_validate({"width": 100, "height": 100, "placement": rectangle})
    assert frame.placement == (10.0, 20.0, 90.0, 80.0)


def test_options_replace_settings_of_the_spec() -> None:
    spec = validate(content(frame={"width": 1280, "height": 720}), "mine.yaml")
    changed = with_options(spec, {"placement": "force:cover", "px_per_degree": 30.0, "repeats": None}, "mine.yaml").gaze
    assert isinstance(changed, CsvGaze)
    assert changed.px_per_degree == 30.0
    assert changed.frame == Frame(width=1280, height=720, placement="cover", force=True)
    assert with_options(spec, {"placement": None}, "mine.yaml") is spec


@pytest.mark.parametrize(("option", "value"), [("carry_over", "halve"), ("placement", "contain")])
def test_an_option_that_does_not_apply_is_refused(option: str, value: str) -> None:
    spec = validate(content(), "mine.yaml")
    with pytest.raises(UsageError, match=rf"^--{option.replace('_', '-')}: got '{value}', but the gaze of mine.yaml"):
        with_options(spec, {option: value}, "mine.yaml")


def test_a_wrong_option_value_names_the_choices() -> None:
    spec = read_spec(find_spec("cub-gha"))
    with pytest.raises(SpecError, match=r"gaze\.carry_over: got 'drop_first' \(did you mean 'drop-first'\?\)"):
        with_options(spec, {"carry_over": "drop_first"}, "cub-gha.yaml")
