"""`gazeeval completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="print what makes a shell complete commands and options")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the completion script of SHELL, to be read by it when it starts.

    \b
    bash: gazeeval completion bash >> ~/.bashrc
    zsh:  gazeeval completion zsh >> ~/.zshrc
    fish: gazeeval completion fish > ~/.config/fish/completions/gazeeval.fish
    """
    from gazeeval.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "gazeeval", "_GAZEEVAL_COMPLETE")
    click.echo(script.source_template % script.source_vars())
