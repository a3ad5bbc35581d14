"""The running environment from outside: what listens where, who may read what, what is watched."""

import time
from pathlib import Path

import httpx
import psutil
import pytest
from testinfra.host import Host

from tests.environment.local import ROOT, Local

pytestmark = pytest.mark.timeout(1200)

SERVICES = {"mlflow", "feature_server", "inference", "prometheus", "gateway"}


def test_every_service_is_healthy_and_named(local: Local) -> None:
    status = local.json("status")

    assert {service["name"] for service in status["services"]} == SERVICES
    assert all(service["healthy"] and service["version"] for service in status["services"])
    assert [model["name"] for model in status["models"]][:1] == ["employment"]


def test_every_port_listens_on_loopback_alone(local: Local, machine: Host) -> None:
    for key, port in local.ports().items():
        if key == "inference.grpc_port":
            # gRPC binds IPv4 addresses as mapped ones, which `ss` shows in another form: see the next test.
            continue
        assert machine.socket(f"tcp://127.0.0.1:{port}").is_listening
        assert not machine.socket(f"tcp://0.0.0.0:{port}").is_listening


def test_no_process_of_the_environment_listens_anywhere_else(local: Local) -> None:
    for process in local.processes():
        for connection in process.connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip.removeprefix("::ffff:") == "127.0.0.1", (process.cmdline(), connection.laddr)


def test_the_pseudonym_key_is_its_owners_alone(local: Local, machine: Host) -> None:
    key = machine.file(local.environment.platform.pseudonym_key_file)

    assert key.mode == 0o600
    assert key.size >= 32


def test_no_identifier_of_a_person_is_stored_outside_the_data_it_came_with(local: Local) -> None:
    """Raw identifiers are decimal numbers; stored ones are keyed hashes of 32 hexadecimal digits."""
    import pandas as pd

    offline = Path(local.environment.platform.offline_store) / "employment"
    stored = pd.concat([pd.read_parquet(file, columns=["person_id"]) for file in offline.rglob("*.parquet")])

    assert len(stored) > 0
    assert stored["person_id"].str.fullmatch("[0-9a-f]{32}").all()


def test_the_gateway_fronts_every_service(local: Local) -> None:
    for path in ("/mlflow/", "/feast/health", "/prometheus/-/ready", "/v2/health/ready", "/v2"):
        assert httpx.get(f"{local.url}{path}").status_code == 200, path


def test_prometheus_scrapes_what_serves_metrics_and_sees_the_rest_through_the_gateway(local: Local) -> None:
    targets = httpx.get(f"{local.url}/prometheus/api/v1/targets").json()["data"]["activeTargets"]
    assert {target["labels"]["job"] for target in targets} >= SERVICES - {"feature_server"}
    assert all(target["health"] == "up" for target in targets)

    seen = _query(local, "envoy_cluster_upstream_cx_total")
    assert {"mlflow", "feature_server", "inference"} <= {sample["metric"]["envoy_cluster_name"] for sample in seen}


def test_an_answer_is_counted(local: Local) -> None:
    before = _answered(local)
    local.run("predict", "employment", "--id", "270001")

    deadline = time.monotonic() + 30
    while _answered(local) <= before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert _answered(local) > before


def test_logs_shows_a_services_lines(local: Local) -> None:
    assert "error: no service nope" in local.run("logs", "nope", check=False).stderr
    assert local.run("logs", "inference", "-n", "5").stdout.strip()


def test_a_second_up_changes_nothing_and_trains_nothing(local: Local) -> None:
    before = {process.pid for process in local.processes()}
    second = local.up()

    assert "created" not in second.stdout.partition("Resources:")[2].partition("Duration")[0]
    assert "updated" not in second.stdout.partition("Resources:")[2].partition("Duration")[0]
    assert "came from the same data, contract, code and environment" in second.stderr
    assert {process.pid for process in local.processes()} == before


def test_the_first_up_ended_with_a_prediction_for_a_real_person(local: Local) -> None:
    assert "answered by employment version 1" in local.first_up
    assert "recorded: " in local.first_up


def test_the_repository_holds_nothing_that_a_run_made(local: Local, machine: Host) -> None:
    changed = machine.run("git -C %s status --porcelain stacks Pulumi.yaml", str(ROOT))
    assert changed.stdout == ""


def _answered(local: Local) -> float:
    samples = _query(local, 'sum(falaj_inference_requests_total{outcome="ok"})')
    return float(samples[0]["value"][1]) if samples else 0.0


def _query(local: Local, expression: str) -> list[dict[str, dict[str, str]]]:
    answer = httpx.get(f"{local.url}/prometheus/api/v1/query", params={"query": expression}).json()
    found: list[dict[str, dict[str, str]]] = answer["data"]["result"]
    return found
