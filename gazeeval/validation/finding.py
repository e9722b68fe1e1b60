"""What a check of `gazeeval validate` returns."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Attributes:
        level: "error": a run would refuse it, fail with these images or give wrong numbers; "warning": a run goes on,
            with less or with something odd; "info": a fact.
        count: of what is counted in ``text``: images, rows, files, classes.
        text: what, with shares.
        first: the first example.
        advice: a guess at the cause, and what to do.
    """

    level: Level
    count: int
    text: str
    first: str = ""
    advice: str = ""


def from_note(note: str, level: Level) -> Finding:
    """A counted sentence of a reader, with its first number as the count and ``(first: ...)`` as the example."""
    number = re.search(r"(?<![\w.])\d[\d,]*", note)
    first = re.search(r"\s*\(first: ([^()]*)\)", note)
    text = note.replace(first[0], "") if first else note
    return Finding(level, int(number[0].replace(",", "")) if number else 1, text, first[1] if first else "")
