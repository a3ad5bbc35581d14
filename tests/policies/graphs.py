"""Graphs written in few words, for the tests of rules: see `cases/bases.yaml`."""

import copy
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from policies.graph import Graph
from policies.model import Resource
from policies.settings import read_settings

CASES = Path(__file__).parent / "cases"
TODAY = date(2026, 11, 21)
SECTION: dict[str, Any] = {
    "environment": "production",
    "substrate": {"kind": "aws", "account_id": "444455556666"},
    "governance": {
        "contacts": {
            "operations": "o@example.ae",
            "security": "s@example.ae",
            "data_protection_officer": "d@example.ae",
        },
        "record_of_processing": "ROP-1",
        "dpia": {"reference": "DPIA-1", "expires": "2028-01-01"},
        "budget": {"monthly_usd": 1000},
    },
}
Described = list[dict[str, Any]]


def read(name: str) -> dict[str, Any]:
    """A file of cases."""
    found: dict[str, Any] = yaml.safe_load((CASES / name).read_text())
    return found


BASES: Mapping[str, Described] = read("bases.yaml")


def graph(described: Described, section: Mapping[str, Any] | None = None) -> Graph:
    """The graph that a list describes."""
    kinds = {one.get("$name", f"r{index}"): _type(one["$type"]) for index, one in enumerate(described)}
    resources = []
    for index, one in enumerate(described):
        name = one.get("$name", f"r{index}")
        inputs = _symbols(
            {key: value for key, value in one.items() if key not in ("$type", "$name", "$options")}, kinds
        )
        urn = f"urn:pulumi:test::falaj::{kinds[name]}::{name}"
        resources.append(
            Resource(urn=urn, type=kinds[name], name=name, inputs=inputs, options=one.get("$options") or {})
        )
    return Graph(resources, read_settings({**SECTION, **(section or {})}, "test"), TODAY)


def broken(described: Described, changes: Mapping[str, Any]) -> Described:
    """A copy with changes: `name.path: value` (null removes), `-name: true`, `+name: {…}`."""
    found = copy.deepcopy(described)
    for key, value in changes.items():
        if key.startswith("-"):
            assert any(one["$name"] == key[1:] for one in found), key
            found = [one for one in found if one["$name"] != key[1:]]
        elif key.startswith("+"):
            found.append({"$name": key[1:], **value})
        else:
            name, *path = key.split(".")
            (target,) = (one for one in found if one["$name"] == name)
            _change(target, path, value)
    return found


def _change(target: Any, path: list[str], value: Any) -> None:
    for part in path[:-1]:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    last = path[-1]
    if isinstance(target, list):
        target[int(last)] = value
    elif value is None:
        target.pop(last, None)
    else:
        target[last] = value


def _type(text: str) -> str:
    if text.startswith("k8s/"):
        return f"kubernetes:{text[4:]}"
    return text if text.startswith(("pulumi", "falaj:")) else f"aws:{text}"


def _symbols(value: Any, kinds: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\.(\w+)\}", lambda mark: f"<{kinds[mark[1]]}::{mark[1]}.{mark[2]}>", value)
    if isinstance(value, dict):
        return {key: _symbols(item, kinds) for key, item in value.items()}
    return [_symbols(item, kinds) for item in value] if isinstance(value, list) else value
