"""Whoever is told a service's address must be let out to it, and let in there."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.checks.objects import Objects, Pod, selects

_ADDRESS = re.compile(r"\b(?P<service>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(?:\.cluster\.local)?:(?P<port>\d+)")
_NAMESPACE = "kubernetes.io/metadata.name"
_OWN = ("kube-system", "kube-public", "default")
"""Namespaces that every cluster has."""
_STORE = re.compile(
    r"<(?P<type>aws:(?:rds/instance:Instance|elasticache/replicationGroup:ReplicationGroup))::(?P<name>[^.>]+)\."
)
_AGENT = ("169.254.170.23/32", 80)
"""Where EKS hands a pod its role's credentials (EKS user guide, Pod Identity)."""
_GATEWAY = {"gateway.envoyproxy.io/owning-gateway-name"}


def network(objects: Objects) -> Iterator[str]:
    """Connections that a pod is told to make, and that some policy stops."""
    for pod in objects.pods:
        for address in sorted({match.group() for text in pod.texts() for match in _ADDRESS.finditer(text)}):
            match = _ADDRESS.match(address)
            if match is not None:
                yield from _connection(objects, pod, match["service"], match["namespace"], int(match["port"]))
        yield from _stores(objects, pod)
        yield from _names(objects, pod)
    yield from _entered(objects)
    for (namespace, name), policy in objects.of("NetworkPolicy").items():
        yield from _strangers(objects, f"NetworkPolicy {namespace}/{name}", policy.inputs["spec"])
        for rule in policy.inputs["spec"].get("egress", []):
            if not rule.get("to"):
                yield f"NetworkPolicy {namespace}/{name} has an egress rule without `to`: it is open to the world"
    guarded = {namespace for namespace, _ in objects.of("NetworkPolicy")}
    for _, namespace in sorted(objects.of("Namespace").keys() - {("", name) for name in guarded}):
        yield f"the namespace {namespace} has no NetworkPolicy, so that everything may connect to its pods"


def _stores(objects: Objects, pod: Pod) -> Iterator[str]:
    """Databases, caches and buckets that a pod is told of, and the agent that hands it its role."""
    needed: set[tuple[str, int]] = set()
    texts = list(pod.texts())
    for match in (match for text in texts for match in _STORE.finditer(text)):
        for store in objects.named(match["type"]):
            if store.name == match["name"]:
                needed.add((f"{store.type.rpartition(':')[2]} {store.name}", store.inputs["port"]))
    if objects.named("aws:eks/cluster:Cluster") and any(text.startswith("s3://") for text in texts):
        needed.add(("the object store", 443))
    account = (pod.namespace, pod.spec.get("serviceAccountName"))
    for link in objects.named("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        if (link.inputs["namespace"], link.inputs["serviceAccount"]) == account:
            needed.add((f"the agent at {_AGENT[0]}, which hands it its role", _AGENT[1]))
    for what, port in sorted(needed):
        if not _leaves(objects, pod, port):
            yield f"{pod.owner} calls {what}, on port {port}, and no policy lets it out"


def _leaves(objects: Objects, pod: Pod, port: int) -> bool:
    """Whether a pod may connect to some address outside of the cluster."""
    policies = _of(objects, pod.namespace, pod.labels, "egress")
    return not policies or any(
        _port(rule.get("ports", []), port) and any("ipBlock" in peer for peer in rule.get("to", []))
        for policy in policies
        for rule in policy.get("egress", [])
    )


def _names(objects: Objects, pod: Pod) -> Iterator[str]:
    """Whether a pod may ask for names, by both protocols: a long answer comes by TCP alone."""
    for protocol in ("UDP", "TCP"):
        policies = _of(objects, pod.namespace, pod.labels, "egress")
        asked = any(
            any(entry.get("port") in (None, 53) and entry.get("protocol", "TCP") == protocol for entry in rule["ports"])
            for policy in policies
            for rule in policy.get("egress", [])
            if rule.get("ports")
        )
        if policies and not asked:
            yield f"{pod.owner} may not ask for names by {protocol}: let it out to port 53"


def _entered(objects: Objects) -> Iterator[str]:
    """Whether the gateway and Prometheus are let in where they are to call."""
    called: set[tuple[str, str, str, int | str]] = set()
    for (namespace, name), route in objects.of("HTTPRoute").items():
        for backend in (one for rule in route.inputs["spec"]["rules"] for one in rule.get("backendRefs", [])):
            where = backend.get("namespace", namespace)
            called.add((f"the gateway, by HTTPRoute {namespace}/{name},", where, backend["name"], backend["port"]))
    for (namespace, name), monitor in objects.of("ServiceMonitor").items():
        for (within, service), found in objects.of("Service").items():
            labels = found.inputs["metadata"].get("labels", {})
            if within == namespace and selects(monitor.inputs["spec"]["selector"], labels):
                for endpoint in monitor.inputs["spec"]["endpoints"]:
                    called.add(
                        (f"Prometheus, by ServiceMonitor {namespace}/{name},", within, service, endpoint["port"])
                    )
    for who, namespace, name, port in sorted(called, key=str):
        service_ = objects.of("Service").get((namespace, name))
        if service_ is None:
            continue
        ports = [one["port"] for one in service_.inputs["spec"]["ports"] if port in (one["port"], one.get("name"))]
        for pod in objects.pods:
            if pod.namespace == namespace and selects(service_.inputs["spec"]["selector"], pod.labels):
                keys = _GATEWAY if who.startswith("the gateway") else {"app.kubernetes.io/name"}
                if ports and not _let_in(objects, pod, ports[0], keys, prometheus=not who.startswith("the gateway")):
                    yield f"{who} calls {namespace}/{name}:{ports[0]}, and no policy of {pod.owner} lets it in"


def _let_in(objects: Objects, pod: Pod, port: int, keys: set[str], *, prometheus: bool) -> bool:
    """Whether some policy lets in whoever bears such a label, or everyone."""
    policies = _of(objects, pod.namespace, pod.labels, "ingress")
    return not policies or any(
        _port(rule.get("ports", []), port)
        and (
            "from" not in rule
            or any(
                keys & (found := peer.get("podSelector", {}).get("matchLabels", {})).keys()
                and (not prometheus or found.get("app.kubernetes.io/name") == "prometheus")
                for peer in rule["from"]
            )
        )
        for policy in policies
        for rule in policy.get("ingress", [])
    )


def _strangers(objects: Objects, here: str, spec: Mapping[str, Any]) -> Iterator[str]:
    """Rules that let in namespaces of which none is there; some beside others are of parts that a stack lacks."""
    known = {name for _, name in objects.of("Namespace")} | set(_OWN)
    for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
        peers = [*rule.get("from", []), *rule.get("to", [])]
        names = [peer.get("namespaceSelector", {}).get("matchLabels", {}).get(_NAMESPACE) for peer in peers]
        if peers and not any(name is None or name in known for name in names):
            yield f"{here} has a rule for the namespace {names[0]}, which is not there"


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
    policies = _of(objects, namespace, labels, way)
    peers = {"ingress": "from", "egress": "to"}[way]
    return not policies or any(
        _port(rule.get("ports", []), port)
        and (peers not in rule or any(_peer(item, namespace, peer_namespace, peer_labels) for item in rule[peers]))
        for policy in policies
        for rule in policy.get(way, [])
    )


def _of(objects: Objects, namespace: str, labels: Mapping[str, str], way: str) -> list[Mapping[str, Any]]:
    """The policies of some pods, for a way."""
    return [
        policy.inputs["spec"]
        for (within, _), policy in objects.of("NetworkPolicy").items()
        if within == namespace
        and way.capitalize() in policy.inputs["spec"]["policyTypes"]
        and selects(policy.inputs["spec"].get("podSelector", {}), labels)
    ]


def _port(ports: Sequence[Mapping[str, Any]], port: int) -> bool:
    return not ports or any(entry.get("port") in (None, port) for entry in ports)


def _peer(peer: Mapping[str, Any], own: str, namespace: str, labels: Mapping[str, str]) -> bool:
    if "ipBlock" in peer:
        return False
    spaces = peer.get("namespaceSelector")
    within = namespace == own if spaces is None else selects(spaces, {_NAMESPACE: namespace})
    return within and selects(peer.get("podSelector", {}), labels)
