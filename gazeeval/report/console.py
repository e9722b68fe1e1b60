"""What a run prints: the log to stderr, the table and the run folder to stdout."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from tqdm.contrib.logging import logging_redirect_tqdm

from gazeeval.report.files import Results
from gazeeval.report.tables import counts, printed_table, signature

log = logging.getLogger("gazeeval")

DEMO_BANNER = "demo data: drawn shapes and simulated gaze; these numbers say nothing about real images"


@contextmanager
def logging_to_stderr(*, quiet: bool = False, verbose: bool = False) -> Iterator[None]:
    """Log lines on stderr, above a progress bar where there is one."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    level, log.level = log.level, logging.DEBUG
    log.addHandler(handler)
    try:
        with logging_redirect_tqdm([log]):
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def conclude(results: Results) -> None:
    """Print the table, what to know about it, and the run folder as the last line."""
    manifest = results.manifest
    click.echo(printed_table(results.summary, counts(results.pairs), signature(manifest["signature"])))
    for warning in manifest["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    if manifest["data"]["name"] == "demo":
        click.echo(f"{DEMO_BANNER}; pass --data for your own", err=True)
    click.echo(str(results.folder))
