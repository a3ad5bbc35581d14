"""What pods may do on their nodes: those that run, and those that a controller would make."""

from collections.abc import Iterator
from typing import Any

from verify.asked import Each
from verify.cluster import Cluster, Manifest, namespaced
from verify.declared import Declared, Inputs

_TEMPLATES = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
)
_OWN = ("app.kubernetes.io/part-of", "falaj")
Spec = dict[str, Any]


def test_no_root(each: Each, cluster: Cluster) -> None:
    """No pod of a restricted namespace runs as root."""

    def judge(spec: Spec) -> list[str]:
        pod = spec.get("securityContext") or {}
        faults = []
        for one in _containers(spec):
            own = one.get("securityContext") or {}
            if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
                faults.append(f"{one['name']} may run as root")
            if own.get("runAsUser", pod.get("runAsUser")) == 0:
                faults.append(f"{one['name']} runs as root")
        return faults

    each(_pods(cluster, "restricted"), judge)


def test_no_more_privileges(each: Each, cluster: Cluster) -> None:
    """No container of a restricted namespace can gain privileges, and none has a capability but to bind low ports."""

    def judge(spec: Spec) -> list[str]:
        faults = []
        for one in _containers(spec):
            own = one.get("securityContext") or {}
            capabilities = own.get("capabilities") or {}
            if own.get("privileged"):
                faults.append(f"{one['name']} is privileged")
            if own.get("allowPrivilegeEscalation", True):
                faults.append(f"{one['name']} may gain privileges")
            if "ALL" not in (capabilities.get("drop") or []):
                faults.append(f"{one['name']} keeps capabilities")
            if set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
                faults.append(f"{one['name']} adds {', '.join(capabilities['add'])}")
        return faults

    each(_pods(cluster, "restricted"), judge)


def test_system_calls(each: Each, cluster: Cluster) -> None:
    """Every pod of a restricted namespace has a filter of system calls."""

    def judge(spec: Spec) -> list[str]:
        whole = _seccomp(spec)
        return [
            f"{one['name']} has none"
            for one in _containers(spec)
            if (_seccomp(one) or whole) not in ("RuntimeDefault", "Localhost")
        ]

    each(_pods(cluster, "restricted"), judge)


def test_apart_from_the_node(each: Each, cluster: Cluster) -> None:
    """No pod outside of the privileged namespaces shares the node's network, processes or folders."""

    def judge(spec: Spec) -> list[str]:
        shared = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
        folders = [volume["hostPath"]["path"] for volume in spec.get("volumes") or [] if "hostPath" in volume]
        ports = [
            port["hostPort"] for one in _containers(spec) for port in one.get("ports") or [] if port.get("hostPort")
        ]
        return [
            *(f"has {key}" for key in shared),
            *(f"mounts the node's {folder}" for folder in folders),
            *(f"takes the node's port {port}" for port in ports),
        ]

    each({**_pods(cluster, "restricted"), **_pods(cluster, "baseline")}, judge)


def test_read_only(each: Each, cluster: Cluster) -> None:
    """Our own services cannot change their image's files."""

    def judge(spec: Spec) -> list[str]:
        return [
            f"{one['name']} can write"
            for one in _containers(spec)
            if not (one.get("securityContext") or {}).get("readOnlyRootFilesystem")
        ]

    each(_pods(cluster, None, own=True), judge)


def test_requests(each: Each, cluster: Cluster) -> None:
    """Every container asks for CPU and memory, and has a bound of memory."""

    def judge(spec: Spec) -> list[str]:
        faults = []
        for one in _containers(spec):
            resources = one.get("resources") or {}
            asked, bound = resources.get("requests") or {}, resources.get("limits") or {}
            missing = [key for key in ("cpu", "memory") if key not in asked and key not in bound]
            faults += [f"{one['name']} asks for no {key}" for key in missing]
            if "memory" not in bound:
                faults.append(f"{one['name']} has no bound of memory")
        return faults

    each(_pods(cluster, None, own=True), judge)


def test_images(each: Each, cluster: Cluster) -> None:
    """Every image is named by a version or a digest."""

    def judge(spec: Spec) -> list[str]:
        return [
            f"{one['name']} runs {one['image']}"
            for one in _containers(spec)
            if "@sha256:" not in one["image"]
            and (":" not in one["image"].rpartition("/")[2] or one["image"].endswith(":latest"))
        ]

    each(_pods(cluster, None), judge)


def test_registry(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every image comes from the registry that our own services' images come from."""
    hosts = {
        one["image"].partition("/")[0]
        for inputs in declared.of("apps:Deployment").values()
        for one in inputs["spec"]["template"]["spec"]["containers"]
    }

    def judge(spec: Spec) -> list[str]:
        return [
            f"{one['name']} runs {one['image']}"
            for one in _containers(spec)
            if one["image"].partition("/")[0] not in hosts
        ]

    each(_pods(cluster, None) if hosts else {}, judge)


def test_tokens(each: Each, declared: Declared, cluster: Cluster) -> None:
    """No service of ours has a token of the API server that is declared without one."""

    def judge(inputs: Inputs) -> str | None:
        found = cluster.live(inputs)
        if found is None:
            return "is missing"
        mounted = found["spec"]["template"]["spec"].get("automountServiceAccountToken", True)
        return "its pods have a token" if mounted else None

    each(
        {
            name: inputs
            for name, inputs in namespaced(declared, "apps:Deployment").items()
            if inputs["spec"]["template"]["spec"].get("automountServiceAccountToken") is False
        },
        judge,
    )


def test_accounts(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared service account is there, and gives its token to pods only where it is declared so."""

    def judge(inputs: Inputs) -> str | None:
        found = cluster.live(inputs)
        if found is None:
            return "is missing"
        gives, wanted = found.get("automountServiceAccountToken"), inputs.get("automountServiceAccountToken")
        return None if gives == wanted else f"automountServiceAccountToken is {gives} instead of {wanted}"

    each(namespaced(declared, "core:ServiceAccount"), judge)


def test_own_account(each: Each, cluster: Cluster) -> None:
    """Our own services run with an account of their own."""
    each(
        _pods(cluster, None, own=True),
        lambda spec: None if spec.get("serviceAccountName", "default") != "default" else "runs as the default account",
    )


def _pods(cluster: Cluster, level: str | None, *, own: bool = False) -> dict[str, Spec]:
    """Specifications of pods, by what they belong to: of those that run, and of those that would be made."""
    found: dict[str, Spec] = {}
    for version, kind in _TEMPLATES:
        for name, item in cluster.in_namespaces(version, kind, level).items():
            outer = item["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else item["spec"]
            if not own or _ours(outer["template"]):
                found[f"{kind} {name}"] = outer["template"]["spec"]
    for name, item in cluster.in_namespaces("v1", "Pod", level).items():
        if (not own or _ours(item)) and item.get("status", {}).get("phase") != "Succeeded":
            found[f"Pod {name}"] = item["spec"]
    return found


def _ours(item: Manifest) -> bool:
    key, value = _OWN
    return bool((item.get("metadata", {}).get("labels") or {}).get(key) == value)


def _containers(spec: Spec) -> Iterator[Spec]:
    yield from spec.get("initContainers") or []
    yield from spec["containers"]


def _seccomp(part: Spec) -> str | None:
    context = part.get("securityContext") or {}
    return (context.get("seccompProfile") or {}).get("type")
