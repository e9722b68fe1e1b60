"""The rows of a run as Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import gazeeval as ge
from gazeeval.errors import DataError
from gazeeval.report import files


def test_it_holds_the_rows_of_the_csv_with_their_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(files, "_ROWS", 7)  # several chunks
    options = {"num_pairs": 6, "references": False, "device": "cpu"}
    run = ge.evaluate(["cutmix", "fmix"], format="csv,parquet", out=tmp_path / "run", **options)
    table = pd.read_parquet(run.folder / "inconsistency.parquet", dtype_backend="numpy_nullable")
    pd.testing.assert_frame_equal(table, run.pairs, check_dtype=False, check_exact=True)
    kinds = {str(name): str(dtype) for name, dtype in table.dtypes.items()}
    assert (kinds["pair_id"], kinds["lam"], kinds["p_source"], kinds["hit1_any"]) == (
        *("Int64", "Float64", "Float32", "boolean"),
    )


def test_without_pyarrow_the_run_is_refused_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("gazeeval.optional.import_module", missing)
    with pytest.raises(DataError, match=r"^--format parquet: needs the library pyarrow.*pip install 'gazeeval\[parq"):
        ge.evaluate("cutmix", format=["parquet"])
