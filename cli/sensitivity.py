"""`gazeeval sensitivity`: how far scores and ranking depend on the gaze recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

CHOICES = {
    "sigma": ("5px,9px,18px", "widths of a fixation"),
    "weight": ("duration,count", "what a fixation counts"),
    "border": ("renormalise,per-fixation,reflect", "what happens to density beyond the border of the input"),
    "viewers": ("all,1,2", "whose gaze: all, or that of the first so many"),
    "carry_over": ("keep,drop-first,halve", "CUB-GHA: fixations that span a change of image"),
    "repeats": ("concat,first,last", "CUB-GHA: an image shown twice in one viewing run"),
    "placement": ("contain,stretch", "how images lay in the display frame"),
    "normalise": ("mass,raw,peak", "what the map of an image is divided by: its mass, nothing, its peak"),
}


def _recipe_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, (example, meaning) in reversed(CHOICES.items()):
        help_text = f"{meaning[0].upper()}{meaning[1:]}, e.g. {example}."
        function = click.option(
            f"--{name.replace('_', '-')}", default="", show_default=False, metavar="A,B,...", help=help_text
        )(function)
    return function


@click.command(short_help="score the mixes of a run under other gaze recipes")
@click.argument("run", type=click.Path(path_type=Path))
@_recipe_options
@click.option("--grid/--one-at-a-time", default=False, help="All combinations of the values, or one change at a time.")
@click.option(
    "--root", metavar="DIR", type=click.Path(path_type=Path), help="Where the data are now, if they were moved."
)
@click.option("--device", default="auto", metavar="NAME", help="One of auto, cpu, cuda, cuda:1.")
@click.option("-o", "--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder of the tables; default: RUN.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notes.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks.")
def command(
    run: Path,
    grid: bool,
    root: Path | None,
    device: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **tried: Any,
) -> None:
    """Score the mixes of a finished RUN again under other gaze recipes, and see whether the ranking holds.

    Only gaze is drawn again: mixes and labels are those of RUN, and no network is needed. Without any values it tries
    what suits the data set. Writes sensitivity.csv and sensitivity_swaps.csv; the last line is their folder.

    \b
    gazeeval sensitivity RUN --sigma 2px,5px,9px,18px,36px --normalise mass,raw,peak

    Exit codes: 0 done, 1 failed while running, 2 wrong usage, or masks or data are missing, 130 Ctrl-C.
    """
    from gazeeval.robustness.sensitivity import sensitivity
    from gazeeval.robustness.tables import printed_sensitivity, write_tables

    found = sensitivity(run, root=root, device=device, grid=grid, progress=not quiet, **tried)
    folder = out or run
    write_tables({"sensitivity.csv": found.scores, "sensitivity_swaps.csv": found.swaps}, folder)
    if as_json:
        click.echo(found.scores.to_json(orient="records", indent=2))
    else:
        click.echo(printed_sensitivity(found.scores, found.swaps))
    for note in () if quiet else found.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(str(folder), err=as_json)
