"""Rights of pipeline steps in the namespaces where other engines run their jobs."""

from collections.abc import Sequence
from typing import Any, cast

import pulumi
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.rbac.v1 import Role, RoleBinding

from infra.addons.chart import Values
from infra.substrates.cluster import Cluster, NamespaceSpec

PIPELINES = "pipelines"
RUNNER = "pipeline-runner"


def rules(group: str, resources: Sequence[str]) -> list[Values]:
    """To start, watch and remove jobs of a kind, and to read what their pods said."""
    return [
        {"apiGroups": [group], "resources": list(resources), "verbs": ["create", "delete", "get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
    ]


def submit(
    cluster: Cluster, namespace: NamespaceSpec, group: str, resources: Sequence[str], parent: pulumi.Resource
) -> None:
    """Let the steps of pipelines submit jobs to a namespace."""
    within = cluster.namespace(namespace)
    options = pulumi.ResourceOptions(parent=parent, provider=cluster.provider, depends_on=[within])
    metadata = ObjectMetaArgs(name=RUNNER, namespace=namespace.name)
    name = f"{namespace.name}/{RUNNER}"
    role = Role(name, metadata=metadata, rules=cast(Any, rules(group, resources)), opts=options)
    RoleBinding(
        name,
        metadata=metadata,
        role_ref=cast(Any, {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": RUNNER}),
        subjects=cast(Any, [{"kind": "ServiceAccount", "name": RUNNER, "namespace": PIPELINES}]),
        opts=pulumi.ResourceOptions.merge(options, pulumi.ResourceOptions(depends_on=[role])),
    )
