"""What a run prints: the log to stderr, the table and the run folder to stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
import pandas as pd
from tqdm import tqdm

from gazeeval.report.files import Results
from gazeeval.report.tables import counts, printed_table, signature

log = logging.getLogger("gazeeval")


class _AboveBar(logging.Handler):
    """Log lines on stderr, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def logging_to_stderr(*, quiet: bool = False) -> Iterator[None]:
    """Show the log of a run; only what went wrong if ``quiet``."""
    handler = _AboveBar(logging.ERROR if quiet else logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def conclude(results: Results, *, as_json: bool = False) -> None:
    """Print the table, the warnings again, and the run folder as the last line; or the summary as JSON and no more."""
    manifest = results.manifest
    if as_json:
        click.echo(results.summary.to_json(orient="records", indent=2))
    else:
        tally = pd.concat([counts(rows) for _, rows in results.by_method("method", "status")])
        click.echo(printed_table(results.summary, tally, signature(manifest["signature"])))
    for warning in manifest["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    failed = results.failures["pair_id"].nunique()
    if failed:
        total = manifest["pairs"]["number"]
        click.echo(f"warning: {failed} of {total} pairs failed with at least one method: see failures.csv", err=True)
    click.echo(str(results.folder), err=as_json)
