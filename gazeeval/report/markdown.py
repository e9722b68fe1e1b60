"""The ranked methods as a Markdown table (GitHub's flavour), with what was measured how below it."""

from __future__ import annotations

import re

from tabulate import tabulate

from gazeeval.report.ranked import Ranked, meanings, ranked_table


def markdown_table(ranked: Ranked) -> str:
    """The table, what its columns mean, and the signature to quote."""
    header, *rows = ranked_table(ranked)
    shown = [[rank, markdown_text(name), *numbers] for rank, name, *numbers in rows]
    align = ("right", "left", *("right",) * (len(header) - 2))
    table = tabulate(shown, header, tablefmt="github", colalign=align, disable_numparse=True)
    legend = "\n".join(f"- {title}: {meaning}" for title, meaning in meanings(header).items())
    signatures = " and ".join(f"`{text.replace('`', '')}`" for text in ranked.signatures)
    return f"{table}\n\n{legend}\n\nQuote with a number: {signatures}\n"


def markdown_text(text: str) -> str:
    """``text`` with every character that Markdown or HTML reads as markup made an ordinary one."""
    return re.sub(r"([\\`*_<>\[\]|~&])", r"\\\1", text)
