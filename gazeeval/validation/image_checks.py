"""Checks of images and labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gazeeval.validation.evidence import ImageEvidence
from gazeeval.validation.finding import Finding, from_note

_MIRRORED = (2, 4, 5, 7)  # EXIF orientations that exchange left and right


def missing_files(images: ImageEvidence) -> Iterator[Finding]:
    """Images of the list without a file."""
    yield from (from_note(note, "warning") for note in images.notes if note.startswith("no file"))


def undecodable(images: ImageEvidence) -> Iterator[Finding]:
    """Files that are there but no pictures, read to the last pixel."""
    for error in list(images.broken.values())[:1]:
        count = len(images.broken)
        text = f"{count:,} of {len(images.index):,} images cannot be decoded: their pairs will fail"
        yield Finding("error", count, text, error, "Fetch them again, or take them off the list.")


def exif_orientation(images: ImageEvidence) -> Iterator[Finding]:
    """Images that are stored turned or mirrored."""
    turned = np.flatnonzero(images.orientation > 1)
    for row in turned[:1]:
        mirrored = int(np.isin(images.orientation, _MIRRORED).sum())
        done = "turned upright, size and pixels" if images.spec.exif == "apply" else "left as stored"
        yield Finding(
            "warning",
            len(turned),
            f"{len(turned):,} images have an EXIF orientation, {mirrored:,} of them a mirrored one: {done}",
            f"{images.index.ids[row]}, orientation {images.orientation[row]}",
            "If viewers saw the pixels as stored, write 'exif: ignore' under images; 'exif: apply' if upright. "
            "A wrong choice mirrors or turns their gaze.",
        )


def same_content(images: ImageEvidence) -> Iterator[Finding]:
    """One picture under several ids; the same id twice is refused by the list (I101)."""
    first_of: dict[str, int] = {}
    again = [(row, first) for row, key in enumerate(images.digests) if (first := first_of.setdefault(key, row)) != row]
    for row, first in again[:1]:
        ids, labels = images.index.ids, images.index.labels
        other = sum(bool(labels[a] != labels[b]) for a, b in again)
        yield Finding(
            "warning",
            len(again),
            f"{len(again):,} images are copies of others, {other:,} of them under another label",
            f"{ids[row]} is {ids[first]}",
            "Pairs of copies mix an image with itself. Take them off the list.",
        )


def labels_contiguous(images: ImageEvidence) -> Iterator[Finding]:
    """Labels without images, and class numbers with gaps or another base; unknown labels are refused (I101)."""
    names, counts = images.index.class_names, np.bincount(images.index.labels, minlength=len(images.index.class_names))
    empty = np.flatnonzero(counts == 0)
    for label in empty[:1]:
        text = f"{len(empty):,} of {len(names):,} classes have no image"
        yield Finding(
            "warning",
            len(empty),
            text,
            f"label {label}, {names[label]}",
            "Fine for a part of a data set; else check images.path.",
        )
    if not all(name.isdecimal() for name in names):
        return
    numbers = np.array([int(name) for name in names])
    gaps = int(numbers.max() - numbers.min() + 1 - len(numbers))
    if gaps or (np.diff(numbers) < 0).any():
        at = int(np.argmax(np.diff(numbers) != 1))
        yield Finding(
            "warning",
            gaps,
            f"class numbers run from {numbers.min()} to {numbers.max()} with {gaps:,} missing: labels are their places "
            f"in the order, 0 to {len(names) - 1}",
            f"label {at + 1} is class {names[at + 1]}",
            "If the network has an output for every number, list all numbers under 'classes'.",
        )
    elif numbers.min() != 0:
        text = f"class numbers start at {numbers.min()}: label 0 is class {numbers.min()}"
        yield Finding("info", len(names), text)


def class_counts(images: ImageEvidence) -> Iterator[Finding]:
    """How many images the classes have."""
    counts = np.bincount(images.index.labels, minlength=len(images.index.class_names))
    used, least = counts[counts > 0], int(np.where(counts > 0, counts, counts.max() + 1).argmin())
    yield Finding(
        "info",
        len(images.index),
        f"{len(images.index):,} images of {len(used):,} classes: {used.min():,} to {used.max():,} per class, median "
        f"{np.median(used):,.0f}; fewest {images.index.class_names[least]}",
    )
