"""Files that commands write beside a run."""

from __future__ import annotations

from pathlib import Path

import click

from gazeeval.errors import UsageError


def write_text(command: str, path: Path, text: str) -> None:
    """Write ``text`` whole or not at all, and say so. Raises UsageError."""
    from gazeeval.report.files import replacing

    try:
        with replacing(path) as stream:
            stream.write(text.encode())
    except OSError as error:
        raise UsageError(f"{command}: {path}, cannot be written: {error.strerror}. Name a file with --out.") from None
    click.echo(f"wrote {path}", err=True)
