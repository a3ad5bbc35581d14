"""From the properties of a Pulumi resource to the parameters of an AWS operation, led by AWS's own model of it.

The provider's names are AWS's in another spelling: `vpcConfig.subnetIds` is `resourcesVpcConfig.subnetIds` or
`VpcConfig.SubnetIds`. What is not found by spelling is renamed by the kind; what is found nowhere is an error.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from rehearsal.protocol import ProviderError


def _spellings(name: str) -> list[str]:
    plain = name.replace("_", "").lower()
    singular = [
        plain.removesuffix(ending) + more
        for ending, more in (("ies", "y"), ("es", ""), ("s", ""))
        if plain.endswith(ending)
    ]
    return [plain, *singular, f"{plain}s", f"{plain}es", f"{plain}list"]


def member(shape: StructureShape, name: str, renames: Mapping[str, str]) -> str | None:
    """The member of a structure that a property is; None where it has none."""
    if renames.get(name) in shape.members:
        return renames[name]
    known = {key.lower(): key for key in shape.members}
    return next((known[spelling] for spelling in _spellings(name) if spelling in known), None)


def parameters(shape: Shape, value: Any, renames: Mapping[str, str], place: str = "") -> Any:
    """`value` as an operation takes it.

    Args:
        renames: Property → member, wherever it is met below `value`.

    Raises:
        ProviderError: The operation has no such parameter.
    """
    if isinstance(shape, StructureShape):
        if isinstance(value, list):
            value = value[0] if value else {}
        if not isinstance(value, Mapping):
            raise ProviderError(f"{place or shape.name} is {value!r}, and {shape.name} is a structure")
        found: dict[str, Any] = {}
        for key, item in value.items():
            if item is None:
                continue
            name = member(shape, key, renames)
            if name is None:
                raise ProviderError(
                    f"AWS knows no {f'{place}.{key}'.lstrip('.')}: {shape.name} has {', '.join(shape.members)}"
                )
            found[name] = parameters(shape.members[name], item, renames, f"{place}.{key}".lstrip("."))
        return found
    if isinstance(shape, ListShape):
        items = value if isinstance(value, list) else [value]
        return [parameters(shape.member, item, renames, f"{place}[{index}]") for index, item in enumerate(items)]
    if isinstance(shape, MapShape):
        return {key: parameters(shape.value, item, renames, f"{place}.{key}") for key, item in value.items()}
    return _scalar(shape, value)


def _scalar(shape: Shape, value: Any) -> Any:
    kind = shape.type_name
    if kind == "boolean" and isinstance(value, str):
        return value == "true"
    if kind in ("integer", "long") and isinstance(value, str):
        return int(value) if re.fullmatch(r"-?\d+", value) else value
    if kind in ("float", "double") and isinstance(value, (int, str)) and not isinstance(value, bool):
        return float(value)
    if kind == "string" and isinstance(value, bool):
        return str(value).lower()
    if kind == "string" and isinstance(value, (int, float)):
        return str(value)
    return value


def violations(shape: Shape, value: Any, place: str = "") -> Iterator[str]:
    """What the service would refuse and botocore lets pass: values outside an enumeration, too long or misspelt."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        for key, item in value.items():
            yield from violations(shape.members[key], item, f"{place}.{key}".lstrip("."))
    elif isinstance(shape, ListShape) and isinstance(value, list):
        yield from _too_many(shape, len(value), place, "items")
        for index, item in enumerate(value):
            yield from violations(shape.member, item, f"{place}[{index}]")
    elif isinstance(shape, MapShape) and isinstance(value, Mapping):
        for key, item in value.items():
            yield from violations(shape.key, key, f"{place}.{key}")
            yield from violations(shape.value, item, f"{place}.{key}")
    elif shape.type_name == "string" and isinstance(value, str):
        yield from _text(shape, value, place)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and value > shape.metadata.get("max", value):
        yield f"{place} is {value}, and at most {shape.metadata['max']} may be"


def _text(shape: Shape, value: str, place: str) -> Iterator[str]:
    choices = shape.metadata.get("enum", [])
    if choices and value not in choices:
        yield f"{place} is {value!r}, and must be one of {', '.join(choices)}"
    yield from _too_many(shape, len(value), place, "characters")
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return
    try:
        matches = re.fullmatch(pattern, value, re.DOTALL) is not None
    except re.error:
        # Some are of Java's dialect.
        return
    if not matches:
        yield f"{place} is {value!r}, and must match {pattern}"


def _too_many(shape: Shape, count: int, place: str, what: str) -> Iterator[str]:
    most = shape.metadata.get("max")
    if most is not None and count > most:
        yield f"{place} has {count} {what}, and at most {most} may be"
