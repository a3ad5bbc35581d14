"""`falaj check`: the rules on a stack or a file, without an engine, an account or a network."""

import json
import sys
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import ConfigError
from falaj import console
from falaj.environment import ROOT
from falaj.parallel import side_by_side

if TYPE_CHECKING:
    from policies.outcome import Outcome


class Format(StrEnum):
    """Forms of the result."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


def check(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(help="Stacks by name, or files: a manifest, a compiled pipeline, a data contract, a plan."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Check every stack.")] = False,
    stack: Annotated[str | None, typer.Option(help="The stack that the files are meant for.")] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of the result.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules and leave.")] = False,
) -> None:
    """Check stacks or files; fails where a rule that is mandatory is broken, or an exception is out of date."""
    if rules:
        _list()
        return
    if bool(subjects) == every:
        raise ConfigError(
            "name stacks or files, or pass --all: `falaj check prod`, `falaj check pipelines/training.yaml`"
        )
    wanted = every_stack() if every else subjects or []
    stacks = [one for one in wanted if not _is_file(one)]
    found = dict(zip(stacks, side_by_side(examined, stacks), strict=True))
    outcomes = [examined(one, stack) if _is_file(one) else found[one] for one in wanted]
    text = _written(outcomes, form)
    if output is not None:
        output.write_text(text)
        console.say(f"wrote {output}")
    else:
        sys.stdout.write(text)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(1)


def _is_file(subject: str) -> bool:
    return bool(Path(subject).suffix)


def examined(subject: str, stack: str | None = None, today: date | None = None) -> "Outcome":
    """Check one stack, or one file as part of a stack.

    Raises:
        ConfigError: There is no such stack, its file is invalid, or an exception is.
        DataError: The file cannot be read; the message names the line.
    """
    from falaj.commands.plan import graph
    from infra.config import KEY
    from infra.plan import read_stack
    from policies.documents import contracts, file_graph, read_plan, stack_graph
    from policies.exceptions import read_exceptions
    from policies.outcome import examine
    from policies.settings import Settings, read_settings

    day = today or date.today()
    exceptions = read_exceptions(ROOT / "exceptions")
    if _is_file(subject):
        section = read_stack(ROOT, stack)[f"falaj:{KEY}"] if stack else None
        settings = read_settings(section, stack) if stack else Settings()
        return examine(subject, file_graph(Path(subject), settings, day), [])
    section = read_stack(ROOT, subject)[f"falaj:{KEY}"]
    resources = read_plan(graph(subject).document())
    return examine(subject, stack_graph(subject, resources, section, contracts(ROOT), day), exceptions)


def every_stack() -> list[str]:
    """Names of the stacks that have a file."""
    from infra.plan import stacks

    return stacks(ROOT)


def _list() -> None:
    from policies.rules import TOPICS

    rows = [[rule.id, rule.severity.value, topic, rule.title] for topic, rules in TOPICS.items() for rule in rules]
    console.table(["rule", "severity", "topic", "title"], rows)


def _written(outcomes: Sequence["Outcome"], form: Format) -> str:
    from policies.report.junit import junit
    from policies.report.sarif import sarif
    from policies.report.text import text

    match form:
        case Format.JSON:
            return json.dumps([outcome.document() for outcome in outcomes], indent=1, ensure_ascii=False) + "\n"
        case Format.SARIF:
            return sarif(outcomes)
        case Format.JUNIT:
            return junit(outcomes)
        case _:
            return "".join(text(outcome) for outcome in outcomes)
