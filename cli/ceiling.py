"""`gazeeval ceiling`: how well people agree with each other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from gazeeval.cli.options import RunCommand, run_options

from gazeeval.config import RunConfig, flag
from gazeeval.errors import UsageError

# of the options of a run: a ceiling needs no method and no network
OPTIONS = frozenset(
    {"geometry", "input_size", "crop_pct", "data", "root", "split", "placement", "carry_over", "repeats"}
    | {
        "px_per_degree",
        "origin",
        "sigma",
        "weight",
        "border",
        "num_pairs",
        "pair_file",
        "pairing",
        "labels",
        "group_size",
    }
    | {"seed", "ci", "ci_method", "device"}
)
BESIDE_A_RUN = frozenset({"root", "device"})


@click.command(cls=RunCommand, short_help="how near one viewer comes to the others: the best a method can do")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@run_options  # type: ignore[untyped-decorator]  # mypy does not see that gazeeval.cli is cli/
@click.option(
    "-o",
    "--out",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of ceiling.csv; default: RUN, or gazeeval-runs/<time>-ceiling.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks.")
def command(run: Path | None, folder: Path | None, as_json: bool, quiet: bool, verbose: bool, **options: Any) -> None:
    """Score one viewer's gaze against that of the others, on CutMix's mixes: as near as people come to each other.

    Of a finished RUN the pairs and the gaze recipe are taken, and ceiling.csv goes to its folder; beside it only
    --root, --device and --out may be given. Without RUN, options say which data and pairs. Also says how reliable
    lam_gaze is with 1, 2, ... viewers. The last line is the folder of ceiling.csv.

    \b
    gazeeval ceiling RUN
    gazeeval ceiling -d cub-gha --root DATA -n 1000 --sigma 9px

    Exit codes: 0 done, 1 failed while running, 2 wrong usage, or viewers are not known, 130 Ctrl-C.
    """
    config = RunConfig.of({"method": "cutmix", "references": False, **options, "out": folder}, flag)
    if run is not None:
        _refuse_others(options)
    from gazeeval.robustness.ceiling import measure
    from gazeeval.robustness.inputs import inputs_of_config, inputs_of_run
    from gazeeval.robustness.tables import printed_ceiling, write_tables

    inputs = inputs_of_config(config) if run is None else inputs_of_run(run, root=config.root, device=config.device)
    table = measure(inputs, progress=not quiet)
    folder = folder or run or Path("gazeeval-runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-ceiling"
    write_tables({"ceiling.csv": table}, folder)
    click.echo(table.to_json(orient="records", indent=2) if as_json else printed_ceiling(table))
    click.echo(str(folder), err=as_json)


def _refuse_others(options: dict[str, Any]) -> None:
    source = click.get_current_context().get_parameter_source
    given = [name for name in options if source(name) is ParameterSource.COMMANDLINE and name not in BESIDE_A_RUN]
    if given:
        raise UsageError(f"{flag(given[0])}: got it beside RUN, whose own options hold. Leave one of the two away.")


_NOT_ASKED = RunConfig.model_fields.keys() - OPTIONS
command.params = [parameter for parameter in command.params if parameter.name not in _NOT_ASKED]
