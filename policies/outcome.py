"""What a check found: of a stack, or of a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.errors import ConfigError
from policies.engine import Judgement, Status, check
from policies.exceptions import Excepted, apply
from policies.graph import Graph
from policies.rules import BY_ID, RULES

MANDATORY, ADVISORY = "mandatory", "advisory"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All judgements of a graph.

    Attributes:
        subject: The stack's name, or the file's.
        problems: What is wrong with the exceptions.
        exceptions: Those of the stack.
    """

    subject: str
    graph: Graph
    judgements: tuple[Judgement, ...]
    problems: tuple[str, ...]
    exceptions: tuple[Excepted, ...]

    def of(self, *statuses: Status) -> list[Judgement]:
        """Judgements with one of the statuses, the gravest first."""
        return [one for one in self._by_gravity if one.status in statuses]

    @cached_property
    def _by_gravity(self) -> list[Judgement]:
        return sorted(self.judgements, key=lambda one: (-one.rule.severity.order, one.rule.id, one.resource.urn))

    def level(self, judgement: Judgement) -> str:
        """Whether a fault fails the check (`mandatory`), or is reported alone (`advisory`)."""
        return ADVISORY if judgement.rule.id in self.graph.settings.policies.advisory else MANDATORY

    @property
    def failed(self) -> bool:
        """Whether the check fails."""
        return bool(self.problems) or any(self.level(one) == MANDATORY for one in self.of(Status.FAIL))

    def document(self) -> dict[str, Any]:
        """The outcome as plain data."""
        counts = {status.value: len(self.of(status)) for status in Status}
        return {
            "subject": self.subject,
            "failed": self.failed,
            "resources": self.graph.size,
            "counts": counts,
            "problems": list(self.problems),
            "findings": [finding(self, one) for one in self.of(Status.FAIL, Status.EXCEPTED, Status.UNKNOWN)],
        }


def finding(outcome: Outcome, judgement: Judgement) -> dict[str, Any]:
    """One finding as plain data, the same whichever way the resource came."""
    found: dict[str, Any] = {
        "rule": judgement.rule.id,
        "title": judgement.rule.title,
        "status": judgement.status.value,
        "level": outcome.level(judgement),
        "severity": judgement.rule.severity.value,
        "resource": f"{judgement.resource.type}::{judgement.resource.name}",
        "urn": judgement.resource.urn,
        "messages": list(judgement.messages),
        "remedy": remedy(outcome, judgement),
        "controls": list(judgement.rule.controls),
    }
    if judgement.resource.place:
        found["place"] = judgement.resource.place
    if judgement.exception:
        found["exception"] = judgement.exception
    return found


def remedy(outcome: Outcome, judgement: Judgement) -> str:
    """The rule's remedy, with the stack's own file."""
    return judgement.rule.remedy.replace("stacks/Pulumi.<stack>.yaml", outcome.graph.settings.file)


def examine(subject: str, graph: Graph, exceptions: Sequence[Excepted]) -> Outcome:
    """Check a graph by every rule.

    Raises:
        ConfigError: The stack's file names a rule that there is not.
    """
    unknown = sorted(set(graph.settings.policies.advisory) - set(BY_ID))
    if unknown:
        raise ConfigError(
            f"{graph.settings.file}: policies.advisory has {unknown[0]}, and there is no such rule: "
            "`falaj check --rules` lists them"
        )
    stack = graph.settings.stack
    judgements, problems = apply(check(graph, RULES), exceptions, stack, graph.today)
    return Outcome(
        subject=subject,
        graph=graph,
        judgements=tuple(judgements),
        problems=tuple(problems),
        exceptions=tuple(one for one in exceptions if stack in one.entry.stacks),
    )
