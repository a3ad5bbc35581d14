"""`falaj rehearse`: stacks from nothing to destroyed, without an account."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from core.errors import ConfigError, FalajError
from falaj import console, environment
from falaj.environment import ROOT
from tools.build import BIN, ensure
from tools.pack import pack

if TYPE_CHECKING:
    from rehearsal.policies import Policies
    from rehearsal.steps import Report

_COLUMNS = ("create", "update", "replace", "delete", "same")


def rehearse(
    stacks: Annotated[
        list[str] | None, typer.Argument(help="Names of stacks: those of stacks/Pulumi.<stack>.yaml.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Rehearse every stack, one after another.")] = False,
    policies: Annotated[
        bool,
        typer.Option("--policies/--no-policies", help="Whether the policy pack judges, as `falaj check`."),
    ] = True,
    fault: Annotated[
        str | None, typer.Option(help="Do this fault to them instead, or `all` one after another.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Bring stacks up, change, repair and destroy them: the real engine, an emulated AWS, a real API server."""
    from infra.plan import stacks as known
    from rehearsal.faults.run import named

    if bool(stacks) == every:
        raise ConfigError("name stacks, or pass --all: `falaj rehearse smb`")
    faults = named(fault) if fault else []
    for group in ("engine", "rehearsal"):
        ensure(group)
    signal.signal(signal.SIGTERM, _end)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), str(BIN), os.environ.get("PATH", os.defpath)])
    summaries = [_summary(stack, policies, as_json, faults) for stack in (known(ROOT) if every else stacks or [])]
    if as_json:
        console.result(summaries)
    elif len(summaries) > 1:
        rows = [
            [each["stack"], str(each.get("resources", "")), f"{each['seconds']:.0f}", each.get("failed", "passed")]
            for each in summaries
        ]
        console.table(["stack", "resources", "seconds", ""], rows)
    if any("failed" in each for each in summaries):
        raise typer.Exit(1)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as by an interrupt, so that the engine and the servers end too: a CI job out of time sends this."""
    sys.exit(128 + number)


def _summary(stack: str, policies: bool, as_json: bool, faults: Sequence[str]) -> dict[str, Any]:
    """Rehearse one stack; what went wrong with it is said at once, and those after it are rehearsed all the same."""
    from rehearsal.faults.run import rehearse_faults
    from rehearsal.sequence import rehearse as run

    console.say(f"{stack}:")
    home, path = environment.home() / "rehearsal", os.environ["PATH"]
    started = time.monotonic()
    summary: dict[str, Any] = {"stack": stack}
    try:
        if faults:
            report = rehearse_faults(stack, faults, home, path, console.say)
        else:
            judged = _policies(stack) if policies else None
            report = run(stack, home, path, console.say, policies=judged)
    except FalajError as error:
        console.err.print(f"error: {error}", soft_wrap=True, markup=False)
        summary["failed"] = str(error).partition("\n")[0]
    else:
        summary |= {"resources": report.stages[0].counts.get("create", 0)} | asdict(report)
        if not as_json:
            _show(report)
    return summary | {"seconds": round(time.monotonic() - started, 1)}


def _policies(stack: str) -> "Policies":
    """The pack, and what the check without an engine finds."""
    from falaj.commands.check import examined
    from policies.engine import Status
    from policies.outcome import ADVISORY, remedy
    from rehearsal.engine import Finding
    from rehearsal.policies import Policies

    outcome = examined(stack)
    expected: set[Finding] = set()
    for one in outcome.of(Status.FAIL):
        words = f"{one.resource.type}::{one.resource.name}: {'; '.join(one.messages)}. {remedy(outcome, one)}"
        advised = outcome.level(one) == ADVISORY
        expected.add(Finding(ADVISORY, f"{one.rule.id}: {words}") if advised else Finding(one.rule.id, words))
    expected |= {Finding("exceptions", problem) for problem in outcome.problems}
    return Policies(pack=pack(console.say), expected=expected)


def _show(report: "Report") -> None:
    rows = [
        [stage.name, *(str(stage.counts.get(column, "")) for column in _COLUMNS), f"{stage.seconds:.0f}"]
        for stage in report.stages
    ]
    console.table(["step", *_COLUMNS, "seconds"], rows)
    if report.substitutes:
        console.say(f"providers of the rehearsal's own: {', '.join(report.substitutes)}")
    for about, texts in report.notes.items():
        console.say(f"{about}:")
        for text in texts:
            console.say(f"  {text}")
