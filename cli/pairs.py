"""`gazeeval pairs`: write down the pairs of a run, without the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import click
from gazeeval.cli.options import RunCommand, option_of

from gazeeval.config import RunConfig, flag
from gazeeval.errors import UsageError

NAMES = (
    *("data", "root", "split", "placement", "carry_over", "repeats", "px_per_degree", "origin"),
    *("num_pairs", "pairing", "pairing_saliency", "pairing_distance", "labels", "group_size", "seed"),
    *("model", "arch", "weights_key", "unsafe_load", "geometry", "input_size", "crop_pct", "workers"),
)
F = TypeVar("F")


def _options(function: F) -> F:
    for name in reversed(NAMES):
        function = option_of(name, RunConfig)(function)
    return function


@click.command(cls=RunCommand, short_help="write the pairs that a run would take")
@_options
@click.option(
    "-o", "--out", metavar="FILE", type=click.Path(path_type=Path), required=True, help="CSV file to write; a new one."
)
def command(out: Path, **options: Any) -> None:
    """Write the pairs that a run with these options would take, for `gazeeval run --pair-file`.

    The network matters for --pairing greedy and optimal alone, which look at images as the network sees them.

    \b
    gazeeval pairs -d cub-gha --root DATA -n 5000 --pairing matching -o pairs.csv
    """
    if out.exists():
        raise UsageError(f"--out: {out}, got a file that is there. Nothing is overwritten: name a new one.")
    config = RunConfig.of({**options, "method": ["none"], "references": False}, flag)
    from gazeeval.data.pairs import write_pair_file
    from gazeeval.job import prepare

    job = prepare(config)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_pair_file(out, job.plan, job.engine.dataset.image_ids)
    except OSError as error:
        raise UsageError(f"--out: {out}, cannot be written: {error.strerror}. Name another file.") from error
    rounds = f" in {job.plan.rounds} rounds" if job.plan.rounds > 1 else ""
    unpaired = f", {job.plan.unpaired} images without a partner in their group" if job.plan.unpaired else ""
    click.echo(f"{len(job.plan)} pairs of {len(job.engine.dataset)} images{rounds}{unpaired}", err=True)
    click.echo(out)
