"""OSCAL assessment results, which tools of auditors read."""

import functools
import uuid
from typing import Any

import orjson

from policies.engine import Status
from policies.outcome import Outcome
from policies.report.evidence import NONE, ControlEvidence, RuleEvidence, by_framework, by_rule, digest

VERSION = "1.2.1"
_SPACE = uuid.UUID("6f4d3f5e-0c4b-5c7e-9a51-2f6a7a3c9d10")
"""Namespace of the names from which ids are made, so that equal outcomes give equal ids."""


def oscal(outcome: Outcome) -> str:
    """One result with an observation a rule and a finding a control.

    A control that nothing in the stack is judged by has no finding: a person answers for it.
    """
    mark = digest(outcome)
    moment = f"{outcome.graph.today.isoformat()}T00:00:00+00:00"
    rules = by_rule(outcome)
    evidence = [one for framework in by_framework(outcome) for one in framework.controls]
    result = {
        "uuid": _id(mark, "result"),
        "title": f"Rules on the stack {outcome.subject}",
        "description": f"What the program of the stack declares, with the digest {mark}, judged by {len(rules)} rules.",
        "start": moment,
        "local-definitions": {"inventory-items": _items(outcome, mark)},
        "reviewed-controls": {
            "control-selections": [
                {"include-controls": [{"control-id": one.control.id} for one in evidence if one.rules]}
            ]
        },
        "observations": [_observation(one, mark, moment) for one in rules.values()],
        "findings": [_finding(one, mark) for one in evidence if one.status != NONE],
    }
    document = {
        "assessment-results": {
            "uuid": _id(mark, "document"),
            "metadata": {
                "title": f"Compliance of the stack {outcome.subject}",
                "last-modified": moment,
                "version": mark,
                "oscal-version": VERSION,
            },
            "import-ap": {
                "href": "#" + _id(mark, "plan"),
                "remarks": "The plan is the rules themselves: policies/rules.",
            },
            "results": [result],
        }
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


@functools.lru_cache(maxsize=1 << 14)
def _id(mark: str, name: str) -> str:
    return str(uuid.uuid5(_SPACE, f"{mark}/{name}"))


def _items(outcome: Outcome, mark: str) -> list[dict[str, Any]]:
    judged = {one.resource.urn: one.resource for one in outcome.judgements}
    return [
        {
            "uuid": _id(mark, urn),
            "description": f"{resource.type}::{resource.name}",
            "props": [{"name": "asset-id", "value": urn}],
        }
        for urn, resource in sorted(judged.items())
    ]


def _observation(one: RuleEvidence, mark: str, moment: str) -> dict[str, Any]:
    words = [
        f"{status.value}: {found.resource.type}::{found.resource.name}: {'; '.join(found.messages)}"
        for status in (Status.FAIL, Status.EXCEPTED, Status.UNKNOWN)
        for found in one.by_status.get(status, ())
    ]
    summary = ", ".join(f"{len(found)} {status.value}" for status, found in sorted(one.by_status.items()))
    observation: dict[str, Any] = {
        "uuid": _id(mark, f"rule {one.rule.id}"),
        "title": one.rule.title,
        "description": f"{one.rule.why} {summary}.",
        "props": [{"name": "rule", "value": one.rule.id, "ns": "https://falaj.ae/ns/oscal"}],
        "methods": ["TEST"],
        "subjects": [
            {"subject-uuid": _id(mark, found.resource.urn), "type": "inventory-item"}
            for judgements in one.by_status.values()
            for found in judgements
        ],
        "collected": moment,
    }
    if words:
        observation["remarks"] = "\n".join([*words, one.rule.remedy])
    return observation


def _finding(one: ControlEvidence, mark: str) -> dict[str, Any]:
    met = one.status in (Status.PASS.value, Status.EXCEPTED.value)
    return {
        "uuid": _id(mark, f"control {one.control.id}"),
        "title": f"{one.control.reference}: {one.control.title.en}",
        "description": f"Checked: {one.control.machine.en} A person answers: {one.control.person.en}",
        "target": {
            "type": "objective-id",
            "target-id": one.control.id,
            "status": {
                "state": "satisfied" if met else "not-satisfied",
                "reason": {"pass": "pass", "fail": "fail"}.get(one.status, "other"),
            },
        },
        "related-observations": [{"observation-uuid": _id(mark, f"rule {rule.rule.id}")} for rule in one.rules],
    }
