"""Trying the defects: which stage of a deployment says so first.

The stages, cheapest first: `configuration` (the stack's file is read), `plan` (the program runs, its graph is checked),
`check` (the policies judge the graph) and `rehearsal` (see `tests/defects/rehearsed.py`).
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pulumi

from core.errors import ConfigError, PlanError
from infra.checks import faults
from infra.config import StackConfig, parse_config
from infra.plan import Graph, Resource, record
from infra.program import compose
from policies.engine import Status
from policies.outcome import Outcome
from tests.defects.model import Change, Defect, Document, World
from tests.defects.rehearsed import Rehearsed
from tests.policies.mutations.suite import Suite, planned
from tests.policies.mutations.world import Clean

CONFIGURATION, PLAN, CHECK, REHEARSAL = "configuration", "plan", "check", "rehearsal"
_REFUSALS = (PlanError, ConfigError, TypeError, RuntimeError, pulumi.ConfigMissingError)
"""What a program that is wrong ends with: the SDK's own errors are of the last three kinds."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a defect.

    Attributes:
        stage: The first that said so; None where none of the first three did.
        said: Its message, or the policies' rules.
    """

    defect: Defect
    stage: str | None
    said: str


class Defects:
    """The stacks as they are, and what is tried on them."""

    def __init__(self, suite: Suite, folder: Path, last: Rehearsed | None = None) -> None:
        """`suite` holds the stacks' plans, `folder` takes what a program writes; without `last`, no one rehearses."""
        self._suite = suite
        self._last = last
        self._folder = folder
        stacks = {name: clean for name, clean in suite.clean.items() if clean.plan}
        self._settings = {name: parse_config(clean.section, name) for name, clean in stacks.items()}
        self._sound = {id(one): (one, _resource(one)) for clean in stacks.values() for one in clean.plan.values()}
        self.sound = {name: faults(self._graph(World(clean)), self._settings[name]) for name, clean in stacks.items()}
        """What the checks say of each stack as it is."""

    def run(self, defect: Defect) -> Result:
        """Try a defect, stage after stage."""
        stage, said = self._try(defect)
        return Result(defect=defect, stage=stage, said=said)

    def _try(self, defect: Defect) -> tuple[str | None, str]:
        clean = self._suite.clean[defect.subject]
        if defect.later is not None:
            return self._release(clean, defect, defect.later)
        world = World(clean)
        defect.change(world)
        settings = self._settings[defect.subject]
        try:
            if world.section != clean.section:
                settings = parse_config(world.section, defect.subject)
        except ConfigError as error:
            return CONFIGURATION, _first(error)
        if defect.program is not None or world.section != clean.section:
            try:
                graph = self._plan(settings, defect)
            except _REFUSALS as error:
                return PLAN, _first(error)
            world = World(planned(defect.subject, world.section, graph.document()["resources"]))
        found = [one for one in faults(self._graph(world), settings) if one not in self.sound[defect.subject]]
        if found:
            return PLAN, found[0]
        before = _failures(self._suite.before[defect.subject])
        rules = sorted({rule for rule, _ in _failures(self._suite.examine(world)) - before})
        if rules:
            return CHECK, ", ".join(rules)
        refused = self._last.refusal(clean, world) if self._last is not None and defect.program is None else None
        return (None, "") if refused is None else (REHEARSAL, refused)

    def _release(self, clean: Clean, defect: Defect, later: Change) -> tuple[str | None, str]:
        """Try what changes of that which is there: what was wrong before is not the release's fault."""
        former, world = World(clean), World(clean)
        for one in (former, world):
            defect.change(one)
        later(world)
        settings = self._settings[defect.subject]
        known = set(faults(self._graph(former), settings))
        found = [one for one in faults(self._graph(world), settings) if one not in known]
        if found:
            return PLAN, found[0]
        before, after = (_failures(self._suite.examine(one)) for one in (former, world))
        if rules := sorted({rule for rule, _ in after - before}):
            return CHECK, ", ".join(rules)
        refused = self._last.objection(former, world) if self._last is not None else None
        return (None, "") if refused is None else (REHEARSAL, refused)

    def _graph(self, world: World) -> Graph:
        """What the checks look at; what is sound is made once."""
        resources = []
        for one in world.plan():
            known, resource = self._sound.get(id(one), (None, None))
            resources.append(resource if known is one and resource is not None else _resource(one))
        return Graph(stack=world.subject, resources=tuple(sorted(resources, key=lambda one: one.urn)), outputs={})

    def _plan(self, settings: StackConfig, defect: Defect) -> Graph:
        def declare() -> None:
            compose(settings, Path("/falaj"), self._folder, Path("monitoring"))
            if defect.program is not None:
                defect.program()

        graph = record(defect.subject, {}, declare, twice=False)
        # Only what passes once is worth a second run, which has to register the same.
        return graph if defect.program is None else record(defect.subject, {}, declare)


def _resource(one: Document) -> Resource:
    """A document of a plan as `infra.plan` has it."""
    found = {field.name: one[field.name] for field in fields(Resource) if field.name in one}
    lacking: dict[str, Any] = {"custom": True, "parent": None, "provider": None, "options": {}, "inputs": {}}
    named = {key: tuple(urns) for key, urns in one.get("property_dependencies", {}).items()}
    references = {"dependencies": tuple(one.get("dependencies", ())), "property_dependencies": named}
    return Resource(**(lacking | found | references))


def _failures(outcome: Outcome) -> set[tuple[str, str]]:
    return {(one.rule.id, f"{one.resource.type}::{one.resource.name}") for one in outcome.of(Status.FAIL)}


def _first(error: Exception) -> str:
    """The first fault of a message: a line above says of what."""
    lines = str(error).splitlines()
    return lines[1].strip() if len(lines) > 1 and lines[0].endswith(":") else lines[0]
