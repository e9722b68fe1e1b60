"""`gazeeval agreement`: score the maps that methods rely on against gaze."""

from __future__ import annotations

from typing import Any

import click
from gazeeval.cli.options import RunCommand, options_of
from gazeeval.cli.sigterm import ended_by_sigterm

from gazeeval.config import AgreementConfig, flag


@click.command(cls=RunCommand, short_help="score the maps that methods rely on against gaze")
@options_of(AgreementConfig)  # type: ignore[untyped-decorator]  # mypy does not see that gazeeval.cli is cli/
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON and nothing else.")
@click.option("--strict", is_flag=True, help="End with exit code 1 if a map of any image failed.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, and of the log only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks.")
def command(as_json: bool, strict: bool, quiet: bool, verbose: bool, **options: Any) -> int:
    """Score saliency maps, gradients, class maps and attention against where people look, image by image.

    Prints NSS, AUC, shuffled AUC, CC, SIM, KL and information gain of every map, of the centre prior (what a map must
    beat) and of the other viewers' gaze (as near as people come). The last line is the run folder, with the scores of
    every image in agreement.csv.

    \b
    gazeeval agreement --maps class_map --maps fine_grained --model ckpt.pt -d cub-gha --root DATA -o OUT

    Exit codes: 0 done, 1 failed while running, 2 wrong usage or data, 4 done but some maps failed, 130 Ctrl-C.
    """
    config = AgreementConfig.of(options, flag)
    from gazeeval.gaze_agreement.run import run
    from gazeeval.gaze_agreement.tables import printed_table
    from gazeeval.report.console import logging_to_stderr
    from gazeeval.report.tables import signature

    with logging_to_stderr(quiet=quiet), ended_by_sigterm():
        results = run(config, progress=not quiet)
    if as_json:
        click.echo(results.summary.to_json(orient="records", indent=2))
    else:
        click.echo(printed_table(results.summary, signature(results.manifest["signature"])))
    failed = results.images["status"].isin(["failed", "nonfinite"])
    for warning in results.manifest["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    if failed.any():
        images = results.images["image_id"][failed].nunique()
        click.echo(f"warning: {images} images failed with at least one map: see agreement.csv", err=True)
    click.echo(str(results.folder), err=as_json)
    return (1 if strict else 4) if failed.any() else 0
