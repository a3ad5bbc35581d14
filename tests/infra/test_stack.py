"""The stack `local` through the real engine, in a project folder and on ports of its own."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from core.platform import Environment
from core.processes import still_running
from infra.substrates.local.supervisor import process_state, rpc
from rehearsal.ports import free_ports
from tools.engine import engine_environment

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ["mlflow", "feature_server", "inference", "prometheus", "gateway"]
pytestmark = pytest.mark.timeout(900)


class Stack:
    """A copy of the project's entry and stack, brought up in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".falaj"
        self.file = folder / "stacks" / "Pulumi.local.yaml"
        for name in ("Pulumi.yaml", "__main__.py", "stacks", "monitoring"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, folder / name)
        ports = free_ports(6)
        for key, port in zip(
            ("gateway.port", "mlflow.port", "feature_server.port", "inference.http_port", "inference.grpc_port"),
            ports,
            strict=False,
        ):
            self.set(key, port)
        self.set("prometheus.port", ports[-1])

    @property
    def variables(self) -> dict[str, str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FALAJ_HOME", str(self.home))
            return engine_environment(self.folder)

    def set(self, key: str, value: object) -> None:
        document = yaml.safe_load(self.file.read_text())
        service, field = key.split(".")
        document["config"]["falaj:stack"][service][field] = value
        self.file.write_text(yaml.safe_dump(document))

    def pulumi(self, *arguments: str) -> str:
        run = subprocess.run(
            ["pulumi", *arguments, "--stack", "local", "--non-interactive"],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def up(self) -> dict[str, int]:
        """Bring the stack to what its file says; returns how many resources changed, by kind of change."""
        text = self.pulumi("up", "--yes", "--skip-preview", "--refresh", "--json")
        return changes(text)

    def preview(self) -> dict[str, str]:
        """What an update would do, by the resource's name; unchanged ones are left out."""
        steps = json.loads(self.pulumi("preview", "--json"))["steps"]
        return {step["urn"].rpartition("::")[2]: step["op"] for step in steps if step["op"] != "same"}

    @property
    def environment(self) -> Environment:
        return Environment.model_validate_json((self.home / "local" / "platform.json").read_bytes())

    @property
    def server(self) -> str:
        return f"unix://{self.home / 'local' / 'run' / 'supervisor.sock'}"

    def pids(self) -> dict[str, int]:
        states = {name: process_state(self.server, name) for name in SERVICES}
        return {name: state["pid"] for name, state in states.items() if state is not None}


def changes(output: str) -> dict[str, int]:
    """The change counts in the last event of the engine's JSON stream."""
    summaries = [json.loads(line) for line in output.splitlines() if '"resourceChanges"' in line]
    found: dict[str, int] = summaries[-1]["summaryEvent"]["resourceChanges"]
    return {kind: count for kind, count in found.items() if kind != "same"}


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - an address of the stack
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def healthy(stack: Stack) -> bool:
    return all(get(service.health)[0] == 200 for service in stack.environment.services.values())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("stack"))
    subprocess.run(["pulumi", "stack", "init", "local"], cwd=made.folder, env=made.variables, check=True)
    try:
        made.up()
        yield made
    finally:
        made.pulumi("destroy", "--yes", "--skip-preview", "--refresh")


def test_every_service_answers_through_the_gateway(stack: Stack) -> None:
    assert healthy(stack)
    gateway = stack.environment.services["gateway"].url
    for path in ("/mlflow/health", "/feast/health", "/v2/health/ready", "/prometheus/-/ready"):
        assert get(gateway + path)[0] == 200, path
    assert b"<title>MLflow</title>" in get(gateway + "/mlflow/")[1]


def test_everything_listens_on_the_loopback_interface_alone(stack: Stack) -> None:
    processes = [psutil.Process(pid) for pid in stack.pids().values()]
    family = {child.pid for process in processes for child in (process, *process.children(recursive=True))}
    listening = [
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.pid in family and connection.status == psutil.CONN_LISTEN and connection.laddr
    ]
    # gRPC opens a socket of the newer protocol for an address of the older one.
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert len(listening) >= len(SERVICES)


def test_prometheus_scrapes_every_service_and_loads_every_rule(stack: Stack) -> None:
    api = stack.environment.services["prometheus"].url + "/api/v1"

    def up() -> set[str]:
        result = json.loads(get(f"{api}/query?query=up==1")[1] or "{}").get("data", {}).get("result", [])
        return {sample["metric"]["job"] for sample in result}

    # The feature server has no metrics of its own: the gateway's health checks and counters stand for it.
    assert eventually(lambda: up() == {"mlflow", "inference", "prometheus", "gateway"}), up()

    def checked() -> set[str]:
        result = json.loads(get(f"{api}/query?query=envoy_cluster_membership_healthy==1")[1])["data"]["result"]
        return {sample["metric"]["envoy_cluster_name"] for sample in result}

    assert eventually(lambda: {"mlflow", "feature_server", "inference", "inference_grpc", "prometheus"} <= checked())
    groups = json.loads(get(f"{api}/rules")[1])["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    assert sum(len(group["rules"]) for group in groups) >= 8


def test_a_second_update_changes_nothing(stack: Stack) -> None:
    before = stack.pids()
    assert stack.up() == {}
    assert stack.pids() == before


def test_another_port_replaces_that_service_alone(stack: Stack) -> None:
    before = stack.pids()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stack.set("mlflow.port", port)
    assert stack.preview() == {
        "mlflow": "replace",
        "gateway/clusters.json": "update",
        "prometheus/targets.json": "update",
        "environment": "update",
    }
    stack.up()
    after = stack.pids()
    assert {name for name in SERVICES if before[name] != after[name]} == {"mlflow"}
    assert eventually(lambda: get(stack.environment.services["gateway"].url + "/mlflow/health")[0] == 200)


def test_killed_services_come_back_by_themselves(stack: Stack) -> None:
    before = stack.pids()
    for pid in before.values():
        psutil.Process(pid).kill()
    assert eventually(lambda: all(stack.pids().get(name) not in (0, before[name]) for name in SERVICES), 10)
    assert eventually(lambda: healthy(stack), 60)
    assert stack.up() == {}


def test_what_was_stopped_or_edited_is_mended(stack: Stack) -> None:
    with rpc(stack.server) as supervisor:
        supervisor.stopProcess("prometheus")
    routes = stack.home / "local" / "conf" / "gateway" / "routes.json"
    wanted = routes.read_text()
    routes.write_text("{}")
    assert stack.up() == {"update": 2}
    assert routes.read_text() == wanted
    assert healthy(stack)


def test_all_comes_back_after_the_supervisor_was_killed(stack: Stack) -> None:
    before = [psutil.Process(pid) for pid in stack.pids().values()]
    psutil.Process(int((stack.home / "local" / "run" / "supervisord.pid").read_text())).kill()
    stack.up()
    assert healthy(stack)
    assert not still_running(before, 0)


def test_a_busy_port_is_reported_before_anything_changes(stack: Stack) -> None:
    old = yaml.safe_load(stack.file.read_text())["config"]["falaj:stack"]["prometheus"]["port"]
    with socket.create_server(("127.0.0.1", 0)) as holder:
        stack.set("prometheus.port", holder.getsockname()[1])
        with pytest.raises(AssertionError, match=r"is in use by .*set prometheus\.port in stacks/Pulumi\.local\.yaml"):
            stack.pulumi("preview")
    stack.set("prometheus.port", old)
    assert stack.preview() == {}


def test_destroying_ends_every_process_and_keeps_the_data(stack: Stack) -> None:
    data = stack.home / "local" / "data"
    key = (data / "pseudonym.key").read_bytes()
    processes = [psutil.Process(pid) for pid in stack.pids().values()]
    family = [child for process in processes for child in (process, *process.children(recursive=True))]
    stack.pulumi("destroy", "--yes", "--skip-preview", "--refresh")
    assert not still_running(family, 0)
    left = {
        file.relative_to(stack.home / "local").parts[0] for file in (stack.home / "local").rglob("*") if file.is_file()
    }
    assert left == {"data", "logs"}
    assert (data / "tracking.db").stat().st_size > 100_000
    stack.up()
    assert (data / "pseudonym.key").read_bytes() == key
    assert healthy(stack)


def state_file(stack: Stack) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(stack.pulumi("stack", "export"))
    return document


def test_the_state_holds_neither_keys_nor_code(stack: Stack) -> None:
    text = json.dumps(state_file(stack))
    key = (stack.home / "local" / "data" / "pseudonym.key").read_bytes()
    assert key.hex() not in text
    providers = {
        resource["outputs"]["__provider"]
        for resource in state_file(stack)["deployment"]["resources"]
        if "__provider" in resource.get("outputs", {})
    }
    assert providers
    assert all(len(provider) < 300 for provider in providers)
