"""`falaj cost`: what a stack would cost a month."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
from falaj import console
from falaj.environment import ROOT

if TYPE_CHECKING:
    from policies.cost import Estimate, Prices


def cost(
    stack: Annotated[str, typer.Argument(help="Name of the stack.")],
    against: Annotated[
        str | None, typer.Option(help="Another stack, or a commit of this repository: show the difference.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Add the cost by the values of this tag.")] = None,
    prices: Annotated[Path | None, typer.Option(help="A price file whose entries replace the platform's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate a month of a stack on AWS, by part and by tag, with what is assumed."""
    from infra.plan import stacks
    from policies.cost import read_prices

    known = read_prices(prices)
    mine = _estimate(stack, known)
    other = None
    if against is not None:
        other = _estimate(against, known) if against in stacks(ROOT) else _estimate_at(against, stack, known)
    document = _document(stack, mine, tag, against, other)
    if as_json:
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        _show(document)


def _estimate(stack: str, prices: "Prices") -> "Estimate":
    from falaj.commands.plan import graph

    return _of_plan(graph(stack).document(), stack, ROOT, prices)


def _of_plan(plan: dict[str, Any], stack: str, root: Path, prices: "Prices") -> "Estimate":
    from infra.config import KEY
    from infra.plan import read_stack
    from policies.cost import estimate
    from policies.documents import read_plan, stack_graph

    section = read_stack(root, stack)[f"falaj:{KEY}"]
    return estimate(stack_graph(stack, read_plan(plan), section, [], date.today()), prices)


def _estimate_at(commit: str, stack: str, prices: "Prices") -> "Estimate":
    """The stack as a commit has it, planned by that commit's own program in a folder of its own."""
    found = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if found.returncode != 0:
        raise ConfigError(f"--against {commit} is neither a stack nor a commit: name one of `git log --oneline`")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(found.stdout)) as archive:
            archive.extractall(folder, filter="data")
        command = [sys.executable, "-m", "falaj.cli", "plan", stack, "--json"]
        planned = subprocess.run(
            command, cwd=folder, env=_environment(folder), capture_output=True, check=False, text=True
        )
        if planned.returncode != 0:
            raise ConfigError(f"{commit} cannot plan {stack}: {planned.stderr.strip()[-500:]}")
        return _of_plan(json.loads(planned.stdout), stack, Path(folder), prices)


def _environment(folder: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": folder}


def _document(
    stack: str, mine: "Estimate", tag: str | None, against: str | None, other: "Estimate | None"
) -> dict[str, Any]:
    sources = {mine.prices.prices[line.item].source for line in mine.lines}
    document: dict[str, Any] = {
        "stack": stack,
        "currency": mine.prices.currency,
        "monthly": round(mine.monthly, 2),
        "by_component": {name: round(value, 2) for name, value in mine.by(lambda line: line.component).items()},
        "by_item": {name: round(value, 2) for name, value in mine.by(lambda line: line.item).items()},
        "assumed": [asdict(one) for one in mine.assumed()],
        "sources": {name: mine.prices.sources[name].model_dump(mode="json") for name in sorted(sources)},
        "not_in_the_sum": list(mine.by_use),
        "no_price": list(mine.unpriced),
    }
    if tag is not None:
        document["by_tag"] = {
            tag: {k: round(v, 2) for k, v in mine.by(lambda line: line.tags.get(tag, "none")).items()}
        }
    if other is not None:
        before, after = other.by(lambda line: line.component), mine.by(lambda line: line.component)
        changed = {name: round(after.get(name, 0) - before.get(name, 0), 2) for name in sorted({*before, *after})}
        document["against"] = {
            "what": against,
            "monthly": round(other.monthly, 2),
            "difference": round(mine.monthly - other.monthly, 2),
            "by_component": {name: value for name, value in changed.items() if value},
        }
    return document


def _show(document: dict[str, Any]) -> None:
    def money(value: float) -> str:
        return f"{value:,.2f}"

    console.table(
        ["component", "USD a month"], [[name, money(value)] for name, value in document["by_component"].items()]
    )
    for tag, values in document.get("by_tag", {}).items():
        console.table([tag, "USD a month"], [[name, money(value)] for name, value in values.items()])
    if against := document.get("against"):
        rows = [[name, f"{value:+,.2f}"] for name, value in against["by_component"].items()]
        console.table(
            [f"against {against['what']}", "USD a month"], [*rows, ["in all", f"{against['difference']:+,.2f}"]]
        )
    console.table(["assumed", "value", "why"], [list(one.values()) for one in document["assumed"]])
    for source in document["sources"].values():
        console.say(f"prices: {source['title']} ({source['date']})")
    for words in document["not_in_the_sum"]:
        console.say(f"not in the sum: {words}")
    for item in document["no_price"]:
        console.say(f"no price: {item}: add it to a file for --prices")
    console.out.print(f"{document['stack']}: about {document['monthly']:,.0f} USD a month, before tax")
