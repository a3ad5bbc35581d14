"""`falaj verify` on a running environment: it holds, and what is broken by hand is found."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest
from mlflow import MlflowClient

from tests.environment.local import Local
from verify.declared import Declared
from verify.local import Local as Verified
from verify.run import verify

pytestmark = pytest.mark.timeout(1800)
AFTERMATH = {"endpoints.no_alert"}
"""Services were killed before; the alerts of that may still fire."""


def _wrong(local: Local) -> dict[str, str]:
    """Results of the checks that did not pass."""
    found = Verified(local.home / "local", local.environment)
    report = verify(Declared("local", {}), local=found)
    held = ("passed", "skipped")
    return {check.id: check.result for check in report.checks if check.result not in held and check.id not in AFTERMATH}


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
        files = _wrong(local)
    assert files == {
        "files.folders_are_the_owners_alone": "failed",
        "files.key": "failed",
        "files.no_file_is_readable_by_others": "failed",
        "trails.lineage": "failed",
    }
    with _stopped(local, "prometheus"), _moved_alias(local, "employment"):
        services = _wrong(local)
    assert services == {
        "services.running_under_the_supervisor": "failed",
        "services.listening": "failed",
        "endpoints.healthy": "failed",
        "endpoints.reached_through_the_gateway": "failed",
        "endpoints.registry_agrees": "failed",
        "endpoints.watched": "error",
        "endpoints.rules": "error",
    }
    assert _wrong(local) == {}


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


@contextmanager
def _stopped(local: Local, service: str) -> Iterator[None]:
    control = [Path(sys.prefix) / "bin" / "supervisorctl", "-c", local.home / "local" / "conf" / "supervisord.conf"]
    subprocess.run([*control, "stop", service], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*control, "start", service], check=True, capture_output=True)
        local.up()


@contextmanager
def _moved_alias(local: Local, model: str) -> Iterator[None]:
    """The registry calls another version live than the one that answers."""
    client = MlflowClient(local.environment.platform.mlflow_url)
    live = client.get_model_version_by_alias(model, "live")
    other = client.create_model_version(model, live.source, live.run_id)
    client.set_registered_model_alias(model, "live", other.version)
    try:
        yield
    finally:
        client.set_registered_model_alias(model, "live", live.version)
        client.delete_model_version(model, other.version)
