"""What pods ask for and what nodes have, by the names that Kubernetes gives them: cpu in cores, memory in bytes."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

Amounts = dict[str, Decimal]
_GIB = Decimal(1024**3)


def amounts(quantities: Mapping[str, Any] | None) -> Amounts:
    """Numbers of Kubernetes' quantities, such as `100m` and `2Gi`."""
    return {name: Decimal(parse_quantity(value)) for name, value in (quantities or {}).items()}


def total(parts: Iterable[Amounts]) -> Amounts:
    """All together."""
    found: Amounts = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, Decimal(0)) + value
    return found


def less(have: Amounts, taken: Amounts) -> Amounts:
    """What is left; it may be below nothing."""
    return {name: value - taken.get(name, Decimal(0)) for name, value in have.items()}


def lacking(need: Amounts, have: Amounts) -> list[str]:
    """Names of what there is too little of."""
    return [name for name, value in need.items() if value > have.get(name, Decimal(0))]


def asked(spec: Mapping[str, Any]) -> Amounts:
    """What the scheduler counts for a pod of this specification, as it takes containers that start before and beside.

    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
    """
    beside: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or []:
        own = _requests(container)
        if container.get("restartPolicy") == "Always":
            beside = total([beside, own])
            own = {}
        most = _larger(most, total([beside, own]))
    running = total([beside, *(_requests(container) for container in spec["containers"])])
    return total([_larger(most, running), amounts(spec.get("overhead")), {"pods": Decimal(1)}])


def _requests(container: Mapping[str, Any]) -> Amounts:
    return amounts(container.get("resources", {}).get("requests"))


def _larger(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in one.keys() | other.keys()}


def told(found: Amounts) -> str:
    """For people: `2 cpu, 4.0 GiB of memory`."""
    counted = sorted(found.keys() - {"memory", "pods", "ephemeral-storage"})
    shown = [f"{float(found[name]):.4g} {name}" for name in counted]
    return ", ".join([*shown, *([f"{found['memory'] / _GIB:.1f} GiB of memory"] if "memory" in found else [])])
