"""`gazeeval validate`: every check of a data set, and what they find. Each has a code that stays.

F: the files, I: images and labels, G: gaze, L: what a run makes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from gazeeval.data.dataset import load_dataset
from gazeeval.data.spec import bundled_specs, find_spec, read_spec, with_options
from gazeeval.errors import DataError, GazeEvalError, UsageError
from gazeeval.validation import gaze_checks, image_checks
from gazeeval.validation.evidence import Evidence, GazeEvidence, ImageEvidence, MapEvidence, collect
from gazeeval.validation.finding import Finding

T = TypeVar("T")


class Check(NamedTuple, Generic[T]):
    """``run`` yields what it finds in a part of the evidence; nothing if all is well."""

    code: str
    name: str
    run: Callable[[T], Iterator[Finding]]


def _failures(code: str, advice: str = "") -> Callable[[Evidence], Iterator[Finding]]:
    """Why a step of the reading failed."""

    def run(found: Evidence) -> Iterator[Finding]:
        yield from (Finding("error", 1, why, "", advice) for failed, why in found.failures if failed == code)

    return run


READING: tuple[Check[Evidence], ...] = (
    Check("F101", "files of gaze are there", _failures("F101", "Check the names in the spec and --root.")),
    Check("I101", "list of images and labels: readable, ids once, labels known", _failures("I101")),
    Check("G101", "gaze files are readable", _failures("G101")),
    Check("G102", "origin, unit and conditions are declared", _failures("G102")),
    Check("G103", "images of the gaze files are in the list", _failures("G103")),
)
IMAGES: tuple[Check[ImageEvidence], ...] = (
    Check("I102", "files of all images are there", image_checks.missing_files),
    Check("I103", "images decode", image_checks.undecodable),
    Check("I104", "EXIF orientation", image_checks.exif_orientation),
    Check("I105", "no image twice", image_checks.same_content),
    Check("I106", "labels are contiguous", image_checks.labels_contiguous),
    Check("I107", "images per class", image_checks.class_counts),
)
POINTS: tuple[Check[GazeEvidence], ...] = (
    Check("G104", "all rows are used", gaze_checks.reader_notes),
    Check("G105", "no carry-over from the image before", gaze_checks.carry_overs),
    Check("G106", "no repeats", gaze_checks.repeats),
    Check("G107", "gaze has an image", gaze_checks.gaze_without_image),
    Check("G108", "images have gaze", gaze_checks.images_without_gaze),
    Check("G109", "image sizes agree", gaze_checks.image_sizes),
    Check("G110", "base of image numbers", gaze_checks.base_of_ids),
    Check("G111", "labels agree", gaze_checks.labels_agree),
    Check("G112", "unit and origin are plausible", gaze_checks.unit),
    Check("G113", "first pixel", gaze_checks.pixel_origin),
    Check("G114", "placement in the frame", gaze_checks.placement),
    Check("G115", "gaze is inside images", gaze_checks.outside_image),
    Check("G116", "gaze follows the pictures", gaze_checks.follows_pictures),
    Check("G117", "durations", gaze_checks.durations),
    Check("G118", "step of raw samples", gaze_checks.time_steps),
    Check("G119", "no filter by bounding boxes", gaze_checks.inside_boxes),
    Check("G120", "viewers", gaze_checks.viewers),
)
MAPS: tuple[Check[MapEvidence], ...] = (
    Check("G108", "images have gaze", gaze_checks.images_without_gaze),
    Check("G121", "gaze maps decode, fit and are not blank", gaze_checks.unreadable_maps),
)
LOADS = ("L101", "a run loads it")


@dataclass(frozen=True)
class Validation:
    """What was found: ``findings`` (code, finding) in the order of checks, codes ``passed``, codes ``not_done``."""

    dataset: str
    root: Path
    findings: tuple[tuple[str, Finding], ...]
    passed: tuple[str, ...]
    not_done: tuple[str, ...]

    def count(self, level: str) -> int:
        """Findings of a level."""
        return sum(finding.level == level for _, finding in self.findings)


def checks() -> dict[str, str]:
    """Every code and what it checks."""
    every: tuple[Check[Any], ...] = (*READING, *IMAGES, *POINTS, *MAPS)
    return {check.code: check.name for check in every} | dict([LOADS])


def validate(
    spec: str | Path, root: str | Path | None = None, *, placement: str | None = None, origin: str | None = None
) -> Validation:
    """Run all checks that can be run; ``spec``, ``root`` and the options as for `load_dataset`.

    Raises:
        UsageError: no such spec, one that cannot be parsed (`SpecError`), or no folder of data.
    """
    path = find_spec(spec)
    options = {"placement": placement, "origin": origin}
    resolved = with_options(read_spec(path), options, path.name)
    found = collect(resolved, path.name, _folder(resolved.root, spec, path, root))
    findings: list[tuple[str, Finding]] = []
    done: list[str] = []
    tried = tuple(check for check in READING if check.code in found.tried)
    parts = ((found, tried), (found.images, IMAGES), (found.points, POINTS), (found.maps, MAPS))
    for part, group in parts:
        if part is not None:
            for check in group:
                done.append(check.code)
                findings += [(check.code, finding) for finding in check.run(part)]  # type: ignore[arg-type]
    wrong = any(finding.level == "error" for _, finding in findings)
    findings += [(LOADS[0], finding) for finding in _loads(spec, found.root, options, wrong)]
    of_maps = resolved.gaze.format == "maps"
    due: list[Check[Any]] = [*(READING[:3] if of_maps else READING), *IMAGES, *(MAPS if of_maps else POINTS)]
    odd = {code for code, finding in findings if finding.level != "info"}
    return Validation(
        resolved.name,
        found.root,
        tuple(findings),
        tuple(code for code in done if code not in odd),
        tuple(check.code for check in due if check.code not in done),
    )


def _folder(of_spec: str | None, spec: str | Path, path: Path, root: str | Path | None) -> Path:
    if root is None and of_spec is None and str(spec) in bundled_specs():
        raise UsageError(f"data root: {spec}, got none. Pass --root DIR, the folder that holds the data.")
    folder = Path(root) if root is not None else path.parent / (of_spec or ".")
    if not folder.is_dir():
        raise DataError(f"data root: {folder}, no such folder. Pass --root DIR, the folder that holds the data.")
    return folder


def _loads(spec: str | Path, root: Path, options: dict[str, str | None], wrong: bool) -> Iterator[Finding]:
    """The data set as a run loads it, with the hash of its content; the reason that a run would give if it cannot."""
    try:
        dataset = load_dataset(spec, root, **options)  # type: ignore[arg-type]  # both of its options are text
    except GazeEvalError as error:
        if wrong:
            yield Finding("info", 0, "no content hash: a run would not load this, see the errors above")
        else:
            yield Finding("error", 1, str(error))
        return
    text = f"content hash {dataset.fingerprint[:16]}, {len(dataset):,} images in split {dataset.split!r}"
    yield Finding("info", len(dataset), text)
