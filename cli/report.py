"""`gazeeval report`: finished runs as one HTML page, or as a table for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from gazeeval.cli.output import write_text

from gazeeval.errors import GazeEvalError, UsageError

if TYPE_CHECKING:
    from gazeeval.report.files import Results
    from gazeeval.report.gallery import Example
    from gazeeval.report.ranked import Ranked


@click.command(short_help="tables and a page of finished runs")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(["html", "md", "latex", "csv"]), default="html", help="Form of the report.")
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write it; default: report.html in the folder of the run, other forms are printed.",
)
@click.option(
    "--gallery/--no-gallery",
    default=True,
    help="Show the best, the median and the worst pair of every method in the page. That mixes their groups again, for "
    "which data and network must still be there.",
)
@click.option("--root", metavar="DIR", type=click.Path(path_type=Path), help="Where the data are now, if moved.")
@click.option("--device", metavar="NAME", default="auto", help="That mixes again: auto, cpu, cuda, cuda:1, mps.")
def command(runs: tuple[Path, ...], to: str, out: Path | None, gallery: bool, root: Path | None, device: str) -> None:
    """Write what one run, or several on the same data and pairs, found. Joins the parts of a run made with --shard.

    The page is one file without scripts that needs no network; the tables hold the ranked methods with intervals.

    \b
    gazeeval report RUN
    gazeeval report RUN_A RUN_B --to latex -o table.tex
    """
    page = (out or (runs[0] / "report.html" if len(runs) == 1 else None)) if to == "html" else out
    if to == "html" and page is None:
        raise UsageError(f"--out: missing for the page of {len(runs)} runs. Say where it goes, as -o report.html.")
    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(f"--out: {out.parent} is no folder. Make it, or write elsewhere.")
    from gazeeval.report.finish import finish
    from gazeeval.report.ranked import Ranked

    results = [finish(run) for run in runs]
    ranked = Ranked.of(results)
    if to == "html":
        from gazeeval.report.html import html_report

        examples, notes = _examples(results, root, device) if gallery else ([], [_LEFT_OUT])
        text = html_report(ranked, examples=examples, notes=notes)
        for note in notes if gallery else []:
            click.echo(f"note: {note}", err=True)
    else:
        text = _table(ranked, to)
    if page is None:
        click.echo(text, nl=False)
    else:
        write_text("report", page, text)


_LEFT_OUT = "Pictures were left out with --no-gallery."


def _examples(results: list[Results], root: Path | None, device: str) -> tuple[list[Example], list[str]]:
    """Pictures of the runs, and why there are none of some of them."""
    from gazeeval.config import RunConfig
    from gazeeval.job import prepare
    from gazeeval.report.gallery import OtherMixesError, gallery

    examples, notes = [], []
    for run in results:
        try:
            job = prepare(RunConfig.of({**run.manifest["config"], "device": device} | ({"root": root} if root else {})))
            examples += gallery(run, job.engine, job.plan, progress=True)
        except OtherMixesError:
            raise
        except GazeEvalError as error:
            notes.append(f"No pictures of {run.folder.resolve().name}, its mixes cannot be made again: {error}")
    return examples, notes


def _table(ranked: Ranked, to: str) -> str:
    from gazeeval.report.latex import latex_table
    from gazeeval.report.markdown import markdown_table
    from gazeeval.report.ranked import summary_pivot

    if to == "csv":
        return summary_pivot(ranked).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return {"md": markdown_table, "latex": latex_table}[to](ranked)
