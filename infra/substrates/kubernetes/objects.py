"""Objects of a cluster: each made with the cluster's provider, and after the part that knows its kind."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy

_OWNERS = {
    "cert-manager.io": "cert-manager",
    "external-secrets.io": "external-secrets",
    "gateway.networking.k8s.io": "envoy-gateway",
    "gateway.envoyproxy.io": "envoy-gateway",
    "keda.sh": "keda",
    "monitoring.coreos.com": "prometheus-operator",
}
"""The part that defines each group of custom resources."""


class Objects:
    """Makes objects, and knows which parts are there."""

    def __init__(self, provider: pulumi.ProviderResource) -> None:
        self.provider = provider
        self._parts = dict[str, Sequence[pulumi.Resource]]()

    def provides(self, part: str, resources: Sequence[pulumi.Resource]) -> None:
        """What needs `part` comes after `resources` from now on."""
        self._parts[part] = resources

    def has(self, part: str) -> bool:
        """Whether a part was provided."""
        return part in self._parts

    def part(self, name: str) -> list[pulumi.Resource]:
        """What a part provides; empty where it was not provided, or the site runs it."""
        return list(self._parts.get(name, ()))

    def options(
        self, parent: pulumi.Resource, needs: Sequence[pulumi.Resource] = (), *, protect: bool = False
    ) -> ResourceOptions:
        """Options of an object below `parent` that comes after `needs`; what protects the parent is not for it."""
        return ResourceOptions(parent=parent, provider=self.provider, depends_on=list(needs) or None, protect=protect)

    def custom(
        self,
        name: str,
        version: str,
        kind: str,
        spec: Mapping[str, Any],
        parent: pulumi.Resource,
        *,
        namespace: str | None = None,
        needs: Sequence[pulumi.Resource] = (),
    ) -> CustomResource:
        """A custom resource, after the part that knows its kind.

        Args:
            name: Of the resource in the stack; the object has what is behind the last `/` of it.
        """
        return CustomResource(
            name,
            api_version=version,
            kind=kind,
            metadata=ObjectMetaArgs(name=name.rpartition("/")[2], namespace=namespace),
            spec=dict(spec),
            opts=self.options(parent, [*needs, *self.part(_OWNERS[version.partition("/")[0]])]),
        )

    def policy(
        self,
        namespace: str,
        name: str,
        spec: Mapping[str, Any],
        parent: pulumi.Resource,
        needs: Sequence[pulumi.Resource] = (),
    ) -> NetworkPolicy:
        """A network policy; `spec` is one of `policies`."""
        return NetworkPolicy(
            f"{namespace}/{name}",
            metadata=ObjectMetaArgs(name=name, namespace=namespace),
            spec=cast(Any, spec),
            opts=self.options(parent, needs),
        )
