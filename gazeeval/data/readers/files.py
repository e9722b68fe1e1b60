"""Which files a pattern of a spec means, and what their paths say: ``gaze/{viewer}/{image}.csv``."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATH_FIELDS = ("image", "viewer", "condition")

# {image} at the start of a name may span folders
_PART = re.compile(r"(?P<path>(?<![^/])\{image\})|\{(?P<field>[^{}]*)\}|(?P<wild>\*\*/|[*?])")
_WILD = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True)
class GazeFile:
    """A file, its name for messages (relative to the root), and what its path says of all its rows."""

    path: Path
    name: str
    fields: Mapping[str, str] = field(default_factory=dict)


def path_fields(pattern: str) -> list[str]:
    """The names in braces."""
    return ["image" if found["path"] else found["field"] for found in _PART.finditer(pattern) if not found["wild"]]


def pattern_mistake(pattern: str) -> str | None:
    """What is wrong with the braces of a pattern, or None."""
    fields = path_fields(pattern)
    wrong = [name for name in fields if name not in PATH_FIELDS or fields.count(name) > 1]
    if wrong:
        return f"got {{{wrong[0]}}} in {pattern!r}; write {{image}}, {{viewer}} or {{condition}}, each once, or *"
    if fields and "[" in pattern:
        return f"got '[' in {pattern!r}; beside {{{fields[0]}}} write *, ** or ? for other characters"
    return None


def find_files(root: Path, patterns: Sequence[str]) -> list[GazeFile]:
    """Files of the first pattern that matches anything, sorted by name.

    ``*`` and ``?`` stand for characters of one name, ``**`` for any folders. ``{viewer}`` and ``{condition}`` stand for
    characters of one name, too, and ``{image}`` for a path (``train/cat/01``) where it begins a name; what they stand
    for goes into ``fields``.
    """
    for pattern in patterns:
        plain = _PART.sub(lambda part: part["wild"] or ("**/*" if part["path"] else "*"), pattern)
        names = sorted({name.replace("\\", "/") for name in glob.glob(plain, root_dir=root, recursive=True)})
        found = [
            GazeFile(root / name, name, fields) for name in names if (fields := _fields(pattern, name)) is not None
        ]
        if found:
            return found
    return []


def _fields(pattern: str, name: str) -> dict[str, str] | None:
    """What the braces of the pattern stand for in a name that it matches."""
    if not path_fields(pattern):
        return {}
    expression, end = "", 0
    for part in _PART.finditer(pattern):
        meant = _WILD.get(part["wild"]) or f"(?P<{part['field'] or 'image'}>{'.+' if part['path'] else '[^/]+'})"
        expression += re.escape(pattern[end : part.start()]) + meant
        end = part.end()
    found = re.fullmatch(expression + re.escape(pattern[end:]), name)
    return found.groupdict() if found else None
