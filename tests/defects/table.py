"""The table of what was broken and which stage said so: `docs/defects.md`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.defects.catalogue import TOPICS
from tests.defects.suite import CHECK, CONFIGURATION, PLAN, REHEARSAL, Result
from tests.policies.mutations.world import ROOT

FILE = ROOT / "docs" / "defects.md"
UNCAUGHT = Path(__file__).with_name("uncaught.yaml")
STAGES = (CONFIGURATION, PLAN, CHECK, REHEARSAL)
_LONGEST = 160
_HEAD = """\
# What a first deployment would meet, and what says so before

Each line is one thing that was broken in a stack that is sound, alone, and the first stage that said so. The list was
written from experience and from issues of other projects, before it was looked up which checks there are: then 136
of 355 were caught before the rehearsal. Most checks of `infra/checks` were written since, for what was not.

| stage | what it is | takes |
|---|---|---|
| `configuration` | the stack's file is read | moments |
| `plan` | the program runs without engine or account, and its graph is checked: `falaj plan` | seconds |
| `check` | the policies judge the graph: `falaj check` | seconds |
| `rehearsal` | the broken resource is made by the rehearsal's providers, after all that it depends on | minutes |

What is rehearsed here is made on moto, held against AWS's own model of its calls, or on a real API server, with the
pods that a controller would make; the sound one, in the same place, was not refused. What a later release changes is
made as it was and then changed: the provider refuses that, or has it replaced, which `pulumi preview` shows too; a
whole rehearsal begins from nothing, and does not see it. Beside that, a whole rehearsal
(`make rehearse`) has the engine and its order, and charts, and nodes that pods wait for.

This file is written by `python -m tests.defects`, and a test holds it up to date.
"""


def uncaught() -> Mapping[str, str]:
    """Ids of the defects that no stage catches, each with the reason."""
    found: Any = yaml.safe_load(UNCAUGHT.read_text()) or []
    return {name: entry["reason"] for entry in found for name in entry["defects"]}


def document(results: Sequence[Result]) -> str:
    """The whole page."""
    by_id = {one.defect.id: one for one in results}
    counts = Counter(one.stage for one in results)
    told = ", ".join(f"{counts[stage]} by `{stage}`" for stage in STAGES)
    lines = [
        _HEAD,
        f"{len(results)} defects: {len(results) - counts[None]} are caught, {told}; {counts[None]} are not.\n",
        "## Not caught\n",
        "| defect | what is wrong | where | reason |",
        "|---|---|---|---|",
    ]
    reasons = uncaught()
    for one in sorted(results, key=lambda one: one.defect.id):
        if one.stage is None:
            defect = one.defect
            lines.append(f"| {defect.id} | {defect.what} | {defect.subject} | {reasons.get(defect.id, '')} |")
    for topic, defects in TOPICS.items():
        lines += [
            f"\n## {topic[0].upper()}{topic[1:]}\n",
            "| defect | what is wrong | where | stage | what is said |",
            "|---|---|---|---|---|",
            *(_row(by_id[one.id]) for one in defects),
        ]
    return "\n".join(lines) + "\n"


def _row(one: Result) -> str:
    what = f"{one.defect.what} ([seen]({one.defect.seen}))" if one.defect.seen else one.defect.what
    stage = f"`{one.stage}`" if one.stage else "**none**"
    said = one.said if len(one.said) <= _LONGEST else f"{one.said[:_LONGEST].rstrip()}…"
    return f"| {one.defect.id} | {what} | {one.defect.subject} | {stage} | {_plain(said)} |"


def _plain(text: str) -> str:
    """Text that a table's cell shows as it is."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
