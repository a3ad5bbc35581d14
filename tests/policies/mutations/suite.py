"""Running the mutations: what each breaks, and which rules say so."""

import gc
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from falaj.commands.plan import graph as plan
from infra.addons.models import inference_service, metadata
from infra.config import KEY, parse_config
from infra.config.platform import ModelVersion, Replicas
from infra.plan import read_stack
from infra.signals import runtime_signals
from infra.substrates.base import Signal
from infra.substrates.cluster import Placement
from policies.documents import contracts, from_plan
from policies.engine import Judgement, Status, judge
from policies.exceptions import apply
from policies.graph import Graph
from policies.outcome import Outcome
from policies.rules import RULES
from policies.settings import Settings, read_settings
from tests.policies.mutations.catalogue import MUTATIONS
from tests.policies.mutations.serving import CONTRACT, IMAGE, MODEL, PIPELINE
from tests.policies.mutations.world import PROD, ROOT, SITE, SMB, Clean, Document, Mutation, World, clean_exceptions

EXCEPTIONS = "exceptions"
"""Stands for the check of the exceptions themselves, which is no rule."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a mutation brought about in one subject.

    Attributes:
        rules: Ids of the rules that fail now and did not before, on the same resource.
        doubts: Ids of the rules that can no longer judge; that is no catch.
    """

    mutation: Mutation
    subject: str
    rules: tuple[str, ...]
    doubts: tuple[str, ...]


class _Seen:
    """A graph that remembers whether a rule looked at any other resource."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.looked = False

    def __getattr__(self, name: str) -> Any:
        self.looked = self.looked or name not in ("settings", "today")
        return getattr(self._graph, name)


class Suite:
    """The clean subjects, planned and read once."""

    def __init__(self, folder: Path, *, files: bool = True) -> None:
        """`folder` is where broken files are written; without `files` there are the stacks alone."""
        self._folder = folder
        self._known: dict[tuple[str, Settings], dict[tuple[str, int], Judgement]] = {}
        self.clean = {stack: _stack(stack) for stack in (SMB, PROD, SITE)}
        self.clean |= {one.subject: one for one in _files()} if files else {}
        self.before = {name: self.examine(World(one)) for name, one in self.clean.items()}
        self._before = {
            (name, status): _at(outcome, status)
            for name, outcome in self.before.items()
            for status in (Status.FAIL, Status.UNKNOWN)
        }
        gc.freeze()  # All this lives to the end.

    def examine(self, world: World) -> Outcome:
        """The same as `examine`: what a rule said of a resource by that resource alone is not asked again."""
        graph = world.graph(self._folder)
        known = self._known.setdefault((world.subject, graph.settings), {})
        judgements = []
        for rule in RULES:
            for resource in graph.of(*rule.types):
                key = rule.id, id(resource)
                found = known.get(key)
                if found is None:
                    seen = _Seen(graph)
                    found = judge(rule, resource, cast(Graph, seen))
                    if not seen.looked and world.is_clean(resource):
                        known[key] = found
                judgements.append(found)
        judged, problems = apply(judgements, world.exceptions, graph.settings.stack, graph.today)
        return Outcome(
            subject=world.subject,
            graph=graph,
            judgements=tuple(judged),
            problems=tuple(problems),
            exceptions=tuple(world.exceptions),
        )

    def run(self, mutation: Mutation) -> list[Result]:
        """Try a mutation in each of its subjects."""
        return [self._try(mutation, subject) for subject in mutation.subjects]

    def _try(self, mutation: Mutation, subject: str) -> Result:
        world = World(self.clean[subject])
        mutation.change(world)
        after = self.examine(world)
        caught = {rule for rule, _ in _at(after, Status.FAIL) - self._before[subject, Status.FAIL]}
        caught |= {EXCEPTIONS} if set(after.problems) - set(self.before[subject].problems) else set()
        doubts = {rule for rule, _ in _at(after, Status.UNKNOWN) - self._before[subject, Status.UNKNOWN]}
        return Result(
            mutation=mutation, subject=subject, rules=tuple(sorted(caught)), doubts=tuple(sorted(doubts - caught))
        )


def _at(outcome: Outcome, status: Status) -> set[tuple[str, str]]:
    return {
        (one.rule.id, f"{one.resource.type}::{one.resource.name}") for one in outcome.judgements if one.status is status
    }


def _stack(stack: str) -> Clean:
    return planned(stack, read_stack(ROOT, stack)[f"falaj:{KEY}"], plan(stack).document()["resources"])


def planned(stack: str, section: Mapping[str, Any], found: Sequence[Document]) -> Clean:
    """What a stack is: what its file says, and the resources of its plan."""
    documents = {(one["type"], one["name"]): one for one in found}
    assert len(documents) == len(found), f"{stack} has two resources of one type and name"
    return Clean(
        subject=stack,
        section=section,
        settings=read_settings(section, stack),
        plan=documents,
        resources={key: from_plan(one) for key, one in documents.items()},
        contracts=contracts(ROOT),
        exceptions=clean_exceptions(),
    )


def _files() -> list[Clean]:
    """The files of the repository, and the InferenceService that we make of a model, as part of production."""
    section = read_stack(ROOT, PROD)[f"falaj:{KEY}"]
    settings = read_settings(section, PROD)
    # As it is compiled for a stack: FALAJ_IMAGE names the image in the stack's registry.
    pipeline = (ROOT / PIPELINE).read_text().replace("image: falaj/platform:", f"image: {IMAGE}:")
    files: Mapping[str, Sequence[Document]] = {
        PIPELINE: list(yaml.safe_load_all(pipeline)),
        CONTRACT: [yaml.safe_load((ROOT / CONTRACT).read_text())],
        MODEL: [_model(runtime_signals(parse_config(section, PROD)))],
    }
    return [
        Clean(subject=name, section=section, settings=settings, file=documents) for name, documents in files.items()
    ]


def _model(signals: Sequence[Signal]) -> Document:
    card = "sha256:" + "5f" * 32
    version = ModelVersion(repository="churn/1", weight=100, card=card, replicas=Replicas(minimum=2, maximum=4))
    described = metadata("churn", "v1", version, signals)
    store = "s3://falaj-prod-444455556666-artifacts/models"
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {key: getattr(described, key) for key in ("name", "namespace", "labels", "annotations")},
        "spec": inference_service(
            "churn-v1-predictor", version, store, Placement(node_selector={}, tolerations=()), signals
        ),
    }


def run_all() -> tuple[Suite, list[Result]]:
    """Run every mutation in each of its subjects."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(Path(folder))
        return suite, [result for one in MUTATIONS for result in suite.run(one)]
