"""Libraries that only some formats need: they are extras."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gazeeval.errors import DataError

EXTRAS = {"h5py": "hdf5", "pyarrow": "parquet"}


def optional_module(name: str, what: str) -> Any:
    """The module, or a DataError that says how to install it; ``what`` needs it."""
    try:
        return import_module(name)
    except ImportError:
        library = name.partition(".")[0]
        raise DataError(
            f"{what}: needs the library {library}, which is not installed. "
            f"Run: pip install 'gazeeval[{EXTRAS[library]}]'"
        ) from None
