"""The table of what was broken and what said so: `docs/mutations.md`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from policies.catalogue import controls
from policies.engine import Status
from tests.policies.mutations.catalogue import TOPICS
from tests.policies.mutations.suite import Result, Suite
from tests.policies.mutations.world import ROOT, Mutation

FILE = ROOT / "docs" / "mutations.md"
UNCAUGHT = Path(__file__).with_name("uncaught.yaml")

_HEAD = """\
# What the policies catch

Each line is one thing that was broken in what `falaj check` reads, and the rules that said so: they passed before, and
fail now. The mutations were written from the controls and facts before any rule was read; rules that were added since
have seen them. In a stack the mutation is in the plain graph of
`falaj plan`; `smb`, `prod` and `onprem` stand for all, as the others are made by the same program. The InferenceService
is what `infra/addons/models.py` makes of a version with two replicas and a card.

This file is written by `python -m tests.policies.mutations`, and a test holds it up to date.
"""


def uncaught() -> Mapping[str, str]:
    """Ids of the mutations that nothing catches, each with the reason."""
    found: Any = yaml.safe_load(UNCAUGHT.read_text()) or {}
    return {name: reason for reason, names in found.items() for name in names}


def missed(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Results that nothing caught, by the mutation's id."""
    found: dict[str, list[Result]] = {}
    for one in results:
        if not one.rules:
            found.setdefault(one.mutation.id, []).append(one)
    return found


def document(suite: Suite, results: Sequence[Result]) -> str:
    """The whole page."""
    by_mutation: dict[str, list[Result]] = {}
    for one in results:
        by_mutation.setdefault(one.mutation.id, []).append(one)
    lost = missed(results)
    total = len(by_mutation)
    rules = {rule for one in results for rule in one.rules}
    lines = [
        _HEAD,
        f"{total} mutations, tried {len(results)} times: {total - len(lost)} are caught wherever they were tried, "
        f"by {len(rules)} rules; {len(lost)} are not.\n",
        "## Not caught\n",
        *_not_caught(lost),
        "\n## Nothing broken\n",
        *_clean(suite),
    ]
    for topic, mutations in TOPICS.items():
        lines += [
            f"\n## {topic[0].upper()}{topic[1:]}\n",
            "| mutation | what is wrong | control | where | caught by |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(one, by_mutation[one.id]) for one in mutations]
    return "\n".join(lines) + "\n"


def _not_caught(lost: Mapping[str, Sequence[Result]]) -> list[str]:
    if not lost:
        return ["None."]
    reasons = uncaught()
    lines = ["| mutation | what is wrong | control | where nothing said so | reason |", "|---|---|---|---|---|"]
    for name, found in sorted(lost.items()):
        mutation = found[0].mutation
        where = ", ".join(
            one.subject + (f" (cannot be judged: {', '.join(one.doubts)})" if one.doubts else "") for one in found
        )
        lines.append(f"| {name} | {mutation.what} | {_control(mutation)} | {where} | {reasons.get(name, '')} |")
    return lines


def _clean(suite: Suite) -> list[str]:
    lines = ["| | fail | excepted | cannot be judged |", "|---|---|---|---|"]
    for subject, outcome in suite.before.items():
        fails = ", ".join(sorted({one.rule.id for one in outcome.of(Status.FAIL)})) or "none"
        doubts = ", ".join(sorted({one.rule.id for one in outcome.of(Status.UNKNOWN)})) or "none"
        excepted = len(outcome.of(Status.EXCEPTED))
        lines.append(f"| {subject} | {fails} | {excepted} | {doubts} |")
    return lines


def _row(mutation: Mutation, results: Sequence[Result]) -> str:
    where = ", ".join(mutation.subjects)
    rules = ", ".join(f"`{rule}`" for rule in sorted({rule for one in results for rule in one.rules})) or "**nothing**"
    return f"| {mutation.id} | {mutation.what} | {_control(mutation)} | {where} | {rules} |"


def _control(mutation: Mutation) -> str:
    return f"{mutation.control} ({controls()[mutation.control].title.en})"
