"""YAML of plain values, from files that other people wrote: no tags that make objects, no key twice, nothing endless.

An alias costs a file three bytes and may stand for a list of aliases: nine such lists make a thousand million values,
and the first message that quotes them as many words. So values are counted, aliases as what they stand for, before
anything is built.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

MOST_CHARACTERS = 1_000_000
MOST_VALUES = 100_000
MOST_NESTED = 30


def load(text: str) -> Any:
    """The content of a YAML document. Raises `yaml.YAMLError`, whatever is wrong with it; `problem` says what."""
    if len(text) > MOST_CHARACTERS:
        raise yaml.MarkedYAMLError(problem=f"more than {MOST_CHARACTERS:,} characters, got {len(text):,}")
    _count(text)
    try:
        return yaml.load(text, _OnceEach)
    except (ValueError, TypeError, AttributeError) as error:  # of a date such as 2020-99-99, a tag on the wrong value
        raise yaml.MarkedYAMLError(problem=" ".join(str(error).split())) from error


def problem(error: yaml.YAMLError) -> str:
    """What is wrong, and where: a sentence."""
    mark = getattr(error, "problem_mark", None)
    where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or 'cannot be parsed'}{where}."


class _OnceEach(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen |= {key} if isinstance(key, Hashable) else set()
        return super().construct_mapping(node, deep)


def _number(loader: _OnceEach, node: yaml.ScalarNode) -> int:
    """A whole number of up to 64 bits. One of thousands of digits cannot even be quoted."""
    number = loader.construct_yaml_int(node)
    if abs(number) >= 2**63:
        raise yaml.MarkedYAMLError(problem="a whole number of more than 64 bits", problem_mark=node.start_mark)
    return number


_OnceEach.add_constructor("tag:yaml.org,2002:int", _number)


def _count(text: str) -> None:
    """Raise `yaml.MarkedYAMLError` for too many values, too deep in each other, or one that contains itself."""
    values: dict[str, int] = {}  # anchor -> values that it stands for
    opened: list[tuple[str | None, int]] = [(None, 0)]  # anchor of each open list or mapping, values in it so far
    for event in yaml.parse(text, yaml.SafeLoader):
        anchor: str | None = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((anchor, 1))
            if len(opened) > MOST_NESTED:
                raise _refused(f"more than {MOST_NESTED} lists or mappings in each other", event)
            continue
        if isinstance(event, yaml.AliasEvent):
            if any(name == anchor for name, _ in opened):
                raise _refused(f"*{anchor} contains itself", event)
            count = values.get(anchor or "", 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, count = opened.pop()
        else:
            count = int(isinstance(event, yaml.ScalarEvent))
        values |= {anchor: count} if anchor else {}
        opened[-1] = opened[-1][0], opened[-1][1] + count
        if opened[-1][1] > MOST_VALUES:
            raise _refused(f"more than {MOST_VALUES:,} values, aliases counted as what they stand for", event)


def _refused(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
