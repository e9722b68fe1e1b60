"""`gazeeval`: the group of commands. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from types import TracebackType
from typing import Any

import click

from gazeeval.errors import GazeEvalError, did_you_mean

COMMANDS = {
    "run": "evaluate methods on pairs of a data set with gaze",
    "compare": "compare the methods of finished runs",
    "report": "write a page or a table of finished runs",
    "ceiling": "score one viewer against the others: as near as people come",
    "sensitivity": "score the mixes of a run under other gaze recipes",
    "agreement": "score the maps that methods rely on against gaze",
    "bench": "time mixing beside a training step on this machine",
    "validate": "check images, labels and gaze of a data set",
    "show": "draw pairs with their mixes, or the gaze on an image",
    "list": "show methods, data sets or metrics",
    "cache": "show or clear what is kept of parsed gaze files",
    "pairs": "write the pairs that a run would take",
    "doctor": "say what this machine and this installation have",
    "completion": "print what makes a shell complete commands and options",
}
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


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
            ctx.fail(f"command: unknown name, got {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "GAZEEVAL",
        "show_default": True,
        "max_content_width": 100,
    },
)
@click.version_option(package_name="gazeeval")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """How far the labels of mixed training images are from where people actually look."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)


def main() -> None:
    """Entry point: run a command and end with the exit code of what happened."""
    sys.exit(_exit_code(sys.argv[1:]))


def _exit_code(args: list[str]) -> int:
    try:
        result: Any = cli.main(args=args, prog_name="gazeeval", standalone_mode=False)
        sys.stdout.flush()
    except (click.ClickException, GazeEvalError) as error:
        _explain(error, verbose="-v" in args or "--verbose" in args)
        return error.exit_code
    except (click.Abort, SystemExit) as stop:
        return _stopped(stop)
    except BrokenPipeError:  # nobody reads the output any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk that is full, a folder that went away
        if "-v" in args or "--verbose" in args:
            traceback.print_exception(error)
        what, why = error.filename or "files", error.strerror or str(error)
        click.echo(f"error: {what}: cannot be read or written, got {why}. Mend that and try again.", err=True)
        _tell_notes(error)
        return 1
    return result if isinstance(result, int) else 0


def _explain(error: click.ClickException | GazeEvalError, verbose: bool) -> None:
    """Print what to mend; with -v, or where somebody's own code failed, the traceback as well."""
    cause = error.__cause__
    if verbose:
        traceback.print_exception(error)
    elif isinstance(error, GazeEvalError) and error.shows_cause and not isinstance(cause, GazeEvalError | None):
        frames = _outside(cause.__traceback__)
        if frames is not None or isinstance(cause, SyntaxError):
            traceback.print_exception(type(cause), cause, frames)
    text = _usage(error) if isinstance(error, click.ClickException) else str(error)
    for line in text.splitlines():
        click.echo(f"error: {line}", err=True)
    _tell_notes(error)


def _usage(error: click.ClickException) -> str:
    """click's complaint in the shape of ours: what, and what to do."""
    context = getattr(error, "ctx", None)
    told = f"See {context.command_path if context else 'gazeeval'} --help."
    if isinstance(error, click.NoSuchOption):
        known = [name for it in context.command.params for name in it.opts + it.secondary_opts] if context else []
        return f"{error.option_name}: no such option{did_you_mean(error.option_name, known)}. {told}"
    return f"{error.format_message().rstrip('.')}. {told}"


def _stopped(stop: click.Abort | SystemExit) -> int:
    """Ctrl-C (which click turns into Abort), SIGTERM, or click's way to end once nobody reads the output."""
    if isinstance(stop, SystemExit) and stop.code != TERMINATED:
        return 0
    click.echo("interrupted", err=True)
    _tell_notes(stop if isinstance(stop, SystemExit) else stop.__cause__)
    return TERMINATED if isinstance(stop, SystemExit) else INTERRUPTED


def _tell_notes(error: BaseException | None) -> None:
    for note in getattr(error, "__notes__", []):
        click.echo(note, err=True)


def _outside(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the first code that is neither ours nor Python's way of importing it."""
    while frames is not None and _package(frames) in {"gazeeval", "importlib"}:
        frames = frames.tb_next
    return frames


def _package(frames: TracebackType) -> str:
    return str(frames.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
