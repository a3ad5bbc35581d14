"""The stack's namespaces: what they enforce, and how much they let their pods take."""

from typing import Any

from kubernetes.utils.quantity import parse_quantity

from verify.asked import Each, UnaskedError
from verify.cluster import LEVEL, OURS, Cluster, Manifest, namespaced
from verify.declared import Declared, Inputs, known

_AUDITED = ("pod-security.kubernetes.io/audit", "pod-security.kubernetes.io/warn")
TENANT = "falaj.ae/tenant"
"""Label of the namespaces of what people make."""


def test_there(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared namespace is there and known for the stack's own, and none is being deleted."""

    def judge(inputs: Inputs) -> str | None:
        found = cluster.live(inputs)
        if found is None:
            return "is missing"
        if inputs["metadata"]["name"] not in cluster.namespaces:
            return f"lacks the label {'='.join(OURS)}: what is in it was not looked at"
        return None if found["status"]["phase"] == "Active" else f"is {found['status']['phase']}"

    each(namespaced(declared, "core:Namespace"), judge)


def test_pod_security(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every namespace enforces the Pod Security Standard that it is declared with."""
    each(namespaced(declared, "core:Namespace"), lambda inputs: _label(cluster, inputs, LEVEL))


def test_pod_security_is_audited(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every namespace records and warns of what its standard refuses."""
    each(
        namespaced(declared, "core:Namespace"),
        lambda inputs: [fault for label in _AUDITED if (fault := _label(cluster, inputs, label))],
    )


def test_none_beside(each: Each, declared: Declared, cluster: Cluster) -> None:
    """No namespace calls itself the stack's own that is not declared."""
    names = {inputs["metadata"]["name"] for inputs in declared.of("core:Namespace").values()}
    each(list(cluster.namespaces), lambda name: None if name in names else "is not declared")


def test_tenants_have_a_quota(each: Each, cluster: Cluster) -> None:
    """What people make is bounded: their namespaces have a quota of CPU, memory, pods and GPUs."""
    quotas = cluster.in_namespaces("v1", "ResourceQuota")
    wanted = {"requests.cpu", "requests.memory", "requests.nvidia.com/gpu", "pods"}

    def judge(name: str) -> str | None:
        bounded = {
            key for place, quota in quotas.items() if place.startswith(f"{name}/") for key in quota["spec"]["hard"]
        }
        return f"has no quota of {', '.join(sorted(wanted - bounded))}" if wanted - bounded else None

    each([name for name, item in cluster.namespaces.items() if _labels(item).get(TENANT) == "true"], judge)


def test_quotas(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every quota is as declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else _amounts(inputs["spec"]["hard"], found["spec"].get("hard", {}))

    each(namespaced(declared, "core:ResourceQuota"), judge)


def test_quotas_have_room(each: Each, declared: Declared, cluster: Cluster) -> None:
    """No quota is used up."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        status = found.get("status", {}) if found else {}
        if "used" not in status:
            raise UnaskedError("no controller has counted what is used")
        return [
            f"{key}: {used} of {status['hard'][key]} are used"
            for key, used in status["used"].items()
            if 0 < parse_quantity(status["hard"][key]) <= parse_quantity(used)
        ]

    each(namespaced(declared, "core:ResourceQuota"), judge)


def test_limits(each: Each, declared: Declared, cluster: Cluster) -> None:
    """What a container gets that asks for nothing is as declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        live = {limit["type"]: limit for limit in found["spec"]["limits"]}
        return [
            f"{limit['type']} {part}: {fault}"
            for limit in inputs["spec"]["limits"]
            for part in ("default", "defaultRequest", "max")
            for fault in _amounts(limit.get(part, {}), live.get(limit["type"], {}).get(part, {}))
        ]

    each(namespaced(declared, "core:LimitRange"), judge)


def _amounts(declared: Any, found: Any) -> list[str]:
    return [
        f"{key} is {found.get(key)} instead of {amount}"
        for key, amount in declared.items()
        if known(amount) and (key not in found or parse_quantity(found[key]) != parse_quantity(amount))
    ]


def _label(cluster: Cluster, inputs: Inputs, label: str) -> str | None:
    found, wanted = cluster.live(inputs), inputs["metadata"].get("labels", {}).get(label)
    if found is None:
        return "is missing"
    if wanted is None:
        return f"is declared without {label}"
    is_ = _labels(found).get(label)
    return None if is_ == wanted else f"{label} is {is_} instead of {wanted}"


def _labels(item: Manifest) -> dict[str, str]:
    return item["metadata"].get("labels") or {}
