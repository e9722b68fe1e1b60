"""`gazeeval run`: evaluate methods on pairs of a data set with gaze."""

from __future__ import annotations

from typing import Any

import click
from gazeeval.cli.options import run_options

from gazeeval.config import RunConfig


@click.command(short_help="evaluate methods on pairs of a data set with gaze")
@run_options
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else.")
@click.option("--strict", is_flag=True, help="End with exit code 1 if any pair failed.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no log.")
@click.option("-v", "--verbose", is_flag=True, help="Log more; print tracebacks.")
def command(as_json: bool, strict: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Evaluate METHODS on the same pairs and write a run folder.

    Prints a table of the inconsistency score (how far the label is from where people look) and of the model's accuracy
    on the mixed images; the last line is the run folder.
    """
    config = RunConfig.of(options, "gazeeval run")
    from gazeeval.report.console import conclude, logging_to_stderr
    from gazeeval.run import run

    with logging_to_stderr(quiet=quiet, verbose=verbose):
        results = run(config, progress=not quiet)
    if as_json:
        click.echo(results.summary.to_json(orient="records", indent=2))
    else:
        conclude(results)
    failed = len(results.failures) > 0
    return (1 if strict else 4) if failed else 0
