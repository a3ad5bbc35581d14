"""What the judgements mean for each control: the one source of the page and of OSCAL."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from policies.catalogue import Control, Framework, selected
from policies.engine import Judgement, Status
from policies.model import Resource, Rule
from policies.outcome import Outcome

NONE = "none"
"""Nothing in the stack is judged by a rule of the control."""
_WORST = (Status.FAIL, Status.UNKNOWN, Status.EXCEPTED, Status.PASS)


@dataclass(frozen=True, kw_only=True)
class RuleEvidence:
    """What one rule gives: its judgements by status."""

    rule: Rule
    by_status: Mapping[Status, tuple[Judgement, ...]]

    @property
    def status(self) -> Status:
        """The worst."""
        return next(status for status in _WORST if self.by_status.get(status))

    @property
    def count(self) -> int:
        """How many resources were judged."""
        return sum(len(found) for found in self.by_status.values())


@dataclass(frozen=True, kw_only=True)
class ControlEvidence:
    """What there is for one control."""

    control: Control
    rules: tuple[RuleEvidence, ...]

    @property
    def status(self) -> str:
        """The worst of its rules, or `none`."""
        found = {one.status for one in self.rules}
        return next((status.value for status in _WORST if status in found), NONE)


@dataclass(frozen=True, kw_only=True)
class FrameworkEvidence:
    """What there is for one framework."""

    framework: Framework
    controls: tuple[ControlEvidence, ...]

    def count(self, status: str) -> int:
        """Controls with a status."""
        return sum(one.status == status for one in self.controls)


@dataclass(frozen=True, kw_only=True)
class ResourceEvidence:
    """What was judged of one resource."""

    resource: Resource
    counts: Mapping[Status, int]


def by_rule(outcome: Outcome) -> dict[str, RuleEvidence]:
    """Judgements by rule."""
    grouped: dict[str, dict[Status, list[Judgement]]] = {}
    rules: dict[str, Rule] = {}
    for one in outcome.judgements:
        grouped.setdefault(one.rule.id, {}).setdefault(one.status, []).append(one)
        rules[one.rule.id] = one.rule
    return {
        name: RuleEvidence(rule=rules[name], by_status={status: tuple(found) for status, found in statuses.items()})
        for name, statuses in grouped.items()
    }


def by_framework(outcome: Outcome) -> list[FrameworkEvidence]:
    """Evidence for each control of the frameworks that hold for the stack."""
    found = by_rule(outcome)
    return [
        FrameworkEvidence(
            framework=framework,
            controls=tuple(
                ControlEvidence(
                    control=control,
                    rules=tuple(one for one in found.values() if control.id in one.rule.controls),
                )
                for control in framework.controls
            ),
        )
        for framework in selected(outcome.graph.settings.policies.profiles)
    ]


def by_resource(outcome: Outcome) -> list[ResourceEvidence]:
    """Every resource that was judged, those with faults first."""
    counts: dict[str, dict[Status, int]] = {}
    resources: dict[str, Resource] = {}
    for one in outcome.judgements:
        resources[one.resource.urn] = one.resource
        mine = counts.setdefault(one.resource.urn, {})
        mine[one.status] = mine.get(one.status, 0) + 1
    found = [ResourceEvidence(resource=resources[urn], counts=mine) for urn, mine in counts.items()]
    return sorted(found, key=lambda one: (-one.counts.get(Status.FAIL, 0), one.resource.type, one.resource.name))


def digest(outcome: Outcome) -> str:
    """SHA-256 of what was judged: equal graphs give equal digests."""
    plain = [
        [one.urn, one.type, one.inputs, dict(one.options), one.parent, sorted(one.dependencies)]
        for one in outcome.graph.resources
    ]
    return "sha256:" + hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()
