"""Command line options made from `gazeeval.config`: one place says name, type, default and help.

Values are checked there too, so that the command line, the environment and a config file get the same errors.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click

from gazeeval.config import DataConfig, RunConfig, flag, read_config

SECTIONS = {
    "Methods and network": "method maps model arch attention_model attention_arch weights_key unsafe_load geometry "
    "input_size crop_pct mean std amp",
    "Images and gaze": "data root split placement carry_over repeats px_per_degree origin sigma weight border",
    "Pairs": "num_pairs pair_file pairing pairing_saliency pairing_distance labels group_size seed",
    "Scores": "top_k references kl_form shuffled ci ci_method",
    "Computing (changes no result beyond rounding)": "device batch_size workers deterministic shard",
    "Output": "out format masks save_images",
}
_REPEATED = ("method", "maps")
_SHORT = {"method": "-m", "data": "-d", "num_pairs": "-n", "batch_size": "-b", "workers": "-j", "out": "-o"}
_METAVAR = {
    **{
        "method": "SPEC",
        "model": "PATH|NAME",
        "arch": "NAME",
        "attention_model": "PATH|NAME",
        "attention_arch": "NAME",
    },
    **{"maps": "NAME", "weights_key": "KEY", "data": "NAME|SPEC.yaml"},
    **{"root": "DIR", "out": "DIR", "pair_file": "FILE", "split": "NAME", "placement": "WORD", "sigma": "WIDTH"},
    **{"mean": "R,G,B", "std": "R,G,B", "top_k": "K,K,...", "device": "NAME", "shard": "I/N"},
}

F = typing.TypeVar("F", bound=Callable[..., Any])


class RunCommand(click.Command):
    """A command with options of a configuration, listed by subject."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        section_of = {name: title for title, names in SECTIONS.items() for name in names.split()}
        listed: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                listed[section_of.get(parameter.name or "", "Output")].append(record)
        for title, records in listed.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def options_of(kind: type[DataConfig]) -> Callable[[F], F]:
    """Decorate a command with every option of its configuration, in the order of `SECTIONS`, and ``--config``."""
    names = [name for section in SECTIONS.values() for name in section.split() if name in kind.model_fields]

    def decorate(function: F) -> F:
        for name in reversed(names):
            function = option_of(name, kind)(function)
        return click.option(
            "--config",
            metavar="FILE",
            type=click.Path(path_type=Path),
            is_eager=True,
            expose_value=False,
            callback=partial(_take_defaults, kind),
            help=f"Options from a YAML file, such as a run's config.yaml. The command line goes before the environment "
            f"(GAZEEVAL_{kind.command.upper()}_DEVICE and so on), and that before the file.",
        )(function)

    return decorate


run_options = options_of(RunConfig)


def option_of(name: str, kind: type[DataConfig]) -> Callable[[F], F]:
    """Decorate a command with one option of a configuration."""
    field = kind.model_fields[name]
    default = field.default
    settings: dict[str, Any] = {"help": _sentence(field.description or ""), "default": default}
    if field.annotation is bool:
        switch = f"{flag(name)}/--no-{flag(name)[2:]}" if default else flag(name)
        return click.option(switch, is_flag=True, **settings)
    words = _choices(field.annotation)
    settings["metavar"] = f"[{'|'.join(words)}]" if words else _METAVAR.get(name) or _number_metavar(field.annotation)
    settings["shell_complete"] = lambda ctx, parameter, start: [word for word in words if word.startswith(start)]
    if name in _REPEATED:
        settings["multiple"] = True
    elif name == "batch_size":
        settings["default"] = "auto"
    elif isinstance(default, tuple):
        settings["default"] = ",".join(map(str, default))
    short = (_SHORT[name],) if name in _SHORT else ()
    return click.option(*short, flag(name), type=click.UNPROCESSED, **settings)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _number_metavar(kind: Any) -> str:
    return "N" if int in (kind, *typing.get_args(kind)) else "X"


def _choices(kind: Any) -> tuple[str, ...]:
    """The words that a ``Literal`` (or ``Literal | None``) allows."""
    options = [kind, *typing.get_args(kind)]
    return next((typing.get_args(option) for option in options if typing.get_origin(option) is Literal), ())


def _take_defaults(kind: type[DataConfig], ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    options = {name: value for name, value in read_config(path, kind).items() if value is not None}
    options |= {name: [options[name]] for name in _REPEATED if isinstance(options.get(name), str)}
    ctx.default_map = {**(ctx.default_map or {}), **options}
