"""`falaj rehearse`: a stack from nothing to destroyed, without an account."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from falaj import console, environment
from tools.build import BIN, ensure

if TYPE_CHECKING:
    from rehearsal.sequence import Report


def rehearse(
    stack: Annotated[str, typer.Argument(help="Name of the stack: that of stacks/Pulumi.<stack>.yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Bring a stack up, change it, repair it and destroy it: the real engine, an emulated AWS, a real API server."""
    from rehearsal.sequence import rehearse as run

    for group in ("engine", "rehearsal"):
        ensure(group)
    path = os.pathsep.join([str(Path(sys.prefix) / "bin"), str(BIN), os.environ.get("PATH", os.defpath)])
    os.environ["PATH"] = path
    started = time.monotonic()
    report = run(stack, environment.home() / "rehearsal", path, console.say)
    if as_json:
        console.result(
            {
                "stack": report.stack,
                "seconds": round(time.monotonic() - started, 1),
                "stages": [
                    {"name": stage.name, "seconds": round(stage.seconds, 1), "counts": stage.counts}
                    for stage in report.stages
                ],
                "substitutes": report.substitutes,
                "notes": report.notes,
            }
        )
    else:
        _show(report)


def _show(report: "Report") -> None:
    columns = ("create", "update", "replace", "delete", "same")
    rows = [
        [stage.name, *(str(stage.counts.get(column, "")) for column in columns), f"{stage.seconds:.0f}"]
        for stage in report.stages
    ]
    console.table(["step", *columns, "seconds"], rows)
    if report.substitutes:
        console.say(f"providers of the rehearsal's own: {', '.join(report.substitutes)}")
    for about, texts in report.notes.items():
        console.say(f"{about}:")
        for text in texts:
            console.say(f"  {text}")
