"""The providers against a real supervisord that runs small real servers."""

import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import ServiceError
from infra.substrates.local.launch import program_environment
from infra.substrates.local.supervisor import (
    RUNNING,
    Daemon,
    ProcessProvider,
    SupervisorProvider,
    is_free,
    listener,
    process_state,
    rpc,
)
from rehearsal.ports import free_ports

ANSWERS = "import http.server;http.server.test(http.server.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"
WITH_CHILD = f"import subprocess,sys;sys.exit(subprocess.call([sys.executable,'-c',{ANSWERS!r}]))"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home = tmp_path_factory.mktemp("home with a space")
    props = Daemon(home=home, sockets=home / "run", configuration=home / "conf", logs=home / "logs").model_dump(
        mode="json"
    )
    if len(props["sockets"]) > 80:
        pytest.fail("the temporary folder is too deep for a socket")
    created = SupervisorProvider().create(props)
    yield created.outs or {}
    SupervisorProvider().delete("", props)


@pytest.fixture
def program(daemon: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[Callable[..., dict[str, Any]]]:
    made: list[dict[str, Any]] = []

    def make(code: str = ANSWERS, **changes: Any) -> dict[str, Any]:
        port = changes.pop("port", None) or free_ports(1)[0]
        home = Path(daemon["home"])
        name = "p" + str(port)
        props = {
            "name": name,
            "command": [sys.executable, "-c", code.format(port=port)],
            "environment": {"GREETING": 'a "quoted" % value; with, all'},
            # The engine hands every number over as a float.
            "ports": {"http": float(port)},
            "settings": {"http": "example.port"},
            "directory": str(home),
            "configuration": daemon["configuration"],
            "log": str(home / "logs" / f"{name}.log"),
            "socket": str(home / "run" / "supervisor.sock"),
            "scratch": str(home / "run" / name),
            "probe": f"http://127.0.0.1:{port}/",
            "grace_seconds": 5.0,
            "start_seconds": 20.0,
            "files": "",
            **changes,
        }
        made.append(props)
        return props

    yield make
    for props in made:
        ProcessProvider().delete("", props)


def state(props: dict[str, Any]) -> dict[str, Any] | None:
    return process_state(f"unix://{props['socket']}", props["name"])


def answers(props: dict[str, Any]) -> bool:
    try:
        with urllib.request.urlopen(props["probe"], timeout=1) as response:  # noqa: S310
            return bool(response.status == 200)
    except OSError:
        return False


def eventually(condition: Callable[[], object], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_created_program_answers_and_has_only_its_declared_environment(
    program: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    props = program()
    created = ProcessProvider().create(props)
    assert answers(props)
    info = state(props)
    assert info is not None
    environment = psutil.Process(info["pid"]).environ()
    assert environment["GREETING"] == 'a "quoted" % value; with, all'
    assert "PYTEST_CURRENT_TEST" not in environment
    assert ProcessProvider().diff("", created.outs or {}, props).changes is False
    found = ProcessProvider().read(props["name"], created.outs or {})
    assert found.id == props["name"]
    assert ProcessProvider().diff("", found.outs or {}, props).changes is False


def test_what_started_the_supervisor_does_not_leak_into_programs() -> None:
    environment = program_environment({"A": "1"}, {"HOME": "/h", "http_proxy": "p", "PULUMI_CONFIG_PASSPHRASE": "x"})
    assert environment == {"A": "1", "HOME": "/h"}


@pytest.mark.parametrize("code", [ANSWERS, WITH_CHILD], ids=["alone", "with a child that keeps the port"])
def test_a_killed_program_is_back_within_seconds(program: Callable[..., dict[str, Any]], code: str) -> None:
    props = program(code)
    ProcessProvider().create(props)
    before = (state(props) or {})["pid"]
    psutil.Process(before).kill()
    assert eventually(lambda: (state(props) or {}).get("pid") not in (0, before) and answers(props))
    info = state(props)
    assert info is not None
    family = {info["pid"], *(child.pid for child in psutil.Process(info["pid"]).children(recursive=True))}
    holder = listener(int(props["ports"]["http"]))
    assert holder is not None
    assert holder.pid in family


def test_a_stopped_program_is_drift_that_an_update_mends(program: Callable[..., dict[str, Any]]) -> None:
    props = program()
    created = ProcessProvider().create(props)
    with rpc(f"unix://{props['socket']}") as supervisor:
        supervisor.stopProcess(props["name"])
    found = ProcessProvider().read(props["name"], created.outs or {})
    diff = ProcessProvider().diff("", found.outs or {}, props)
    assert (found.outs or {})["state"] == "stopped"
    assert (diff.changes, diff.replaces) == (True, [])
    updated = ProcessProvider().update("", found.outs or {}, props)
    assert (updated.outs or {})["state"] == RUNNING
    assert answers(props)


def test_an_edited_program_file_is_drift(program: Callable[..., dict[str, Any]]) -> None:
    props = program()
    created = ProcessProvider().create(props)
    file = Path(props["configuration"]) / "programs" / f"{props['name']}.json"
    file.write_text(file.read_text().replace("quoted", "edited"))
    found = ProcessProvider().read(props["name"], created.outs or {})
    assert ProcessProvider().diff("", found.outs or {}, props).changes is True


def test_a_port_replaces_and_anything_else_updates(program: Callable[..., dict[str, Any]]) -> None:
    props = program()
    created = ProcessProvider().create(props).outs or {}
    moved = ProcessProvider().diff("", created, props | {"ports": {"http": 18199}})
    assert (moved.changes, moved.replaces, moved.delete_before_replace) == (True, ["ports"], True)
    for change in ({"environment": {"A": "b"}}, {"files": "another"}, {"command": ["x"]}, {"grace_seconds": 9}):
        diff = ProcessProvider().diff("", created, props | change)
        assert (diff.changes, diff.replaces) == (True, [])


def test_a_busy_port_is_refused_with_its_holder_and_its_setting(program: Callable[..., dict[str, Any]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        props = program(port=port)
        failures = ProcessProvider().check({}, props).failures
        assert len(failures) == 1
        assert f"port {port} is in use by" in failures[0].reason
        assert f"(process {os.getpid()})" in failures[0].reason
        assert "set example.port in stacks/Pulumi.local.yaml" in failures[0].reason
        with pytest.raises(ServiceError, match=f"port {port} is in use"):
            ProcessProvider().create(props)
    assert state(props) is None


def test_a_program_keeps_its_own_port_in_a_check(program: Callable[..., dict[str, Any]]) -> None:
    props = program()
    created = ProcessProvider().create(props)
    assert ProcessProvider().check(created.outs or {}, props).failures == []
    assert ProcessProvider().check({}, props).failures == []


def test_a_program_that_dies_is_reported_with_the_end_of_its_log_and_removed(
    program: Callable[..., dict[str, Any]],
) -> None:
    props = program("import sys;print('the reason',flush=True);sys.exit(3)")
    with pytest.raises(ServiceError, match=r"stops right after its start(.|\n)*the reason") as caught:
        ProcessProvider().create(props)
    assert props["log"] in str(caught.value)
    assert state(props) is None
    assert not list((Path(props["configuration"]) / "programs").glob(f"{props['name']}*"))


def test_a_program_that_never_answers_is_given_up(program: Callable[..., dict[str, Any]]) -> None:
    props = program("import time;time.sleep(60)", start_seconds=1)
    with pytest.raises(ServiceError, match="was not ready within 1 s"):
        ProcessProvider().create(props)
    assert state(props) is None


def test_a_program_that_cannot_be_started_says_so(program: Callable[..., dict[str, Any]]) -> None:
    props = program(command=["/nowhere/to/be/found"])
    with pytest.raises(ServiceError, match="/nowhere/to/be/found cannot be started"):
        ProcessProvider().create(props)


def test_after_the_supervisor_was_killed_everything_is_gone_and_comes_back(tmp_path: Path) -> None:
    daemon = Daemon(home=tmp_path, sockets=tmp_path / "run", configuration=tmp_path / "conf", logs=tmp_path / "logs")
    props = daemon.model_dump(mode="json")
    created = SupervisorProvider().create(props)
    assert SupervisorProvider().diff("", created.outs or {}, props).changes is False
    port = free_ports(1)[0]
    process = {
        "name": "orphan",
        "command": [sys.executable, "-c", ANSWERS.format(port=port)],
        "environment": {},
        "ports": {"http": port},
        "settings": {"http": "example.port"},
        "directory": str(tmp_path),
        "configuration": props["configuration"],
        "log": str(tmp_path / "logs" / "orphan.log"),
        "socket": str(daemon.socket),
        "scratch": str(tmp_path / "run" / "orphan"),
        "probe": f"http://127.0.0.1:{port}/",
        "grace_seconds": 5,
        "start_seconds": 20,
        "files": "",
    }
    try:
        ProcessProvider().create(process)
        psutil.Process(int((tmp_path / "run" / "supervisord.pid").read_text())).kill()
        assert eventually(lambda: SupervisorProvider().read("", props).id is None)
        assert ProcessProvider().read("orphan", process).id is None
        assert not is_free(port), "the orphan still holds the port"
        assert ProcessProvider().check({}, process).failures == []

        SupervisorProvider().create(props)
        assert is_free(port)
        ProcessProvider().create(process)
        assert answers(process)
    finally:
        SupervisorProvider().delete("", props)
    assert is_free(port)
    assert not daemon.socket.exists()
