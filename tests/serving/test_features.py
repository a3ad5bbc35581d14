"""Requests that carry ids, with a feature server that speaks Feast's protocol and can be told to fail."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from core.pseudonym import Pseudonymiser
from serving.runtime.log import read_log
from tests.serving.conftest import COLUMNS, Runtime, expected, publish, running

KEY = b"k" * 32
PEOPLE = {"784-1": (40, 12, 1000), "784-2": (20, 5, None), "784-3": (140, 5, 1)}


class FeatureServer(ThreadingHTTPServer):
    """Answers as `feast serve` does."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode = "ok"
        self.calls: list[dict[str, Any]] = []
        pseudonym = Pseudonymiser(KEY, "person_id")
        self.rows = {pseudonym(identifier): row for identifier, row in PEOPLE.items()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FeatureServer

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.calls.append(call)
        if self.server.mode == "slow":
            time.sleep(1)
        ids = call["entities"]["person_id"]
        rows = [self.server.rows.get(identity) for identity in ids]
        known, never = "2020-01-01T00:00:00Z", "1970-01-01T00:00:00Z"
        times = [never if row is None else known for row in rows]
        results: list[dict[str, Any]] = [
            {"values": ids, "statuses": ["PRESENT"] * len(ids), "event_timestamps": [never] * len(ids)}
        ]
        absent = "PRESENT" if self.server.mode == "redis" else "NOT_FOUND"
        for position in range(3):
            values = [None if row is None else row[position] for row in rows]
            statuses = [
                absent if row is None else "NULL_VALUE" if value is None else "PRESENT"
                for row, value in zip(rows, values, strict=True)
            ]
            results.append({"values": values, "statuses": statuses, "event_timestamps": times})
        answer = json.dumps({"metadata": {"feature_names": ["person_id", *COLUMNS]}, "results": results}).encode()
        if self.server.mode == "nonsense":
            answer = b"[]"
        self.send_response(500 if self.server.mode == "failing" else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[FeatureServer]:
    with FeatureServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def joined(store: FeatureServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("joined")
    publish(folder / "models", 1)
    (folder / "key").write_bytes(KEY)
    url = f"http://127.0.0.1:{store.server_port}"
    flags = ("--feature-server", url, "--pseudonym-key-file", str(folder / "key"), "--feature-timeout", "0.5")
    with running(folder / "models", folder / "log", *flags) as runtime:
        yield runtime


def ask(runtime: Runtime, *ids: str, shape: list[int] | None = None, request_id: str = "") -> httpx.Response:
    tensor = {"name": "person_id", "datatype": "BYTES", "shape": shape or [len(ids)], "data": ids}
    return httpx.post(
        f"{runtime.url}/v2/models/jobs/infer", json={"inputs": [tensor]}, headers={"x-request-id": request_id}
    )


def test_ids_are_completed_and_never_stored(store: FeatureServer, joined: Runtime) -> None:
    identity = str(uuid4())
    answer = ask(joined, "784-1", "784-2", request_id=identity)
    numbers = answer.json()["outputs"][0]["data"]
    np.testing.assert_allclose(numbers, expected([[40, 12, 1000], [20, 5, 0]]), rtol=1e-5)
    assert ask(joined, "784-1", shape=[1, 1]).json()["outputs"][0]["data"] == numbers[:1]
    assert store.calls[0]["feature_service"] == "jobs"
    assert not {"784-1", "784-2"} & set(store.calls[0]["entities"]["person_id"])
    rows = read_log(joined.log, "jobs").to_pandas()
    assert rows[rows.inference_id == identity].AGEP.tolist() == [40, 20]
    everything = b"".join(file.read_bytes() for file in Path(joined.log).rglob("*") if file.is_file())
    for secret in ("784-1", *store.rows):
        assert secret.encode() not in everything
        assert secret not in joined.output.read_text()


def test_ids_over_grpc(joined: Runtime) -> None:
    request = pb.ModelInferRequest(model_name="jobs")
    request.inputs.add(name="person_id", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"784-1")
    with grpc.insecure_channel(joined.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request, timeout=5)
        assert answer.outputs[0].contents.fp32_contents[0] == pytest.approx(float(expected([[40, 12, 1000]])[0]), 1e-5)
        request.inputs[0].contents.bytes_contents[0] = b"nobody"
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request, timeout=5)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("mode", ["ok", "redis"])
def test_unknown_ids_are_named_by_position_alone(
    store: FeatureServer, joined: Runtime, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(store, "mode", mode)
    answer = ask(joined, "784-1", "784-9")
    assert answer.status_code == 404
    assert "1 of 2 ids" in answer.json()["error"]
    assert "positions 1" in answer.json()["error"]
    assert "784" not in answer.text
    assert ask(joined, "").status_code == 400
    assert ask(joined, "784-3").json()["error"].startswith("AGEP in row 0 is outside")


def test_ids_that_arrive_together_are_looked_up_together(store: FeatureServer, joined: Runtime) -> None:
    body = json.dumps({"inputs": [{"name": "person_id", "datatype": "BYTES", "shape": [1], "data": ["784-1"]}]})
    connections = [http.client.HTTPConnection("127.0.0.1", joined.http_port) for _ in range(40)]
    before = len(store.calls)
    for connection in connections:
        connection.connect()
    for connection in connections:
        connection.request("POST", "/v2/models/jobs/infer", body)
    assert {connection.getresponse().status for connection in connections} == {200}
    for connection in connections:
        connection.close()
    assert sum(len(call["entities"]["person_id"]) for call in store.calls[before:]) == 40
    assert len(store.calls) - before < 40


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("failing", "answered 500"), ("slow", "did not answer in time"), ("nonsense", "not one of Feast's")],
)
def test_a_failing_store_is_said_and_features_still_work(
    store: FeatureServer, joined: Runtime, mode: str, reason: str
) -> None:
    store.mode = mode
    try:
        answer = ask(joined, "784-1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert reason in answer.json()["error"]
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [40, 12, 1]}
        assert httpx.post(f"{joined.url}/v2/models/jobs/infer", json={"inputs": [tensor]}).status_code == 200
    finally:
        store.mode = "ok"
    assert ask(joined, "784-1").status_code == 200


def test_a_store_that_is_down(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    (tmp_path / "key").write_bytes(KEY)
    flags = ("--feature-server", "http://127.0.0.1:18499", "--pseudonym-key-file", str(tmp_path / "key"))
    with running(tmp_path / "models", tmp_path / "log", *flags) as runtime:
        answer = ask(runtime, "784-1")
        assert answer.status_code == 503
        assert "cannot be reached" in answer.json()["error"]
