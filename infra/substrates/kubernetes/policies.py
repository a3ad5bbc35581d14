"""Who may connect to whom, as NetworkPolicies: everything is denied, and each declared connection is let through."""

from collections.abc import Mapping, Sequence
from typing import Any

from infra.substrates.kubernetes.bindings import Destination

NAMESPACE = "kubernetes.io/metadata.name"
"""The label that every namespace has by itself."""


def ports(numbers: Sequence[int | str]) -> list[dict[str, Any]]:
    """TCP ports, by number or by the name that the pod gives one."""
    return [{"protocol": "TCP", "port": number} for number in numbers]


def peer(namespace: str, pods: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Pods of a namespace, or only those with the labels."""
    found: dict[str, Any] = {"namespaceSelector": {"matchLabels": {NAMESPACE: namespace}}}
    return found | {"podSelector": {"matchLabels": dict(pods)}} if pods else found


def denied() -> dict[str, Any]:
    """Nothing in and nothing out, but name look-ups and what the namespace's other policies let through."""
    return {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [name_lookups()]}


def closed() -> dict[str, Any]:
    """Nothing in but what the namespace's other policies let through; the platform's own controllers may go out."""
    return {"podSelector": {}, "policyTypes": ["Ingress"]}


def ingress(
    pods: Mapping[str, str], sources: Sequence[Mapping[str, Any]], numbers: Sequence[int | str]
) -> dict[str, Any]:
    """`sources` may connect to some ports of the pods; no ports are all."""
    rule: dict[str, Any] = {"from": list(sources)} | ({"ports": ports(numbers)} if numbers else {})
    return {"podSelector": {"matchLabels": dict(pods)}, "policyTypes": ["Ingress"], "ingress": [rule]}


def egress(pods: Mapping[str, str], rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The pods may connect where the rules say."""
    return {"podSelector": {"matchLabels": dict(pods)}, "policyTypes": ["Egress"], "egress": list(rules)}


def to(destination: Destination) -> dict[str, Any]:
    """The way out to addresses outside the cluster."""
    return {"to": [{"ipBlock": {"cidr": cidr}} for cidr in destination.cidrs], "ports": ports(destination.ports)}


def name_lookups() -> dict[str, Any]:
    """The way to the cluster's DNS."""
    return {
        "to": [peer("kube-system", {"k8s-app": "kube-dns"})],
        "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
    }
