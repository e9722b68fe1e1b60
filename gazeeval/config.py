"""Every option of a run, said once: for `ge.evaluate`, for the command line and for ``config.yaml``.

Light on purpose (no torch): the command line builds its options and its help from here before anything heavy is
imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from gazeeval.errors import UsageError, did_you_mean

COMPUTE_ONLY = frozenset({"device", "batch_size", "workers", "out", "save_images"})
"""Options that change how a run is computed, not what comes out (beyond float tolerance)."""


def _numbers(value: object) -> object:
    return value.replace(" ", "").split(",") if isinstance(value, str) else value


def _auto(value: object) -> object:
    return None if value == "auto" else value


Numbers = BeforeValidator(_numbers)


class RunConfig(BaseModel):
    """Options of a run. Where the Python API takes objects (a mixer, a model, a data set), they stand in place of
    names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())

    method: tuple[Any, ...] = Field(
        ("cutmix", "saliencymix"),
        description="NAME, NAME:key=value,key=value, file.py:Class or package.module:Class; repeat for several methods",
    )
    model: Any = Field(
        None,
        description="checkpoint (.pt, .pth, .safetensors) or timm name; without it the demo network on the demo data, "
        "and no network on other data",
    )
    arch: str | None = Field(None, description="timm architecture, if the checkpoint does not say it")
    weights_key: str | None = Field(None, description="which weights of the checkpoint, e.g. ema")
    unsafe_load: bool = Field(False, description="unpickle the checkpoint; runs code that it may hold")
    geometry: Literal["eval", "stretch"] = Field(
        "eval", description="eval: resize and crop as the checkpoint was evaluated; stretch: squeeze the whole image"
    )
    input_size: int | None = Field(None, ge=1, description="side of the network input, px")
    crop_pct: float | None = Field(None, gt=0, le=1, description="side of the centre crop / side after resizing")
    mean: Annotated[tuple[float, float, float] | None, Numbers] = Field(None, description="of the network input, R,G,B")
    std: Annotated[tuple[float, float, float] | None, Numbers] = Field(None, description="of the network input, R,G,B")

    data: Any = Field("demo", description="name of a bundled data set spec or path of a YAML spec")
    root: Path | None = Field(None, description="folder that holds the data set's files")
    split: str | None = Field(None, description="part of the data set; default: all images that have gaze")
    placement: str | None = Field(
        None, description="how images lay in the display frame: contain, stretch, native, cover"
    )
    carry_over: Literal["keep", "drop-first", "halve"] | None = Field(
        None, description="fixations that span a change of image (CUB-GHA); default: as the spec says"
    )
    repeats: Literal["concat", "first", "last"] | None = Field(
        None, description="an image shown twice in one viewing run; default: as the spec says"
    )
    px_per_degree: float | None = Field(
        None, gt=0, description="pixels of the original image per degree of visual angle"
    )

    sigma: str | None = Field(
        None,
        description="of the gaze density: 9px of the network input, 3.5% of the original short side, or 1deg; "
        "default: 1deg where the spec knows the viewing geometry, else 3.5%",
    )
    weight: Literal["duration", "count"] = Field("duration", description="what a fixation counts")
    border: Literal["renormalise", "per-fixation", "reflect"] = Field(
        "renormalise", description="what happens to density beyond the border of the input"
    )

    num_pairs: int | None = Field(None, ge=1, description="pairs; default: one round, every image at most once")
    pair_file: Path | None = Field(None, description="CSV with source_id,target_id in place of drawn pairs")
    pairing: Literal["matching", "cycle"] = Field(
        "matching", description="matching: an image is in one pair of a round; cycle: once source and once target"
    )
    labels: Literal["different", "any", "same"] = Field("different", description="labels of the two images of a pair")
    group_size: int = Field(64, ge=2, description="images per group; pairs are made inside groups")
    seed: int = Field(0, ge=0, description="of pairs and draws")

    top_k: Annotated[tuple[int, ...], Numbers] = Field((1, 2, 5), description="K of the top-k columns, e.g. 1,2,5")
    references: bool = Field(True, description="add the reference rows (constant, area, centre prior, one viewer)")
    ci: float = Field(0.95, gt=0, lt=1, description="level of the intervals")
    ci_method: Literal["dyadic", "pigeonhole"] = Field("dyadic", description="how intervals are made")

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 ...")
    batch_size: Annotated[int | None, BeforeValidator(_auto)] = Field(
        None, ge=1, description="pairs in one pass of the network; auto: all of a group"
    )
    workers: int = Field(2, ge=0, description="threads that read images")
    out: Path | None = Field(None, description="run folder, new or empty; default: gazeeval-runs/<time>-<fingerprint>")
    save_images: int = Field(0, ge=0, description="draw the first N pairs of every method into images/")

    @field_validator("out")
    @classmethod
    def _folder(cls, out: Path | None) -> Path | None:
        if out is not None and out.suffix.lower() in {".csv", ".json", ".html", ".parquet", ".png", ".txt"}:
            raise ValueError(f"--out is a folder, not a file: write --out {out.with_suffix('')}")
        return out

    @classmethod
    def of(cls, options: Mapping[str, object], where: str = "options") -> RunConfig:
        """Validated options; ``where`` names their origin in errors.

        Raises:
            UsageError: every unknown name (with the nearest known one) and every bad value, one per line.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            raise UsageError("\n".join(_line(item, where) for item in error.errors())) from None

    def plain(self) -> dict[str, Any]:
        """The options as YAML can hold them; objects by their description."""
        return {name: _plain(getattr(self, name)) for name in type(self).model_fields}


def read_config(path: Path) -> dict[str, object]:
    """Options from a YAML file such as a run's ``config.yaml``. Raises UsageError."""
    try:
        options = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config: {path}: cannot be read, got {error}. Give a YAML file of options.") from None
    if not isinstance(options, dict):
        raise UsageError(f"--config: {path}: option: value lines, got {type(options).__name__}. Write e.g. seed: 0.")
    for name in options:
        if name not in RunConfig.model_fields:
            near = did_you_mean(str(name), RunConfig.model_fields)
            raise UsageError(f"--config: {path}: unknown option, got {name!r}{near}.")
    return options


def _line(item: Mapping[str, Any], where: str) -> str:
    name = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown option, got {name!r}{did_you_mean(name, RunConfig.model_fields)}."
    return f"{where}: {name}, got {str(item['input'])!r}. {item['msg'].removeprefix('Value error, ')}."


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)
