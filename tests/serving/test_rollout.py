"""Versions come and go under load, without a dropped or wrong request."""

import json
import socket
from collections import Counter
from pathlib import Path

import httpx
import pytest

from core.errors import ServiceError, StorageError
from core.model_spec import Live
from serving import rollout
from serving.runtime.log import read_log
from serving.store import open_models
from tests.serving.conftest import Runtime, export, publish, running, status, wait_for
from tests.serving.test_log import Load, check_complete, ids_of


def test_deploy_and_rollback_under_load(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    with running(repository, tmp_path / "log") as runtime:  # an empty repository is ready
        live = rollout.deploy(str(repository), "jobs", 1, export(tmp_path / "one"), runtime.url)
        assert live == Live(live=1)
        with Load(runtime.http_port) as load:
            for version in range(2, 8):
                load.wait(len(load.answered) + 30)
                source = export(tmp_path / str(version), bias=version / 10)
                live = rollout.deploy(str(repository), "jobs", version, source, runtime.url)
                assert live == Live(live=version, previous=version - 1)
            load.wait(len(load.answered) + 30)
            assert rollout.rollback(str(repository), "jobs", runtime.url) == Live(live=6, previous=7)
            load.wait(len(load.answered) + 30)
        assert load.failed == []
        logged = read_versions(runtime)
        check_complete(load, ids_of(runtime))
        assert {identity: str(logged[identity]) for identity in load.answered} == load.answered
        assert set(Counter(load.answered.values())) == {str(version) for version in range(1, 8)}
        # Live and previous are in memory, the newest five on disk.
        assert httpx.get(f"{runtime.url}/v2/models/jobs").json()["versions"] == ["6", "7"]
        assert open_models(str(repository)).versions("jobs") == [3, 4, 5, 6, 7]


def read_versions(runtime: Runtime) -> dict[str, int]:
    table = read_log(runtime.log, "jobs")
    return dict(zip(table["inference_id"].to_pylist(), table["version"].to_pylist(), strict=True))


def test_each_version_gives_its_own_numbers_while_they_switch(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    with running(tmp_path / "models", tmp_path / "log") as runtime, Load(runtime.http_port) as load:
        load.wait(50)
        rollout.deploy(str(tmp_path / "models"), "jobs", 2, export(tmp_path / "two", bias=5.0), runtime.url)
        load.wait(len(load.answered) + 50)
    rows = read_log(tmp_path / "log", "jobs").to_pandas()
    assert (rows.probability > 0.9).equals(rows.version == 2)
    assert set(rows.version) == {1, 2}


def test_a_damaged_version_changes_nothing(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    publish(repository, 1)
    damaged = export(tmp_path / "damaged")
    (damaged / "model.onnx").write_bytes((damaged / "model.onnx").read_bytes()[:200])
    lying = export(tmp_path / "lying")
    described = json.loads((lying / "model.json").read_text())
    described["outputs"][0]["name"] = "score"
    (lying / "model.json").write_text(json.dumps(described))
    with running(repository, tmp_path / "log") as runtime, Load(runtime.http_port, clients=2) as load:
        for source, reason in ((damaged, "cannot be loaded"), (lying, "outputs of model.onnx are")):
            load.wait(len(load.answered) + 20)
            with pytest.raises(ServiceError, match=reason):
                rollout.deploy(str(repository), "jobs", 2, source, runtime.url)
            assert open_models(str(repository)).live("jobs") == Live(live=1)
            assert open_models(str(repository)).versions("jobs") == [1]
            assert status(f"{runtime.url}/v2/health/ready") == 200
        with pytest.raises(ServiceError, match="no previous version"):
            rollout.rollback(str(repository), "jobs", runtime.url)
        load.wait(len(load.answered) + 20)
    assert load.failed == []
    assert set(load.answered.values()) == {"1"}


def test_an_unreachable_runtime_changes_nothing(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        publish(tmp_path / "models", 1)
        with pytest.raises(ServiceError, match="cannot be reached"):
            rollout.deploy(str(tmp_path / "models"), "jobs", 2, export(tmp_path / "two"), url)
    store = open_models(str(tmp_path / "models"))
    assert store.live("jobs") == Live(live=1)
    assert store.versions("jobs") == [1]


def test_a_damaged_model_in_the_repository_keeps_the_runtime_not_ready_until_it_is_mended(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1)
    publish(tmp_path / "models", 1, name="areas")
    (tmp_path / "models" / "areas" / "1" / "model.onnx").write_bytes(b"")
    with running(tmp_path / "models", tmp_path / "log", wait=False) as runtime:
        wait_for(lambda: status(f"{runtime.url}/v2/models/jobs/ready") == 200, runtime, 40)
        answer = httpx.get(f"{runtime.url}/v2/health/ready")
        assert answer.status_code == 503
        assert "areas" in answer.json()["error"]
        refused = httpx.post(f"{runtime.url}/v2/models/areas/infer", json={"inputs": []})
        assert refused.status_code == 503
        assert "could not be loaded" in refused.json()["error"]
        publish(tmp_path / "models", 1, name="areas")
        assert httpx.post(f"{runtime.url}/v2/repository/models/areas/load").status_code == 200
        assert status(f"{runtime.url}/v2/health/ready") == 200


def test_a_busy_port_is_said(tmp_path: Path) -> None:
    with running(tmp_path / "models", tmp_path / "log") as first:
        for flag, port in (("--http-port", first.http_port), ("--grpc-port", first.grpc_port)):
            with running(tmp_path / "models", tmp_path / "other", flag, str(port), wait=False) as second:
                assert second.process.wait(30) == 2
                assert f"port {port} of 127.0.0.1 cannot be listened on: change {flag}" in second.output.read_text()


def test_settings_are_checked(tmp_path: Path) -> None:
    with running(tmp_path, tmp_path / "log", "--max-batch-rows", "0", wait=False) as runtime:
        assert runtime.process.wait(30) == 2
        assert "--max-batch-rows (FALAJ_MAX_BATCH_ROWS)" in runtime.output.read_text()


def test_versions_never_change(tmp_path: Path) -> None:
    store = open_models(str(tmp_path / "models"))
    assert store.add("jobs", 1, export(tmp_path / "one"))
    assert not store.add("jobs", 1, tmp_path / "one")
    with pytest.raises(ServiceError, match="other content"):
        store.add("jobs", 1, export(tmp_path / "two", bias=1))
    with pytest.raises(ServiceError, match="describes 'jobs', not 'areas'"):
        store.add("areas", 1, tmp_path / "one")
    (tmp_path / "one" / "model.json").unlink()
    with pytest.raises(ServiceError, match=r"model\.json is missing"):
        store.add("jobs", 2, tmp_path / "one")
    assert store.models() == []
    for name in ("../jobs", "Jobs", "", "a" * 60):
        with pytest.raises(ServiceError, match="not a model's name"):
            store.live(name)
    with pytest.raises(StorageError, match="gs is not a store that is known"):
        open_models("gs://bucket/models")
