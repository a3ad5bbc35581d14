"""What a rehearsal refuses, and what it reads from the engine's events."""

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from core.errors import ConfigError
from rehearsal.engine import _outcome
from rehearsal.sequence import CHANGES, rehearse
from tools.build import BIN, ROOT

PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])


def _no(_: str) -> None:
    return None


def test_stacks_that_are_not_rehearsed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no stack nowhere: the stacks are dev, local"):
        rehearse("nowhere", tmp_path, "", _no)
    (tmp_path / "smb.lock").touch()
    with (tmp_path / "smb.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another rehearsal runs in"):
            rehearse("smb", tmp_path, "", _no)


@pytest.mark.parametrize("stack", ["dev", "onprem", "prod", "smb", "staging"])
def test_each_stack_has_a_setting_to_change(stack: str) -> None:
    settings = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())["config"]["falaj:stack"]
    found = []
    for change in CHANGES:
        section = settings
        for part in change.path[:-1]:
            section = section.get(part, {})
        if change.path[-1] in section:
            assert isinstance(section[change.path[-1]], int)
            found.append(change)
    assert found


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    any(
        shutil.which(name, path=PATH) is None
        for name in ("pulumi", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "etcd")
    ),
    reason="no engine or no kube-apiserver on this machine: `python -m tools.build engine rehearsal`",
)
def test_a_small_stack_from_nothing_to_destroyed(tmp_path: Path) -> None:
    said: list[str] = []
    report = rehearse("small", tmp_path, PATH, said.append, root=Path(__file__).parent / "project", inspected=False)
    counts = {stage.name: stage.counts for stage in report.stages}
    assert list(counts) == [
        "up from nothing",
        "up again",
        "destroy, refused",
        "a setting changed",
        "altered by hand",
        "owner changed, protection lifted",
        "destroy",
    ]
    made = counts["up from nothing"]["create"]
    assert counts["up again"] == {"same": made}
    assert counts["a setting changed"] == {"same": made - 1, "update": 1}
    # The network policy was deleted by hand, three others were altered; a deleted policy of images is made again.
    assert counts["altered by hand"] == {"same": made - 4, "create": 2, "update": 2}
    assert counts["destroy"] == {"delete": made}
    assert said[-1] == f"nothing is left of {made} resources"
    assert report.substitutes


def test_the_events_of_a_run(tmp_path: Path) -> None:
    def ended(urn: str, operation: str) -> str:
        return json.dumps({"resOutputsEvent": {"metadata": {"urn": urn, "op": operation}}})

    said = {"diagnosticEvent": {"severity": "error", "urn": "urn:a::b::x$aws:y:Z::one", "message": "it is full\n"}}
    log = tmp_path / "log"
    lines = [ended("a", "create"), ended("b", "same"), ended("c", "create-replacement"), ended("c", "delete-replaced")]
    log.write_text("\n".join([*lines, json.dumps(said)]))
    outcome = _outcome(log, False, 1.0)
    assert outcome.counts == {"create": 1, "replace": 1, "same": 1}
    assert outcome.errors == ["aws:y:Z::one: it is full"]
