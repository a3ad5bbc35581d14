"""Pods, wherever a Kubernetes object holds one: in itself, in a template, in a model's predictor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.graph import Graph
from policies.model import Resource

_PATHS: Mapping[str, tuple[str, ...]] = {
    "kubernetes:core/v1:Pod": ("spec",),
    "kubernetes:apps/v1:DaemonSet": ("spec.template.spec",),
    "kubernetes:apps/v1:Deployment": ("spec.template.spec",),
    "kubernetes:apps/v1:ReplicaSet": ("spec.template.spec",),
    "kubernetes:apps/v1:StatefulSet": ("spec.template.spec",),
    "kubernetes:batch/v1:CronJob": ("spec.jobTemplate.spec.template.spec",),
    "kubernetes:batch/v1:Job": ("spec.template.spec",),
    "kubernetes:core/v1:ReplicationController": ("spec.template.spec",),
}
_JOBS = "spec.template.spec.replicatedJobs.template.spec.template.spec"
_RUNTIMES: Mapping[str, tuple[str, ...]] = {
    "kubernetes:serving.kserve.io/v1alpha1:ClusterServingRuntime": ("spec",),
    "kubernetes:serving.kserve.io/v1alpha1:ServingRuntime": ("spec",),
    "kubernetes:serving.kserve.io/v1beta1:InferenceService": ("spec.predictor", "spec.transformer", "spec.explainer"),
    "kubernetes:trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime": (_JOBS,),
    "kubernetes:trainer.kubeflow.org/v1alpha1:TrainingRuntime": (_JOBS,),
}
TYPES = tuple(_PATHS)
"""Objects whose pods are as written."""
ALL = (*TYPES, *_RUNTIMES)
"""Also those that KServe or Trainer completes: what such a pod lacks may come from its runtime."""
RUNTIMES = tuple(kind for kind in _RUNTIMES if kind.endswith("ServingRuntime"))
"""Runtimes of models."""
SERVERS = ("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet")
"""What answers requests: it should be probed and there should be more than one of it."""


@dataclass(frozen=True)
class Container:
    """A container of a pod, with where it is.

    Attributes:
        kind: `containers`, `initContainers`, `ephemeralContainers`, or the name of a KServe framework.
    """

    place: str
    kind: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As its pod calls it."""
        return str(self.spec.get("name", self.kind))

    @property
    def security(self) -> Mapping[str, Any]:
        """Its security context."""
        found = self.spec.get("securityContext")
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class Pod:
    """The specification of a pod."""

    place: str
    spec: Mapping[str, Any]

    @property
    def security(self) -> Mapping[str, Any]:
        """Its security context."""
        found = self.spec.get("securityContext")
        return found if isinstance(found, Mapping) else {}

    def containers(self) -> Iterator[Container]:
        """All of its containers; of a KServe predictor also the framework's own."""
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            for one in self.spec.get(kind) or ():
                if isinstance(one, Mapping):
                    yield Container(self.place, kind, one)
        model = self.spec.get("model")
        if isinstance(model, Mapping):
            yield Container(self.place, "model", model)

    @property
    def volumes(self) -> list[Mapping[str, Any]]:
        """Its volumes."""
        return [volume for volume in self.spec.get("volumes") or () if isinstance(volume, Mapping)]


def pods(resource: Resource) -> list[Pod]:
    """The pods that an object makes."""
    found: list[Pod] = []
    for path in _PATHS.get(resource.type) or _RUNTIMES.get(resource.type) or ():
        values: list[Any] = [resource.inputs]
        for part in path.split("."):
            values = [value.get(part) for value in values if isinstance(value, Mapping)]
            values = [item for value in values for item in (value if isinstance(value, list) else [value])]
        found += [Pod(path, value) for value in values if isinstance(value, Mapping)]
    return found


def account(resource: Resource, pod: Pod, graph: Graph) -> Resource | None:
    """The service account of a pod, where the graph has it."""
    key = namespace(resource), str(pod.spec.get("serviceAccountName"))
    return next(iter(graph.found("kubernetes:core/v1:ServiceAccount", _itself, key)), None)


def _itself(resource: Resource) -> Iterator[tuple[str | None, str]]:
    yield namespace(resource), str((resource.inputs.get("metadata") or {}).get("name"))


def of_namespace(kind: str, name: object, graph: Graph) -> Sequence[Resource]:
    """Objects of a type in a namespace."""
    return graph.found(kind, _home, name if isinstance(name, str) else None)


def _home(resource: Resource) -> Iterator[str | None]:
    yield namespace(resource)


def namespace(resource: Resource) -> str | None:
    """The namespace of an object."""
    metadata = resource.inputs.get("metadata")
    found = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    return str(found) if found else None


def label(resource: Resource, key: str) -> str | None:
    """A label of an object."""
    metadata = resource.inputs.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    found = labels.get(key) if isinstance(labels, Mapping) else None
    return None if found is None else str(found)


def annotation(resource: Resource, key: str) -> str | None:
    """An annotation of an object."""
    metadata = resource.inputs.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    value = found.get(key) if isinstance(found, Mapping) else None
    return None if value is None else str(value)
