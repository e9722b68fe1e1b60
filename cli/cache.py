"""`gazeeval cache`: what is kept of gaze files that were parsed before."""

from __future__ import annotations

import click


@click.command(short_help="show or clear what is kept of parsed gaze files")
@click.option("--clear", is_flag=True, help="Remove everything that is kept.")
def command(clear: bool) -> None:
    """Show the folder of parsed gaze and its size, or clear it.

    Large gaze files are parsed once and then read from there as long as neither they nor their spec change. The
    environment variable GAZEEVAL_CACHE names another folder, or turns it off: GAZEEVAL_CACHE=off.
    """
    from gazeeval.data.parsed import cache_folder, clear_cache

    folder = cache_folder()
    if folder is None:
        click.echo("off: GAZEEVAL_CACHE says so")
    elif clear:
        click.echo(f"{folder}: {clear_cache() / 1e6:.1f} MB removed")
    else:
        sizes = [path.stat().st_size for path in folder.glob("*.npz")]
        click.echo(f"{folder}: {len(sizes)} data sets, {sum(sizes) / 1e6:.1f} MB")
