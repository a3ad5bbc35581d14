"""Each rule allows what is clean, and denies what is broken."""

import re
from pathlib import Path
from typing import Any

import pulumi_aws
import pytest

from policies.engine import Judgement, Status, check
from policies.model import Rule, Severity
from policies.rules import BY_ID, RULES
from tests.policies.graphs import BASES, SECTION, Described, broken, graph, read

CASES: dict[str, dict[str, Any]] = read("cases.yaml")


def judged(rule: Rule, described: Described, section: dict[str, Any] | None = None) -> list[Judgement]:
    return check(graph(described, section), [rule])


def settings(case: dict[str, Any], key: str) -> dict[str, Any]:
    return {**SECTION, **case.get("settings", {}), **case.get(key, {})}


def test_every_rule_has_a_case() -> None:
    assert sorted(CASES) == sorted(rule.id for rule in RULES)
    assert len(RULES) >= 100


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_allows_what_is_clean(rule: Rule) -> None:
    case = CASES[rule.id]
    if case.get("never"):
        # What it is about must not be there at all: the clean stack has none to judge.
        assert all(judged(rule, base) == [] for base in BASES.values())
        return
    found = judged(rule, case.get("allow") or BASES[case["base"]], settings(case, ""))
    assert [one.messages for one in found if one.status is not Status.PASS] == []
    assert found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_denies_what_is_broken(rule: Rule) -> None:
    case = CASES[rule.id]
    described = case.get("deny") or broken(BASES[case["base"]], case.get("break", {}))
    found = judged(rule, described, settings(case, "broken_settings"))
    if "unknown_settings" in case:
        found = judged(rule, described, settings(case, "unknown_settings"))
        assert [one.status for one in found] == [Status.UNKNOWN]
        return
    failed = [one for one in found if one.status is Status.FAIL]
    assert failed
    assert all(one.messages for one in failed)
    assert not any("not of the form" in message for one in failed for message in one.messages)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_what_to_do(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|trail|recorder|admission|protected", rule.id)
    assert rule.title
    assert not rule.title.endswith(".")
    assert rule.why.endswith(".")
    assert rule.remedy.endswith(".")
    assert rule.severity in Severity
    assert rule.controls


def test_ids_are_unique() -> None:
    assert len(BY_ID) == len(RULES)


def test_types_of_aws_exist_in_its_provider() -> None:
    known: set[str] = set()
    for file in Path(pulumi_aws.__file__).parent.rglob("*.py"):
        if not file.name.startswith(("get_", "_", "outputs")):
            known |= set(re.findall(r"'(aws:[a-zA-Z0-9]+/[a-zA-Z0-9]+:[A-Za-z0-9]+)'", file.read_text()))
    named = {kind for rule in RULES for kind in rule.types if kind.startswith("aws:")}
    missing = sorted(
        kind
        for kind in named
        if not any(one == kind or (kind[-1] == "*" and one.startswith(kind[:-1])) for one in known)
    )
    assert missing == []


def _site(labels: dict[str, str], options: dict[str, bool]) -> list[dict[str, Any]]:
    """A namespace, and a chart in it that keeps data in a volume."""
    storage = {"grafana": {"persistence": {"storageClassName": "encrypted"}}}
    metadata = {"name": "monitoring", "labels": labels}
    return [
        {"$type": "k8s/core/v1:Namespace", "$name": "monitoring", "$options": options, "metadata": metadata},
        {"$type": "k8s/helm.sh/v4:Chart", "$name": "chart", "namespace": "monitoring", "values": storage},
    ]


def test_namespaces_say_what_tags_say() -> None:
    whose = {f"falaj.ae/{key}": "a" for key in ("owner", "cost-centre", "purpose", "environment")}
    holds = {"falaj.ae/data-class": "platform"}
    sound, bare = _site({**whose, **holds}, {"protect": True}), _site({"falaj.ae/owner": "a"}, {})
    open_to_all = _site(holds, {})

    def said(rule: str, described: list[dict[str, Any]]) -> list[str]:
        return [text for one in judged(BY_ID[rule], described, SECTION) for text in one.messages]

    assert [text for rule in ("owner-tags", "data-classified", "protected") for text in said(rule, sound)] == []
    assert said("owner-tags", bare) == ["it has no label falaj.ae/cost-centre, falaj.ae/purpose, falaj.ae/environment"]
    assert said("data-classified", bare) == [
        "it keeps data in volumes, and its namespace's label falaj.ae/data-class does not say which"
    ]
    assert said("protected", bare) == []
    assert said("protected", open_to_all) == ["the engine would delete it: it is not protected"]
