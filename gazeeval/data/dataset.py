"""Images with labels and gaze, ready for pairs: from a spec and a folder, or from arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from gazeeval.data.fixations import Fixations
from gazeeval.data.gaze import FixationGaze, GazeSource, RenderedGaze
from gazeeval.data.gaze_files import LoadedGaze, known_durations, load_gaze, wanted_files
from gazeeval.data.images import ImageIndex, list_images
from gazeeval.data.pictures import read_image
from gazeeval.data.readers.files import find_files
from gazeeval.data.spec import (
    CsvImages,
    CubImages,
    DatasetSpec,
    FolderImages,
    bundled_specs,
    find_spec,
    read_spec,
    with_options,
)
from gazeeval.errors import DataError, UsageError, did_you_mean

__all__ = ["Dataset", "FixationGaze", "GazeSource", "RenderedGaze", "list_datasets", "load_dataset"]


@dataclass(frozen=True)
class Dataset:
    """n images of one split.

    Attributes:
        name, split, source: of the spec; ``source`` is the name or path it was asked by.
        image_ids: relative paths or given ids, the keys in every result.
        labels: (n,) int64, 0-based rows of ``class_names``.
        sizes: (n, 2) int64 width, height of the original images.
        gaze: where people looked.
        read_image: row -> RGB image; raises ImageError naming the file.
        px_per_degree: original pixels per degree of visual angle (median over the images), or None.
        notes: counted sentences about what was odd or left out while loading.
        fingerprint: sha256 of the spec, the gaze and the list of images; not of their pixels.
        choices: how the gaze files were read where the reader has a choice, part of the gaze recipe.
    """

    name: str
    split: str
    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    gaze: GazeSource
    read_image: Callable[[int], Image.Image]
    px_per_degree: float | None
    notes: tuple[str, ...]
    fingerprint: str
    source: str
    choices: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_ids)

    def subset(self, index: ArrayLike) -> Dataset:
        """Some images, by row, in the order given."""
        rows = np.asarray(index, dtype=np.int64)
        return replace(
            self,
            image_ids=tuple(self.image_ids[row] for row in rows),
            labels=self.labels[rows],
            sizes=self.sizes[rows],
            gaze=self.gaze.select(rows),
            read_image=partial(_read_row, self.read_image, rows),
            fingerprint=_sha256([self.fingerprint.encode(), rows.tobytes()]),
        )

    @classmethod
    def from_arrays(
        cls,
        images: Sequence[NDArray[np.uint8]] | Tensor,
        labels: ArrayLike,
        fixations: Mapping[str, Any],
        class_names: Sequence[str] | None = None,
        name: str = "arrays",
    ) -> Dataset:
        """A dataset in memory.

        Args:
            images: (h, w, 3) uint8 each, of any sizes; or one (n, 3, h, w) tensor, uint8 or float in [0, 1].
            labels: (n,) 0-based classes.
            fixations: columns ``image`` (row of ``images``), ``x``, ``y`` (pixels, corner convention), and if known
                ``duration_ms`` and ``viewer``; a data frame or a mapping of sequences.
            class_names: default "0", "1", ...

        Raises:
            DataError: shapes that do not fit, labels without a class, fixations that belong to no image.
        """
        pictures = _uint8_images(images)
        classes = np.asarray(labels, dtype=np.int64).reshape(-1)
        names = tuple(class_names or map(str, range(int(classes.max(initial=-1)) + 1)))
        if len(classes) != len(pictures):
            raise DataError(f"labels: got {len(classes)} for {len(pictures)} images. Give one label per image.")
        if len(classes) and not 0 <= classes.min() <= classes.max() < len(names):
            raise DataError(f"labels: got {classes.min()} to {classes.max()} for {len(names)} classes, 0-based.")
        sizes = np.array([picture.shape[1::-1] for picture in pictures], dtype=np.int64).reshape(-1, 2)
        points, notes = _fixations(fixations, len(pictures))
        columns = (points.offsets, points.x, points.y, points.duration_ms, points.viewer, classes, sizes)
        ids = tuple(f"{row:06d}" for row in range(len(pictures)))
        return cls(
            name=name,
            split="all",
            image_ids=ids,
            labels=classes,
            class_names=names,
            sizes=sizes,
            gaze=FixationGaze(points, sizes),
            read_image=partial(_from_array, pictures),
            px_per_degree=None,
            notes=tuple(notes),
            fingerprint=_sha256([name.encode(), *(column.tobytes() for column in columns)]),
            source=name,
        )


def list_datasets() -> dict[str, DatasetSpec]:
    """The bundled specs by name."""
    return {name: read_spec(find_spec(name)) for name in bundled_specs()}


def load_dataset(
    spec: str | Path,
    root: str | Path | None = None,
    split: str | None = None,
    *,
    placement: str | None = None,
    carry_over: str | None = None,
    repeats: str | None = None,
    px_per_degree: float | None = None,
    origin: str | None = None,
) -> Dataset:
    """Images, labels and gaze as a spec describes them.

    Args:
        spec: a bundled name (see :func:`list_datasets`) or the path of a YAML file.
        root: the folder that holds the data; default: the spec's ``root``, or the folder of the YAML file.
        split: "all" = all images that have gaze, or a split that the images come with ("train", "test"): all of its
            images. Default: the spec's.
        placement: how images lay in the frame: contain, stretch, native, cover or "x0,y0,x1,y1"; "force:contain" loads
            although the gaze contradicts it.
        carry_over, repeats, px_per_degree, origin: likewise in place of the spec's.

    Raises:
        UsageError: unknown name or split, or an option that does not apply.
        SpecError: the spec, with one line per mistake; or a placement that is not declared.
        DataError: files that are missing, malformed or belong to other data.
    """
    path = find_spec(spec)
    options = {
        **{"placement": placement, "carry_over": carry_over, "repeats": repeats},
        **{"px_per_degree": px_per_degree, "origin": origin},
    }
    resolved = with_options(read_spec(path), options, path.name)
    folder = _root(resolved, path, root)
    index, image_notes = list_images(resolved.images, folder)
    gaze = load_gaze(resolved.gaze, folder, index, path.name)
    split = split or resolved.default_split
    has_gaze = gaze.source.has_gaze()
    rows = np.flatnonzero(_in_split(index, split, has_gaze))
    notes = (*image_notes, *gaze.notes, *_no_gaze_note(has_gaze, split))
    return _assemble(
        resolved, index.select(rows), replace(gaze, source=gaze.source.select(rows), notes=notes), split, str(spec)
    )


def _assemble(spec: DatasetSpec, index: ImageIndex, gaze: LoadedGaze, split: str, source: str) -> Dataset:
    degrees = gaze.source.px_per_degree if isinstance(gaze.source, FixationGaze) else None
    content = spec.model_dump_json(exclude={"root", "title", "reference", "license"})
    listing = "\n".join(index.ids).encode()
    return Dataset(
        name=spec.name,
        split=split,
        image_ids=index.ids,
        labels=index.labels,
        class_names=index.class_names,
        sizes=index.sizes,
        gaze=gaze.source,
        read_image=partial(_from_file, index.paths, spec.images.exif),
        px_per_degree=None if degrees is None else float(np.median(degrees)),
        notes=gaze.notes,
        fingerprint=_sha256([content.encode(), listing, index.labels.tobytes(), index.sizes.tobytes()], gaze.files),
        source=source,
        choices=_choices(spec),
    )


def _choices(spec: DatasetSpec) -> dict[str, str]:
    frame = getattr(spec.gaze, "frame", None)
    placement = {"placement": str(frame.placement)} if frame else {}
    names = ("carry_over", "repeats", "pixel_origin")
    found = placement | {name: str(getattr(spec.gaze, name)) for name in names if hasattr(spec.gaze, name)}
    origin, detect = getattr(spec.gaze, "origin", "upper-left"), getattr(spec.gaze, "detect", None)
    found |= {"origin": str(origin)} if origin != "upper-left" else {}
    return found | ({"detect": detect.method} if detect else {})


def _root(spec: DatasetSpec, path: Path, root: str | Path | None) -> Path:
    """The folder of the data, with everything in it that the spec needs."""
    wanted = [(_image_list(spec),), *wanted_files(spec.gaze)]
    holds = " and ".join(dict.fromkeys(_top(patterns[0]) for patterns in wanted))
    advice = f"Pass --root DIR, the folder that holds {holds}."
    if root is None and spec.root is None and path == _bundled(path.stem):
        raise DataError(f"data root: {path.stem}, got none. {advice}")
    folder = Path(root) if root is not None else path.parent / (spec.root or ".")
    if not folder.is_dir():
        raise DataError(f"data root: {folder}, no such folder. {advice}")
    for patterns in wanted:
        if not find_files(folder, patterns):
            raise DataError(f"data root: {folder}, got no {' or '.join(patterns)} in it. {advice}")
    return folder


def _bundled(name: str) -> Path | None:
    return find_spec(name) if name in bundled_specs() else None


def _image_list(spec: DatasetSpec) -> str:
    match spec.images:
        case CubImages(path=path):
            return f"{path}/images.txt"
        case CsvImages(index=index):
            return index
        case FolderImages(path=path):
            return path


def _top(pattern: str) -> str:
    first, slash, _ = pattern.removeprefix("./").partition("/")
    return first + slash


def _in_split(index: ImageIndex, split: str, has_gaze: NDArray[np.bool_]) -> NDArray[np.bool_]:
    known = ["all", *sorted(set(index.splits) - {""})]
    if split not in known:
        raise UsageError(f"--split: got {split!r}{did_you_mean(split, known)}. Known: {', '.join(known)}.")
    chosen = has_gaze if split == "all" else np.array([own == split for own in index.splits], dtype=bool)
    if not chosen.any():
        raise DataError(f"--split: got {split!r}, which has no image. Known: {', '.join(known)}.")
    return chosen


def _no_gaze_note(has_gaze: NDArray[np.bool_], split: str) -> list[str]:
    count = int((~has_gaze).sum())
    what = "left out" if split == "all" else "pairs with them have no lam_gaze"
    return [f"no gaze for {count:,} of {len(has_gaze):,} images: {what}"] if count else []


def _uint8_images(images: Sequence[NDArray[np.uint8]] | Tensor) -> list[NDArray[np.uint8]]:
    if isinstance(images, Tensor):
        scaled = images if images.dtype == torch.uint8 else images.mul(255).round().clamp(0, 255).to(torch.uint8)
        images = list(scaled.movedim(1, -1).cpu().numpy())
    for row, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"images: row {row}, got {image.dtype} {image.shape}. "
                "Expected uint8 (h, w, 3), or one tensor (n, 3, h, w)."
            )
    return list(images)


def _fixations(columns: Mapping[str, Any], n_images: int) -> tuple[Fixations, list[str]]:
    for name in ("image", "x", "y"):
        if name not in columns:
            raise DataError(f"fixations: column {name!r} is missing. Expected image, x, y[, duration_ms, viewer].")
    image = np.asarray(columns["image"], dtype=np.int64)
    given = columns["duration_ms"] if "duration_ms" in columns else np.full(len(image), np.nan)
    duration, notes = known_durations(np.asarray(given, dtype=np.float64))
    who: dict[str, Any] = {}
    if "viewer" in columns:
        names, codes = np.unique(np.asarray(columns["viewer"], dtype=str), return_inverse=True)
        who = {"viewer": codes, "viewers": tuple(names.tolist())}
    return Fixations.from_rows(image, n_images, columns["x"], columns["y"], duration_ms=duration, **who), notes


def _from_file(paths: Sequence[Path], exif: str, row: int) -> Image.Image:
    return read_image(paths[row], exif)


def _from_array(pictures: Sequence[NDArray[np.uint8]], row: int) -> Image.Image:
    return Image.fromarray(pictures[row])


def _read_row(read: Callable[[int], Image.Image], rows: NDArray[np.int64], row: int) -> Image.Image:
    return read(int(rows[row]))


def _sha256(parts: Iterable[bytes], files: Sequence[Path] = ()) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
