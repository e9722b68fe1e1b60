"""The cache of parsed gaze: when it is used, that it gives the same table, and that damage to it does no harm."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from gazeeval.data import parsed as module
from gazeeval.data.parsed import cache_folder, clear_cache, parsed
from gazeeval.data.readers.cub_gha import read_cub_gha
from gazeeval.data.readers.files import GazeFile
from gazeeval.data.readers.table import GazeTable
from gazeeval.errors import DataError

LINES = "1,40,30,10,11,200,39,29,100\n2,30,40,5,6,300\n1,40,30,1,1,50\n"


class Parse:
    """Counts how often a file is parsed."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def __call__(self) -> GazeTable:
        self.count += 1
        return read_cub_gha([self.path])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that also keeps small files."""
    monkeypatch.setenv("GAZEEVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_LEAST_BYTES", 10)
    return tmp_path / "cache" / "gaze"


@pytest.fixture
def run(tmp_path: Path) -> GazeFile:
    path = tmp_path / "Fixation_rün1.txt"
    path.write_text(LINES)
    return GazeFile(path, path.name)


def assert_equal(a: GazeTable, b: GazeTable) -> None:
    for field in fields(GazeTable):
        one, other = getattr(a, field.name), getattr(b, field.name)
        assert type(one) is type(other)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


def test_a_file_is_parsed_once_and_the_log_says_so(
    cache: Path, run: GazeFile, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gazeeval")
    parse = Parse(run.path)
    first = parsed([run], "settings", parse)
    assert (parse.count, len(list(cache.glob("*.npz"))), caplog.messages) == (1, 1, [])
    again = parsed([run], "settings", parse)
    assert parse.count == 1
    assert_equal(again, first)
    assert_equal(again, parse())
    (message,) = caplog.messages
    assert message.startswith("gaze: 4 rows read from the cache, ")
    assert str(cache) in message


def test_other_content_settings_names_and_versions_are_parsed_again(
    cache: Path, run: GazeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = Parse(run.path)
    parsed([run], "settings", parse)
    parsed([run], "other settings", parse)
    parsed([GazeFile(run.path, "other name")], "settings", parse)
    parsed([GazeFile(run.path, run.name, {"viewer": "ann"})], "settings", parse)
    run.path.write_text(LINES.replace("300", "301"))
    assert parsed([run], "settings", parse).duration_ms.max() == 301
    monkeypatch.setattr(module, "__version__", "99")
    parsed([run], "settings", parse)
    assert parse.count == len(list(cache.iterdir())) == 6


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no zip", None])
def test_a_damaged_file_is_parsed_again_and_mended(
    damage: bytes | None, cache: Path, run: GazeFile, caplog: pytest.LogCaptureFixture
) -> None:
    parse = Parse(run.path)
    first = parsed([run], "settings", parse)
    (kept,) = cache.iterdir()
    whole = bytearray(kept.read_bytes())
    whole[whole.index(b"NUMPY") + 130] ^= 1  # in the data of the first array
    kept.write_bytes(bytes(whole) if damage is None else damage)
    assert_equal(parsed([run], "settings", parse), first)
    assert "is damaged" in caplog.messages[0]
    parsed([run], "settings", parse)
    assert parse.count == 2


def test_nothing_in_the_cache_is_unpickled(cache: Path, run: GazeFile) -> None:
    parse = Parse(run.path)
    table = parsed([run], "settings", parse)
    (kept,) = cache.iterdir()
    columns = {name: value for name, value in vars(table).items() if value is not None}
    np.savez(kept, **columns | {"images": np.array([1, "a"], dtype=object)})
    assert_equal(parsed([run], "settings", parse), table)
    assert parse.count == 2


def test_a_folder_that_cannot_be_written_is_a_warning(
    cache: Path, run: GazeFile, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir()
    cache.write_text("a file")
    parse = Parse(run.path)
    assert len(parsed([run], "settings", parse)) == len(parsed([run], "settings", parse)) == 4
    assert parse.count == 2
    assert "cannot be written" in caplog.messages[0]


def test_small_files_are_not_kept(cache: Path, run: GazeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LEAST_BYTES", 1_000_000)
    parse = Parse(run.path)
    parsed([run], "settings", parse)
    assert not cache.exists()
    monkeypatch.setattr(module, "_LEAST_FILES", 2)
    parsed([run, run], "settings", parse)
    assert len(list(cache.iterdir())) == 1


def test_the_cache_can_be_cleared(cache: Path, run: GazeFile) -> None:
    assert clear_cache() == 0
    parsed([run], "settings", Parse(run.path))
    (kept,) = cache.iterdir()
    (cache / "left.part").write_text("half")
    size = kept.stat().st_size
    assert clear_cache() == size + len("half")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("value", ["off", "OFF", "0", ""])
def test_the_cache_can_be_switched_off(value: str, cache: Path, run: GazeFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAZEEVAL_CACHE", value)
    parse = Parse(run.path)
    parsed([run], "settings", parse)
    parsed([run], "settings", parse)
    assert (parse.count, cache_folder(), clear_cache(), cache.exists()) == (2, None, 0, False)


def test_by_default_it_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAZEEVAL_CACHE", raising=False)
    folder = cache_folder()
    assert folder is not None
    assert "gazeeval" in folder.parts
    assert folder.is_absolute()


def test_what_goes_wrong_while_parsing(cache: Path, run: GazeFile) -> None:
    def too_large() -> GazeTable:
        raise MemoryError

    with pytest.raises(DataError, match=r"gaze files: 0\.0 GB do not fit into memory\. Name fewer files"):
        parsed([run], "settings", too_large)
    absent = GazeFile(run.path.with_name("absent.txt"), "absent.txt")
    with pytest.raises(DataError, match=r"absent\.txt: cannot be read"):
        parsed([absent], "settings", lambda: read_cub_gha([absent.path]))
    assert not cache.exists()
