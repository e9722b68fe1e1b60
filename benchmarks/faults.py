"""What happens when something is wrong: every fault is injected, and the exit code and last words are written down.

    python benchmarks/faults.py [--only TEXT] [--write]

Each fault is a run of the command line, in this process, on a data set of twelve images in an empty folder. ``--write``
puts the table into docs/reliability.md. `tests/hostile/test_faults.py` injects the same faults.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import errno
import fcntl
import io
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
START, END = "<!-- faults: benchmarks/faults.py -->", "<!-- end of faults -->"
WIDTH = 150

sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
from little import lay_out  # noqa: E402

from gazeeval.data.pictures import read_image  # noqa: E402
from tests.hostile import attacks  # noqa: E402

Args = list[object]
Inject = Callable[[Path], contextlib.AbstractContextManager[Args]]

SPEC = """
name: little
images: {layout: csv, index: images.csv}
gaze: {format: csv, files: gaze.csv, columns: {image: image, x: x, y: y}, origin: upper-left, pixel_origin: corner}
"""
PICKLE_SPEC = SPEC.partition("gaze:")[0] + (
    "gaze: {format: aristo, files: {species: gaze.pkl}, origin: upper-left, pixel_origin: corner, time_unit: ms,\n"
    "  image_id_base: 1}\n"
)
MAT_SPEC = SPEC.replace("format: csv", "format: mat, records: s").replace("gaze.csv", "gaze.mat")


@dataclass(frozen=True)
class Fault:
    """Something that is wrong, and how it is brought about in the folder of a small data set."""

    group: str
    what: str
    inject: Inject


@dataclass(frozen=True)
class Outcome:
    """How the command ended: its exit code, and the line that says what is wrong ("" if nothing is)."""

    code: int
    said: str


def observe(fault: Fault) -> Outcome:
    """Inject a fault and run into it."""
    from gazeeval.cli.main import main

    err, code = io.StringIO(), 0
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(err):
        folder = Path(name)
        lay_out(folder, SPEC)
        with fault.inject(folder) as args, mock.patch("sys.argv", ["gazeeval", *map(str, args)]):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    main()
            except SystemExit as end:
                code = int(end.code or 0)
            except Exception as error:  # as Python ends: with a traceback and 1
                return Outcome(1, f"Traceback ... {type(error).__name__}: {error}".replace(f"{folder}/", ""))
        return Outcome(code, _said(err.getvalue(), folder))


def _run(folder: Path, *options: object) -> Args:
    quick = ("-m", "cutmix", "--no-references", "--input-size", 32, "-q", "-o", folder / "out")
    return ["run", "-d", folder / "little.yaml", *quick, *options]


def _said(err: str, folder: Path) -> str:
    """The line that says what is wrong: of an error, or of the first pair that failed."""
    failures = folder / "out" / "failures.csv"
    lines = re.findall(r"^(?:error: )(.*)", err, flags=re.MULTILINE)
    if not lines and failures.is_file():
        lines = [row["message"] for row in csv.DictReader(io.StringIO(failures.read_text()))]
    lines = lines or re.findall(r"^interrupted$", err, flags=re.MULTILINE)
    return lines[0].replace(f"{folder}/", "").replace(str(folder), ".") if lines else ""


# -- files ------------------------------------------------------------------------------------------------------------


def _files(
    group: str, files: attacks.Files, inject: Callable[..., contextlib.AbstractContextManager[Args]]
) -> list[Fault]:
    return [Fault(group, what, partial(inject, make)) for what, make in files.items()]


@contextlib.contextmanager
def _checkpoint(make: Callable[[], bytes], folder: Path) -> Iterator[Args]:
    (folder / "weights.pt").write_bytes(make())
    yield _run(folder, "--model", folder / "weights.pt")


@contextlib.contextmanager
def _image(make: Callable[[], bytes], folder: Path) -> Iterator[Args]:
    (folder / "04.png").write_bytes(make())
    yield _run(folder)


@contextlib.contextmanager
def _file(name: str, spec: str, make: Callable[[], bytes], folder: Path) -> Iterator[Args]:
    (folder / "little.yaml").write_text(spec)
    (folder / name).write_bytes(make())
    yield _run(folder)


# -- the folder, the machine, the user --------------------------------------------------------------------------------


@contextlib.contextmanager
def _replaced(replace: Callable[[Path], object], folder: Path) -> Iterator[Args]:
    """An image becomes something else between the look at the sizes of all images and that at its pixels."""

    def then(path: Path, exif: str) -> Any:
        if path.name == "04.png":
            path.unlink(missing_ok=True)
            replace(path)
        return read_image(path, exif)

    with mock.patch("gazeeval.data.dataset.read_image", then):
        yield _run(folder, "--workers", 0)


@contextlib.contextmanager
def _weights_pipe(folder: Path) -> Iterator[Args]:
    os.mkfifo(folder / "weights.pt")
    yield _run(folder, "--model", folder / "weights.pt")


@contextlib.contextmanager
def _at_finish(action: Callable[[], object], folder: Path) -> Iterator[Args]:
    """Something happens when the rows of the pairs are about to be written."""
    from gazeeval.report.files import PairWriter

    def finish(*_: object) -> None:
        action()

    with mock.patch.object(PairWriter, "finish", finish):
        yield _run(folder)


def _no_space() -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "parts/000-000000000000.csv")


def _interrupt() -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[Args]:
    """A file system that lets nobody write, root neither."""

    def refuse(path: Path, *_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with mock.patch.object(Path, "mkdir", refuse):
        yield _run(folder)


@contextlib.contextmanager
def _below_a_file(folder: Path) -> Iterator[Args]:
    yield _run(folder, "-o", folder / "gaze.csv" / "out")


@contextlib.contextmanager
def _folder_of_another_run(folder: Path) -> Iterator[Args]:
    (folder / "out").mkdir()
    (folder / "out" / "manifest.json").write_text("{}")
    yield _run(folder)


@contextlib.contextmanager
def _two_runs(folder: Path) -> Iterator[Args]:
    (folder / "out").mkdir()
    with (folder / "out" / "run.log").open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield _run(folder, "--shard", "0/2")


@contextlib.contextmanager
def _broken_manifest(folder: Path) -> Iterator[Args]:
    (folder / "out").mkdir()
    (folder / "out" / "manifest.json").write_text("{")
    yield ["run", "--resume", folder / "out"]


@contextlib.contextmanager
def formulas(folder: Path) -> Iterator[Args]:
    """Names that a spreadsheet would calculate, and a browser would run, are text like any other."""
    for file in ("images.csv", "gaze.csv"):
        path = folder / file
        path.write_text(path.read_text().replace("04.png", "=1+1.png").replace(",b", ",<script>alert(1)</script>"))
    (folder / "04.png").rename(folder / "=1+1.png")
    yield _run(folder)


FAULTS = [
    *_files("Checkpoints", attacks.CHECKPOINTS, _checkpoint),
    Fault("Checkpoints", "a pipe that nobody writes to", _weights_pipe),
    *_files("Gaze: pickles", attacks.PICKLES, partial(_file, "gaze.pkl", PICKLE_SPEC)),
    *_files("Gaze: MATLAB", attacks.MAT_FILES, partial(_file, "gaze.mat", MAT_SPEC)),
    *_files("Gaze: tables", attacks.GAZE_TABLES, partial(_file, "gaze.csv", SPEC)),
    *_files("Images", attacks.BROKEN_IMAGES | attacks.ODD_IMAGES, _image),
    Fault("Images", "an image that vanishes while running", partial(_replaced, lambda path: None)),
    Fault("Images", "an image that becomes a pipe", partial(_replaced, os.mkfifo)),
    Fault("Images", "an image that becomes a folder", partial(_replaced, Path.mkdir)),
    *_files("Lists of images", attacks.IMAGE_TABLES, partial(_file, "images.csv", SPEC)),
    Fault("Lists of images", "names that are formulas or markup", formulas),
    *_files("Specs", attacks.SPECS, partial(_file, "little.yaml", SPEC)),
    Fault("Folder and machine", "disk full while rows are written", partial(_at_finish, _no_space)),
    Fault("Folder and machine", "a read-only file system", _read_only),
    Fault("Folder and machine", "an output folder below a file", _below_a_file),
    Fault("Folder and machine", "the output folder of another run", _folder_of_another_run),
    Fault("Folder and machine", "another process at the same run", _two_runs),
    Fault("Folder and machine", "a manifest that is cut, resumed", _broken_manifest),
    Fault("Folder and machine", "Ctrl-C", partial(_at_finish, _interrupt)),
    Fault("Folder and machine", "SIGTERM", partial(_at_finish, lambda: os.kill(os.getpid(), signal.SIGTERM))),
]


# -- the table --------------------------------------------------------------------------------------------------------


def table(outcomes: dict[Fault, Outcome]) -> str:
    """Markdown, a section for each group."""
    parts = []
    for group in dict.fromkeys(fault.group for fault in outcomes):
        rows = [f"## {group}", "", "| fault | exit | what is said |", "|---|---|---|"]
        for fault, outcome in outcomes.items():
            if fault.group == group:
                rows.append(
                    f"| {_cell(fault.what)} | {outcome.code} | {_cell(short(outcome.said)) or 'nothing: it is used'} |"
                )
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH].rsplit(maxsplit=1)[0]} …"


def _cell(text: str) -> str:
    visible = re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", visible)


def main() -> None:
    parser = argparse.ArgumentParser(description="Inject faults and say what happened.")
    parser.add_argument("--only", default="", help="part of a fault's group or name")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    outcomes = {}
    for fault in FAULTS:
        if options.only in f"{fault.group}: {fault.what}":
            start = time.perf_counter()
            outcome = outcomes[fault] = observe(fault)
            seconds = time.perf_counter() - start
            print(f"{outcome.code:4d} {seconds:6.2f} s  {fault.group}: {fault.what}: {short(outcome.said)}")
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.partition(START)[0], text.partition(END)[2]
        PAGE.write_text(f"{before}{START}\n\n{table(outcomes)}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
