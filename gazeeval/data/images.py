"""The images of a dataset: which there are, their labels, splits and sizes."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gazeeval.data.pictures import size_or_none
from gazeeval.data.regular import require_regular
from gazeeval.data.spec import CsvImages, CubImages, FolderImages, Images
from gazeeval.errors import DataError, did_you_mean

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class ImageIndex:
    """n images in file order.

    Attributes:
        ids: relative paths, the keys in every result.
        paths: the files.
        labels: (n,) int64, 0-based rows of ``class_names``.
        numbers: (n,) int64, the numbers of ``images.txt`` in the CUB layout, else 1, 2, 3...
        splits: split of each image, "" for none.
        sizes: (n, 2) int64 width, height; typical ones where ``sized`` (n,) is False (file cannot be decoded).
        listing: what lists the images, for messages.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    numbers: NDArray[np.int64]
    splits: tuple[str, ...]
    sizes: NDArray[np.int64]
    sized: NDArray[np.bool_]
    listing: str

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: NDArray[np.int64]) -> ImageIndex:
        """Some images, in the order of ``rows``."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            labels=self.labels[rows],
            numbers=self.numbers[rows],
            splits=tuple(self.splits[row] for row in rows),
            sizes=self.sizes[rows],
            sized=self.sized[rows],
        )


def list_images(images: Images, root: Path) -> tuple[ImageIndex, list[str]]:
    """The images under ``root`` that exist, their sizes read from the headers, and notes on what is missing or broken.

    Raises:
        DataError: a list that is malformed, naming file and line; or no usable image at all.
    """
    index, notes = _existing(_read_index(images, root))
    found = [size_or_none(path, images.exif) for path in index.paths]
    known = np.array([size for size in found if size is not None], dtype=np.int64)
    if not len(known):
        raise DataError(f"images: {index.paths[0]}, cannot be decoded, nor can any other. Fetch the images again.")
    sized = np.array([size is not None for size in found], dtype=bool)
    if not sized.all():
        # They stay in, so that their pairs fail one by one and are listed; until then they need a plausible size.
        first = index.paths[int(np.argmin(sized))]
        notes.append(
            f"cannot decode {(~sized).sum():,} of {len(sized):,} images (first: {first}): their pairs will fail"
        )
    sizes = np.empty((len(index), 2), dtype=np.int64)
    sizes[sized], sizes[~sized] = known, np.median(known, axis=0)
    return replace(index, sizes=sizes, sized=sized), notes


def _existing(index: ImageIndex) -> tuple[ImageIndex, list[str]]:
    there = np.array([os.path.isfile(path) for path in index.paths], dtype=bool)
    first = index.paths[int(np.argmin(there))]
    if not there.any():
        raise DataError(
            f"images: {first}, no such file, nor any other of {index.listing}. Check --root and images.path."
        )
    if there.all():
        return index, []
    note = f"no file for {(~there).sum():,} of {len(index):,} images of {index.listing} (first: {first}): left out"
    return index.select(np.flatnonzero(there)), [note]


def _read_index(images: Images, root: Path) -> ImageIndex:
    match images:
        case CubImages():
            return _read_cub(root / images.path)
        case FolderImages():
            return _read_folders(root / images.path, images)
        case CsvImages():
            return _read_csv(root / images.index, root / images.path, images)


def _read_cub(folder: Path) -> ImageIndex:
    names = _numbered(folder / "images.txt")
    classes = _numbered(folder / "classes.txt")
    label_of = _numbered(folder / "image_class_labels.txt")
    split_file = folder / "train_test_split.txt"
    is_train = _numbered(split_file) if split_file.is_file() else {}
    row_of_class = {number: row for row, number in enumerate(classes)}
    labels = []
    for number, name in names.items():
        label = label_of.get(number, "")
        if not _is_number(label) or int(label) not in row_of_class:
            raise DataError(
                f"class label: {folder / 'image_class_labels.txt'}: image {number} ({name}), got {label!r}. "
                f"Every image of images.txt needs a class number of classes.txt."
            )
        labels.append(row_of_class[int(label)])
    splits = [{"1": "train", "0": "test"}.get(is_train.get(number, ""), "") for number in names]
    rows = list(zip(names.values(), labels, splits, strict=True))
    index = _index(rows, folder / "images", tuple(classes.values()), folder / "images.txt")
    return replace(index, numbers=np.array(list(names), dtype=np.int64))


def _numbered(path: Path) -> dict[int, str]:
    """Lines ``number value`` of a CUB list, in file order."""
    values: dict[int, str] = {}
    for line_number, line in enumerate(_text(path).splitlines(), 1):
        number, _, value = line.strip().partition(" ")
        if not line.strip():
            continue
        if not _is_number(number) or not value or int(number) in values:
            raise DataError(
                f"image list: {path}:{line_number}, got {line!r}. Expected a new number, a space and a value."
            )
        values[int(number)] = value.strip()
    return values


def _read_folders(folder: Path, images: FolderImages) -> ImageIndex:
    tops = [_folder(folder / split) for split in images.splits or (".",)]
    found = {child.name for top in tops for child in top.iterdir() if child.is_dir()}
    classes = images.classes or _ordered(found, images.class_order == "number", folder)
    rows = [
        (path.relative_to(folder).as_posix(), label, top.name if images.splits else "")
        for top in tops
        for label, name in enumerate(classes)
        for path in sorted((top / name).rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    return _index(rows, folder, classes, folder)


def _read_csv(table: Path, folder: Path, images: CsvImages) -> ImageIndex:
    header, lines = _table(table, images.delimiter)
    for column in filter(None, (images.image, images.label, images.split)):
        if header.count(column) != 1:
            what = "stands twice" if column in header else f"is missing{did_you_mean(column, header)}"
            raise DataError(f"image table: {table}:1, got columns {', '.join(header)}. Column {column!r} {what}.")
    for row, line in enumerate(lines, 2):
        if not line[images.image]:
            raise DataError(f"image table: {table}:{row}, got no {images.image}. Write one row per image.")
    labels = [line[images.label] or "" for line in lines]
    numeric = all(map(_is_number, labels))
    classes = images.classes or _ordered(set(labels), numeric, table)
    label_of = {name: label for label, name in enumerate(classes)}
    for row, label in enumerate(labels, 2):
        if not label or label not in label_of:
            raise DataError(f"class label: {table}:{row}, got {label!r}. Expected one of 'classes' of the spec.")
    splits = [line[images.split] or "" if images.split else "" for line in lines]
    rows = [
        (line[images.image], label_of[label], split) for line, label, split in zip(lines, labels, splits, strict=True)
    ]
    return _index(rows, folder, classes, table)


def _table(path: Path, delimiter: str) -> tuple[Sequence[str], list[dict[str, str]]]:
    """The header of a table and its rows; what a row lacks is empty."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter, restval="")
    try:
        header, rows = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise DataError(f"image table: {path}:{reader.line_num}, got {error}. Check the quotes.") from None
    return header, rows


def _index(rows: Sequence[tuple[str, int, str]], folder: Path, classes: Sequence[str], where: Path) -> ImageIndex:
    """Rows (id, label, split) as an index; images count from 1."""
    ids = tuple(row[0] for row in rows)
    if not ids:
        raise DataError(f"images: {where}, found none. Expected {', '.join(sorted(SUFFIXES))} in class folders.")
    repeated = next((name for name, count in Counter(ids).items() if count > 1), None)
    if repeated is not None:
        raise DataError(f"images: {where}, got {repeated!r} more than once. Keep one row per image.")
    return ImageIndex(
        ids=ids,
        paths=tuple(folder / name for name in ids),
        numbers=np.arange(1, len(ids) + 1, dtype=np.int64),
        sizes=np.zeros((len(ids), 2), dtype=np.int64),
        sized=np.zeros(len(ids), dtype=bool),
        labels=np.array([row[1] for row in rows], dtype=np.int64),
        class_names=tuple(classes),
        splits=tuple(row[2] for row in rows),
        listing=where.name,
    )


def _ordered(names: Iterable[str], numeric: bool, where: Path) -> tuple[str, ...]:
    """Class names in label order: alphabetical, or by the number that each name is."""
    names = sorted(names)
    wrong = [name for name in names if not _is_number(name)]
    if numeric and wrong:
        raise DataError(
            f"class name: {where / wrong[0]}, got a name that is not a number. "
            "Write 'class_order: name', or list the folders under 'classes'."
        )
    return tuple(sorted(names, key=int) if numeric else names)


def _is_number(text: str) -> bool:
    """Whether ``text`` is a whole number that fits into 64 bits."""
    return text.isdecimal() and len(text) <= 18


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(f"image folder: {path}, no such folder. Check --root and images in the spec.")
    return path


def _text(path: Path) -> str:
    try:
        require_regular(path)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"file: {path}, {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"file: {path}, got bytes that are not UTF-8. Save the file as UTF-8.") from error
