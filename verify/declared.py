"""What a stack declares: the resources of its plan, or of the state that the engine keeps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from core.errors import ConfigError

Inputs = Mapping[str, Any]
_ENGINE_SECRET = "4dabf18193072939515e22adb298388d"  # noqa: S105 - the key by which the engine marks one
_HIDDEN = ("[secret]", "[unknown]")


@dataclass(frozen=True)
class Declared:
    """Resources of one stack.

    Attributes:
        inputs: By type and name, by the provider's names.
    """

    stack: str
    inputs: Mapping[tuple[str, str], Inputs]

    @classmethod
    def of_document(cls, stack: str, document: Any) -> Self:
        """From what `falaj plan --json` or `pulumi stack export` writes.

        Raises:
            ConfigError: It is neither.
        """
        resources = document.get("deployment", document).get("resources") if isinstance(document, dict) else None
        if not isinstance(resources, list):
            raise ConfigError("the declared resources are neither those of `falaj plan --json` nor an exported state")
        return cls(stack, {(found["type"], _name(found["urn"])): found.get("inputs") or {} for found in resources})

    def of(self, kind: str) -> dict[str, Inputs]:
        """Inputs of the resources of a type, by name; in a cluster a type's version is left out: `core:Namespace`."""
        return {name: inputs for (found, name), inputs in self.inputs.items() if _matches(found, kind)}

    def values(self, kind: str, key: str) -> list[str]:
        """One input of each resource of a type, where it is known, each once and in order."""
        found = (inputs.get(key) for inputs in self.of(kind).values())
        return sorted({value for value in found if isinstance(value, str) and known(value)})

    def has(self, package: str) -> bool:
        """Whether there is anything of a package, such as `aws`."""
        return any(kind.startswith(f"{package}:") for kind, _ in self.inputs)


def known(value: Any) -> bool:
    """Whether a declared value is one, and not a symbol of what only the provider knows, or a secret."""
    if isinstance(value, str):
        return not (value.startswith("<") or "<aws:" in value or "<random:" in value) and value not in _HIDDEN
    return not (isinstance(value, Mapping) and _ENGINE_SECRET in value)


def differences(declared: Any, found: Any, place: str = "") -> Iterable[str]:
    """Where something is not as it was declared; what is there beyond that is no difference."""
    if not known(declared):
        return
    if isinstance(declared, Mapping):
        if not isinstance(found, Mapping):
            if declared:
                yield f"{place or 'it'} is missing"
            return
        for key, value in declared.items():
            yield from differences(value, found.get(key), f"{place}.{key}" if place else key)
    elif isinstance(declared, list):
        if len(declared) != len(found or []):
            yield f"{place} has {len(found or [])} entries instead of {len(declared)}"
            return
        for number, value in enumerate(declared):
            yield from differences(value, found[number], f"{place}[{number}]")
    elif declared not in (None, "", False) and declared != found and str(declared) != str(found):
        yield f"{place} is {found!r} instead of {declared!r}"


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _matches(found: str, kind: str) -> bool:
    if found == kind:
        return True
    package, _, rest = found.partition(":")
    if package != "kubernetes":
        return False
    version, _, name = rest.partition(":")
    return f"{version.rpartition('/')[0]}:{name}" == kind
