"""`gazeeval run`: evaluate methods on pairs of a data set with gaze."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from gazeeval.cli.options import RunCommand, run_options
from gazeeval.cli.sigterm import ended_by_sigterm

from gazeeval.config import RunConfig, flag
from gazeeval.errors import UsageError


@click.command(cls=RunCommand, short_help="evaluate methods on pairs of a data set with gaze")
@run_options  # type: ignore[untyped-decorator]  # mypy does not see that gazeeval.cli is cli/
@click.option(
    "--resume",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Go on with a run that was stopped. It knows its options; of them only those of computing may change.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else.")
@click.option("--strict", is_flag=True, help="End with exit code 1 if any pair failed.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, and of the log only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks.")
def command(resume: Path | None, as_json: bool, strict: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Evaluate methods on the same pairs and write a run folder.

    Prints a table of the inconsistency score (how far the label is from where people look) and of the network's
    accuracy on the mixed images. The last line is the run folder. Without options it runs on bundled demo data.

    \b
    gazeeval run -m cutmix -m saliencymix:alpha=0.5 --model ckpt.pt -d cub-gha --root DATA -o OUT

    Exit codes: 0 done, 1 failed while running, 2 wrong usage or data, 4 done but some pairs failed, 130 Ctrl-C.
    """
    config = RunConfig.of(options, flag)
    given = _given(options)
    if resume and "out" in given:
        raise UsageError("--resume: got --out as well. Leave --out away: the run goes on in its folder.")
    from gazeeval import run as runs
    from gazeeval.report.console import conclude, logging_to_stderr

    with logging_to_stderr(quiet=quiet), ended_by_sigterm():
        progress = not quiet
        results = runs.resume(resume, given, progress=progress) if resume else runs.run(config, progress=progress)
        if results is None:
            folder = resume or config.out
            click.echo(f"this part is done; once all are, join them with: gazeeval report {folder}", err=True)
            return 0
        conclude(results, as_json=as_json)
    failed = len(results.failures) > 0
    return (1 if strict else 4) if failed else 0


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that do not have their default values by themselves."""
    source = click.get_current_context().get_parameter_source
    return {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
