from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gazeeval.errors import DataError
from gazeeval.report.columns import FILES, Column, describe, from_description, pair_columns
from gazeeval.report.files import PairWriter, conform, read_csv, read_results, replacing, write_csv, write_json

COLUMNS = pair_columns((1, 2))


def test_columns_of_the_pair_table_are_those_of_the_contract() -> None:
    """Design section 1 and 7: top-k columns in order, extras last, no seconds."""
    metric = Column("margin", "Float64", "fraction", "a metric of a third party")
    names = [column.name for column in pair_columns((1, 5), metrics=[metric], extras=["x_rho"])]
    assert names[:8] == ["run_id", "dataset", "split", "method", "pair_id", "group_id", "source_id", "target_id"]
    assert names[names.index("p_target") + 1 :] == [
        "pred1",
        "pred2",
        "pred3",
        "pred4",
        "pred5",
        "hit1_any",
        "hit1_main",
        "hit2_both",
        "hit5_any",
        "hit5_both",
        "acc1_weighted",
        "margin",
        "label_from",
        "status",
        "note",
        "x_rho",
    ]
    assert "hit1_both" not in names
    assert "hit2_any" in [column.name for column in COLUMNS]
    assert "seconds" not in names


def test_every_column_says_what_it_is() -> None:
    for file, columns in FILES.items():
        assert len({column.name for column in columns}) == len(columns), file
        assert all(column.meaning for column in columns), file


def test_pair_scores_of_group_methods_say_more_than_other_extras() -> None:
    known, other = pair_columns(extras=["x_label_elsewhere", "x_rho"])[-2:]
    assert (known.unit, other.unit) == ("fraction", "")
    assert "share of the label" in known.meaning


def test_schema_survives_the_manifest() -> None:
    assert from_description(json.loads(json.dumps(describe(FILES)))) == FILES


def test_exact_format(tmp_path: Path) -> None:
    columns = _columns(i="Int64", f="Float64", p="Float32", b="boolean", s="string")
    frame = pd.DataFrame(
        {
            "s": ["000005", "NA", None, 'a,"b"\r\nc'],
            "i": pd.array([2**53 + 1, None, -3, 0], dtype="Int64"),
            "f": [1 / 3, np.nan, -0.0, 1e-12],
            "b": [True, None, False, None],
        }
    )
    write_csv(frame, tmp_path / "t.csv", columns)
    assert (tmp_path / "t.csv").read_bytes() == (
        b'i,f,p,b,s\n9007199254740993,0.333333333,,true,000005\n,,,,NA\n-3,0,,false,\n0,1e-12,,,"a,""b"" \nc"\n'
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(200).astype(np.float32)
    columns = _columns(i="Int32", f="Float64", p="Float32", b="boolean", s="string")
    ids = ["None", "NA", "nan", "null", "007", "1e5", "Türkçe", " spaced ", "TRUE", "#1"] * 20
    frame = pd.DataFrame({"i": range(200), "f": values, "p": values, "b": values > 0.5, "s": ids})
    frame.loc[3, ["f", "p", "s"]] = None
    frame = conform(frame, columns)
    write_csv(frame, tmp_path / "t.csv", columns)
    pd.testing.assert_frame_equal(
        read_csv(tmp_path / "t.csv", columns).astype({"f": "Float32"}), frame.astype({"f": "Float32"})
    )


def test_empty_tables_keep_their_types(tmp_path: Path) -> None:
    write_csv(pd.DataFrame(), tmp_path / "failures.csv", FILES["failures.csv"])
    frame = read_csv(tmp_path / "failures.csv", FILES["failures.csv"])
    assert len(frame) == 0
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        column.name: column.dtype for column in FILES["failures.csv"]
    }


def test_a_column_without_a_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns without a schema: secnods"):
        write_csv(pd.DataFrame({"secnods": [1.0]}), tmp_path / "t.csv", FILES["timing.csv"])


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as stream:
        stream.writelines([b"half", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"score": float("nan")})
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["summary.csv"]


def test_json_is_readable(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"name": "Türkçe", "seed": 0})
    assert (tmp_path / "manifest.json").read_text(encoding="utf-8") == '{\n  "name": "Türkçe",\n  "seed": 0\n}\n'


def test_parts_merge_into_the_order_of_the_run(tmp_path: Path) -> None:
    methods = ["saliencymix", "cutmix:alpha=0.2,prob=1"]  # the run's order, not the alphabet's
    writer = PairWriter(tmp_path, methods, COLUMNS)
    chunks = [_rows(method, first) for method in methods for first in (0, 4, 8, 1_000)]
    for chunk in reversed(chunks):
        writer.write(chunk)
    assert writer.merge() == COLUMNS
    whole = pd.concat(chunks, ignore_index=True)
    write_csv(whole, tmp_path / "at_once.csv", COLUMNS)
    assert (tmp_path / "inconsistency.csv").read_bytes() == (tmp_path / "at_once.csv").read_bytes()


def test_extra_columns_of_some_methods_stay_apart(tmp_path: Path) -> None:
    writer = PairWriter(tmp_path, ["a", "b", "c"], COLUMNS)
    rows = {"a": _rows("a", 0), "b": _rows("b", 0).assign(x_rho=0.25), "c": _rows("c", 0).assign(x_k=2.0)}
    for chunk in rows.values():
        writer.write(chunk)
    columns = writer.merge()
    assert [column.name for column in columns[len(COLUMNS) :]] == ["x_rho", "x_k"]
    write_csv(pd.concat(rows.values()), tmp_path / "at_once.csv", columns)
    assert (tmp_path / "inconsistency.csv").read_bytes() == (tmp_path / "at_once.csv").read_bytes()


def test_a_chunk_is_there_only_once_it_is_finished(tmp_path: Path) -> None:
    writer = PairWriter(tmp_path, ["a"], COLUMNS)
    assert not writer.chunk("a", 0).exists()
    path = writer.write(_rows("a", 0))
    assert path == writer.chunk("a", 0) == tmp_path / "parts" / "000-000000000000.csv"
    (tmp_path / "parts" / f".{path.name}.dead.tmp").write_text("what a killed run leaves")
    writer.write(_rows("a", 0))
    writer.merge()
    assert len(read_csv(tmp_path / "inconsistency.csv", COLUMNS)) == 4


def test_no_parts_merge_into_a_header(tmp_path: Path) -> None:
    PairWriter(tmp_path, ["a"], COLUMNS).merge()
    assert (tmp_path / "inconsistency.csv").read_text() == ",".join(column.name for column in COLUMNS) + "\n"


@pytest.mark.parametrize("rows", ["methods", "order"])
def test_a_chunk_that_is_none_is_refused(tmp_path: Path, rows: str) -> None:
    bad = pd.concat([_rows("a", 0), _rows("b", 4)]) if rows == "methods" else _rows("a", 0)[::-1]
    with pytest.raises(ValueError, match="ascending pairs of one method"):
        PairWriter(tmp_path, ["a", "b"], COLUMNS).write(bad)


def test_read_results(tmp_path: Path) -> None:
    run = _run(tmp_path)
    results = read_results(str(run))
    assert results.manifest["seed"] == 0
    assert list(results.pairs["source_id"]) == ["000005", "NA", "None", "7"]
    assert list(results.pairs["x_rho"]) == [0.5] * 4
    assert str(results.pairs["hit1_any"].dtype) == "boolean"
    assert list(results.summary.columns) == [column.name for column in FILES["summary.csv"]]
    assert len(results.failures) == len(results.groups) == 0


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("manifest.json", None, "not a run folder: .*manifest.json, got No such file"),
        ("manifest.json", "{", "malformed manifest: .*manifest.json, got Expecting"),
        ("manifest.json", "[]", "malformed manifest: .*got a list"),
        ("inconsistency.csv", None, "incomplete run: .*inconsistency.csv, got No such file.*--out"),
        ("groups.csv", "", "unexpected columns: .*groups.csv:1, got or missed first_pair"),
        ("failures.csv", "method,pair_id,stage,exception,message\na,one,b,c,d\n", "malformed table: .*failures.csv"),
        ("failures.csv", "method,pair_id,stage,exception,message\na,1\na,1,b,c,d,e\n", "malformed table: .*Expected 5"),
    ],
)
def test_a_broken_run_folder_is_named(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    run = _run(tmp_path)
    (run / file).unlink() if content is None else (run / file).write_text(content)
    with pytest.raises(DataError, match=message):
        read_results(run)


def _columns(**dtypes: str) -> tuple[Column, ...]:
    return tuple(Column(name, dtype, "", "for a test") for name, dtype in dtypes.items())


def _rows(method: str, first: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": method,
            "pair_id": range(first, first + 4),
            "source_id": ["000005", "NA", "None", "7"],
            "lam": [0.1, 0.2, None, 1 / 3],
            "hit1_any": [True, False, None, True],
            "status": "ok",
        }
    )


def _run(folder: Path) -> Path:
    """A finished run of one method with an extra column."""
    writer = PairWriter(folder, ["a"], COLUMNS)
    writer.write(_rows("a", 0).assign(x_rho=0.5))
    files = FILES | {"inconsistency.csv": writer.merge()}
    for name in ("groups.csv", "summary.csv", "failures.csv"):
        write_csv(pd.DataFrame(), folder / name, FILES[name])
    write_json(folder / "manifest.json", {"seed": 0, "columns": describe(files)})
    return folder
