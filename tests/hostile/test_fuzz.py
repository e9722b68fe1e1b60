"""Damaged and hostile files, and files near them: a loader returns data or says what is wrong, soon.

In CI a few fixed examples. ``make fuzz`` looks at many random ones and keeps what it finds in ``corpus/``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gazeeval.data.images import list_images
from gazeeval.data.pictures import read_image
from gazeeval.data.readers.delimited import read_delimited
from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.matlab import load_mat
from gazeeval.data.spec import CsvImages, read_spec
from gazeeval.data.unpickle import restricted_load
from gazeeval.errors import GazeEvalError
from gazeeval.models.checkpoint import read_checkpoint

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = int(os.environ.get("GAZEEVAL_FUZZ", "0"))
SECONDS = 10

LOADERS: dict[str, Callable[[Path], object]] = {
    "pickle": restricted_load,
    "checkpoint": read_checkpoint,
    "image": read_image,
    "spec": read_spec,
    "images.csv": lambda path: list_images(CsvImages(layout="csv", index=path.name), path.parent),
    "gaze.csv": lambda path: read_delimited([GazeFile(path, path.name)], {"image": "image", "x": "x", "y": "y"}),
    "mat": load_mat,
}
SEEDS = {kind: sorted((CORPUS / kind).iterdir()) for kind in LOADERS}


def load(kind: str, path: Path) -> None:
    """Data or a message; anything else is raised, and kept if there is time for more."""
    try:
        LOADERS[kind](path)
    except GazeEvalError:
        pass
    except Exception:
        if EXAMPLES:
            content = path.read_bytes()
            (CORPUS / kind / f"found-{hashlib.sha256(content).hexdigest()[:12]}").write_bytes(content)
        raise


@pytest.mark.parametrize("path", [path for paths in SEEDS.values() for path in paths], ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    load(path.parent.name, path)


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """A file of the corpus with bytes changed, cut out, repeated or put in, once to five times."""
    content = bytearray(draw(st.sampled_from(SEEDS[kind])).read_bytes())
    for _ in range(draw(st.integers(1, 5))):
        start, length = draw(st.integers(0, max(len(content) - 1, 0))), draw(st.integers(0, 40))
        part = content[start : start + length]
        content[start : start + draw(st.sampled_from([0, 1, length]))] = draw(
            st.one_of(st.binary(max_size=8), st.just(bytes(part) * draw(st.integers(0, 3))))
        )
    return bytes(content)


@pytest.mark.filterwarnings("ignore")  # of decoders, about what they make of a damaged file
@pytest.mark.parametrize("kind", LOADERS)
def test_damage_anywhere_gives_data_or_a_message(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"

    @settings(
        max_examples=EXAMPLES or 40,
        derandomize=not EXAMPLES,
        deadline=None if EXAMPLES else 1000 * SECONDS,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(kind))
    def search(content: bytes) -> None:
        path.write_bytes(content)
        load(kind, path)

    search()
