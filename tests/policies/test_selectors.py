"""Selectors find what Kubernetes would, however many there are."""

import random

import pytest

from policies.model import Resource
from policies.selectors import Selectors

LABELS = {"app": "mlflow", "tier": "web"}


def policy(name: str, selector: dict[str, object], namespace: str = "falaj") -> Resource:
    inputs = {"metadata": {"name": name, "namespace": namespace}, "spec": {"podSelector": selector}}
    return Resource(urn=name, type="k", name=name, inputs=inputs)


def names(*policies: Resource, namespace: str = "falaj") -> set[str]:
    return {one.name for one in Selectors(policies, "podSelector").of(namespace, LABELS)}


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        ({}, True),
        ({"matchLabels": {"app": "mlflow"}}, True),
        ({"matchLabels": {"app": "mlflow", "tier": "web"}}, True),
        ({"matchLabels": {"app": "mlflow", "other": "x"}}, False),
        ({"matchLabels": {"app": "feast"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["feast", "mlflow"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["mlflow"]}]}, False),
        ({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Sometimes"}]}, False),
        ({"matchLabels": {"app": "mlflow"}, "matchExpressions": [{"key": "x", "operator": "Exists"}]}, False),
    ],
)
def test_a_selector_selects_as_kubernetes_does(selector: dict[str, object], selects: bool) -> None:
    assert names(policy("one", selector)) == ({"one"} if selects else set())


def test_a_selector_holds_in_its_namespace_alone() -> None:
    assert names(policy("here", {}), policy("there", {}, "other")) == {"here"}
    assert names(policy("here", {}), policy("there", {}, "other"), namespace="other") == {"there"}


def test_what_is_filed_is_found_as_if_each_were_looked_at() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    some = [
        policy(
            f"p{at}", {"matchLabels": {key: chance.choice("xyz") for key in chance.sample("abc", chance.randint(0, 3))}}
        )
        for at in range(300)
    ]
    filed = Selectors(some, "podSelector")
    for _ in range(50):
        labels = {key: chance.choice("xyz") for key in chance.sample("abcd", chance.randint(0, 4))}
        expected = {
            one.name for one in some if one.inputs["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        }
        assert sorted(one.name for one in filed.of("falaj", labels)) == sorted(expected)
