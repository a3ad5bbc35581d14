"""What a defect is: one thing that is wrong, made in a stack's file, in what the program registers, or in the program.

Changes are those of the policies' mutations: a copy of a stack, with one thing broken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.policies.mutations.world import PROD, SITE, SMB, Change, Document, World

__all__ = [
    "PROD",
    "SITE",
    "SMB",
    "Change",
    "Defect",
    "Document",
    "World",
    "document_of",
    "early",
    "no_change",
    "unlist",
]


def no_change(world: World) -> None:
    """The stack as it is: the defect is in the program, or in a rehearsal's."""


@dataclass(frozen=True)
class Defect:
    """One thing that a first deployment would meet.

    Attributes:
        what: What is wrong, and where it is not plain what it does.
        subject: The stack in which it is made.
        change: How its file, or its graph, is broken.
        seen: An issue of another project that met it.
        program: Registered with the whole stack, where the program is what is wrong.
        later: What the next release changes of what `change` left, once that is there.
    """

    id: str
    what: str
    subject: str
    change: Change = no_change
    seen: str | None = None
    program: Callable[[], Any] | None = None
    later: Change | None = None


def early(kind: str, name: str, *forgotten: str) -> Change:
    """Forget what a resource waits for: each dependency whose URN ends so; at least one has to be there."""

    def change(world: World) -> None:
        resource = world.resource(kind, name)

        def kept(urns: list[str]) -> list[str]:
            return [urn for urn in urns if not urn.endswith(forgotten)]

        before = resource["dependencies"]
        resource["dependencies"] = kept(before)
        assert len(resource["dependencies"]) < len(before), f"{name} waits for none of {forgotten}"
        references = {key: kept(urns) for key, urns in resource.get("property_dependencies", {}).items()}
        resource["property_dependencies"] = references
        options = resource.get("options", {})
        if "depends_on" in options:
            options["depends_on"] = kept(options["depends_on"])

    return change


def document_of(kind: str, name: str, place: str, change: Callable[[Any], None]) -> Change:
    """Change the part of a resource's inputs that is found at a path with spaces between its parts."""

    def changed(world: World) -> None:
        value: Any = world.inputs(kind, name)
        for part in place.split():
            value = value[int(part)] if isinstance(value, list) else value[part]
        change(value)

    return changed


def unlist(kind: str, name: str, place: str, unwanted: Callable[[Any], bool]) -> Change:
    """Take out of the list at a path what is unwanted; at least one has to be there."""

    def change(found: list[Any]) -> None:
        before = len(found)
        found[:] = [one for one in found if not unwanted(one)]
        assert len(found) < before, f"{name} has none of these at {place}"

    return document_of(kind, name, place, change)


def all_of(*changes: Change) -> Change:
    """Several changes that make one defect."""

    def change(world: World) -> None:
        for one in changes:
            one(world)

    return change
