"""`gazeeval doctor`: what this machine and this installation have."""

from __future__ import annotations

import dataclasses
import json

import click

BROKEN = 1


@click.command(short_help="say what this machine and this installation have")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def command(as_json: bool) -> int:
    """Look at Python, the libraries, GPUs, OpenCV, extras, demo data, caches and memory.

    Says what to do where something is missing or broken. Send its output with a question or a bug report.

    Exit codes: 0 `gazeeval run` has what it needs, 1 something of it is broken.
    """
    from gazeeval.doctor import examine

    found = examine()
    broken = sum(finding.level == "broken" for finding in found)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in found], indent=2))
    else:
        width = max(len(finding.what) for finding in found)
        for finding in found:
            mark = "" if finding.level == "ok" else f"{finding.level}: "
            click.echo(f"{finding.what:{width}}  {mark}{finding.found}")
            if finding.advice:
                click.echo(f"{'':{width}}  {finding.advice}")
        click.echo(f"{broken} broken" if broken else "gazeeval run has what it needs")
    return BROKEN if broken else 0
