"""inconsistency.parquet: the rows of a run once more, with true types; needs the extra ``parquet``."""

from __future__ import annotations

from pathlib import Path

from gazeeval.optional import optional_module
from gazeeval.report.files import Results, replacing

_TYPES = {"string": "string", "boolean": "bool"}  # the others have their pandas names in lower case


def write_parquet(run: Results, path: Path) -> None:
    """Write the rows of ``run``, some thousands at a time.

    Raises:
        DataError: pyarrow is not installed, or a file of the run is damaged.
    """
    arrow, parquet = (optional_module(name, "--format parquet") for name in ("pyarrow", "pyarrow.parquet"))
    with replacing(path) as stream:
        writer = None
        for chunk in run.chunks():
            types = {name: _TYPES.get(str(dtype), str(dtype).lower()) for name, dtype in chunk.dtypes.items()}
            schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in types.items()])
            table = arrow.Table.from_pandas(chunk, schema=schema, preserve_index=False)
            writer = writer or parquet.ParquetWriter(stream, table.schema)
            writer.write_table(table)
        if writer:
            writer.close()
