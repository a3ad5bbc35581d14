"""Pods must find a node: of a pool that their selector, tolerations and requests allow."""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.objects import Objects, Pod
from infra.config import StackConfig
from infra.config.kubernetes import NodeSelection
from infra.config.nodes import GPU_RESOURCE, LABEL, NodePool, Shape, Taint


def fit(objects: Objects, settings: StackConfig) -> Iterator[str]:
    """Pods that would stay pending, one by one and all together."""
    pools = settings.pools()
    asked: dict[str, list[Shape]] = {}
    for pod in objects.pods:
        need = _need(pod)
        allowed = {name: pool for name, pool in pools.items() if _takes(pod, name, pool)}
        if not allowed:
            yield f"{pod.owner} finds no pool that its selector and tolerations fit: {pod.spec.get('nodeSelector', {})}"
            continue
        roomy = [name for name, pool in allowed.items() if any(_within(need, shape) for shape in pool.shapes())]
        if not roomy:
            yield f"{pod.owner} asks for {_told(need)}, and no node of {', '.join(sorted(allowed))} has that"
            continue
        # The system's own parts use the rest of an open pool, so that a bound on one pool alone is certain.
        if len(roomy) == 1:
            asked.setdefault(roomy[0], []).extend([need] * pod.replicas)
    for name, needs in sorted(asked.items()):
        most = _most(pools[name])
        total = Shape(sum(n.cpu for n in needs), sum(n.memory_mib for n in needs), sum(n.gpus for n in needs))
        if not _within(total, most):
            yield f"all pods of the pool {name} ask for {_told(total)} together, and it grows to {_told(most)}"


def _takes(pod: Pod, name: str, pool: NodePool | NodeSelection) -> bool:
    labels: Mapping[str, str]
    if isinstance(pool, NodeSelection):
        labels, arch = pool.selector, pool.arch
    else:
        gpu = {"nvidia.com/gpu.present": "true"} if pool.gpu else {}
        labels, arch = {LABEL: name, **gpu, **pool.labels}, pool.arch
    labels = {"kubernetes.io/os": "linux", "kubernetes.io/arch": arch, **labels}
    selector = pod.spec.get("nodeSelector", {})
    tolerations = pod.spec.get("tolerations", [])
    return all(labels.get(key) == value for key, value in selector.items()) and all(
        any(_tolerates(toleration, taint) for toleration in tolerations) for taint in pool.taints(name)
    )


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    if toleration.get("key") not in (None, taint.key):
        return False
    return toleration.get("operator", "Equal") == "Exists" or toleration.get("value") == taint.value


def _need(pod: Pod) -> Shape:
    requests = [container.get("resources", {}).get("requests", {}) for container in pod.spec["containers"]]
    return Shape(
        sum(_cpu(request.get("cpu", "0")) for request in requests),
        sum(_mib(request.get("memory", "0Mi")) for request in requests),
        sum(int(request.get(GPU_RESOURCE, 0)) for request in requests),
    )


def _most(pool: NodePool | NodeSelection) -> Shape:
    if isinstance(pool, NodeSelection):
        return Shape(pool.count * pool.cpu, pool.count * 1024 * pool.memory_gib, pool.count * pool.gpus)
    return Shape(pool.limits.cpu, 1024 * pool.limits.memory_gib, pool.limits.gpus)


def _within(need: Shape, most: Shape) -> bool:
    return need.cpu <= most.cpu and need.memory_mib <= most.memory_mib and need.gpus <= most.gpus


def _told(shape: Shape) -> str:
    gpus = f" and {shape.gpus} GPUs" if shape.gpus else ""
    return f"{shape.cpu:g} CPUs, {shape.memory_mib / 1024:.1f} GiB{gpus}"


def _cpu(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _mib(quantity: str) -> int:
    units = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024, "Ti": 1024**2}
    return round(float(quantity[:-2]) * units[quantity[-2:]])
