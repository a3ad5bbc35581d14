"""What a kubelet, a scheduler and a disruption meet in a workload, and the API server does not look at."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.objects import Objects, Pod, selects

_REGISTRY = re.compile(r"^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?P<name>[^:@]+)")
"""An image in the stack's own registry, where each repository has to be made first."""


def workloads(objects: Objects) -> Iterator[str]:
    """Ports that are not there, pods that cannot write, end or be moved, two hands on one number."""
    for pod in objects.pods:
        yield from _ports(pod)
        yield from _places(pod)
        yield from _end(pod)
    repositories = {one.inputs.get("name") for one in objects.named("aws:ecr/repository:Repository")}
    for pod in objects.pods:
        for found in (_REGISTRY.match(str(container.get("image", ""))) for container in pod.containers):
            if found and repositories and found["name"] not in repositories:
                yield f"{pod.owner} runs an image of {found['name']}, of which the registry has no repository"
    yield from _services(objects)
    yield from _numbers(objects)


def _ports(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        listed: list[Mapping[str, Any]] = container.get("ports", [])
        known = {port.get("name") for port in listed} | {port["containerPort"] for port in listed}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for way in ("httpGet", "tcpSocket", "grpc"):
                port = container.get(probe, {}).get(way, {}).get("port")
                if port is not None and port not in known:
                    yield f"{pod.owner} is probed on the port {port}, which its container {container['name']} has not"
        names = [entry["name"] for entry in container.get("env", [])]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{pod.owner} has the variable {name} twice: the last one counts"
        for entry in container.get("env", []):
            if not isinstance(entry.get("value", ""), str):
                yield f"{pod.owner} has the variable {entry['name']} with {entry['value']!r}, which is no text"


def _places(pod: Pod) -> Iterator[str]:
    """Whether a container with a read-only file system may write to its own home."""
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    for container in pod.containers:
        home = {entry["name"]: entry.get("value") for entry in container.get("env", [])}.get("HOME")
        if home is None or not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
            continue
        mounts = [
            mount
            for mount in container.get("volumeMounts", [])
            if f"{home}/".startswith(f"{mount['mountPath'].rstrip('/')}/") and not mount.get("readOnly")
        ]
        if not any({"emptyDir", "persistentVolumeClaim"} & volumes.get(one["name"], {}).keys() for one in mounts):
            yield f"{pod.owner} has its home at {home}, where it cannot write: mount a volume there"


def _end(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pod.spec.get("terminationGracePeriodSeconds", 30) <= pause:
            yield f"{pod.owner} pauses for {pause} s before it ends, and is killed before: raise the grace period"


def _services(objects: Objects) -> Iterator[str]:
    for (namespace, name), service in objects.of("Service").items():
        selector = service.inputs["spec"].get("selector") or {}
        pods = [
            pod for pod in objects.pods if selector and pod.namespace == namespace and selects(selector, pod.labels)
        ]
        for port in service.inputs["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in pods:
                listed = [one for container in pod.containers for one in container.get("ports", [])]
                if target not in {one.get("name") for one in listed} | {one["containerPort"] for one in listed}:
                    yield f"Service {namespace}/{name} leads to the port {target}, which {pod.owner} has not"


def _numbers(objects: Objects) -> Iterator[str]:
    """Replicas by a scaler and by the program at once, and budgets that let no pod go."""
    least: dict[str, int] = {}
    for (namespace, name), scaler in objects.of("HorizontalPodAutoscaler").items():
        target = scaler.inputs["spec"]["scaleTargetRef"]
        owner = f"{target['kind']} {namespace}/{target['name']}"
        least[owner] = scaler.inputs["spec"].get("minReplicas", 1)
        scaled = objects.of(target["kind"]).get((namespace, target["name"]))
        if scaled is not None and "replicas" in scaled.inputs["spec"]:
            yield f"{owner} says its replicas, and so does HorizontalPodAutoscaler {name}: leave them to it"
        if scaled is not None and scaled.inputs.get("apiVersion") != target["apiVersion"]:
            yield f"HorizontalPodAutoscaler {namespace}/{name} scales a {target['apiVersion']}, which {owner} is not"
    for (namespace, name), budget in objects.of("PodDisruptionBudget").items():
        kept, gone = budget.inputs["spec"].get("minAvailable"), budget.inputs["spec"].get("maxUnavailable")
        for pod in objects.pods:
            if pod.namespace == namespace and selects(budget.inputs["spec"]["selector"], pod.labels):
                replicas = least.get(pod.owner, pod.replicas)
                blocked = kept in (replicas, "100%") if kept is not None else gone in (0, "0%")
                if replicas > 1 and blocked:
                    yield f"PodDisruptionBudget {namespace}/{name} lets no pod of {pod.owner} go"
