"""What the site says about methods, columns and commands, read from the code whenever it is built.

A hook of MkDocs: it adds a page for every registered method and fills in the places marked ``<!-- columns -->`` and the
like. Nothing of it is stored, so that it cannot go out of date.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import click
from click.testing import CliRunner
from gazeeval.cli.list import command as list_command
from gazeeval.cli.main import COMMANDS, cli

from gazeeval.gaze_agreement.tables import FILES as AGREEMENT_FILES
from gazeeval.mixers.base import MIXERS, GroupMixer, Mixer
from gazeeval.report.columns import FILES, Columns
from gazeeval.robustness.tables import FILES as ROBUSTNESS_FILES
from gazeeval.signals import base as signals
from gazeeval.validation.validate import checks

TESTS = Path(__file__).parents[1] / "tests"
SECTIONS = ("Symbols and options", "Symbols", "Options", "Deviations")
NEEDS = {
    "nothing": "Random",
    "images": "Saliency of the images",
    "network": "A network's features, classes, gradients or attention",
    "gaze": "References",
}


# -- the hook ---------------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put the pages of the methods into the navigation, after the first page of their section."""
    (section,) = (entry["Methods"] for entry in config.nav if "Methods" in entry)
    section[1:1] = [{name: f"methods/{name}.md"} for name in MIXERS if _is_ours(name)]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add a page for every method."""
    from mkdocs.structure.files import File

    for name, text in method_pages().items():
        files.append(File.generated(config, f"methods/{name}.md", content=text))
    return files


def _is_ours(name: str) -> bool:
    return MIXERS[name].__module__.startswith("gazeeval.")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the marked places of a page."""
    return filled(markdown)


def filled(markdown: str) -> str:
    """A page with its marks, such as ``<!-- columns -->``, replaced. KeyError for a mark that is not known."""
    makers = {"methods": methods_table, "columns": columns_tables, "commands": commands_help, "checks": checks_table}
    return re.sub(r"^<!-- (\w+) -->$", lambda mark: makers[mark[1]](), markdown, flags=re.MULTILINE)


# -- methods ----------------------------------------------------------------------------------------------------------


def listed() -> list[dict[str, Any]]:
    """What ``gazeeval list methods --json`` says, of our own methods."""
    done = CliRunner().invoke(list_command, ["methods", "--json"], catch_exceptions=False)
    return [entry for entry in json.loads(done.stdout) if entry.get("class", "").startswith("gazeeval.")]


def method_pages() -> dict[str, str]:
    """Method -> its page."""
    return {entry["name"]: method_page(entry) for entry in listed()}


def method_page(entry: dict[str, Any]) -> str:
    """What the method does, in the words of its docstring, its options, what it needs, and what it was held against."""
    cls = _class(entry)
    parts = [f"# {entry['name']}", entry["what"]]
    parts += [f"Also called {_codes(entry['aliases'])}."] if entry["aliases"] else []
    parts += [from_docstring(inspect.getdoc(cls) or "")]
    parts += ["## Options", options_table(cls) or "None."]
    parts += ["## Needs", needs(entry)]
    parts += ["## Label", _label(entry)]
    parts += ["## Held against", *held_against(cls)]
    return "\n\n".join(parts) + "\n"


def from_docstring(text: str) -> str:
    """A docstring as Markdown: sections begin in bold, what is raised is a list."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(_paragraph(part) for part in paragraphs)


def _paragraph(text: str) -> str:
    if text.startswith("Raises:"):
        raised = re.sub(r"\n        +", " ", text.partition("\n")[2])
        return "**Raises**\n\n" + re.sub(r"^    (\w+): ", r"- `\1`: ", raised, flags=re.MULTILINE)
    text = re.sub(rf"^({'|'.join(SECTIONS)})\b(:?)", r"**\1\2**", text)
    text = re.sub(r"(?<!`)`(\w+)`(?!`)", _linked, text)
    return re.sub(r"::$", ":", text)


def _linked(word: re.Match[str]) -> str:
    """The name of a class, as a link to the page of its method if it is one."""
    name = next((name for name in MIXERS if MIXERS[name].__name__ == word[1]), None)
    return f"[`{name}`]({name}.md)" if name else word[0]


def options_table(cls: type[Any]) -> str:
    """The fields of a method, with defaults and allowed values; empty where there are none."""
    kinds = typing.get_type_hints(cls)
    rows = [
        (f"`{field.name}`", "required" if field.default is dataclasses.MISSING else f"`{_word(field.default)}`", values)
        for field in dataclasses.fields(cls)
        if field.init
        for values in [_values(kinds[field.name])]
    ]
    return _table(("option", "default", "values"), rows) if rows else ""


def _values(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return _codes(_word(value) for value in typing.get_args(kind))
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return ", ".join(_values(option) for option in typing.get_args(kind))
    words = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text", type(None): "`none`"}
    return words.get(kind, str(kind))


def _word(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def needs(entry: dict[str, Any]) -> str:
    """What the method asks about the images, and of whom."""
    if entry["required"]:
        return f"A file of its own: {_codes(entry['required'])}."
    if not entry["needs"]:
        return "A network, to mix inside it." if _class(entry)().needs_model else "Nothing but random numbers."
    found = [f"- `{_short(request)}`: {_first_sentence(_signal(request))}" for request in entry["needs"]]
    network = any(_signal(request).needs_model for request in entry["needs"])
    return "\n".join(found) + ("\n\nA network answers (`--model`)." if network else "\n\nNo network is needed.")


def kind_of_needs(entry: dict[str, Any]) -> str:
    """One of the keys of `NEEDS`."""
    if entry["reference"]:
        return "gaze"
    if entry["required"] or _class(entry)().needs_model:
        return "network"
    return "images" if entry["needs"] else "nothing"


def _label(entry: dict[str, Any]) -> str:
    cls = _class(entry)
    if not entry["scores_gaze"]:
        return "The score is 0 by construction and shown as n/a; only accuracies are measured."
    if issubclass(cls, GroupMixer) or cls.weigh is not Mixer.weigh:
        return "Its own, as above."
    return "The share of the source in the pixels: the mean of the mask."


def held_against(cls: type[Any]) -> Iterator[str]:
    """The tests of a method, by the first sentence of their file, and the stored outputs that they read."""
    module = cls.__module__
    own = TESTS / "mixers" / f"test_{module.rpartition('.')[2]}.py"
    users = [path for path in sorted(TESTS.glob("mixers/*.py")) if f"from {module} import" in path.read_text("utf-8")]
    for test in [own] if own.exists() else users:
        text = test.read_text("utf-8")
        read = re.findall(r"\b(?:cases|load)\(\"([\w.-]+)\"", text)
        cases = sorted({path.stem for start in read for path in (TESTS / "oracle").glob(f"{start}*.npz")})
        yield f"{ast.get_docstring(ast.parse(text))} (`tests/mixers/{test.name}`)"
        if cases:
            yield f"Stored outputs that are reproduced, {len(cases)} in `tests/oracle/`: {_codes(cases)}."
        else:
            yield "There is no other implementation whose outputs could be stored."


def methods_table() -> str:
    """All methods, by what they need."""
    entries = listed()
    parts = []
    for kind, title in NEEDS.items():
        rows = [
            (f"[{entry['name']}]({entry['name']}.md)", entry["what"])
            for entry in entries
            if kind_of_needs(entry) == kind
        ]
        parts += [f"## {title}", _table(("method", "what it does"), rows)]
    return "\n\n".join(parts)


def _class(entry: dict[str, Any]) -> type[Any]:
    module, _, name = entry["class"].rpartition(".")
    cls: type[Any] = getattr(importlib.import_module(module), name)
    return cls


def _signal(request: str) -> type[signals.Signal]:
    kind: type[signals.Signal] = getattr(signals, request.split(maxsplit=1)[0])
    return kind


def _short(request: str) -> str:
    """The question, and of saliency which; other parameters are the method's options."""
    return request if request.startswith("Saliency ") else request.split(maxsplit=1)[0]


def _first_sentence(thing: object) -> str:
    text = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[a-z)])\. ", text)[0].rstrip(".") + "."


# -- columns and commands ---------------------------------------------------------------------------------------------


def columns_tables() -> str:
    """Every file with its columns."""
    files: dict[str, Columns] = {**FILES, **ROBUSTNESS_FILES, **AGREEMENT_FILES}
    parts = []
    for file, columns in files.items():
        rows = [(f"`{column.name}`", column.dtype, column.unit, column.meaning) for column in columns]
        parts += [f"## {file}", _table(("column", "type", "unit", "meaning"), rows)]
    return "\n\n".join(parts)


def commands_help() -> str:
    """``--help`` of every command."""
    root = click.Context(cli, info_name="gazeeval")
    parts = []
    for name in COMMANDS:
        found = cli.get_command(root, name)
        assert found is not None
        context = click.Context(found, info_name=name, parent=root, max_content_width=100, terminal_width=100)
        parts += [f"## gazeeval {name}", f"```text\n{found.get_help(context)}\n```"]
    return "\n\n".join(parts)


def checks_table() -> str:
    """The checks of ``gazeeval validate``."""
    return _table(["code", "holds if"], [[code, name] for code, name in sorted(checks().items())])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)
