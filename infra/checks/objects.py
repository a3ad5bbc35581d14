"""Kubernetes objects of a graph, as the checks look at them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from infra.plan import Graph, Resource

_TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True, kw_only=True)
class Pod:
    """The pods of a workload of ours.

    Attributes:
        owner: Such as `Deployment falaj/mlflow`.
        resource: The workload.
        replicas: At the least.
    """

    owner: str
    resource: Resource
    namespace: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]
    replicas: int

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Those that start before included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def texts(self) -> Iterator[str]:
        """Every argument and every value in clear of its containers."""
        for container in self.containers:
            yield from container.get("command", [])
            yield from container.get("args", [])
            yield from (str(entry["value"]) for entry in container.get("env", []) if "value" in entry)

    @cached_property
    def secrets(self) -> Mapping[str, frozenset[str]]:
        """The secrets that it reads, each with its keys."""
        read = [
            (entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["key"])
            for container in self.containers
            for entry in container.get("env", [])
            if "secretKeyRef" in entry.get("valueFrom", {})
        ]
        sources: list[Mapping[str, Any]] = []
        for volume in self.spec.get("volumes", []):
            sources += [one["secret"] for one in volume.get("projected", {}).get("sources", []) if "secret" in one]
            if "secret" in volume:
                sources.append({"name": volume["secret"]["secretName"], "items": volume["secret"].get("items", [])})
        read += [(source["name"], item["key"]) for source in sources for item in source.get("items", [])]
        names = {name for name, _ in read}
        return {name: frozenset(key for other, key in read if other == name) for name in names}

    @cached_property
    def config_maps(self) -> frozenset[str]:
        """The ConfigMaps that it mounts or takes variables from."""
        found = {volume["configMap"]["name"] for volume in self.spec.get("volumes", []) if "configMap" in volume}
        for container in self.containers:
            sources = container.get("envFrom", [])
            found |= {source["configMapRef"]["name"] for source in sources if "configMapRef" in source}
        return frozenset(found)


@dataclass(frozen=True)
class Objects:
    """The objects by kind, namespace and name."""

    graph: Graph

    @cached_property
    def _by_kind(self) -> Mapping[str, Mapping[tuple[str, str], Resource]]:
        found: dict[str, dict[tuple[str, str], Resource]] = {}
        for resource in self.graph.resources:
            if resource.custom and resource.type.startswith("kubernetes:"):
                metadata = resource.inputs.get("metadata", {})
                key = (metadata.get("namespace", ""), metadata.get("name", ""))
                found.setdefault(resource.type.rpartition(":")[2], {})[key] = resource
        return found

    @cached_property
    def by_urn(self) -> Mapping[str, Resource]:
        """Everything, by URN."""
        return {resource.urn: resource for resource in self.graph.resources}

    def of(self, kind: str) -> Mapping[tuple[str, str], Resource]:
        """The objects of a kind by namespace and name; the namespace of what has none is empty."""
        return self._by_kind.get(kind, {})

    def named(self, type_: str) -> list[Resource]:
        """Resources of a type of the cloud, such as `aws:iam/role:Role`."""
        return [resource for resource in self.graph.resources if resource.type == type_]

    @cached_property
    def _before(self) -> dict[str, frozenset[str]]:
        return {}

    def before(self, resource: Resource) -> frozenset[str]:
        """URNs of what is created before a resource: what it depends on, its parents, and theirs."""
        known = self._before
        if resource.urn not in known:
            known[resource.urn] = frozenset()  # A parent may depend on what its child names.
            direct = {*resource.dependencies, *([resource.parent] if resource.parent else [])}
            direct |= {resource.provider} if resource.provider else set()
            above = [self.before(self.by_urn[urn]) for urn in sorted(direct) if urn in self.by_urn]
            known[resource.urn] = frozenset(direct).union(*above)
        return known[resource.urn]

    @cached_property
    def pods(self) -> list[Pod]:
        """Pods of all workloads that the program itself writes."""
        found: list[Pod] = []
        for kind in _TEMPLATED:
            for (namespace, name), resource in self.of(kind).items():
                template = resource.inputs["spec"]["template"]
                found.append(
                    Pod(
                        owner=f"{kind} {namespace}/{name}",
                        resource=resource,
                        namespace=namespace,
                        labels=template["metadata"].get("labels", {}),
                        spec=template["spec"],
                        replicas=int(resource.inputs["spec"].get("replicas", 1)),
                    )
                )
        return found


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector, or its `matchLabels` alone, matches; an empty one matches everything."""
    wanted = selector.get("matchLabels", {}) if {"matchLabels", "matchExpressions"} & selector.keys() else selector
    return all(labels.get(key) == value for key, value in wanted.items())


def statements(policy: str | None) -> list[Mapping[str, Any]]:
    """The statements of a policy of AWS; none where it is no JSON, which is a fault of its own."""
    try:
        found = json.loads(policy or "{}")
    except ValueError:
        return []
    listed: list[Mapping[str, Any]] = found.get("Statement", [])
    return listed
