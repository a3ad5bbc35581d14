"""Requests that carry ids, with the online store in SQLite, which can be broken, and a Redis that does not answer."""

import asyncio
import http.client
import json
import re
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import grpc
import httpx
import numpy as np
import pytest
import yaml
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from core.errors import ConfigError
from core.online import EntityKeys, PackedTable
from core.pseudonym import Pseudonymiser
from serving.runtime.errors import RefusedError
from serving.runtime.features_store import OnlineStore, Row, open_online_store
from serving.runtime.log import read_log
from tests.serving.conftest import COLUMNS, Runtime, expected, publish, running

KEY = b"k" * 32
PEOPLE = {"784-1": (40, 12, 1000), "784-2": (20.0, 5, None), "784-3": (140, 5, 1), "784-4": (40, b"\x12\x01a", 1)}
PUBLISHED = 1577836800
TABLE = PackedTable("falaj", "jobs")
PSEUDONYM = Pseudonymiser(KEY, "person_id")


def describe(folder: Path, **online: str) -> None:
    document = {"project": "falaj", "online_store": online, "entity_key_serialization_version": 3}
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(document))


def fill(folder: Path) -> None:
    key = EntityKeys("person_id")
    with closing(sqlite3.connect(folder / "online.db")) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(TABLE.drop())
        connection.execute(TABLE.create(COLUMNS))
        rows = [(key(PSEUDONYM(person)), PUBLISHED * 10**6, *row) for person, row in PEOPLE.items()]
        connection.executemany(TABLE.upsert(COLUMNS), rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    describe(folder, type="features.packed.PackedOnlineStore", path="online.db")
    fill(folder)
    return folder


@pytest.fixture(scope="module")
def joined(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("joined")
    publish(folder / "models", 1)
    (folder / "key").write_bytes(KEY)
    flags = ("--feature-store", str(store), "--pseudonym-key-file", str(folder / "key"))
    with running(folder / "models", folder / "log", *flags) as runtime:
        yield runtime


def ask(runtime: Runtime, *ids: str, shape: list[int] | None = None, request_id: str = "") -> httpx.Response:
    tensor = {"name": "person_id", "datatype": "BYTES", "shape": shape or [len(ids)], "data": ids}
    return httpx.post(
        f"{runtime.url}/v2/models/jobs/infer", json={"inputs": [tensor]}, headers={"x-request-id": request_id}
    )


def metric(runtime: Runtime, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{runtime.url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_ids_are_completed_and_never_stored(store: Path, joined: Runtime) -> None:
    identity = str(uuid4())
    answer = ask(joined, "784-1", "784-2", request_id=identity)
    numbers = answer.json()["outputs"][0]["data"]
    np.testing.assert_allclose(numbers, expected([[40, 12, 1000], [20, 5, 0]]), rtol=1e-5)
    assert ask(joined, "784-1", shape=[1, 1]).json()["outputs"][0]["data"] == numbers[:1]
    assert ask(joined, "784-2", "784-1", "784-2").json()["outputs"][0]["data"] == [numbers[1], numbers[0], numbers[1]]
    assert b"784-1" not in (store / "online.db").read_bytes()
    rows = read_log(joined.log, "jobs").to_pandas()
    assert rows[rows.inference_id == identity].AGEP.tolist() == [40, 20]
    everything = b"".join(file.read_bytes() for file in Path(joined.log).rglob("*") if file.is_file())
    for secret in ("784-1", *map(PSEUDONYM, PEOPLE)):
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


def test_unknown_ids_are_named_by_position_alone(joined: Runtime) -> None:
    answer = ask(joined, "784-1", "784-9")
    assert answer.status_code == 404
    assert "1 of 2 ids" in answer.json()["error"]
    assert "positions 1" in answer.json()["error"]
    assert "784" not in answer.text
    assert ask(joined, "").status_code == 400
    assert ask(joined, "784-3").json()["error"].startswith("AGEP in row 0 is outside")


def test_ids_that_arrive_together_are_looked_up_together(joined: Runtime) -> None:
    count = 'falaj_feature_lookup_seconds_count{model="jobs",outcome="ok"}'
    body = json.dumps({"inputs": [{"name": "person_id", "datatype": "BYTES", "shape": [1], "data": ["784-1"]}]})
    before = metric(joined, count)
    connections = [http.client.HTTPConnection("127.0.0.1", joined.http_port) for _ in range(40)]
    for connection in connections:
        connection.connect()
    for connection in connections:
        connection.request("POST", "/v2/models/jobs/infer", body)
    assert {connection.getresponse().status for connection in connections} == {200}
    for connection in connections:
        connection.close()
    assert 0 < metric(joined, count) - before <= 40


def test_how_old_the_features_are_is_told(joined: Runtime) -> None:
    assert ask(joined, "784-1").status_code == 200
    assert metric(joined, 'falaj_feature_age_seconds_bucket{le="94608000.0",model="jobs"}') == 0.0
    count, total = (metric(joined, f'falaj_feature_age_seconds_{part}{{model="jobs"}}') for part in ("count", "sum"))
    assert total / count > 6 * 365 * 86400


def gone(connection: sqlite3.Connection) -> None:
    connection.execute(TABLE.drop())


def without_a_column(connection: sqlite3.Connection) -> None:
    gone(connection)
    connection.execute(TABLE.create(COLUMNS[1:]))


@pytest.mark.parametrize(
    ("damage", "reason"), [(gone, "no such table: falaj_jobs"), (without_a_column, "no such column: t.AGEP")]
)
def test_a_failing_store_is_said_and_features_still_work(
    store: Path, joined: Runtime, damage: Callable[[sqlite3.Connection], None], reason: str
) -> None:
    with closing(sqlite3.connect(store / "online.db")) as connection, connection:
        damage(connection)
    try:
        answer = ask(joined, "784-1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert reason in answer.json()["error"]
        tensor = {"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [40, 12, 1]}
        assert httpx.post(f"{joined.url}/v2/models/jobs/infer", json={"inputs": [tensor]}).status_code == 200
    finally:
        fill(store)
    assert ask(joined, "784-1").status_code == 200


def test_a_value_of_another_type_is_not_passed_on(joined: Runtime) -> None:
    answer = ask(joined, "784-4")
    assert answer.status_code == 503
    assert "holds a value that jobs does not take" in answer.json()["error"]
    assert "x12" not in joined.output.read_text()


def test_a_store_may_come_after_the_runtime(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    (tmp_path / "key").write_bytes(KEY)
    describe(tmp_path, type="features.packed.PackedOnlineStore", path=str(tmp_path / "online.db"))
    flags = ("--feature-store", str(tmp_path), "--pseudonym-key-file", str(tmp_path / "key"))
    with running(tmp_path / "models", tmp_path / "log", *flags) as runtime:
        answer = ask(runtime, "784-1")
        assert answer.status_code == 503
        assert "unable to open database file" in answer.json()["error"]
        fill(tmp_path)
        assert ask(runtime, "784-1").status_code == 200


def fetched(
    store: OnlineStore, entity: str, view: str, columns: Sequence[str], *ids: str
) -> list[Row | None] | RefusedError:
    """What the runtime's reader finds."""

    async def look_up() -> list[Row | None] | RefusedError:
        done = asyncio.get_running_loop().create_future()
        store.reader(entity, view, columns).fetch(ids, done.set_result)
        try:
            return await done  # type: ignore[no-any-return]
        finally:
            await store.close()

    return asyncio.run(look_up())


@pytest.mark.parametrize("entities", [("a",), ("a", "b")])
def test_a_redis_that_is_silent_or_gone(tmp_path: Path, entities: tuple[str, ...]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        describe(tmp_path, type="redis", connection_string=f"127.0.0.1:{silent.getsockname()[1]}")
        refused = fetched(open_online_store(tmp_path, 0.3), "person_id", "jobs", COLUMNS, *entities)
        assert isinstance(refused, RefusedError)
        assert (refused.status, refused.reason) == (503, "the online store did not answer in time")
    refused = fetched(open_online_store(tmp_path, 5), "person_id", "jobs", COLUMNS, *entities)
    assert isinstance(refused, RefusedError)
    assert (refused.status, refused.reason) == (503, "the online store cannot be used (ConnectionError)")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "cannot be read"),
        ("a: [", "mend its YAML"),
        ("project: falaj\nentity_key_serialization_version: 3\n", "mend online_store;"),
        ("{project: x, online_store: {type: sqlite, path: y}, entity_key_serialization_version: 3}", "mend online_st"),
        (
            "{project: x, online_store: {type: redis, connection_string: [hush]}, entity_key_serialization_version: 2}",
            "mend online_store.redis.connection_string, entity_key_serialization_version;",
        ),
    ],
)
def test_what_describes_no_store_is_refused_without_its_secrets(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "feature_store.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(reason)) as refused:
        open_online_store(tmp_path, 1)
    assert "hush" not in str(refused.value)
