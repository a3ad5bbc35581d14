"""Whoever is told a service's address must be let out to it, and let in there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.checks.objects import Objects, Pod, selects

_ADDRESS = re.compile(r"\b(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(?:\.cluster\.local)?:(?P<port>\d+)")
_NAMESPACE = "kubernetes.io/metadata.name"


def network(objects: Objects) -> Iterator[str]:
    """Connections that a pod is told to make, and that some policy stops."""
    for pod in objects.pods:
        for address in sorted({match.group() for text in pod.texts() for match in _ADDRESS.finditer(text)}):
            match = _ADDRESS.match(address)
            if match is not None:
                yield from _connection(objects, pod, match["service"], match["namespace"], int(match["port"]))
    for (namespace, name), policy in objects.of("NetworkPolicy").items():
        for rule in policy.inputs["spec"].get("egress", []):
            if not rule.get("to"):
                yield f"NetworkPolicy {namespace}/{name} has an egress rule without `to`: it is open to the world"
    guarded = {namespace for namespace, _ in objects.of("NetworkPolicy")}
    for _, namespace in sorted(objects.of("Namespace").keys() - {("", name) for name in guarded}):
        yield f"the namespace {namespace} has no NetworkPolicy, so that everything may connect to its pods"


def _connection(objects: Objects, caller: Pod, service: str, namespace: str, port: int) -> Iterator[str]:
    found = objects.of("Service").get((namespace, service))
    labels: list[Mapping[str, str]] = [{}]
    if found is not None:
        selector = found.inputs["spec"]["selector"]
        labels = [p.labels for p in objects.pods if p.namespace == namespace and selects(selector, p.labels)] or [{}]
    for called in labels:
        if not _allowed(objects, caller.namespace, caller.labels, "egress", namespace, called, port):
            yield f"{caller.owner} calls {service}.{namespace}:{port}, and no policy lets it out"
        if not _allowed(objects, namespace, called, "ingress", caller.namespace, caller.labels, port):
            yield f"{caller.owner} calls {service}.{namespace}:{port}, and no policy there lets it in"


def _allowed(
    objects: Objects,
    namespace: str,
    labels: Mapping[str, str],
    way: str,
    peer_namespace: str,
    peer_labels: Mapping[str, str],
    port: int,
) -> bool:
    """Whether the policies of some pods allow a connection; those that no policy selects may do all."""
    policies: list[Mapping[str, Any]] = [
        policy.inputs["spec"]
        for (within, _), policy in objects.of("NetworkPolicy").items()
        if within == namespace
        and way.capitalize() in policy.inputs["spec"]["policyTypes"]
        and selects(policy.inputs["spec"].get("podSelector", {}), labels)
    ]
    peers = {"ingress": "from", "egress": "to"}[way]
    return not policies or any(
        _port(rule.get("ports", []), port)
        and (peers not in rule or any(_peer(item, namespace, peer_namespace, peer_labels) for item in rule[peers]))
        for policy in policies
        for rule in policy.get(way, [])
    )


def _port(ports: Sequence[Mapping[str, Any]], port: int) -> bool:
    return not ports or any(entry.get("port") in (None, port) for entry in ports)


def _peer(peer: Mapping[str, Any], own: str, namespace: str, labels: Mapping[str, str]) -> bool:
    if "ipBlock" in peer:
        return False
    spaces = peer.get("namespaceSelector")
    within = namespace == own if spaces is None else selects(spaces, {_NAMESPACE: namespace})
    return within and selects(peer.get("podSelector", {}), labels)
