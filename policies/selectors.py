"""Label selectors of Kubernetes: which objects of a type select a pod."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from policies.model import Resource

_Pair = tuple[str, str]


class Selectors:
    """Objects of one type with their selectors, found by labels.

    Each is filed under the one of its labels that fewest others ask for, so that a search looks at few of them
    however many there are.
    """

    def __init__(self, objects: Iterable[Resource], at: str) -> None:
        """`at` is the key of the selector in `spec`."""
        asked = [(one, _namespace(one), (one.inputs.get("spec") or {}).get(at) or {}) for one in objects]
        wanted = [(one, selector, _pairs(space, selector.get("matchLabels"))) for one, space, selector in asked]
        frequent = Counter(pair for _, _, pairs in wanted for pair in pairs)
        self._filed: dict[_Pair, list[tuple[Resource, Mapping[str, Any], frozenset[_Pair]]]] = {}
        for one, selector, pairs in wanted:
            rarest = min(pairs, key=lambda pair: (frequent[pair], pair))
            self._filed.setdefault(rarest, []).append((one, selector, pairs))

    def of(self, namespace: str | None, labels: object) -> Iterator[Resource]:
        """Those that select a pod with `labels` in a namespace. An empty selector selects every pod there."""
        mine = _pairs(namespace, labels)
        known = dict(mine)
        for pair in sorted(mine):
            for one, selector, pairs in self._filed.get(pair, ()):
                if pairs <= mine and all(_holds(rule, known) for rule in selector.get("matchExpressions") or ()):
                    yield one


def _namespace(resource: Resource) -> str | None:
    metadata = resource.inputs.get("metadata")
    found = metadata.get("namespace") if isinstance(metadata, Mapping) else None
    return str(found) if found else None


def _pairs(namespace: str | None, labels: object) -> frozenset[_Pair]:
    """Labels as pairs, with the namespace as one more: no label has an empty name."""
    listed = labels.items() if isinstance(labels, Mapping) else ()
    return frozenset({("", namespace or ""), *((str(key), str(value)) for key, value in listed)})


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """One of `matchExpressions`; one whose operator there is not selects nothing."""
    key, values = str(rule.get("key")), [str(value) for value in rule.get("values") or ()]
    match rule.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False
