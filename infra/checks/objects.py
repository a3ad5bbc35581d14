"""Kubernetes objects of a graph, as the checks look at them."""

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
        replicas: At the least.
    """

    owner: str
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
            yield from (entry["value"] for entry in container.get("env", []) if "value" in entry)


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
    def pods(self) -> list[Pod]:
        """Pods of all workloads that the program itself writes."""
        found: list[Pod] = []
        for kind in _TEMPLATED:
            for (namespace, name), resource in self.of(kind).items():
                template = resource.inputs["spec"]["template"]
                found.append(
                    Pod(
                        owner=f"{kind} {namespace}/{name}",
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
