"""Each thing that a first deployment would meet is broken in turn, and a stage before it has to say so."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.defects.catalogue import DEFECTS, TOPICS
from tests.defects.rehearsed import PROGRAMS, Rehearsed, rehearsed
from tests.defects.suite import CHECK, CONFIGURATION, PLAN, Defects, Result
from tests.defects.table import FILE, document, uncaught
from tests.policies.mutations.suite import Suite
from tools.build import BIN

pytestmark = pytest.mark.timeout(900)
PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
COMPLETE = all(shutil.which(name, path=PATH) for name in PROGRAMS)


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed | None]:
    if not COMPLETE:
        yield None
        return
    with rehearsed(tmp_path_factory.mktemp("servers"), PATH) as found:
        yield found


@pytest.fixture(scope="module")
def defects(last: Rehearsed | None, tmp_path_factory: pytest.TempPathFactory) -> Defects:
    return Defects(Suite(tmp_path_factory.mktemp("mutations"), files=False), tmp_path_factory.mktemp("rendered"), last)


@pytest.fixture(scope="module")
def results(defects: Defects) -> list[Result]:
    return [defects.run(one) for one in DEFECTS]


def test_defects_are_many_and_distinct() -> None:
    assert len(DEFECTS) >= 60
    assert [name for name, count in Counter(one.id for one in DEFECTS).items() if count > 1] == []
    assert [topic for topic, found in TOPICS.items() if not found] == []


def test_nothing_broken_has_no_fault(defects: Defects) -> None:
    assert {name: found for name, found in defects.sound.items() if found} == {}


def test_each_defect_is_caught_or_said_not_to_be(results: list[Result]) -> None:
    listed = uncaught()
    early = {one.defect.id for one in results if one.stage in (CONFIGURATION, PLAN, CHECK)}
    lost = {one.defect.id for one in results if one.stage is None}
    assert sorted(set(listed) & early) == [], "these are caught: take them out of uncaught.yaml"
    if COMPLETE:
        assert sorted(lost - set(listed)) == [], "nothing caught these: add a check, or say why in uncaught.yaml"
        assert sorted(set(listed) - lost) == [], "these are caught: take them out of uncaught.yaml"


@pytest.mark.skipif(not COMPLETE, reason="no kube-apiserver on this machine: `python -m tools.build rehearsal`")
def test_the_page_is_up_to_date(results: list[Result]) -> None:
    assert FILE.read_text() == document(results), "run `python -m tests.defects`"
