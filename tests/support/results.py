"""Runs with other rows than those of their folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from gazeeval.report.files import Results


def with_pairs(run: Results, pairs: pd.DataFrame, **changes: Any) -> Results:
    """``run`` with these rows, and with further ``changes`` of its parts."""
    other = replace(run, **changes)
    vars(other)["pairs"] = pairs
    return other
