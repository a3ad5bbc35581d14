"""`falaj verify` on a running environment: it holds, and what is broken by hand is found."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.environment.local import Local
from verify.declared import Declared
from verify.local import Local as Verified
from verify.run import verify

pytestmark = pytest.mark.timeout(1800)
AFTERMATH = {"endpoints.no_alert"}
"""Services were killed before; the alerts of that may still fire."""


def _failed(local: Local) -> set[str]:
    found = Verified(local.home / "local", local.environment)
    report = verify(Declared("local", {}), local=found)
    assert "error" not in report.counts, [check for check in report.checks if check.result == "error"]
    return {check.id for check in report.checks if check.result == "failed"} - AFTERMATH


def test_the_running_environment_holds(local: Local, tmp_path: Path) -> None:
    done = local.run("verify", "local", "--junit", str(tmp_path / "junit.xml"), check=False)
    rows = [line.split("\t")[:2] for line in done.stdout.splitlines() if line.startswith(("passed", "failed", "error"))]
    results = {check: result for result, check in rows}
    assert {check for check, result in results.items() if result != "passed"} <= AFTERMATH
    assert len(results) >= 25
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")  # noqa: S314 - our own
    assert len(list(cases)) >= len(results)


def test_what_is_broken_by_hand_is_found(local: Local) -> None:
    data = local.home / "local" / "data"
    with _opened(local.home / "local", data, data / "pseudonym.key"), _torn(data / "lineage" / "events.jsonl"):
        files = _failed(local)
    assert files == {
        "files.folders_are_the_owners_alone",
        "files.key",
        "files.no_file_is_readable_by_others",
        "trails.lineage",
    }
    assert _failed(local) == set()


@contextmanager
def _opened(*paths: Path) -> Iterator[None]:
    """Others may enter and read."""
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0o755)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


@contextmanager
def _torn(file: Path) -> Iterator[None]:
    copy = file.with_suffix(".kept")
    shutil.copy2(file, copy)
    with file.open("a") as lines:
        lines.write('{"half": \n')
    try:
        yield
    finally:
        copy.replace(file)
