"""What the API server refuses by itself in a namespace, where a chart's own objects have no field for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi_kubernetes.admissionregistration.v1 import ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.addons.chart import Values
from infra.substrates.cluster import Cluster, NamespaceSpec


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What holds for every object of a kind.

    Attributes:
        expression: In CEL, over `object`.
        message: What is wrong, and what to change where.
    """

    expression: str
    message: str


def policy(group: str, versions: Sequence[str], resources: Sequence[str], rules: Sequence[Rule]) -> Values:
    """Specification of a ValidatingAdmissionPolicy for objects that are made or changed."""
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [group],
                    "apiVersions": list(versions),
                    "resources": list(resources),
                    "operations": ["CREATE", "UPDATE"],
                }
            ]
        },
        "validations": [{"expression": rule.expression, "message": rule.message} for rule in rules],
    }


def binding(name: str, namespace: NamespaceSpec) -> Values:
    """Specification of a ValidatingAdmissionPolicyBinding: refuse, in one namespace."""
    within = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    return {
        "policyName": f"falaj-{name}",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": within},
    }


def declare(
    cluster: Cluster,
    name: str,
    namespace: NamespaceSpec,
    spec: Values,
    parent: pulumi.Resource,
    depends_on: Sequence[pulumi.Resource],
) -> None:
    """Create the policy, and bind it to one namespace; `depends_on` is what defines its kinds."""
    within = cluster.namespace(namespace)
    options = pulumi.ResourceOptions(parent=parent, provider=cluster.provider, depends_on=[within, *depends_on])
    made = ValidatingAdmissionPolicy(
        f"{namespace.name}/{name}", metadata=ObjectMetaArgs(name=f"falaj-{name}"), spec=cast(Any, spec), opts=options
    )
    ValidatingAdmissionPolicyBinding(
        f"{namespace.name}/{name}",
        metadata=ObjectMetaArgs(name=f"falaj-{name}"),
        spec=cast(Any, binding(name, namespace)),
        opts=pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=[made])),
    )
