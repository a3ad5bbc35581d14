"""The cluster's admission policies and the rules agree: what one refuses of a pod or a service, the other does too.

The policies are those of the stack prod, their expressions judged by Google's own CEL.
"""

import json
from typing import Any

import pytest
from cel_expr_python import cel

from falaj.commands.plan import GOLDENS
from policies.engine import Status, check
from policies.model import Resource
from policies.pods import pods
from policies.rules import BY_ID, RULES
from tests.policies.graphs import BASES, broken, graph, read

BOTH = (
    "image-moving-tag",
    "image-registry",
    "pod-capabilities-added",
    "pod-capabilities-dropped",
    "pod-escalation",
    "pod-host-ipc",
    "pod-host-network",
    "pod-host-path",
    "pod-host-port",
    "pod-host-processes",
    "pod-non-root",
    "pod-privileged",
    "pod-requests",
    "pod-seccomp",
    "pod-user",
    "service-exposure",
)
"""Rules on pods and services that admission asks for as well."""
HERE = frozenset(
    {
        "pod-account",
        "pod-mandatory-access",
        "pod-memory-limit",
        "pod-namespace",
        "pod-network-policy",
        "pod-probes",
        "pod-proc-mount",
        "pod-read-only",
        "pod-secret-in-clear",
        "pod-shared-processes",
        "pod-sysctls",
        "pod-token",
        "pod-volume-types",
    }
)
"""Rules that are asked here alone. There, the pod security level asks for some of them, and limits have defaults."""
CASES = read("cases.yaml")
LEVEL = "pod-security.kubernetes.io/enforce"
NAMESPACE = {"metadata": {"name": "falaj", "labels": {"app.kubernetes.io/managed-by": "falaj", LEVEL: "restricted"}}}


def policies() -> list[dict[str, Any]]:
    golden = json.loads((GOLDENS / "prod.json").read_text())
    kind = "kubernetes:policies.kyverno.io/v1:ValidatingPolicy"
    return [one["inputs"]["spec"] for one in golden["resources"] if one["type"] == kind]


ENVIRONMENT = cel.NewEnv(
    config=cel.NewEnvConfigFromYaml(
        "name: admission\nextensions: [{name: optional}, {name: strings}]\nvariables:\n"
        + "".join(f"- {{name: {name}, type_name: dyn}}\n" for name in ("object", "namespaceObject", "variables"))
    )
)


def holds(expression: str, data: dict[str, Any]) -> bool:
    result = ENVIRONMENT.compile(expression).eval(data=data).value()
    assert isinstance(result, bool), result
    return result


def refused(document: dict[str, Any], kind: str) -> list[str]:
    """Messages of the admission policies that refuse an object."""
    found: list[str] = []
    for spec in policies():
        if [kind] != [name for rule in spec["matchConstraints"]["resourceRules"] for name in rule["resources"]]:
            continue
        data: dict[str, Any] = {"object": document, "namespaceObject": NAMESPACE, "variables": {}}
        if not all(holds(condition["expression"], data) for condition in spec["matchConditions"]):
            continue
        for variable in spec.get("variables", []):
            data["variables"][variable["name"]] = (
                ENVIRONMENT.compile(variable["expression"]).eval(data=data).plain_value()
            )
        found += [one["message"] for one in spec["validations"] if not holds(one["expression"], data)]
    return found


def admitted(resources: list[Resource]) -> list[str]:
    """What admission refuses of the pods and services of a graph."""
    found: list[str] = []
    for resource in resources:
        for pod in pods(resource):
            found += refused({"metadata": {"name": "p"}, "spec": dict(pod.spec)}, "pods")
        if resource.type == "kubernetes:core/v1:Service":
            found += refused({"metadata": {"name": "s"}, "spec": resource.inputs["spec"]}, "services")
    return found


def of_pods(rule: str) -> bool:
    case = CASES[rule]
    return case.get("base") == "service" and all(key.startswith(("mlflow.", "service.")) for key in case["break"])


def test_both_admit_what_is_clean() -> None:
    assert policies()
    assert admitted(list(graph(BASES["service"]).resources)) == []


def test_every_rule_on_pods_is_asked_there_or_known_to_be_asked_here_alone() -> None:
    about = {
        rule.id for rule in RULES if of_pods(rule.id) and rule.id.startswith(("pod-", "service-exposure", "image-"))
    }
    assert about - set(BOTH) - HERE == {"image-fixed", "image-pull-policy"}


@pytest.mark.parametrize("rule", BOTH)
def test_both_refuse_what_is_broken(rule: str) -> None:
    changed = graph(broken(BASES["service"], CASES[rule]["break"]))
    assert {one.status for one in check(changed, [BY_ID[rule]])} >= {Status.FAIL}
    assert admitted(list(changed.resources)) != []
