"""What a rule sees and says: plain resources, faults in words, and what is not known yet.

A resource is plain data, whether it comes from the plan of a stack, from the engine during
`pulumi preview`, or from a file: a manifest, a compiled pipeline, a data contract.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from policies.graph import Graph

UNKNOWN = "[unknown]"
"""What stands for a value that only the provider will know."""
SECRET = "[secret]"  # noqa: S105
"""What stands for a value that no one may see."""
SYMBOL = re.compile(r"<([^<>\s]+:[^<>\s]+)::([^<>]+?)\.([A-Za-z0-9_]+(?:[.\[][^<>]*)?)>")
"""What the plan writes for another resource's property: its type, its name, the property."""


class Severity(StrEnum):
    """How bad it is when a rule is broken."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def order(self) -> int:
        """From 0, the lowest."""
        return list(Severity).index(self)


class Unknown(Exception):  # noqa: N818 - it is an answer, not an error
    """A rule cannot be judged from what is at hand; the text says why. It neither passes nor fails."""


class Untold(Mapping[str, Any]):
    """Inputs that whoever tells of a resource leaves out: what asks for any of them cannot be judged.

    Args:
        what: Why, in words.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __getitem__(self, key: str) -> Any:
        raise Unknown(self._what)

    def __iter__(self) -> Iterator[str]:
        raise Unknown(self._what)

    def __len__(self) -> int:
        raise Unknown(self._what)


def is_unknown(value: object) -> bool:
    """Whether a value is known only once a resource exists."""
    return isinstance(value, str) and (value == UNKNOWN or SYMBOL.fullmatch(value) is not None)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource as plain data.

    Attributes:
        type: The engine's, such as `aws:s3/bucket:Bucket`; files have types of their own (`policies.documents`).
        inputs: By the provider's names. A value that is not known yet is `[unknown]` or a symbol.
        property_dependencies: URNs that an input refers to, by the input's name.
        place: Where it is written, for a resource that comes from a file: `path` or `path:line`.
    """

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    parent: str | None = None
    provider: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    place: str | None = None

    def has(self, path: str) -> bool:
        """Whether there is anything at `path`, known or not; an empty text, list or mapping is nothing."""
        return any(value not in (None, "", [], {}) for value in _walk(self.inputs, path.split(".")))

    def value(self, path: str, default: Any = None) -> Any:
        """What is at `path`, such as `vpcConfig.endpointPublicAccess`; within a list the first that has it.

        Raises:
            Unknown: It is known only once the resource exists.
        """
        found = next(_walk(self.inputs, path.split(".")), None)
        if is_unknown(found):
            raise Unknown(f"{path} is known only once it exists")
        return default if found is None else found

    def each(self, path: str) -> list[Any]:
        """All that is at `path`, lists on the way taken apart; the items of a list at its end one by one.

        Raises:
            Unknown: One of them is known only once the resource exists.
        """
        found: list[Any] = []
        for value in _walk(self.inputs, path.split(".")):
            found += value if isinstance(value, list) else [value]
        if any(is_unknown(value) for value in found):
            raise Unknown(f"{path} is known only once it exists")
        return found

    def texts(self) -> Sequence[tuple[str, str]]:
        """Each text in the inputs with its path."""
        return self._texts

    @cached_property
    def _texts(self) -> tuple[tuple[str, str], ...]:
        return tuple(leaves(self.inputs))

    @cached_property
    def mentioned(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """Types and names of the resources whose symbols an input holds, by the input's name."""
        if isinstance(self.inputs, Untold):
            return {}
        found: dict[str, tuple[tuple[str, str], ...]] = {}
        for key, value in self.inputs.items():
            handles = [(kind, name) for _, text in leaves(value) for kind, name, _ in SYMBOL.findall(text)]
            if handles:
                found[key] = tuple(dict.fromkeys(handles))
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Without what was found out on the way."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def _walk(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list) and path:
        for item in value:
            yield from _walk(item, path)
    elif not path or is_unknown(value):
        if value is not None:
            yield value
    elif isinstance(value, Mapping) and path[0] in value:
        yield from _walk(value[path[0]], path[1:])


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each text in `value` with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")


Faults = Iterable[str]
Judge = Callable[[Resource, "Graph"], Faults]
"""Yields what is wrong with a resource, in words that hold no free text of it; may raise `Unknown`."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        id: Never changes: exceptions and settings name it.
        types: Types that it judges; one that ends in `*` stands for all that begin so. A rule about something
            that must be there judges what it must be there for, such as the provider of the account.
        why: What goes wrong without it.
        remedy: Which setting in which file to change.
        controls: Ids of the catalogue.
        known_as: What others call it: checkov's `CKV_…`, a field of the Pod Security Standards.
    """

    id: str
    title: str
    severity: Severity
    types: tuple[str, ...]
    why: str
    remedy: str
    controls: tuple[str, ...]
    judge: Judge
    known_as: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Callable[[str], "Rule"], tuple[str]]:
        """Another process has the same rules: their ids are enough there."""
        return _named, (self.id,)


def _named(name: str) -> Rule:
    from policies.rules import BY_ID

    return BY_ID[name]
