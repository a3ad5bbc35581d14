"""`falaj audit`: read and verify the audit log."""

from pathlib import Path
from typing import Annotated

import typer

from core.audit import AuditLog
from falaj import console, environment

app = typer.Typer(no_args_is_help=True, help="Read and verify the hash-chained audit log.")


@app.command()
def verify(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check every line against the one before it; fails where any was altered, removed, added or moved."""
    log = _log()
    count = log.verify()
    if as_json:
        console.result({"log": str(log.path), "records": count, "valid": True})
    else:
        console.say(f"[green]whole[/]: {count} records in {log.path}")


@app.command("list")
def show(
    last: Annotated[int, typer.Option(min=1, help="How many of the newest records.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the newest records, checking the chain on the way."""
    records = list(_log().records())[-last:]
    if as_json:
        console.result([record.model_dump() for record in records])
        return
    rows = [
        [
            str(record.sequence),
            record.time,
            record.event,
            record.subject,
            record.actor,
            " ".join(f"{key}={_short(value)}" for key, value in record.details.items()),
        ]
        for record in records
    ]
    console.table(["#", "time", "event", "subject", "actor", "details"], rows)


def _log() -> AuditLog:
    return AuditLog(Path(environment.load().platform.audit_log))


def _short(value: object) -> str:
    text = str(value)
    return text[:19] + "…" if text.startswith("sha256:") else text
