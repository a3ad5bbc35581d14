"""Secrets of the stack's secret store, brought into namespaces by External Secrets."""

from collections.abc import Callable, Mapping
from typing import Any

import pulumi

from core.errors import ConfigError
from infra.substrates.cluster import object_name
from infra.substrates.kubernetes.namespaces import Namespaces
from infra.substrates.kubernetes.objects import Objects

STORE = "falaj"
_API = "external-secrets.io/v1"


class Secrets:
    """Brings each secret once.

    Args:
        owner: The component that the store belongs to.
        provider: Of External Secrets' store; None where someone else puts secrets into namespaces.
        access: Lets the store's reader at one secret; None where it may read all by itself.
    """

    def __init__(
        self,
        objects: Objects,
        namespaces: Namespaces,
        owner: pulumi.Resource,
        provider: Mapping[str, Any] | None,
        access: Callable[[str], pulumi.Resource] | None,
    ) -> None:
        self._objects, self._namespaces, self._owner = objects, namespaces, owner
        self._provider, self._access = provider, access
        self._store: pulumi.Resource | None = None
        self._made = dict[tuple[str, str], tuple[Mapping[str, str], pulumi.Resource]]()

    def bring(self, namespace: str, name: str, keys: Mapping[str, str], called: str | None = None) -> pulumi.Resource:
        """Put a secret into a namespace, as `Cluster.secret`."""
        _, within = self._namespaces.known(namespace)
        called = called or object_name(name)
        if self._provider is None:
            return within
        if (namespace, called) in self._made:
            known, made = self._made[namespace, called]
            if known != keys:
                raise ConfigError(f"secret {name} is asked for in namespace {namespace} with two sets of keys: use one")
            return made
        granted = [self._access(name)] if self._access is not None else []
        if self._store is None:
            store = {"provider": dict(self._provider)}
            self._store = self._objects.custom(STORE, _API, "ClusterSecretStore", store, self._owner)
        made = self._objects.custom(
            f"{namespace}/{called}",
            _API,
            "ExternalSecret",
            {
                "refreshInterval": "1h",
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": STORE},
                "target": {"name": called, "creationPolicy": "Owner", "template": {"type": _type(keys)}},
                "data": [
                    {"secretKey": key, "remoteRef": {"key": name, "property": value}}
                    for key, value in sorted(keys.items())
                ],
            },
            within,
            namespace=namespace,
            needs=[self._store, *granted],
        )
        self._made[namespace, called] = (keys, made)
        return made


def _type(keys: Mapping[str, str]) -> str:
    """What Kubernetes calls a secret with these keys; it refuses a certificate or a registry's sign-in without."""
    if set(keys) == {".dockerconfigjson"}:
        return "kubernetes.io/dockerconfigjson"
    return "kubernetes.io/tls" if set(keys) == {"tls.crt", "tls.key"} else "Opaque"
