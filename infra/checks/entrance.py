"""Requests must arrive: by a host that the gateway and its certificate know, a path of one's own, and granted ways."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.objects import Objects


def entrance(objects: Objects) -> Iterator[str]:
    """Listeners, certificates and routes that do not meet."""
    brought = {
        (space, found.inputs["spec"].get("target", {}).get("name", name))
        for (space, name), found in objects.of("ExternalSecret").items()
    }
    made = {
        (space, found.inputs["spec"]["secretName"]): found for (space, _), found in objects.of("Certificate").items()
    }
    hosts: set[str] = set()
    for (namespace, name), gateway in objects.of("Gateway").items():
        for listener in gateway.inputs["spec"]["listeners"]:
            host = listener.get("hostname")
            hosts |= {host} if host else set()
            for reference in listener.get("tls", {}).get("certificateRefs", []):
                wanted = (reference.get("namespace", namespace), reference["name"])
                if wanted not in brought | made.keys() and objects.of("ExternalSecret"):
                    yield f"Gateway {namespace}/{name} has the certificate {wanted[1]}, which nothing makes or brings"
                elif wanted in made and host and host not in made[wanted].inputs["spec"].get("dnsNames", []):
                    yield f"Gateway {namespace}/{name} listens for {host}, and its certificate does not name it"
    yield from _routes(objects, hosts)
    for (namespace, name), policy in objects.of("SecurityPolicy").items():
        secret = policy.inputs["spec"].get("oidc", {}).get("clientSecret", {}).get("name")
        if secret is not None and brought and (namespace, secret) not in brought:
            yield f"SecurityPolicy {namespace}/{name} signs in with the secret {secret}, which nothing brings"
    for (namespace, name), issuer in objects.of("Certificate").items():
        reference = issuer.inputs["spec"]["issuerRef"]
        kind = reference.get("kind", "Issuer")
        within = "" if kind == "ClusterIssuer" else namespace
        if (within, reference["name"]) not in objects.of(kind):
            yield f"Certificate {namespace}/{name} has the {kind} {reference['name']}, which is not there"


def _routes(objects: Objects, hosts: set[str]) -> Iterator[str]:
    grants = {
        (space, source["namespace"], target.get("name"))
        for (space, _), grant in objects.of("ReferenceGrant").items()
        for source in grant.inputs["spec"]["from"]
        for target in grant.inputs["spec"]["to"]
    }
    seen: dict[str, str] = {}
    for (namespace, name), route in sorted(objects.of("HTTPRoute").items()):
        here = f"HTTPRoute {namespace}/{name}"
        names = route.inputs["spec"].get("hostnames", [])
        if hosts and names and not set(names) & hosts:
            yield f"{here} is for {', '.join(names)}, and the gateway listens for {', '.join(sorted(hosts))}"
        for rule in route.inputs["spec"]["rules"]:
            backends: list[Mapping[str, Any]] = rule.get("backendRefs", [])
            if backends and not sum(backend.get("weight", 1) for backend in backends):
                yield f"{here} gives none of its services a share of the requests"
            for backend in backends:
                space = backend.get("namespace", namespace)
                if space != namespace and not {(space, namespace, backend["name"]), (space, namespace, None)} & grants:
                    yield f"{here} leads to {space}/{backend['name']} without a grant: add a ReferenceGrant"
            for match in rule.get("matches", []):
                requests = json.dumps(match, sort_keys=True)
                key = f"{sorted(names)} {requests}"
                if seen.get(key, here) != here:
                    yield f"{seen[key]} and {here} are both for {requests}: the older one wins"
                seen.setdefault(key, here)
