"""`gazeeval report`: one HTML file with everything that finished runs say, without scripts and without the network."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gazeeval.report import beside, charts, facts, figures, findings
from gazeeval.report.files import Results, replacing
from gazeeval.report.ranked import Entry, Estimate, Ranked, interval_text, meanings, ranked_table, run_names

if TYPE_CHECKING:
    from gazeeval.report.gallery import Example

T = TypeVar("T")


def write_html(
    runs: Sequence[Results], path: str | Path, *, examples: Sequence[Example] = (), notes: Sequence[str] = ()
) -> None:
    """Write the report of ``runs`` to ``path``; see `html_report`.

    Raises:
        UsageError: runs that are not comparable.
    """
    text = html_report(Ranked.of(runs), examples=examples, notes=notes)
    with replacing(Path(path)) as stream:
        stream.write(text.encode())


def html_report(ranked: Ranked, *, examples: Sequence[Example] = (), notes: Sequence[str] = ()) -> str:
    """The page.

    Args:
        ranked: the methods of one or several runs.
        examples: pictures of pairs, see `gazeeval.report.gallery.gallery`.
        notes: why there are none.
    """
    human, tested = beside.ceiling(ranked), findings.tested(ranked)
    spreads, tenths, classes = figures.spreads(ranked), figures.tenths(ranked), figures.class_bars(ranked)
    sensitivities = _by_run(ranked, beside.sensitivity)
    agreements = _by_run(ranked, beside.agreement)
    table = ranked_table(ranked, details=True)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            ranked=ranked,
            data=ranked.runs[0].manifest["data"],
            is_demo=any(run.manifest["data"]["spec"] == "demo" for run in ranked.runs),
            facts=facts.facts(ranked.runs),
            warnings=facts.warnings(ranked.runs),
            notes=ranked.methods.notes,
            left_out=facts.left_out(ranked),
            reasons=facts.reasons(ranked),
            in_short=findings.in_short(ranked, tested, human),
            table_cells=table,
            meanings=meanings(table[0]),
            human=human,
            tested=tested,
            scatters=figures.scatters(ranked),
            spreads=spreads,
            spread_table=figures.spread_table(spreads),
            tenths=tenths,
            tenths_table=figures.tenths_table(tenths),
            few=figures.FEW,
            classes=figures.shown_classes(classes),
            class_count=len(classes),
            class_table=figures.class_table(ranked, figures.shown_classes(classes)),
            sensitivities=sensitivities,
            agreements=agreements,
            examples=_by_method(ranked, examples),
            gallery_notes=notes,
            axis=charts.Axis.around,
            whole=charts.Axis(-1, 1, (-1, -0.5, 0, 0.5, 1)),
        )
    )


def _by_run(ranked: Ranked, read: Callable[[Results], T | None]) -> dict[str, T]:
    """Name of the run -> what ``read`` finds in its folder, where it finds something."""
    found = zip(run_names(ranked.runs), map(read, ranked.runs), strict=True)
    return {name: each for name, each in found if each is not None}


def _by_method(ranked: Ranked, examples: Sequence[Example]) -> Mapping[str, list[Example]]:
    """Name of the method as shown -> its examples, in the order of the ranking."""
    of: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        of.setdefault((example.run_id, example.method), []).append(example)
    return {entry.name: of[key] for entry in ranked.scored if (key := (entry.run_id, entry.method)) in of}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gazeeval.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "minus": _minus,
        "interval": interval_text,
        "webp": _webp,
        "breakable": _breakable,
        "ends": _ends,
    }
    return environment


def _percent(share: float, form: str = ".1f") -> str:
    return _minus(f"{100 * share:{form}}")


def _minus(text: str) -> str:
    """A number, with its interval, with real minus signs; other text as it is."""
    return re.sub(r"(?:(?<=^)|(?<=[ \[]))-(?=\d)", "−", text)


def _breakable(text: str) -> Markup:
    """A name that may be broken between its parts."""
    return Markup(re.sub("([:=,|_])", r"\1<wbr>", str(escape(text))))


def _webp(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def _ends(entries: Sequence[Entry]) -> list[float]:
    """Everything that an axis for the scores of ``entries`` must hold."""
    scores: list[Estimate] = [entry.score for entry in entries]
    return [end for score in scores for end in (score.high, score.value)]
