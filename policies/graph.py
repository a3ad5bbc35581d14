"""All resources of a stack, found by type and by what they refer to."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any

from policies.model import Resource, is_unknown
from policies.selectors import Selectors
from policies.settings import Settings

Keys = Callable[[Resource], Iterable[Hashable]]


class Graph:
    """The resources of one stack, or of one file, and what the rules need to know beside them.

    Args:
        resources: In any order.
        settings: Of the stack.
        today: The day by which dates are judged.
    """

    def __init__(self, resources: Iterable[Resource], settings: Settings, today: date) -> None:
        self.resources = tuple(sorted(resources, key=lambda resource: resource.urn))
        self.settings = settings
        self.today = today
        self._by_urn = {resource.urn: resource for resource in self.resources}
        self._by_type: dict[str, list[Resource]] = {}
        for resource in self.resources:
            self._by_type.setdefault(resource.type, []).append(resource)
        self._indexes: dict[tuple[str, Keys], dict[Hashable, list[Resource]]] = {}
        self._selectors: dict[tuple[str, str], Selectors] = {}

    def __reduce__(self) -> tuple[type["Graph"], tuple[tuple[Resource, ...], Settings, date]]:
        """What is found out on the way is found out again elsewhere."""
        return Graph, (self.resources, self.settings, self.today)

    def of(self, *types: str) -> list[Resource]:
        """Resources of the given types, sorted by URN; a type that ends in `*` stands for all that begin so."""
        names: dict[str, None] = {}
        for kind in types:
            if kind.endswith("*"):
                names |= {name: None for name in self._by_type if name.startswith(kind[:-1])}
            elif kind in self._by_type:
                names[kind] = None
        found = [resource for name in names for resource in self._by_type[name]]
        return found if len(names) < 2 else sorted(found, key=lambda resource: resource.urn)

    def get(self, urn: str | None) -> Resource | None:
        """The resource with a URN."""
        return self._by_urn.get(urn or "")

    @cached_property
    def _by_handle(self) -> Mapping[tuple[str, str], Resource]:
        return {(resource.type, resource.name): resource for resource in self.resources}

    def targets(self, resource: Resource, key: str) -> list[Resource]:
        """What an input refers to: by the symbols in it or, where it has none, by the engine's word.

        Before a resource is there, what others have of it is not known; after, it is a text like any other.
        """
        found = [self._by_handle[handle] for handle in resource.mentioned.get(key, ()) if handle in self._by_handle]
        if found:
            return found
        urns = resource.property_dependencies.get(key, ())
        return [self._by_urn[urn] for urn in urns if urn in self._by_urn]

    @cached_property
    def _referring(self) -> Mapping[str, list[tuple[Resource, str]]]:
        found: dict[str, list[tuple[Resource, str]]] = {}
        for resource in self.resources:
            for key in dict.fromkeys((*resource.mentioned, *resource.property_dependencies)):
                for target in self.targets(resource, key):
                    found.setdefault(target.urn, []).append((resource, key))
        return found

    def referring(self, target: Resource, kind: str, key: str | None = None) -> list[Resource]:
        """Resources of a type whose input `key`, or any, refers to `target`."""
        return [
            resource
            for resource, at in self._referring.get(target.urn, ())
            if resource.type == kind and (key is None or key == at)
        ]

    def named(self, kind: str, key: str, value: Any) -> list[Resource]:
        """Resources of a type whose input `key` is `value`."""
        return [resource for resource in self.of(kind) if resource.inputs.get(key) == value]

    def found(self, kind: str, by: Keys, key: Hashable) -> Sequence[Resource]:
        """Resources of a type for which `by`, a function of a module, gives `key` among others."""
        index = self._indexes.get((kind, by))
        if index is None:
            index = self._indexes[kind, by] = {}
            for resource in self.of(kind):
                for one in dict.fromkeys(by(resource)):
                    index.setdefault(one, []).append(resource)
        return index.get(key, ())

    def selecting(self, kind: str, at: str, namespace: str | None, labels: object) -> Iterator[Resource]:
        """Objects of a type whose selector, the key `at` of their `spec`, selects a pod of a namespace."""
        if (kind, at) not in self._selectors:
            self._selectors[kind, at] = Selectors(self.of(kind), at)
        return self._selectors[kind, at].of(namespace, labels)

    def attached(self, target: Resource, kind: str, key: str) -> list[Resource]:
        """Resources of a type that belong to `target`: their `key` refers to it, or spells its physical name."""
        found = {resource.urn: resource for resource in self.referring(target, kind, key)}
        for physical in (target.inputs.get(key), target.inputs.get("name")):
            if isinstance(physical, str) and not is_unknown(physical):
                found |= {resource.urn: resource for resource in self.named(kind, key, physical)}
        return list(found.values())

    def ancestors(self, resource: Resource) -> Iterator[Resource]:
        """Parents, the nearest first."""
        above = self.get(resource.parent)
        while above is not None:
            yield above
            above = self.get(above.parent)

    @property
    def size(self) -> int:
        """How many resources there are."""
        return len(self.resources)
