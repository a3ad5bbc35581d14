"""`falaj plan`: what a stack would create, without an engine, an account or a network."""

import gc
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import ConfigError, PlanError
from falaj import console
from falaj.environment import ROOT
from falaj.parallel import side_by_side
from tools.build import BIN

if TYPE_CHECKING:
    from infra.plan import Graph

GOLDENS = ROOT / "tests" / "infra" / "goldens"
_HOME = Path("/falaj")


def plan(
    stack: Annotated[str | None, typer.Argument(help="Name of the stack: that of stacks/Pulumi.<stack>.yaml.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Plan every stack.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the graph; with --all a list of them.")] = False,
    write_goldens: Annotated[
        bool, typer.Option("--write-goldens", help="Write the graphs to tests/infra/goldens, to review as a diff.")
    ] = False,
) -> None:
    """Show what a stack consists of; a graph that the engine would refuse, or that leaks a secret, is an error."""
    from infra.plan import stacks

    if (stack is None) != every:
        raise ConfigError("name one stack, or pass --all: the stacks are " + ", ".join(stacks(ROOT)))
    # This process ends before its garbage would matter.
    gc.disable()
    planned = side_by_side(partial(graph, twice=write_goldens), stacks(ROOT) if stack is None else [stack])
    if write_goldens:
        GOLDENS.mkdir(parents=True, exist_ok=True)
        for found in planned:
            (GOLDENS / f"{found.stack}.json").write_text(found.to_json())
            console.say(f"wrote {(GOLDENS / found.stack).relative_to(ROOT)}.json")
    elif as_json:
        text = ",\n".join(found.to_json().rstrip() for found in planned)
        sys.stdout.write(f"[\n{text}\n]\n" if every else f"{text}\n")
    else:
        for found in planned:
            _show(found)


def graph(stack: str, root: Path = ROOT, *, twice: bool = False) -> "Graph":
    """The graph of a stack, the same on every machine.

    Args:
        twice: Whether to refuse a program that does not register the same when it runs again.

    Raises:
        ConfigError: The stack's file is invalid.
        PlanError: The graph has faults, or would fail once it is deployed.
    """
    from infra.checks import faults
    from infra.config import KEY, parse_config
    from infra.plan import PROJECT, read_stack, record
    from infra.program import deploy

    symbols = {sysconfig.get_path("purelib"): "<site-packages>", sys.prefix: "<environment>", str(root): "<root>"}
    with _programs():
        if prometheus := shutil.which("prometheus"):
            symbols[prometheus] = "<tools>/prometheus"
        config = read_stack(root, stack)
        found = record(stack, config, lambda: deploy(root, _HOME), symbols, twice=twice)
    wrong = faults(found, parse_config(config[f"{PROJECT}:{KEY}"], stack))
    if wrong:
        raise PlanError(f"{stack} would fail once it is deployed:\n" + "\n".join(f"  {fault}" for fault in wrong))
    return found


@contextmanager
def _programs() -> Iterator[None]:
    """The local stack names its programs by where PATH has them: that of this environment, as for the engine."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), str(BIN), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _show(found: "Graph") -> None:
    children = found.children()

    def show(urn: str | None, depth: int) -> None:
        for resource in sorted(children.get(urn, []), key=lambda resource: (resource.type, resource.name)):
            flags = " ".join(flag for flag in ("protect", "retain_on_delete") if resource.options.get(flag))
            style = "default" if resource.custom else "bold"
            line = f"{'  ' * depth}[{style}]{console.escape(resource.name)}[/]  [dim]{resource.type}[/]  {flags}"
            console.out.print(line.rstrip(), soft_wrap=True)
            show(resource.urn, depth + 1)

    show(None, 0)
    counts = found.counts()
    rows = [[kind, str(count)] for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    console.table(["type", "count"], [*rows, ["in all", str(counts.total())]])
