"""Namespaces, each with all that belongs to one: denied traffic, a pod security level, a quota, whose it is."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pulumi
from pulumi_kubernetes.core.v1 import LimitRange, Namespace, ResourceQuota
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.errors import ConfigError
from infra.config.nodes import GPU_RESOURCE
from infra.config.platform import Quota
from infra.config.services import Size
from infra.substrates.cluster import DATA_CLASS, TENANT, NamespaceSpec
from infra.substrates.kubernetes import policies
from infra.substrates.kubernetes.objects import Objects

PLATFORM = NamespaceSpec(name="falaj")
"""Where our own services and the gateway's objects live."""
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""What Kubernetes takes as a label's value."""
_MANAGER = "managed-by"
"""The tag for which Kubernetes has a label of its own."""


class Namespaces:
    """Makes each namespace once.

    Args:
        owner: The component that they belong to.
        control_plane: Networks that the API servers call webhooks from.
        tags: The stack's: labels of each namespace, or annotations where Kubernetes takes them as no label.
        protect: Whether the engine keeps those that hold data.
    """

    def __init__(
        self,
        objects: Objects,
        owner: pulumi.Resource,
        control_plane: Sequence[pulumi.Input[str]],
        tags: Mapping[str, str],
        *,
        protect: bool,
    ) -> None:
        self._objects, self._owner, self._control_plane = objects, owner, control_plane
        self._protect = protect
        ours = {f"falaj.ae/{key}": value for key, value in tags.items() if key != _MANAGER}
        self._labels = {key: value for key, value in ours.items() if _LABEL.fullmatch(value)}
        self._annotations = {key: value for key, value in ours.items() if key not in self._labels}
        self._made = dict[str, tuple[NamespaceSpec, Namespace]]()

    def known(self, name: str) -> tuple[NamespaceSpec, Namespace]:
        """A namespace that was made.

        Raises:
            ConfigError: It was not.
        """
        if name not in self._made:
            raise ConfigError(f"namespace {name} is used before it is asked for: call Cluster.namespace first")
        return self._made[name]

    def make(self, spec: NamespaceSpec) -> Namespace:
        """The namespace, as `Cluster.namespace`; each comes after the nodes and what makes load balancers."""
        if spec.name in self._made:
            known, made = self._made[spec.name]
            if known != spec:
                raise ConfigError(f"namespace {spec.name} is asked for with two specifications: use one of them")
            return made
        level = {f"pod-security.kubernetes.io/{mode}": spec.security for mode in ("enforce", "audit", "warn")}
        whose = {f"app.kubernetes.io/{_MANAGER}": "falaj"} | ({TENANT: "true"} if spec.quota is not None else {})
        holds = {DATA_CLASS: spec.data_class} if spec.data_class is not None else {}
        made = Namespace(
            spec.name,
            metadata=ObjectMetaArgs(
                name=spec.name,
                labels={**self._labels, **level, **whose, **holds},
                annotations=self._annotations or None,
            ),
            opts=self._objects.options(
                self._owner, self._objects.part("foundation"), protect=self._protect and bool(holds)
            ),
        )
        self._made[spec.name] = (spec, made)
        self._close(spec, made)
        if spec.quota is not None:
            self._limit(spec.name, spec.quota, spec.container, made)
        return made

    def _close(self, spec: NamespaceSpec, made: Namespace) -> None:
        strict = spec.quota is not None or spec == PLATFORM
        self._objects.policy(spec.name, "default", policies.denied() if strict else policies.closed(), made)
        within = [] if spec.isolated or spec == PLATFORM else [spec.name]
        callers = [policies.peer(caller) for caller in (*within, *spec.callers)]
        if callers:
            self._objects.policy(spec.name, "callers", policies.ingress({}, callers, []), made)
        if spec.webhooks:
            servers = [{"ipBlock": {"cidr": cidr}} for cidr in self._control_plane]
            self._objects.policy(spec.name, "webhooks", policies.ingress({}, servers, spec.webhooks), made)

    def _limit(self, name: str, quota: Quota, container: Size | None, made: Namespace) -> None:
        ResourceQuota(
            f"{name}/quota",
            metadata=ObjectMetaArgs(name="quota", namespace=name),
            spec=cast(
                Any,
                {
                    "hard": {
                        "requests.cpu": str(quota.cpu),
                        "requests.memory": f"{quota.memory_gib}Gi",
                        f"requests.{GPU_RESOURCE}": str(quota.gpus),
                        "pods": str(quota.pods),
                        "services.loadbalancers": "0",
                        "services.nodeports": "0",
                    }
                },
            ),
            opts=self._objects.options(made),
        )
        # A GPU is never given by default: whoever needs one asks for it.
        default = {
            "type": "Container",
            "default": {"cpu": "1", "memory": "1Gi"}
            if container is None
            else {"cpu": f"{round(2000 * container.cpu)}m", "memory": f"{container.memory_mib}Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "256Mi"}
            if container is None
            else {"cpu": f"{round(1000 * container.cpu)}m", "memory": f"{container.memory_mib}Mi"},
        }
        LimitRange(
            f"{name}/defaults",
            metadata=ObjectMetaArgs(name="defaults", namespace=name),
            spec=cast(Any, {"limits": [default]}),
            opts=self._objects.options(made),
        )
