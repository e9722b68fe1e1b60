"""A dataset spec: one YAML file that says where images and gaze are and how their numbers are meant.

The models below are the reference of every key. All of them refuse unknown keys, and
:func:`parse_spec` reports every mistake of a file at once, one per line.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gazeeval import plain_yaml
from gazeeval.data.frame import PLACEMENTS, Rectangle
from gazeeval.data.readers.files import path_fields, pattern_mistake
from gazeeval.data.regular import require_regular
from gazeeval.data.spec_errors import describe
from gazeeval.errors import SpecError, UsageError, did_you_mean


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else value


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
    delimiter: str = Field(default=",", min_length=1, max_length=1)
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


Origin = Literal["upper-left", "lower-left", "centre", "centre-up"]
PixelOrigin = Literal["corner", "centre", "one-based"]


class _Points(_Keys):
    """What all gaze given as points must say."""

    # where (0, 0) is; y points up from lower-left and centre-up. null: to be declared by whoever uses the spec
    origin: Origin | None
    pixel_origin: PixelOrigin  # "corner" goes without saying where the unit is not px
    unit: Literal["px", "fraction", "percent", "mm", "deg"] = "px"
    frame: Annotated[Frame | None, BeforeValidator(_image_frame)] = None  # None: the image itself
    image_key: Literal["path", "path-stem", "name", "stem", "number"] = "path"
    image_id_base: Literal[0, 1, "auto"] = 1
    px_per_degree: float | None = Field(default=None, gt=0)  # pixels of the frame
    px_per_mm: float | None = Field(default=None, gt=0)  # likewise
    conditions: Names | None = None  # tasks or levels to use; default all

    @model_validator(mode="before")
    @classmethod
    def _lengths_have_no_pixels(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("unit", "px") != "px":
            return {"pixel_origin": "corner", **given}
        return given

    @model_validator(mode="after")
    def _unit_has_what_it_needs(self) -> Self:
        if self.unit != "px" and self.pixel_origin != "corner":
            raise ValueError(f"'unit: {self.unit}' goes with 'pixel_origin: corner'")
        if self.unit == "mm" and self.px_per_mm is None:
            raise ValueError("'unit: mm' needs 'px_per_mm', the pixels per millimetre of the screen")
        return self

    def reading(self) -> str:
        """The settings that decide what is read from the files, not what it means."""
        return self.model_dump_json(exclude={*_Points.model_fields, "detect"})


class CubGhaGaze(_Points):
    """Run files of CUB-GHA, one per viewer, or the merged file of all runs."""

    format: Literal["cub-gha"]
    files: Names  # glob patterns; the first that matches is used
    origin: Origin | None = "upper-left"
    pixel_origin: PixelOrigin = "centre"
    image_key: Literal["number"] = "number"
    carry_over: Literal["keep", "drop-first", "halve"] = "keep"
    repeats: Literal["concat", "first", "last"] = "concat"


class _Detection(_Keys):
    threshold_unit: Literal["deg", "px"] = "deg"  # of the frame
    max_gap_ms: float = Field(default=75, gt=0)  # recordings are cut where samples are further apart

    @model_validator(mode="before")
    @classmethod
    def _pixels_have_no_usual_threshold(cls, given: Any) -> Any:
        threshold = next(name for name in cls.model_fields if name.endswith("_threshold"))
        if isinstance(given, Mapping) and given.get("threshold_unit") == "px" and threshold not in given:
            raise ValueError(f"'threshold_unit: px' needs {threshold!r}, which has a usual value in degrees only")
        return given


class Ivt(_Detection):
    """Fixations are runs of samples slower than a threshold (`gazeeval.data.events.ivt`)."""

    method: Literal["ivt"]
    velocity_threshold: float = Field(default=30, gt=0)  # units per second
    min_duration_ms: float = Field(default=60, ge=0)


class Idt(_Detection):
    """Fixations are runs of samples close together (`gazeeval.data.events.idt`)."""

    method: Literal["idt"]
    dispersion_threshold: float = Field(default=1, gt=0)  # units
    min_duration_ms: float = Field(default=100, ge=0)


def _detection(value: Any) -> Any:
    """``none``, a method by name with its usual values, or a method with its options."""
    if value == "none":
        return None
    return {"method": value} if isinstance(value, str) else value


Detect = Annotated[
    Annotated[Ivt | Idt, Field(discriminator="method")] | None,
    BeforeValidator(_detection),
]
TimeUnit = Literal["auto", "s", "ms", "us"]
Kind = Literal["fixations", "samples"]


class AristoGaze(_Points):
    """Pickles of raw samples, one per hierarchy level."""

    format: Literal["aristo"]
    files: dict[str, str] = Field(min_length=1)  # level -> file
    origin: Origin | None = "upper-left"
    image_key: Literal["number"] = "number"
    image_id_base: Literal[0, 1, "auto"] = "auto"
    time_unit: TimeUnit = "auto"
    detect: Detect = None


Word = Literal["image", "viewer", "condition"]
Number = Literal["x", "y", "duration", "time", "onset", "offset", "label", "width", "height"]


class _Rows(_Points):
    """Gaze in files whose columns or fields are named by the spec."""

    # glob patterns, the first that matches is used; {image}, {viewer}, {condition} in a path are those of its rows
    files: Names
    where: dict[str, Names] = Field(default_factory=dict)  # column or field -> values of the rows to read
    kind: Kind = "fixations"
    time_unit: TimeUnit = "ms"
    sampling_rate: float | None = Field(default=None, gt=0)  # samples per second
    detect: Detect = None
    immediate_repeats: Literal["keep", "drop"] = "keep"  # fixations at the point of the one before

    def in_files(self) -> set[str]:
        """Our names for what the files hold."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _paths_are_right(self) -> Self:
        mistake = next(filter(None, map(pattern_mistake, self.files)), None)
        if mistake:
            raise ValueError(f"'files': {mistake}")
        twice = {name for pattern in self.files for name in path_fields(pattern)} & self.in_files()
        if twice:
            raise ValueError(f"{min(twice)!r} is both in 'columns' and in the braces of 'files'; keep one of them")
        return self

    @model_validator(mode="after")
    def _columns_are_enough(self) -> Self:
        in_paths = {name for pattern in self.files for name in path_fields(pattern)}
        missing = [name for name in ("image", "x", "y") if name not in in_paths | self.in_files()]
        if missing:
            raise ValueError(f"'columns' must name {', '.join(missing)}")
        if "offset" in self.in_files() and self.in_files() & {"onset", "duration"} != {"onset"}:
            raise ValueError("'columns' must name onset and offset, or duration in place of offset")
        return self

    @model_validator(mode="after")
    def _samples_and_fixations_have_their_own(self) -> Self:
        if self.kind == "samples" and self.immediate_repeats == "drop":
            raise ValueError("'immediate_repeats' are those of fixations: leave it out, or write 'kind: fixations'")
        if self.sampling_rate and self.kind != "samples":
            raise ValueError("'sampling_rate' is that of samples: leave it out, or write 'kind: samples'")
        if self.detect and self.kind != "samples":
            raise ValueError("'detect' finds fixations among samples: write 'kind: samples'")
        if self.detect and not self.sampling_rate and not {"time", "onset"} & self.in_files():
            raise ValueError("'detect' needs the times of the samples: name 'time' in 'columns', or 'sampling_rate'")
        return self


class CsvGaze(_Rows):
    """Tables of text, one row per fixation or sample."""

    format: Literal["csv"]
    columns: dict[Literal[Word, Number], str]  # ours -> the file's; numbers from 1 without a header
    header: bool = True
    delimiter: str | None = None  # one character, " " is any white space; None: found in the first line
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    ignore: str = ""  # characters to delete before reading, such as brackets

    def in_files(self) -> set[str]:
        return set(self.columns)

    @model_validator(mode="after")
    def _text_can_be_read(self) -> Self:
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"'encoding': got {self.encoding!r}, which Python does not know") from None
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ValueError(f"'delimiter': got {self.delimiter!r}, but it is one character")
        return self


class ParquetGaze(_Rows):
    """Parquet tables, one row per fixation or sample."""

    format: Literal["parquet"]
    columns: dict[Literal[Word, Number], str]  # ours -> the file's

    def in_files(self) -> set[str]:
        return set(self.columns)


class LookupKeys(_Keys):
    """A second list of the file, which says what the images are called (`gazeeval.data.readers.records.Lookup`)."""

    records: str
    key: str
    image: str


class RecordsGaze(_Rows):
    """Nested files, a list of recordings with lists of points; paths as in `gazeeval.data.readers.records`."""

    format: Literal["json", "mat"]
    records: str = "."
    columns: dict[Literal[Word, Number, "points"], str]  # ours -> path
    points: tuple[Literal[Word, Number], ...] = ()  # the columns of the table of points
    lookup: LookupKeys | None = None

    def in_files(self) -> set[str]:
        return set(self.columns) | set(self.points)

    @model_validator(mode="after")
    def _points_have_columns(self) -> Self:
        if bool(self.points) != ("points" in self.columns):
            raise ValueError("'columns.points' (where the table of points is) and 'points' (its columns) go together")
        return self


class PysaliencyGaze(_Points):
    """Fixations and images as pysaliency exports them to HDF5."""

    format: Literal["pysaliency"]
    files: Names
    stimuli: str  # the export of the images, FileStimuli
    kind: Kind = "fixations"
    time_unit: TimeUnit = "s"


class MapsGaze(_Keys):
    """Rendered gaze maps, one picture per image."""

    format: Literal["maps"]
    path: str
    layout: Literal["mirrored", "gmaps"]
    kind: Literal["map", "mapmg", "mapfg"] = "map"
    levels: Names = ("species", "genus", "family", "order")


Images = Annotated[CubImages | FolderImages | CsvImages, Field(discriminator="layout")]
PointGaze = CubGhaGaze | AristoGaze | CsvGaze | ParquetGaze | RecordsGaze | PysaliencyGaze
Gaze = Annotated[PointGaze | MapsGaze, Field(discriminator="format")]


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
        content = plain_yaml.load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{source}: not valid YAML: {plain_yaml.problem(error)}") from error
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
        require_regular(path)
        with path.open(encoding="utf-8") as file:
            text = file.read(plain_yaml.MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}.") from error
    return parse_spec(text, path.name)


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
