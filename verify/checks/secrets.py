"""Secrets and certificates."""

import datetime as dt

from verify.asked import Each
from verify.cluster import Cluster, Manifest, condition, namespaced
from verify.declared import Declared, Inputs, differences

_CERTIFICATE_DAYS = 14
"""cert-manager renews long before; what is nearer to its end was not renewed."""


def test_external_secrets(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every secret that is to be brought is asked for, by the declared keys alone."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        wanted = {key: inputs["spec"][key] for key in ("data", "secretStoreRef") if key in inputs["spec"]}
        return list(differences(wanted, found["spec"]))

    each(namespaced(declared, "external-secrets.io:ExternalSecret"), judge)


def test_secrets_are_there(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every external secret was brought."""
    each(namespaced(declared, "external-secrets.io:ExternalSecret"), lambda inputs: _ready(cluster, inputs))


def test_secret_store(each: Each, declared: Declared, cluster: Cluster) -> None:
    """The secret store lets itself be read."""
    each(namespaced(declared, "external-secrets.io:ClusterSecretStore"), lambda inputs: _ready(cluster, inputs))


def test_issuers(each: Each, declared: Declared, cluster: Cluster) -> None:
    """What signs certificates is ready."""
    each(namespaced(declared, "cert-manager.io:ClusterIssuer"), lambda inputs: _ready(cluster, inputs))


def test_certificates(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every certificate was issued, by its issuer and for its names."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        wanted = {key: inputs["spec"].get(key) for key in ("dnsNames", "issuerRef", "usages")}
        faults = [] if found is None else list(differences(wanted, found["spec"]))
        ready = _ready(cluster, inputs) if not faults else None
        return [*faults, *([ready] if ready else [])]

    each(namespaced(declared, "cert-manager.io:Certificate"), judge)


def test_certificates_last(each: Each, cluster: Cluster) -> None:
    """No certificate is near its end."""

    def judge(item: Manifest) -> str | None:
        _ = cluster.machines
        end = item.get("status", {}).get("notAfter")
        if end is None:
            return "has no end: it was not issued"
        left = dt.datetime.fromisoformat(end) - dt.datetime.now(dt.UTC)
        return None if left.days >= _CERTIFICATE_DAYS else f"ends in {left.days} days, and was not renewed"

    each(cluster.in_namespaces("cert-manager.io/v1", "Certificate"), judge)


def test_no_token_secrets(each: Each, cluster: Cluster) -> None:
    """No secret is a token of a service account that never ends."""
    each(
        cluster.in_namespaces("v1", "Secret"),
        lambda item: "is one" if item.get("type") == "kubernetes.io/service-account-token" else None,
    )


def _ready(cluster: Cluster, inputs: Inputs) -> str | None:
    found = cluster.live(inputs)
    if found is None:
        return "is missing"
    _ = cluster.machines
    return condition(found, "Ready")
