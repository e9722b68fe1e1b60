"""The ranked methods as a LaTeX table, for a paper: what was measured how stands in the caption."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gazeeval.report.ranked import Ranked, meanings, ranked_table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex_table(ranked: Ranked) -> str:
    """A ``table`` environment that needs the package booktabs and no other, and fits the text of an article.

    Reference rows stand below a line. The caption says what the columns mean and how gaze was measured.
    """
    header, *rows = (row[1:] for row in ranked_table(ranked))  # the order says the rank
    lines = [" & ".join(map(_cell, row)) + r" \\" for row in rows]
    size, gap = (r"\footnotesize", "3pt") if len(header) < 9 else (r"\scriptsize", "2pt")  # mixes of several have 9
    references = sum(entry.is_reference for entry in ranked.entries)
    if 0 < references < len(lines):
        lines.insert(len(lines) - references, r"\midrule")
    return "\n".join(
        [
            r"% needs \usepackage{booktabs} in the preamble",
            r"\begin{table}",
            r"\centering",
            size,
            rf"\setlength{{\tabcolsep}}{{{gap}}}",
            rf"\caption{{{_caption(ranked, header)}}}",
            r"\label{tab:gazeeval}",
            r"\medskip",
            rf"\begin{{tabular}}{{@{{}}l{'r' * (len(header) - 1)}@{{}}}}",
            r"\toprule",
            " & ".join([header[0], *map(_title, header[1:])]) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def latex_text(text: str) -> str:
    """``text`` with every character that LaTeX reads as a command made an ordinary one."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _title(text: str) -> str:
    """A title in lines of one word each, the unit with its interval in the last."""
    words, unit, interval = text.partition(" %")
    lines = [*words.split(), *([f"%{interval}"] if unit else [])]
    broken = r" \\ ".join(map(latex_text, lines))
    return rf"\shortstack[r]{{{broken}}}"


def _cell(text: str) -> str:
    """A cell with a real minus sign; ``[`` after ``\\\\`` would be an option, but no row begins with one."""
    if text == "-":
        return "--"
    return re.sub(r"(?:(?<=^)|(?<=[ \[]))-(?=\d)", "$-$", latex_text(text))


def _caption(ranked: Ranked, header: list[str]) -> str:
    data = latex_text(ranked.runs[0].manifest["data"]["name"])
    legend = "; ".join(f"{title}: {meaning}" for title, meaning in meanings(header).items())
    level = f"{100 * ranked.level:g}% confidence intervals in brackets"
    recipes = " and ".join(_recipe(run.manifest["signature"]) for run in ranked.runs)
    return (
        f"Labels of mixed images against human gaze ({data}), in percent: {_with_symbols(legend)}; "
        f"{latex_text(level)}. Measured with {recipes}."
    )


def _with_symbols(text: str) -> str:
    """LaTeX of our own words, with mathematics where they name it."""
    symbols = {"|lam - lam_gaze|": r"|\lambda - \lambda_g|", "lam_gaze": r"\lambda_g", "lam": r"\lambda", "-": "-"}
    parts = re.split(r"(\|lam - lam_gaze\||\blam_gaze\b|\blam\b|(?<= )-(?= ))", text)
    return "".join(f"${symbols[part]}$" if part in symbols else latex_text(part) for part in parts)


def _recipe(signature: Mapping[str, str]) -> str:
    """A signature with places where a line may break."""
    parts = (f"{name}: {value.replace(',', ', ')}" for name, value in signature.items())
    return latex_text("; ".join(parts))
