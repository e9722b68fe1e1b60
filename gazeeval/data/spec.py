"""A dataset spec: one YAML file that says where images and gaze are and how their numbers are meant.

The models below are the reference of every key. All of them refuse unknown keys, and
:func:`parse_spec` reports every mistake of a file at once, one per line.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gazeeval.data.frame import PLACEMENTS, Rectangle
from gazeeval.data.spec_errors import describe
from gazeeval.errors import SpecError, UsageError, did_you_mean


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class _Images(_Keys):
    path: str = "."  # folder, relative to the root
    exif: Literal["apply", "ignore"] = "apply"  # orientation tag, for size and pixels alike


class CubImages(_Images):
    """``images.txt``, ``classes.txt``, ``image_class_labels.txt`` and ``images/`` in one folder."""

    layout: Literal["cub"]
    path: str = "CUB_200_2011"


class FolderImages(_Images):
    """One folder per class; with ``splits`` one folder per split around them."""

    layout: Literal["folders"]
    splits: Names | None = None
    classes: Names | None = None  # folder names in label order; else the order below
    class_order: Literal["name", "number"] = "name"


class CsvImages(_Images):
    """A table with one row per image; file names in it are relative to ``path``."""

    layout: Literal["csv"]
    index: str
    image: str = "image"
    label: str = "label"
    split: str | None = None
    delimiter: str = ","
    classes: Names | None = None


def _placement(value: Any) -> Any:
    """A name, or four numbers as a list or as '100,0,1180,720'."""
    corners = value.split(",") if isinstance(value, str) and "," in value else value
    if value is None or value in PLACEMENTS:
        return value
    try:
        x0, y0, x1, y1 = map(float, corners)
        return x0, y0, x1, y1
    except (TypeError, ValueError):
        hint = did_you_mean(str(value), PLACEMENTS)
        raise ValueError(
            f"got {value!r}{hint}. Write one of {', '.join(PLACEMENTS)}, or a rectangle [x0, y0, x1, y1]"
        ) from None


class Frame(_Keys):
    """The screen or canvas that gaze coordinates refer to, and how images were placed on it."""

    width: float = Field(gt=0)
    height: float = Field(gt=0)
    placement: Annotated[str | Rectangle | None, BeforeValidator(_placement)] = None
    force: bool = False  # load although the gaze contradicts the placement


def _image_frame(value: Any) -> Any:
    return None if value == "image" else value


class _Points(_Keys):
    """What all gaze given as points must say."""

    origin: Literal["upper-left", "lower-left"]
    pixel_origin: Literal["corner", "centre", "one-based"]
    unit: Literal["px", "fraction"] = "px"
    frame: Annotated[Frame | None, BeforeValidator(_image_frame)] = None  # None: the image itself
    image_key: Literal["path", "name", "stem", "number"] = "path"
    image_id_base: Literal[0, 1, "auto"] = 1
    px_per_degree: float | None = Field(default=None, gt=0)  # pixels of the frame
    conditions: Names | None = None  # tasks or levels to use; default all

    @model_validator(mode="after")
    def _fraction_has_no_pixels(self) -> Self:
        if self.unit == "fraction" and self.pixel_origin != "corner":
            raise ValueError("'unit: fraction' goes with 'pixel_origin: corner'")
        return self


class CubGhaGaze(_Points):
    """Run files of CUB-GHA, ``img_id,width,height,(x,y,duration_ms)*``; one file is one viewer."""

    format: Literal["cub-gha"]
    files: Names  # glob patterns; the first that matches is used
    origin: Literal["upper-left", "lower-left"] = "upper-left"
    pixel_origin: Literal["corner", "centre", "one-based"] = "centre"
    image_key: Literal["number"] = "number"
    carry_over: Literal["keep", "drop-first", "halve"] = "keep"
    repeats: Literal["concat", "first", "last"] = "concat"


class AristoGaze(_Points):
    """Pickles of raw samples, one per hierarchy level."""

    format: Literal["aristo"]
    files: dict[str, str] = Field(min_length=1)  # level -> file
    origin: Literal["upper-left", "lower-left"] = "upper-left"
    image_key: Literal["number"] = "number"
    image_id_base: Literal[0, 1, "auto"] = "auto"
    time_unit: Literal["auto", "s", "ms", "us"] = "auto"


Column = Literal["image", "x", "y", "duration", "time", "viewer", "condition", "label", "width", "height"]


class CsvGaze(_Points):
    """One row per fixation or sample, any column names."""

    format: Literal["csv"]
    files: Names
    columns: dict[Column, str]  # ours -> the file's
    delimiter: str | None = None  # None: the one that is most frequent in the header
    time_unit: Literal["auto", "s", "ms", "us"] = "ms"
    kind: Literal["fixations", "samples"] = "fixations"

    @model_validator(mode="after")
    def _named_columns(self) -> Self:
        missing = [name for name in ("image", "x", "y") if name not in self.columns]
        if missing:
            raise ValueError(f"'columns' must name {', '.join(missing)}")
        return self


class MapsGaze(_Keys):
    """Rendered gaze maps, one picture per image."""

    format: Literal["maps"]
    path: str
    layout: Literal["mirrored", "gmaps"]
    kind: Literal["map", "mapmg", "mapfg"] = "map"
    levels: Names = ("species", "genus", "family", "order")


Images = Annotated[CubImages | FolderImages | CsvImages, Field(discriminator="layout")]
PointGaze = CubGhaGaze | AristoGaze | CsvGaze
Gaze = Annotated[CubGhaGaze | AristoGaze | CsvGaze | MapsGaze, Field(discriminator="format")]


class DatasetSpec(_Keys):
    """One dataset."""

    name: str
    title: str = ""
    reference: str = ""
    license: str = ""
    root: str | None = None  # relative to the spec file
    images: Images
    gaze: Gaze
    default_split: str = "all"

    @model_validator(mode="after")
    def _maps_are_not_the_images(self) -> Self:
        if isinstance(self.gaze, MapsGaze) and self.gaze.layout == "mirrored" and self.gaze.path == self.images.path:
            raise ValueError("'gaze.path' is the image folder itself; name the folder of the gaze pictures")
        return self


def parse_spec(text: str, source: str) -> DatasetSpec:
    """The spec in ``text``; ``source`` is what messages call the file.

    Raises :class:`SpecError` with one line per mistake.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{source}: not valid YAML: {_yaml_problem(error)}") from error
    if not isinstance(content, Mapping):
        raise SpecError(f"{source}: got {type(content).__name__}, expected keys such as 'name: my-data'.")
    return validate(content, source)


def validate(content: Mapping[str, Any], source: str) -> DatasetSpec:
    """``content`` as a spec, or a :class:`SpecError` that lists every mistake."""
    try:
        return DatasetSpec.model_validate(content)
    except ValidationError as error:
        raise SpecError("\n".join(f"{source}: {line}" for line in describe(error, DatasetSpec))) from None


def read_spec(path: Path) -> DatasetSpec:
    """The spec in a YAML file. Raises :class:`SpecError` with one line per mistake."""
    try:
        return parse_spec(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}.") from error


def with_options(spec: DatasetSpec, options: Mapping[str, Any], source: str) -> DatasetSpec:
    """The spec with settings of the command line (None: not given) in place of those of its gaze.

    Raises :class:`UsageError` for one that this gaze does not have.
    """
    given = {key: value for key, value in options.items() if value is not None}
    gaze = spec.gaze.model_dump()
    for key, value in given.items():
        if key == "placement" and gaze.get("frame"):
            gaze["frame"] |= {"placement": value.removeprefix("force:"), "force": value.startswith("force:")}
        elif key in gaze:
            gaze[key] = value
        else:
            raise UsageError(
                f"--{key.replace('_', '-')}: got {value!r}, but the gaze of {source} (format {spec.gaze.format}) "
                "has no such setting. Leave the option out."
            )
    return validate({**spec.model_dump(), "gaze": gaze}, source) if given else spec


def bundled_specs() -> tuple[str, ...]:
    """Names of the specs that come with the package, sorted."""
    files = resources.files("gazeeval.data_specs").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def find_spec(spec: str | Path) -> Path:
    """The YAML file of a bundled name or of a path.

    A word without a folder or suffix is a bundled name. Raises :class:`UsageError` for unknown ones.
    """
    path = Path(spec)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if not path.is_file():
            raise UsageError(f"dataset spec: no such file, got {str(spec)!r}. Pass a YAML file or a name.")
        return path
    names = bundled_specs()
    if str(spec) not in names:
        raise UsageError(
            f"dataset: unknown name, got {str(spec)!r}{did_you_mean(str(spec), names)}. "
            f"Known: {', '.join(names)}; or pass the path of a spec, such as ./{spec}.yaml."
        )
    return Path(str(resources.files("gazeeval.data_specs") / f"{spec}.yaml"))


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or 'cannot be parsed'}{where}."
