"""SARIF 2.1.0, which code hosts show beside the code."""

from collections.abc import Sequence
from typing import Any

import orjson

from policies.engine import Judgement, Status
from policies.model import Rule, Severity
from policies.outcome import MANDATORY, Outcome, remedy

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_SCORES = {Severity.LOW: "3.0", Severity.MEDIUM: "5.0", Severity.HIGH: "8.0", Severity.CRITICAL: "9.5"}
"""GitHub's `security-severity`, from 0 to 10."""


def sarif(outcomes: Sequence[Outcome]) -> str:
    """One run over all that was checked. What is excepted is there, suppressed; what is not known is a note."""
    rules = sorted(
        {one.rule.id: one.rule for outcome in outcomes for one in outcome.judgements}.values(), key=lambda rule: rule.id
    )
    index = {rule.id: at for at, rule in enumerate(rules)}
    results = [
        _result(outcome, one, index[one.rule.id])
        for outcome in outcomes
        for one in outcome.of(Status.FAIL, Status.EXCEPTED, Status.UNKNOWN)
    ]
    driver = {"name": "falaj", "rules": [_rule(rule) for rule in rules]}
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "properties": {"tags": ["security", *rule.controls], "security-severity": _SCORES[rule.severity]},
    }


def _result(outcome: Outcome, judgement: Judgement, index: int) -> dict[str, Any]:
    resource = judgement.resource
    place = resource.place or outcome.graph.settings.file
    file, _, line = place.rpartition(":")
    physical: dict[str, Any] = {"artifactLocation": {"uri": file if line.isdigit() else place}}
    if line.isdigit():
        physical["region"] = {"startLine": int(line)}
    open_ = judgement.status is Status.UNKNOWN
    # The standard wants the level none for everything but a failure.
    level = "none" if open_ else "error" if outcome.level(judgement) == MANDATORY else "warning"
    text = f"{resource.type}::{resource.name}: {'; '.join(judgement.messages)}. {remedy(outcome, judgement)}"
    found: dict[str, Any] = {
        "ruleId": judgement.rule.id,
        "ruleIndex": index,
        "level": level,
        "kind": "open" if open_ else "fail",
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": physical,
                "logicalLocations": [{"fullyQualifiedName": resource.urn, "kind": "resource"}],
            }
        ],
        "partialFingerprints": {"falaj/v1": f"{judgement.rule.id}:{resource.urn}"},
    }
    if judgement.status is Status.EXCEPTED:
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": judgement.exception}]
    return found
