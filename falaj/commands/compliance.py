"""`falaj compliance`: the report that an auditor reads."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from falaj import console
from falaj.commands.check import examined


def compliance(
    stack: Annotated[str, typer.Argument(help="Name of the stack.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the report; compliance/<stack> by default.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM of the Ed25519 key that signs the report.")] = None,
    day: Annotated[
        datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="The day by which dates are judged.")
    ] = None,
) -> None:
    """Write what a stack meets and what not: a page in English and one in Arabic, OSCAL, SARIF and JUnit."""
    from policies.report.junit import junit
    from policies.report.oscal import oscal
    from policies.report.page import page
    from policies.report.sarif import sarif
    from policies.report.signing import SIGNATURE, SUMS, checksums, signature

    outcome = examined(stack, today=day.date() if day else None)
    files = {
        "report.en.html": page(outcome, "en"),
        "report.ar.html": page(outcome, "ar"),
        "assessment-results.oscal.json": oscal(outcome),
        "findings.sarif": sarif([outcome]),
        "findings.junit.xml": junit([outcome]),
    }
    written = {name: text.encode() for name, text in files.items()}
    written[SUMS] = checksums(written)
    if key is not None:
        written[SIGNATURE] = signature(written[SUMS], key)
    folder = output or Path("compliance") / stack
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        (folder / name).write_bytes(content)
        console.say(f"wrote {folder / name}")
    if outcome.failed:
        console.say(f"[bold red]{stack} does not meet all that it must[/]: see {folder / 'report.en.html'}")
        raise typer.Exit(1)
