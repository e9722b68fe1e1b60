"""`gazeeval compare`: the methods of finished runs against each other."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from gazeeval.cli.output import write_text

from gazeeval.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from gazeeval.statistics.compare import Methods

_PARTS = {"all": ("all",), "lam": ("lam",), "class": ("class",), "visible": ("visible_source", "visible_target")}
_STYLES = {"text": "plain", "md": "github", "latex": "latex_booktabs"}

_WORDS = {"method", "a", "b", "test", "by", "subset"}  # columns that are not numbers

Cells = list[list[str]]  # a header and rows


class _Findings(NamedTuple):
    """A table for machines, and what is shown of it: tables of text, and paragraphs of one sentence per line."""

    table: pd.DataFrame
    shown: Sequence[Cells | str]


@click.command(short_help="compare the methods of finished runs")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--baseline", metavar="METHOD", help="Compare all methods with this one, which may be a reference row.")
@click.option(
    "--metric",
    metavar="NAME",
    multiple=True,
    default=["inconsistency"],
    help="Column of inconsistency.csv to compare; may be repeated.",
)
@click.option(
    "--breakdown",
    type=click.Choice(list(_PARTS)),
    help="Instead of comparing, take each method's inconsistency apart into bias and noise: over all pairs, by label, "
    "by class of the source, or by quarters of the gaze that is visible.",
)
@click.option(
    "--level",
    metavar="X",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    help="Of the intervals and of the smallest detectable difference.",
)
@click.option("--to", type=click.Choice([*_STYLES, "csv"]), default="text", help="Form of what is printed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write to FILE instead of printing.")
def command(
    runs: tuple[Path, ...],
    baseline: str | None,
    metric: tuple[str, ...],
    breakdown: str | None,
    level: float,
    to: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Compare the methods of one run, or of several runs on the same data and pairs, pair by pair.

    Ranks the methods, tests them against each other, corrects for the number of tests, and says which cannot be told
    apart. Nothing is evaluated again. Of one run the result is also left as comparisons.csv in its folder.

    \b
    gazeeval compare RUN --metric inconsistency --metric hit2_both
    gazeeval compare RUN_A RUN_B --baseline cutmix --to latex -o table.tex
    """
    if breakdown and (baseline or metric != ("inconsistency",)):
        raise UsageError(
            "--breakdown: got --baseline or --metric as well. It is about the inconsistency: leave them out."
        )
    from gazeeval.report.files import read_results
    from gazeeval.statistics.compare import Methods

    results = [read_results(run) for run in runs]
    methods = Methods.of(results)
    if breakdown:
        findings, notes = _broken_down(methods, breakdown, results[0].manifest["data"]["classes"]), methods.notes
    else:
        findings = _compared(methods, metric, baseline, level)
        notes = (*methods.notes, *(note for name in metric for note in methods.left_out(name)))
    text = _json(findings.table) if as_json else _csv(findings.table) if to == "csv" else _text(findings, to)
    if out is None:
        click.echo(text, nl=False)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    if out is not None:
        write_text("compare", out, text)
    elif len(runs) == 1 and not breakdown:
        write_text("compare", runs[0] / "comparisons.csv", _csv(findings.table))


def _compared(methods: Methods, metrics: Sequence[str], baseline: str | None, level: float) -> _Findings:
    import pandas as pd

    found = []
    for metric in dict.fromkeys(metrics):
        table, ranking = methods.compare(metric, baseline=baseline, level=level), methods.ranking(metric, level=level)
        if table.empty:
            names = ", ".join(ranking["method"][ranking["rank"].notna()])
            raise UsageError(
                f"compare: {metric}, got values of {names or 'no method'} only. "
                "Run two methods on the same pairs, or give another run."
            )
        scale = _Scale.of(methods.metrics[metric]["unit"])
        better = "higher" if methods.metrics[metric]["higher_is_better"] else "lower"
        sentences = [
            *_not_told_apart(table, ranking, scale, level),
            f"{metric}: {better} is better; "
            + (f"p is adjusted for {len(table)} tests (Holm)" if len(table) > 1 else "one test"),
        ]
        cells = [_ranked(ranking, metric, scale, level), _tested(table, scale, level)]
        found.append(_Findings(table, [*cells, "\n".join(sentences)]))
    table = pd.concat([each.table for each in found], ignore_index=True)
    return _Findings(table, [part for each in found for part in each.shown])


class _Scale(NamedTuple):
    """How numbers of a metric are shown: fractions in percent, differences of them in points."""

    factor: float
    digits: str
    unit: str
    unit_of_difference: str

    @classmethod
    def of(cls, unit: str) -> _Scale:
        return cls(100, ".1f", "%", "points") if unit == "fraction" else cls(1, ".3g", unit, unit)

    def number(self, value: Any, sign: str = "") -> str:
        return _number(value * self.factor, f"{sign}{self.digits}")

    def interval(self, value: Any, low: Any, high: Any, sign: str = "") -> str:
        ends = f" [{self.number(low, sign)}, {self.number(high, sign)}]"
        return self.number(value, sign) + ("" if math.isnan(low) else ends)


def _number(value: Any, form: str) -> str:
    """``-`` for what is missing."""
    return "-" if math.isnan(value) else f"{value:{form}}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else _number(value, ".2g")


def _ranked(ranking: pd.DataFrame, metric: str, scale: _Scale, level: float) -> Cells:
    header = ["rank", "method", "pairs", f"{metric} {scale.unit} ({100 * level:g}% CI)"]
    return [
        header,
        *(
            [_number(row.rank, ".0f"), row.method, f"{row.n}", scale.interval(row.mean, row.ci_low, row.ci_high)]
            for row in _rows(ranking)
        ),
    ]


def _tested(table: pd.DataFrame, scale: _Scale, level: float) -> Cells:
    difference = f"a - b, {scale.unit_of_difference} ({100 * level:g}% CI)"
    header = ["a", "b", "pairs", difference, "p", "a better %", "effect d", "detectable", "test"]
    return [
        header,
        *(
            [
                row.method_a,
                row.method_b,
                f"{row.n}",
                scale.interval(row.diff, row.ci_low, row.ci_high, "+"),
                "<0.001" if row.p_adjusted < 0.001 else _number(row.p_adjusted, ".2g"),
                _number(100 * row.share_a_better, ".0f"),
                _number(row.cohen_dz, "+.2f"),
                scale.number(row.mde),
                row.test,
            ]
            for row in _rows(table)
        ),
    ]


def _not_told_apart(table: pd.DataFrame, ranking: pd.DataFrame, scale: _Scale, level: float) -> Iterator[str]:
    """A sentence for every test without a verdict, of neighbours in the ranking or against the baseline."""
    ranked = ranking["method"][ranking["rank"].notna()]
    neighbours = {frozenset(pair) for pair in pairwise(ranked)}
    against_one = table["method_b"].nunique() == 1
    for row in _rows(table):
        of_interest = against_one or {row.method_a, row.method_b} in neighbours
        if of_interest and not row.p_adjusted < 1 - level:
            p, smallest = _number(row.p_adjusted, ".2g"), f"{scale.number(row.mde)} {scale.unit_of_difference}"
            found = f"p = {p}, smallest difference this design finds: {smallest}"
            yield f"{row.method_a} and {row.method_b} cannot be told apart ({found})"


def _broken_down(methods: Methods, part: str, class_names: Sequence[str]) -> _Findings:
    import pandas as pd

    from gazeeval.statistics.breakdown import breakdown

    table = breakdown(pd.concat([rows.assign(method=name) for name, rows in methods.rows.items()]), class_names)
    table = table[table["by"].isin(_PARTS[part])].reset_index(drop=True)
    percent = _Scale.of("fraction")
    header = ["method", "by", "subset", "pairs", "inconsistency %", "bias %", "noise %", "RMSE %", "correlation"]
    cells = [
        [
            row.method,
            row.by,
            f"{row.subset} ({row.low:.2f}-{row.high:.2f})" if part == "visible" else row.subset,
            f"{row.n}",
            percent.number(row.inconsistency),
            percent.number(row.bias, "+"),
            percent.number(row.noise),
            percent.number(row.rmse),
            _number(row.correlation, ".2f"),
        ]
        for row in _rows(table)
    ]
    legend = [
        "bias: mean of lam - lam_gaze, noise: its SD; RMSE^2 = bias^2 + noise^2; correlation: of lam with lam_gaze"
    ]
    of_more = [name for name, rows in methods.rows.items() if _is_of_more(rows)]
    if of_more:
        why = "a mean over viewers, or mixes of several images"
        legend.append(f"{', '.join(of_more)}: the inconsistency is of more than that one difference ({why})")
    return _Findings(table, [[header, *cells], "\n".join(legend)])


def _is_of_more(rows: pd.DataFrame) -> bool:
    """Whether the inconsistency is not ``|delta|``, which the breakdown is about."""
    return bool((rows["inconsistency"] - rows["delta"].abs()).abs().max() > 1e-6)


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    """Rows with the columns as attributes, NaN for what is missing."""
    return table.astype(object).where(table.notna(), math.nan).itertuples(index=False)


def _text(findings: _Findings, to: str) -> str:
    parts = [_paragraph(part, to) if isinstance(part, str) else _tabulated(part, to) for part in findings.shown]
    return "\n\n".join(parts) + "\n"


def _paragraph(text: str, to: str) -> str:
    """Lines as they are, as paragraphs of Markdown, or as comments of LaTeX."""
    return {"md": text.replace("\n", "\n\n"), "latex": re.sub("^", "% ", text, flags=re.MULTILINE)}.get(to, text)


def _tabulated(cells: Cells, to: str) -> str:
    from tabulate import tabulate

    align = ["left" if name in _WORDS else "right" for name in cells[0]]
    header = () if to == "text" else "firstrow"  # as a row like others it does not widen its column
    text: str = tabulate(cells, header, tablefmt=_STYLES[to], colalign=align, disable_numparse=True)
    return re.sub(r"(?<=[ \[])-(?=\d)", "$-$", text) if to == "latex" else text


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def _json(table: pd.DataFrame) -> str:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return json.dumps(rows, indent=2) + "\n"
