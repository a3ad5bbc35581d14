"""`falaj audit`: read and verify the audit log."""

from typing import TYPE_CHECKING, Annotated

import typer

from falaj import console, environment

if TYPE_CHECKING:
    from core.audit import AuditLog

app = typer.Typer(no_args_is_help=True, help="Read and verify the hash-chained audit log.")

_Place = Annotated[
    str | None, typer.Option("--log", help="Path or s3:// address of a log; the running environment's by default.")
]


@app.command()
def verify(log_at: _Place = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check every record against the one before it; fails where any was altered, removed, added or moved."""
    log = _log(log_at)
    count = log.verify()
    if as_json:
        console.result({"log": log.place, "records": count, "valid": True})
    else:
        console.say(f"[green]whole[/]: {count} records in {log.place}")


@app.command("list")
def show(
    log_at: _Place = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest records.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the newest records, checking the chain on the way."""
    records = list(_log(log_at).records())[-last:]
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


def _log(place: str | None) -> "AuditLog":
    from core.audit import open_log

    return open_log(place or environment.load().platform.audit_log)


def _short(value: object) -> str:
    text = str(value)
    return text[:19] + "…" if text.startswith("sha256:") else text
