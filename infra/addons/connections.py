"""Who may connect to whom within the namespaces of third-party parts, as NetworkPolicies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy

from infra.substrates.cluster import Cluster, NamespaceSpec

Labels = Mapping[str, str]
_NAMESPACE = "kubernetes.io/metadata.name"
_API = (443, 6443)
"""Where API servers listen; a managed one on the first, others mostly on the second."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Pods that may call pods of the same namespace.

    Attributes:
        name: Of the two policies.
        caller: Labels; none are all pods of the namespace.
        ports: None are all.
    """

    name: str
    caller: Labels
    callee: Labels
    ports: Sequence[int]


def documents(
    connections: Sequence[Connection],
    cluster_api: Mapping[str, Labels],
    control_plane: Sequence[pulumi.Input[str]],
    scraped: Mapping[str, tuple[Labels, int]],
) -> dict[str, dict[str, Any]]:
    """Specifications of NetworkPolicies, by their names.

    Args:
        cluster_api: Pods that call the cluster's API, by a name for each kind.
        control_plane: Networks of the API servers.
        scraped: Pods with metrics, and the port that Prometheus reads.
    """
    found: dict[str, dict[str, Any]] = {}
    for connection in connections:
        found[f"{connection.name}-out"] = _out(
            connection.caller, [{"podSelector": {"matchLabels": dict(connection.callee)}}], connection.ports
        )
        found[f"{connection.name}-in"] = _in(
            connection.callee, [{"podSelector": {"matchLabels": dict(connection.caller)}}], connection.ports
        )
    servers = [{"ipBlock": {"cidr": cidr}} for cidr in control_plane]
    for name, pods in cluster_api.items():
        found[f"{name}-api"] = _out(pods, servers, _API)
    prometheus = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE: "monitoring"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    for name, (pods, port) in scraped.items():
        found[f"{name}-metrics"] = _in(pods, [prometheus], [port])
    return found


def declare(
    cluster: Cluster, namespace: NamespaceSpec, found: Mapping[str, Mapping[str, Any]], parent: pulumi.Resource
) -> list[pulumi.Resource]:
    """Create the policies; pods that need them depend on them."""
    options = pulumi.ResourceOptions(
        parent=parent, provider=cluster.provider, depends_on=[cluster.namespace(namespace)]
    )
    return [
        NetworkPolicy(
            f"{namespace.name}/{name}",
            metadata=ObjectMetaArgs(name=name, namespace=namespace.name),
            spec=cast(Any, document),
            opts=options,
        )
        for name, document in found.items()
    ]


def _out(pods: Labels, to: Sequence[Mapping[str, Any]], ports: Sequence[int]) -> dict[str, Any]:
    rule = {"to": list(to), **_ports(ports)}
    return {"podSelector": {"matchLabels": dict(pods)}, "policyTypes": ["Egress"], "egress": [rule]}


def _in(pods: Labels, sources: Sequence[Mapping[str, Any]], ports: Sequence[int]) -> dict[str, Any]:
    rule = {"from": list(sources), **_ports(ports)}
    return {"podSelector": {"matchLabels": dict(pods)}, "policyTypes": ["Ingress"], "ingress": [rule]}


def _ports(numbers: Sequence[int]) -> dict[str, Any]:
    return {"ports": [{"protocol": "TCP", "port": number} for number in numbers]} if numbers else {}
