"""`gazeeval validate`: check a data set before a run."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gazeeval.validation.finding import LEVELS

if TYPE_CHECKING:
    from gazeeval.validation.validate import Validation

FOUND_ERRORS = 3
WIDTH = 84


@click.command(short_help="check images, labels and gaze of a data set")
@click.argument("spec", metavar="SPEC")
@click.option("--root", metavar="DIR", type=click.Path(path_type=Path), help="Folder that holds the data set's files.")
@click.option("--placement", metavar="WORD", help="How images lay in the display frame, in place of the spec's.")
@click.option("--origin", metavar="WORD", help="Where gaze has (0, 0), in place of the spec's.")
@click.option("--strict", is_flag=True, help="End with exit code 3 if there are warnings, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def command(
    spec: str, root: Path | None, placement: str | None, origin: str | None, strict: bool, as_json: bool
) -> int:
    """Check SPEC, the name of a bundled spec or a YAML file, against the files it describes.

    Goes on after a mistake, and prints for each: the code of the check, how grave it is, how many images or rows, the
    first of them, and what may be the cause.

    \b
    gazeeval validate cub-gha --root DATA
    gazeeval validate ./mine.yaml --strict --json

    Exit codes: 0 nothing wrong, 2 wrong usage or a spec that cannot be read, 3 errors (with --strict also warnings).
    """
    from gazeeval.validation.validate import validate

    found = validate(spec, root, placement=placement, origin=origin)
    click.echo(json.dumps(_plain(found), indent=2) if as_json else _text(found))
    wrong = found.count("error") + (found.count("warning") if strict else 0)
    return FOUND_ERRORS if wrong else 0


def _plain(found: Validation) -> dict[str, Any]:
    from gazeeval.validation.validate import checks

    names = checks()
    return {
        "dataset": found.dataset,
        "root": str(found.root),
        "findings": [
            {"code": code, "check": names[code], **dataclasses.asdict(finding)} for code, finding in found.findings
        ],
        "passed": list(found.passed),
        "not_done": list(found.not_done),
    }


def _text(found: Validation) -> str:
    from tabulate import tabulate

    ranked = sorted(found.findings, key=lambda item: LEVELS.index(item[1].level))
    rows = []
    for code, finding in ranked:
        parts = [finding.text, finding.first and f"first: {finding.first}", finding.advice]
        lines = [line for part in parts if part for line in textwrap.wrap(part, WIDTH, break_on_hyphens=False)]
        rows.append([code, finding.level, f"{finding.count:,}", "\n".join(lines)])
    table = tabulate(
        rows, ["code", "level", "count", "what"], tablefmt="plain", disable_numparse=True, colalign=_ALIGNED
    )
    counts = ", ".join(f"{(count := found.count(level))} {level}{'s' * (count != 1)}" for level in ("error", "warning"))
    lines = [f"{found.dataset} in {found.root}", "", table, "", f"passed: {', '.join(found.passed) or 'none'}"]
    lines += [f"not checked, for what they need could not be read: {', '.join(found.not_done)}"] * bool(found.not_done)
    return "\n".join([*lines, counts])


_ALIGNED = ("left", "left", "right", "left")
