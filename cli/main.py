"""`gazeeval`: the group of commands. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from gazeeval.errors import GazeEvalError, did_you_mean

COMMANDS = {
    "run": "evaluate methods on pairs of a data set with gaze",
    "list": "show methods, data sets or metrics",
}


class _Commands(click.Group):
    """Loads a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"gazeeval.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no such command: got {args[0]!r}{did_you_mean(args[0], COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "GAZEEVAL", "show_default": True},
)
@click.version_option(package_name="gazeeval")
def cli() -> None:
    """How far the labels of mixed training images are from where people actually look."""


def main() -> None:
    """Entry point: run a command and end with the exit code of what happened."""
    sys.exit(_exit_code(sys.argv[1:]))


def _exit_code(args: list[str]) -> int:
    try:
        result: Any = cli.main(args=args, prog_name="gazeeval", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GazeEvalError as error:
        _explain(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def _explain(error: GazeEvalError) -> None:
    """Print what to mend; with -v, or where somebody's own code failed, the traceback as well."""
    verbose = "-v" in sys.argv or "--verbose" in sys.argv
    cause = error.__cause__
    if verbose or (cause is not None and not isinstance(cause, GazeEvalError) and error.shows_cause):
        traceback.print_exception(error if verbose else cause)
    for line in str(error).splitlines():
        click.echo(f"error: {line}", err=True)
