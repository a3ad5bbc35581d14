"""`falaj compliance`: the report that an auditor reads."""

import sys
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from core.errors import ConfigError
from falaj import console
from falaj.commands.check import every_stack, examined
from falaj.parallel import side_by_side


def compliance(
    stack: Annotated[str | None, typer.Argument(help="Name of the stack.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Report on every stack.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the report, with --all of one a stack; `compliance` by default.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM of the Ed25519 key that signs the report.")] = None,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The day by which dates are judged.")
    ] = None,
) -> None:
    """Check stacks, and write what they meet and what not: pages in English and Arabic, OSCAL, SARIF and JUnit."""
    if (stack is None) != every:
        raise ConfigError("name one stack, or pass --all: `falaj compliance prod`")
    stacks = every_stack() if stack is None else [stack]
    base = output or Path("compliance")
    folders = {one: base if stack and output else base / one for one in stacks}
    work = partial(_reported, folders=folders, key=key, today=day.date() if day else date.today())
    failed = False
    for one, (text, broken) in zip(stacks, side_by_side(work, stacks), strict=True):
        sys.stdout.write(text)
        console.say(f"wrote {folders[one]}")
        failed = failed or broken
    if failed:
        raise typer.Exit(1)


def _reported(stack: str, folders: dict[str, Path], key: Path | None, today: date) -> tuple[str, bool]:
    """Check a stack and write its report; what was found, in words, and whether it fails."""
    from policies.report.junit import junit
    from policies.report.oscal import oscal
    from policies.report.page import page
    from policies.report.sarif import sarif
    from policies.report.signing import SIGNATURE, SUMS, checksums, signature
    from policies.report.text import text

    outcome = examined(stack, today=today)
    files = {
        "report.en.html": page(outcome, "en"),
        "report.ar.html": page(outcome, "ar"),
        "assessment-results.oscal.json": oscal(outcome),
        "findings.sarif": sarif([outcome]),
        "findings.junit.xml": junit([outcome]),
    }
    written = {name: content.encode() for name, content in files.items()}
    written[SUMS] = checksums(written)
    if key is not None:
        written[SIGNATURE] = signature(written[SUMS], key)
    folders[stack].mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        (folders[stack] / name).write_bytes(content)
    return text(outcome), outcome.failed
