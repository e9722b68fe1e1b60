"""Every option of a run, said once: for `ge.evaluate`, for the command line and for ``config.yaml``.

Light on purpose (no torch): the command line builds its options and its help from here before anything heavy is
imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from gazeeval import plain_yaml
from gazeeval.errors import UsageError, did_you_mean


def _numbers(value: object) -> object:
    return value.replace(" ", "").split(",") if isinstance(value, str) else _several(value)


def _several(value: object) -> object:
    return value if value is None or isinstance(value, list | tuple) else (value,)


def _auto(value: object) -> object:
    return None if value == "auto" else value


Numbers = BeforeValidator(_numbers)


class DataConfig(BaseModel):
    """Options of every command that looks at images with gaze through a network. Where the Python API takes objects (a
    model, a data set), they stand in place of names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
    command: ClassVar[str]

    model: Any = Field(
        None,
        description="checkpoint file (.pt, .pth, .safetensors) or timm name; default: the demo network for the demo "
        "data, none for other data",
    )
    arch: str | None = Field(None, description="timm's name of the architecture, if the checkpoint does not say it")
    attention_model: Any = Field(
        None, description="another network, likewise, for what methods ask about attention; default: the model itself"
    )
    attention_arch: str | None = Field(None, description="timm's name of its architecture, likewise")
    weights_key: str | None = Field(None, description="which weights of the checkpoint, e.g. ema")
    unsafe_load: bool = Field(False, description="load a checkpoint that needs code; runs whatever code it holds")
    geometry: Literal["eval", "stretch"] = Field(
        "eval", description="resize and crop as the network was evaluated, or stretch the whole image to the input"
    )
    input_size: int | None = Field(None, ge=1, description="side of the network input, px")
    crop_pct: float | None = Field(None, gt=0, le=1, description="share of the resized side that the crop keeps")
    mean: Annotated[tuple[float, float, float] | None, Numbers] = Field(
        None, description="mean of the channels, 0 to 1, taken out before the network"
    )
    std: Annotated[tuple[float, float, float] | None, Numbers] = Field(
        None, description="standard deviation of the channels, likewise"
    )

    data: Any = Field("demo", description="name of a bundled spec (gazeeval list datasets) or path of your own")
    root: Path | None = Field(None, description="folder that holds the data set's files")
    split: str | None = Field(None, description="part of the data set; default: all images that have gaze")
    placement: str | None = Field(
        None, description="how images lay in the display frame: contain, stretch, native, cover or x0,y0,x1,y1"
    )
    carry_over: Literal["keep", "drop-first", "halve"] | None = Field(
        None, description="CUB-GHA: fixations that span a change of image; default: as the spec says"
    )
    repeats: Literal["concat", "first", "last"] | None = Field(
        None, description="CUB-GHA: an image shown twice in one viewing run; default: as the spec says"
    )
    px_per_degree: float | None = Field(
        None, gt=0, description="pixels of the original image per degree of visual angle"
    )
    origin: Literal["upper-left", "lower-left", "centre", "centre-up"] | None = Field(
        None, description="where gaze coordinates have (0, 0); default: as the spec says"
    )

    sigma: str | None = Field(
        None,
        description="width of a fixation: 9px of the network input, 3.5% of the original short side, or 1deg of "
        "visual angle; default: 1deg where the data set has px_per_degree, else 3.5%",
    )
    weight: Literal["duration", "count"] = Field("duration", description="what a fixation counts")
    border: Literal["renormalise", "per-fixation", "reflect"] = Field(
        "renormalise", description="what happens to density beyond the border of the input"
    )

    ci: float = Field(0.95, gt=0, lt=1, description="level of the intervals")

    device: str = Field("auto", description="one of auto, cpu, cuda, cuda:1, mps")
    batch_size: Annotated[int | None, BeforeValidator(_auto)] = Field(
        None,
        ge=1,
        description="images or pairs in one pass of the network; auto: all of a group; halved where "
        "the device runs out of memory",
    )
    workers: int = Field(2, ge=0, description="threads that read images")
    deterministic: bool = Field(
        False, description="on a GPU: only operations that give the same bits each time, and no TF32"
    )

    out: Path | None = Field(None, description="run folder, new or empty; default: gazeeval-runs/<time>-<fingerprint>")

    @field_validator("out")
    @classmethod
    def _folder(cls, out: Path | None) -> Path | None:
        if out is not None and out.suffix.lower() in {".csv", ".json", ".html", ".parquet", ".png", ".txt"}:
            raise ValueError(f"A run is a folder of files, not one file: write {out.with_suffix('')}")
        return out

    @classmethod
    def of(cls, options: Mapping[str, object], named: Callable[[str], str] = str) -> Self:
        """Validated options; ``named`` says what an option is called in errors.

        Raises:
            UsageError: every unknown name (with the nearest known one) and every bad value, one per line.
        """
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            found = {item["loc"][0]: item for item in reversed(error.errors())}  # the first mistake of each option
            lines = (_line(cls, named(name), name, options, found[name]) for name in options if name in found)
            raise UsageError("\n".join(lines)) from None

    def plain(self) -> dict[str, Any]:
        """The options as YAML can hold them; objects by the name of their class."""
        return {name: _plain(getattr(self, name)) for name in type(self).model_fields}


class RunConfig(DataConfig):
    """Options of a run, in which mixers may stand in place of their names."""

    command: ClassVar[str] = "run"

    method: Annotated[tuple[Any, ...], BeforeValidator(_several)] = Field(
        ("cutmix", "saliencymix"),
        description="NAME, NAME:key=value,key=value, file.py:Class or package.module:Class; repeat for several methods",
    )

    num_pairs: int | None = Field(
        None, ge=1, description="number of pairs; default: one round, each image at most once"
    )
    pair_file: Path | None = Field(None, description="CSV with source_id,target_id in place of drawn pairs")
    pairing: Literal["matching", "cycle", "greedy", "optimal"] = Field(
        "matching",
        description="in a round, an image is in one pair (matching) or once source and once target (cycle; greedy and "
        "optimal with salient regions far apart: GuidedMixup's one cycle, and the largest sum, mostly mutual pairs)",
    )
    pairing_saliency: Literal["spectral_residual", "fine_grained"] = Field(
        "spectral_residual", description="what is salient, for greedy and optimal pairing"
    )
    pairing_distance: Literal["l2", "l1", "cosine"] = Field("l2", description="between saliency maps, likewise")
    labels: Literal["different", "any", "same"] = Field("different", description="labels of the two images of a pair")
    group_size: int = Field(64, ge=2, description="images per group; pairs are made inside groups")
    seed: int = Field(0, ge=0, description="seed of pairs and draws")

    top_k: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Numbers] = Field(
        (1, 2, 5), min_length=1, description="the K of the top-k columns"
    )
    references: bool = Field(True, description="add the reference rows: constant, area, centre prior, one viewer")
    ci_method: Literal["dyadic", "pigeonhole"] = Field("dyadic", description="how intervals are made")

    amp: Literal["bf16", "fp16"] | None = Field(
        None, description="precision in which the network looks at mixed images; maps of images stay in float32"
    )
    shard: str | None = Field(
        None, description="I/N: do only every N-th chunk, from I = 0; gazeeval report joins the shards of one --out"
    )

    format: Annotated[tuple[Literal["csv", "parquet"], ...], Numbers] = Field(
        ("csv",), description="of the rows: csv is always there, parquet comes beside it (needs pyarrow)"
    )
    masks: bool = Field(True, description="keep masks that are not one box, so that gaze can be weighed again later")
    save_images: int = Field(0, ge=0, description="draw the first N pairs of every method into images/")


class AgreementConfig(DataConfig):
    """Options of `gazeeval agreement`."""

    command: ClassVar[str] = "agreement"

    maps: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        (), description="map to score, e.g. class_map; repeat for several; default: all that the network can give"
    )
    kl_form: Literal["benchmark", "pysaliency"] = Field(
        "benchmark", description="KL as the MIT/Tuebingen benchmark has it, or with 1e-20 added to both maps"
    )
    shuffled: Literal["other-images", "other-classes"] = Field(
        "other-images", description="whose fixations are the negatives of sAUC"
    )


COMPUTING = ("device", "batch_size", "workers", "deterministic", "shard")
"""Options that change no row: a run may be resumed with others."""


def flag(name: str) -> str:
    """What an option is called on the command line."""
    return f"--{name.replace('_', '-')}"


def read_config(path: Path, kind: type[DataConfig]) -> dict[str, object]:
    """Options of a command from a YAML file such as a run's ``config.yaml``, as they stand there. Raises UsageError."""
    try:
        options = plain_yaml.load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise UsageError(
            f"--config: {path}: no plain YAML, {plain_yaml.problem(error)} Give a YAML file of options."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--config: {path}: cannot be read, got {why}. Give a YAML file of options.") from None
    if not isinstance(options, dict):
        raise UsageError(f"--config: {path}: got {options!r}. Write one 'option: value' per line, e.g. seed: 0.")
    kind.of({str(name): value for name, value in options.items()}, lambda name: f"--config: {path}: {name}")
    return options


def _line(
    kind: type[DataConfig], called: str, name: str, options: Mapping[str, object], item: Mapping[str, Any]
) -> str:
    """One mistake as ``<option>: got <value>. <what to do>``."""
    if item["type"] == "extra_forbidden":
        hint = did_you_mean(name, kind.model_fields)
        return f"{called}: unknown option{hint}. See gazeeval {kind.command} --help."
    value, context = options[name], item.get("ctx", {})
    near = ""
    if item["type"] == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        near = did_you_mean(str(value), words)
        context = {"words": ", ".join(words)}
    advice = _ADVICE.get(item["type"], "").format(**context) or item["msg"].removeprefix("Value error, ")
    return f"{called}: got {str(value)!r}{near}. {advice}."


_WHOLE = "Give a whole number"
_ADVICE = {
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_parsing": "Give a number",
    "float_type": "Give a number",
    "bool_parsing": "Write true or false",
    "greater_than": "Give a number above {gt:g}",
    "greater_than_equal": "Give a number of at least {ge:g}",
    "less_than": "Give a number below {lt:g}",
    "less_than_equal": "Give a number of at most {le:g}",
    "literal_error": "Use one of {words}",
    "missing": "Give three numbers, as R,G,B",
    "too_long": "Give three numbers, as R,G,B",
    "too_short": "Give at least one",
}
"""What to do about pydantic's kinds of mistakes."""


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value) if isinstance(value, Path) else type(value).__name__
