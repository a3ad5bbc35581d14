"""Hypothesis strategies over configurations, made from the stacks that are in the repository."""

import copy
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from core.errors import ConfigError
from infra.config import KEY, StackConfig, parse_config

ROOT = Path(__file__).resolve().parents[2]
STACKS = sorted(file.name.split(".")[1] for file in (ROOT / "stacks").glob("Pulumi.*.yaml"))
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["mec1-az2", "g6.xlarge", "10.0.0.0/8", "0.0.0.0/0", "spot", "aws", "local", "kubernetes", "mysql"]
    ),
)
_ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


def document(stack: str) -> dict[str, Any]:
    """What a stack's file holds under `falaj:stack`."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    return found["config"][f"falaj:{KEY}"]  # type: ignore[no-any-return]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each container in `value` with each of its keys."""
    if isinstance(value, dict):
        return [(value, key) for key in value] + [place for item in value.values() for place in _places(item)]
    if isinstance(value, list):
        return [(value, index) for index in range(len(value))] + [place for item in value for place in _places(item)]
    return []


@st.composite
def broken(draw: st.DrawFn) -> dict[str, Any]:
    """A stack's document with one to three values removed, replaced or doubled; most are not valid."""
    found = copy.deepcopy(document(draw(st.sampled_from(STACKS))))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(found)
        if not places:
            break
        container, key = draw(st.sampled_from(range(len(places))).map(lambda index, places=places: places[index]))
        match draw(st.sampled_from(["remove", "replace", "move", "add"])):
            case "remove":
                del container[key]
            case "replace":
                container[key] = draw(_ANYTHING)
            case "move":
                other, elsewhere = draw(st.sampled_from(range(len(places))).map(lambda i, places=places: places[i]))
                container[key] = copy.deepcopy(other[elsewhere])
            case "add" if isinstance(container, dict):
                container[draw(st.text(max_size=6))] = draw(_ANYTHING)
            case _:
                container.append(draw(_ANYTHING))
    return found


@st.composite
def valid(draw: st.DrawFn, stacks: tuple[str, ...] = tuple(STACKS)) -> StackConfig:
    """A valid configuration: a stack's, with optional parts left out and values changed where the schema lets it."""
    name = draw(st.sampled_from(stacks))
    found = copy.deepcopy(document(name))
    for _ in range(draw(st.integers(0, 12))):
        changed = copy.deepcopy(found)
        places = _places(changed)
        container, key = places[draw(st.integers(0, len(places) - 1))]
        if isinstance(container[key], bool):
            container[key] = not container[key]
        elif isinstance(container[key], int):
            container[key] = max(1, draw(st.integers(container[key] // 2, 2 * container[key])))
        else:
            del container[key]
        try:
            parse_config(changed, name)
        except ConfigError:
            continue
        found = changed
    return parse_config(found, name)
