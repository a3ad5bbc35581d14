"""What a mutation changes: a copy of what `falaj check` reads, with one thing broken.

The clean side is what the program plans and what the repository holds; nothing is made up but what a mutation adds.
A type is written short: `s3/bucket:Bucket` for AWS, `k8s/apps/v1:Deployment` for Kubernetes. A path is written with
spaces between its parts, since keys of Kubernetes have dots and slashes: `spec template spec containers 0 image`.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from policies.documents import file_graph, from_plan, stack_graph
from policies.exceptions import Excepted, read_exceptions
from policies.graph import Graph
from policies.model import Resource
from policies.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
TODAY = date(2026, 11, 21)

Change = Callable[["World"], None]
Document = dict[str, Any]


def full(kind: str) -> str:
    """The engine's name of a type."""
    if kind.startswith("k8s/"):
        return f"kubernetes:{kind[4:]}"
    return kind if kind.startswith("pulumi:") else f"aws:{kind}"


@dataclass(frozen=True, kw_only=True)
class Clean:
    """What a stack or a file is before anything is broken.

    Attributes:
        plan: Resources of the plan by type and name; empty for a file.
        section: What the stack's file says.
        file: Documents of a file; None for a stack.
    """

    subject: str
    section: Mapping[str, Any]
    settings: Settings
    plan: Mapping[tuple[str, str], Document] = field(default_factory=dict)
    resources: Mapping[tuple[str, str], Resource] = field(default_factory=dict)
    contracts: Sequence[Resource] = ()
    exceptions: Sequence[Excepted] = ()
    file: Sequence[Document] | None = None


class World:
    """One subject, to be changed."""

    def __init__(self, clean: Clean) -> None:
        self.subject = clean.subject
        self._clean = clean
        self._changed: dict[tuple[str, str], Document | None] = {}
        self.section: Document = copy.deepcopy(dict(clean.section))
        self.exceptions = list(clean.exceptions)
        self.documents: list[Document] = [] if clean.file is None else [copy.deepcopy(one) for one in clean.file]

    def resource(self, kind: str, name: str) -> Document:
        """A resource of the plan, to be changed in place.

        Raises:
            KeyError: The stack has none: the mutation is not about this stack.
        """
        key = full(kind), name
        if key not in self._changed:
            if key not in self._clean.plan:
                raise KeyError(f"{self._clean.subject} has no {key[0]} {name}")
            self._changed[key] = copy.deepcopy(self._clean.plan[key])
        found = self._changed[key]
        if found is None:
            raise KeyError(f"{name} was removed")
        return found

    def inputs(self, kind: str, name: str) -> Document:
        """The inputs of a resource, to be changed in place."""
        found: Document = self.resource(kind, name).setdefault("inputs", {})
        return found

    def touched(self, kind: str, name: str, key: str) -> None:
        """Forget what the engine knew of an input that is about to change."""
        self.resource(kind, name).get("property_dependencies", {}).pop(key, None)

    def is_clean(self, resource: Resource) -> bool:
        """Whether a resource is the very one of the clean subject."""
        return resource is self._clean.resources.get((resource.type, resource.name)) or any(
            resource is one for one in self._clean.contracts
        )

    def remove(self, kind: str, name: str) -> None:
        """Take a resource out of the plan."""
        self.resource(kind, name)
        self._changed[full(kind), name] = None

    def add(self, kind: str, name: str, inputs: Document) -> None:
        """Put another resource into the plan."""
        assert (full(kind), name) not in self._clean.plan, name
        urn = f"urn:pulumi:{self._clean.subject}::falaj::{full(kind)}::{name}"
        self._changed[full(kind), name] = {"urn": urn, "type": full(kind), "name": name, "inputs": inputs}

    def names(self, kind: str) -> list[str]:
        """Names of all resources of a type."""
        return sorted(name for found, name in self._clean.plan if found == full(kind))

    def plan(self) -> list[Document]:
        """The resources of the plan, as they are now."""
        kept = [one for key, one in self._clean.plan.items() if key not in self._changed]
        return kept + self.changed()

    def changed(self) -> list[Document]:
        """The resources of the plan that are not as they were, and are there."""
        return [one for one in self._changed.values() if one is not None]

    def graph(self, folder: Path) -> Graph:
        """What the rules judge. A file is written to `folder` first, and read as any other."""
        if self._clean.file is not None:
            file = folder / Path(self._clean.subject).name
            file.write_text(yaml.safe_dump_all(self.documents, sort_keys=False))
            return file_graph(file, self._clean.settings, TODAY)
        kept = [one for key, one in self._clean.resources.items() if key not in self._changed]
        changed = [from_plan(one) for one in self._changed.values() if one is not None]
        return stack_graph(self._clean.subject, [*kept, *changed], self.section, self._clean.contracts, TODAY)


@dataclass(frozen=True)
class Mutation:
    """One thing that is broken.

    Attributes:
        control: Id of the catalogue that it violates.
        what: What is now wrong, as an auditor would say it.
        subjects: Stacks and files in which it is tried; it has to be caught in each.
    """

    id: str
    control: str
    what: str
    subjects: tuple[str, ...]
    change: Change


SMB, PROD, SITE = "smb", "prod", "onprem"
CLOUD = (SMB, PROD)
BOTH = (PROD, SITE)
"""One of each substrate: what is in a cluster is made the same way for every stack of it."""


def _parts(path: str) -> list[str]:
    return path.split(" ")


def _into(value: Any, path: list[str]) -> Any:
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def put(kind: str, name: str, path: str, value: Any) -> Change:
    """Set what is at a path of a resource's inputs; what is on the way and not there is made."""

    def change(world: World) -> None:
        world.touched(kind, name, _parts(path)[0])
        set_at(world.inputs(kind, name), path, value)

    return change


def set_at(target: Any, path: str, value: Any) -> None:
    """Set what is at a path; it has to become something else."""
    *way, last = _parts(path)
    for part in way:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    if isinstance(target, list):
        assert target[int(last)] != value
        target[int(last)] = value
    else:
        assert last not in target or target[last] != value, f"{path} is {value!r} already"
        target[last] = copy.deepcopy(value)


def lose(kind: str, name: str, path: str) -> Change:
    """Take away what is at a path of a resource's inputs."""

    def change(world: World) -> None:
        world.touched(kind, name, _parts(path)[0])
        lose_at(world.inputs(kind, name), path)

    return change


def lose_at(target: Any, path: str) -> None:
    """Take away what is at a path."""
    *way, last = _parts(path)
    target = _into(target, way)
    del target[int(last) if isinstance(target, list) else last]


def append(kind: str, name: str, path: str, *values: Any) -> Change:
    """Add to the list at a path of a resource's inputs."""

    def change(world: World) -> None:
        world.touched(kind, name, _parts(path)[0])
        inputs = world.inputs(kind, name)
        way = _parts(path)
        _into(inputs, way[:-1]).setdefault(way[-1], []).extend(copy.deepcopy(values))

    return change


def variable(kind: str, name: str, variable: str, value: str) -> Change:
    """Set an environment variable of the first container of a workload."""

    def change(world: World) -> None:
        container = world.inputs(kind, name)["spec"]["template"]["spec"]["containers"][0]
        others = [one for one in container["env"] if one["name"] != variable]
        made = {"name": variable, "value": value}
        assert made not in container["env"], variable
        container["env"] = [*others, made]

    return change


def remove(kind: str, name: str) -> Change:
    """Take a resource out of the plan."""
    return lambda world: world.remove(kind, name)


def remove_all(kind: str) -> Change:
    """Take all resources of a type out of the plan."""

    def change(world: World) -> None:
        names = world.names(kind)
        assert names, kind
        for name in names:
            world.remove(kind, name)

    return change


def add(kind: str, name: str, inputs: Document) -> Change:
    """Put another resource into the plan."""
    return lambda world: world.add(kind, name, copy.deepcopy(inputs))


def unprotect(kind: str, name: str) -> Change:
    """Let a destroy take a resource."""

    def change(world: World) -> None:
        del world.resource(kind, name)["options"]["protect"]

    return change


def text(kind: str, name: str, path: str, old: str, new: str) -> Change:
    """Replace a part of the text at a path."""

    def change(world: World) -> None:
        inputs = world.inputs(kind, name)
        found = _into(inputs, _parts(path))
        assert old in found, f"{old} is not in {path} of {name}"
        set_at(inputs, path, found.replace(old, new))

    return change


def within(kind: str, name: str, key: str, change: Callable[[Any], None]) -> Change:
    """Change the JSON document that an input holds as text."""

    def changed(world: World) -> None:
        inputs = world.inputs(kind, name)
        *way, last = _parts(key)
        holder = _into(inputs, way)
        document = json.loads(holder[last])
        change(document)
        new = json.dumps(document)
        assert new != holder[last]
        holder[last] = new

    return changed


def grant(kind: str, name: str, key: str, **statement: Any) -> Change:
    """Add a statement that allows something to a policy."""
    made = {"Effect": "Allow", **statement}
    return within(kind, name, key, lambda document: document["Statement"].append(made))


def ungrant(kind: str, name: str, key: str, sid: str) -> Change:
    """Take the statement with a Sid out of a policy."""

    def drop(document: Document) -> None:
        document["Statement"] = [one for one in document["Statement"] if one.get("Sid") != sid]

    return within(kind, name, key, drop)


def policy(**statement: Any) -> str:
    """A policy of one statement."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


def say(path: str, value: Any) -> Change:
    """Set a key of the stack's file."""
    return lambda world: set_at(world.section, path, value)


def unsay(path: str) -> Change:
    """Take a key out of the stack's file."""
    return lambda world: lose_at(world.section, path)


def write(path: str, value: Any, document: int = 0) -> Change:
    """Set a key of a file's document."""
    return lambda world: set_at(world.documents[document], path, value)


def erase(path: str, document: int = 0) -> Change:
    """Take a key out of a file's document."""
    return lambda world: lose_at(world.documents[document], path)


def days_ago(days: int) -> date:
    """A day before the one on which the suite judges."""
    return TODAY - timedelta(days=days)


def clean_exceptions() -> list[Excepted]:
    """The exceptions of the repository."""
    return read_exceptions(ROOT / "exceptions")
