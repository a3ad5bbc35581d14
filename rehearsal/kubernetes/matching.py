"""Whether a pod may stand on a node with these labels and taints, as the scheduler judges selector and tolerations."""

from collections.abc import Mapping, Sequence
from typing import Any

_HARD = ("NoSchedule", "NoExecute")


def selects(spec: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a pod's node selector and its required node affinity take a node with these labels."""
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(
        all(_meets(rule, labels) for rule in term.get("matchExpressions") or [])
        for term in required["nodeSelectorTerms"]
    )


def _meets(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    found, values = labels.get(rule["key"]), rule.get("values") or []
    match rule["operator"]:
        case "In":
            return found in values
        case "NotIn":
            return found not in values
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt":
            return found is not None and int(found) > int(values[0])
        case _:
            return found is not None and int(found) < int(values[0])


def repelled(spec: Mapping[str, Any], taints: Sequence[Mapping[str, Any]]) -> list[str]:
    """The taints, as `key=value:effect`, that keep a pod away."""
    tolerations = spec.get("tolerations") or []
    return [
        f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
        for taint in taints
        if taint["effect"] in _HARD and not any(_tolerates(toleration, taint) for toleration in tolerations)
    ]


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    exists: bool = toleration.get("operator", "Equal") == "Exists"
    if not toleration.get("key"):
        return exists
    same: bool = toleration["key"] == taint["key"]
    return same and (exists or str(toleration.get("value", "")) == str(taint.get("value", "")))
