"""Judging: each rule on each resource that it is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from policies.graph import Graph
from policies.model import Resource, Rule, Unknown


class Status(StrEnum):
    """How a rule judges a resource."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    EXCEPTED = "excepted"
    """It fails, and an exception that is in date says that it may."""
    UNKNOWN = "unknown"
    """It cannot be judged from what is at hand."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one rule says of one resource.

    Attributes:
        messages: What is wrong, or why it cannot be judged; empty when it passes.
        exception: The file that says why it may fail.
    """

    rule: Rule
    resource: Resource
    status: Status
    messages: tuple[str, ...] = ()
    exception: str | None = None


def check(graph: Graph, rules: Sequence[Rule]) -> list[Judgement]:
    """Judge a graph, by rule and then by URN."""
    return [judge(rule, resource, graph) for rule in rules for resource in graph.of(*rule.types)]


def judge(rule: Rule, resource: Resource, graph: Graph) -> Judgement:
    """What a rule says of a resource. A fault that was found counts, whatever else is not known."""
    faults: list[str] = []
    try:
        for fault in rule.judge(resource, graph):
            faults.append(fault)
    except Unknown as unknown:
        if not faults:
            return Judgement(rule=rule, resource=resource, status=Status.UNKNOWN, messages=(str(unknown),))
    except (AttributeError, KeyError, TypeError, ValueError):
        # A text where a mapping belongs, and the like. What cannot be read does not pass.
        faults.append("it is not of the form that its type has, so that the rule cannot read it")
    unique = tuple(dict.fromkeys(faults))
    return Judgement(rule=rule, resource=resource, status=Status.FAIL if unique else Status.PASS, messages=unique)
