"""`falaj verify`: a deployed stack, looked at from outside."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
from falaj import console, environment
from falaj.commands import plan

if TYPE_CHECKING:
    from verify.declared import Declared
    from verify.report import Report

_COLOURS = {"passed": "green", "failed": "bold red", "error": "bold red", "skipped": "yellow"}
LOCAL = "local"
_SHOWN = 12


def verify(
    stack: Annotated[str, typer.Argument(help="Name of the stack: that of stacks/Pulumi.<stack>.yaml.")] = LOCAL,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="How to reach the stack's cluster; what KUBECONFIG says by default.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="A context of it; the stack's own or the current one by default.")
    ] = None,
    declared: Annotated[
        Path | None,
        typer.Option(help="What the stack declares, from `pulumi stack export`; its plan by default."),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit's XML to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, as evidence.")] = False,
) -> None:
    """Look at a deployed stack from outside; exit status 1 where something is not as it must be. Nothing is changed."""
    try:
        # pytest and pytest-testinfra are of the group dev.
        from verify.run import verify as run
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the package {error.name} is not installed: run `uv sync`, which brings the group dev"
        ) from error
    with console.working(f"looking at {stack}"):
        found = _declared(stack, declared)
        report = run(found, **_reached(found, kubeconfig, context), junit=junit.resolve() if junit else None)
    if as_json:
        console.result(report.document())
    else:
        _show(report)
    if not report.holds:
        raise typer.Exit(1)


def _declared(stack: str, file: Path | None) -> "Declared":
    from verify.declared import Declared

    if stack == LOCAL:
        return Declared(stack, {})
    if file is None:
        return Declared.of_document(stack, plan.graph(stack).document())
    try:
        return Declared.of_document(stack, json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def _reached(declared: "Declared", kubeconfig: Path | None, context: str | None) -> Mapping[str, Any]:
    """What is asked: this machine, or the account and the API server as far as there are ways to them."""
    from verify.account import Account
    from verify.cluster import Cluster
    from verify.local import Local

    if declared.stack == LOCAL:
        running = environment.load()
        return {"local": Local(environment.home() / "local", running)}
    own = next(iter(declared.values("pulumi:providers:kubernetes", "context")), None)
    cluster = None
    try:
        cluster = Cluster(kubeconfig, context or own)
    except ConfigError as error:
        if kubeconfig is not None or context is not None:
            raise
        console.say(f"[yellow]the cluster is not asked[/]: {console.escape(str(error))}")
    return {"cluster": cluster, "account": Account(declared) if declared.has("aws") else None}


def _show(report: "Report") -> None:
    rows = [
        [
            f"[{_COLOURS[check.result]}]{check.result}[/]",
            check.id,
            str(check.looked_at or ""),
            console.escape(check.holds),
        ]
        for check in report.checks
    ]
    console.table(["result", "check", "looked at", "what it holds"], rows)
    for check in report.checks:
        reasons = [*check.reason.splitlines(), *(check.unasked if check.result != "skipped" else [])]
        if check.result == "passed":
            reasons = [f"not asked: {reason}" for reason in check.unasked]
        if reasons:
            console.out.print(f"\n[{_COLOURS[check.result]}]{check.result}[/] {check.id}")
            for reason in reasons[:_SHOWN]:
                console.out.print(f"  {console.escape(reason)}", soft_wrap=True)
            if len(reasons) > _SHOWN:
                console.out.print(f"  and {len(reasons) - _SHOWN} more: --json has them")
    counts = ", ".join(f"{count} {result}" for result, count in sorted(report.counts.items()))
    console.say(f"\n{report.stack}: {counts}, {report.time}")
