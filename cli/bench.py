"""`gazeeval bench`: what mixing costs beside a training step, on this machine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
from gazeeval.cli.output import write_text

from gazeeval.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_HEADER = ("method", "batch", "step ms", "mixing ms", "% of the step (quartiles)", "published %")


def _sizes(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers of all comma separated lists, each once."""
    words = [word.strip() for value in values for word in value.split(",")]
    for word in words:
        if not word.isdecimal() or int(word) < 2:
            raise UsageError(f"--batch-size: got {word!r}. Give whole numbers of at least 2, e.g. 16,32,64.")
    return tuple(dict.fromkeys(map(int, words)))


@click.command(short_help="time mixing beside a training step on this machine")
@click.option(
    "-m",
    "--method",
    metavar="SPEC",
    multiple=True,
    help="As for gazeeval run; repeat for several. Default: CutMix and the methods with published figures.",
)
@click.option(
    "--model",
    metavar="PATH|NAME",
    default="demo",
    help="Checkpoint or timm name. Of a timm name only the architecture is used, with weights drawn: time does not "
    "depend on them.",
)
@click.option("--arch", metavar="NAME", help="timm's name of the architecture, if the checkpoint does not say it.")
@click.option("--input-size", metavar="N", type=click.IntRange(min=1), help="Side of the network input, px.")
@click.option(
    "-b",
    "--batch-size",
    "batch_sizes",
    metavar="N,N,...",
    multiple=True,
    default=["16,32,64"],
    callback=_sizes,
    help="Images in a batch; may be repeated.",
)
@click.option("--device", metavar="NAME", default="auto", help="One of auto, cpu, cuda, cuda:1, mps.")
@click.option("--repeats", metavar="N", type=click.IntRange(min=1), default=10, help="Timed rounds.")
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Also write a CSV file.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON and nothing else.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks.")
def command(
    method: tuple[str, ...],
    model: str,
    arch: str | None,
    input_size: int | None,
    batch_sizes: tuple[int, ...],
    device: str,
    repeats: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Time how long methods take to mix a batch, in percent of a training step of the network on that batch.

    A step is forward, backward and SGD in float32. Mixing is all that a method adds: saliency or gradients, partners,
    masks, mixed images and labels. Methods and steps take turns; shown are medians and quartiles over the rounds.
    The published figures are those of GuidedMixup's Table 2: ResNet-50 at 224 px on a GPU, 64 images.

    \b
    gazeeval bench -m saliencymix -m puzzlemix --model resnet50 --batch-size 64 --device cuda -o bench.csv

    Exit codes: 0 done, 1 failed while running, 2 wrong usage.
    """
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out: {out}, got a folder that does not exist. Make it, or name another file.")
    from gazeeval.bench import METHODS, mixing_cost
    from gazeeval.models.model import load_model

    network = load_model(model, arch=arch, device=device, input_size=input_size, pretrained=False)
    table = mixing_cost(method or METHODS, network, batch_sizes=batch_sizes, repeats=repeats, progress=not quiet)
    if as_json:
        click.echo(table.to_json(orient="records", indent=2))
    else:
        click.echo(_printed(table))
        click.echo(f"{network.describe()}, {table['device'][0]}, {repeats} rounds")
    if out is not None:
        write_text("bench", out, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _printed(table: pd.DataFrame) -> str:
    from tabulate import tabulate

    rows = [
        [
            row["method"],
            f"{row['batch_size']}",
            f"{row['step_ms']:.1f}",
            f"{row['mix_ms']:.2f}",
            f"{row['percent']:.1f} [{row['percent_low']:.1f}, {row['percent_high']:.1f}]",
            "-" if math.isnan(row["published_percent"]) else f"{row['published_percent']:.0f}",
        ]
        for row in table.to_dict("records")
    ]
    align = ("left", *["right"] * (len(_HEADER) - 1))
    return tabulate([_HEADER, *rows], tablefmt="plain", colalign=align, disable_numparse=True)
