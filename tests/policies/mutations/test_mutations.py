"""Each thing that the controls forbid is broken in turn, and a rule has to say so."""

from collections import Counter
from pathlib import Path

import pytest

from policies.catalogue import controls
from policies.engine import Status
from policies.outcome import examine
from tests.policies.mutations.catalogue import MUTATIONS, TOPICS
from tests.policies.mutations.suite import Result, Suite
from tests.policies.mutations.table import FILE, document, missed, uncaught
from tests.policies.mutations.world import World


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return Suite(tmp_path_factory.mktemp("mutations"))


@pytest.fixture(scope="session")
def results(suite: Suite) -> list[Result]:
    return [result for one in MUTATIONS for result in suite.run(one)]


def test_mutations_are_many_and_distinct() -> None:
    assert len(MUTATIONS) >= 150
    assert [name for name, count in Counter(one.id for one in MUTATIONS).items() if count > 1] == []
    assert [topic for topic, found in TOPICS.items() if not found] == []


def test_each_mutation_violates_a_control_that_there_is() -> None:
    assert [(one.id, one.control) for one in MUTATIONS if one.control not in controls()] == []


def test_nothing_broken_gives_no_finding(suite: Suite) -> None:
    found = [
        (subject, one.rule.id, one.resource.name, one.messages)
        for subject, outcome in suite.before.items()
        for one in outcome.of(Status.FAIL)
    ]
    assert found == []
    assert [(subject, outcome.problems) for subject, outcome in suite.before.items() if outcome.problems] == []


def test_each_mutation_is_caught_or_said_not_to_be(results: list[Result]) -> None:
    lost = missed(results)
    listed = uncaught()
    news = [f"{one.subject}: {name}: {one.mutation.what}" for name, found in lost.items() for one in found]
    assert [line for line in news if line.split(": ")[1] not in listed] == []
    assert sorted(set(listed) - set(lost)) == [], "these are caught: take them out of uncaught.yaml"


@pytest.mark.parametrize("at", range(0, len(MUTATIONS), 60))
def test_what_is_kept_from_the_clean_run_changes_nothing(suite: Suite, tmp_path: Path, at: int) -> None:
    mutation = MUTATIONS[at]
    subject = mutation.subjects[-1]
    world = World(suite.clean[subject])
    mutation.change(world)
    whole = examine(subject, world.graph(tmp_path), world.exceptions)
    ours = suite.examine(world)
    assert [(one.rule.id, one.resource.name, one.status) for one in ours.judgements] == [
        (one.rule.id, one.resource.name, one.status) for one in whole.judgements
    ]
    assert ours.problems == whole.problems


def test_the_table_is_up_to_date(suite: Suite, results: list[Result]) -> None:
    assert FILE.read_text() == document(suite, results), "write it again: python -m tests.policies.mutations"
