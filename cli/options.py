"""Command line options made from `gazeeval.config.RunConfig`: one place says name, type, default and help."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from gazeeval.config import RunConfig, read_config

_SHORT = {"method": "-m", "data": "-d", "num_pairs": "-n", "batch_size": "-b", "workers": "-j", "out": "-o"}
_METAVAR = {"method": "SPEC", "model": "PATH|NAME", "data": "NAME|SPEC.yaml", "sigma": "WIDTH", "top_k": "K,K,..."}

F = typing.TypeVar("F", bound=Callable[..., Any])


def run_options(function: F) -> F:
    """Decorate a command with every option of a run, and ``--config``."""
    for name in reversed(RunConfig.model_fields):
        function = _option(name)(function)
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_take_defaults,
        help="YAML file of options (a run's config.yaml); the command line and the environment go before it.",
    )(function)


def _option(name: str) -> Callable[[F], F]:
    field = RunConfig.model_fields[name]
    flag = f"--{name.replace('_', '-')}"
    kind = field.annotation
    default = field.default
    settings: dict[str, Any] = {"help": f"{field.description}.", "default": default, "metavar": _METAVAR.get(name)}
    if kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}" if default else flag, is_flag=True, **settings)
    if name == "method":
        return click.option(_SHORT[name], flag, multiple=True, **settings)
    choices = _choices(kind)
    if choices:
        settings["type"] = click.Choice(choices)
    elif isinstance(default, tuple):
        settings["default"] = ",".join(map(str, default))
    else:
        settings["type"] = next((t for t in (int, float) if t in (kind, *typing.get_args(kind))), str)
    if name == "batch_size":
        settings |= {"type": str, "default": "auto"}
    if name in ("mean", "std"):
        settings["type"] = str
    short = (_SHORT[name],) if name in _SHORT else ()
    return click.option(*short, flag, **settings)


def _choices(kind: Any) -> tuple[str, ...]:
    """The words that a ``Literal`` (or ``Literal | None``) allows."""
    options = [kind, *typing.get_args(kind)]
    return next((typing.get_args(option) for option in options if typing.get_origin(option) is Literal), ())


def _take_defaults(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        known = {key: value for key, value in read_config(path).items() if value is not None}
        lists = {key: ",".join(map(str, value)) for key, value in known.items() if isinstance(value, list)}
        lists.pop("method", None)
        ctx.default_map = {**(ctx.default_map or {}), **known, **lists}
