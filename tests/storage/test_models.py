"""The runtime on a bucket: versions go live and back, are checked; the log is whole though the store goes away."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from core import storage
from core.digest import ROOT
from core.errors import ServiceError
from core.model_spec import Live
from rehearsal.ports import free_ports
from serving import rollout
from serving.runtime.log import read_log
from serving.store import open_models
from tests.serving.conftest import Runtime, export, status, wait_ready
from tests.storage.servers import Authority, object_store

ROW = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [40.0, 20.0, 1000.0]}]}


@contextmanager
def running(repository: str, log: str, *flags: str, wait: bool = True) -> Iterator[Runtime]:
    """The runtime in this process's environment, which names the store."""
    port, grpc_port = free_ports(2)
    command = [sys.executable, "-m", "serving.runtime", "--http-port", str(port), "--grpc-port", str(grpc_port)]
    command += ["--model-repository", repository, "--inference-log", log, "--drain-seconds", "0", *flags]
    output = Path(os.environ["RUNTIME_OUTPUT"]) / f"runtime-{port}.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream)
    runtime = Runtime(process, port, grpc_port, Path(), output, command)
    try:
        if wait:
            wait_ready(runtime)
        yield runtime
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def _output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_OUTPUT", str(tmp_path))
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def answer(url: str) -> str:
    response = httpx.post(f"{url}/v2/models/jobs/infer", json=ROW)
    assert response.status_code == 200, response.text
    return str(response.json()["model_version"])


def test_a_version_is_there_whole_or_not_at_all(bucket: str, tmp_path: Path) -> None:
    store = open_models(f"{bucket}/models")
    source = export(tmp_path / "one")
    for file in ("model.onnx", "model.json"):
        storage.upload(source / file, f"{bucket}/models/jobs/1/{file}")
    assert store.versions("jobs") == []  # as a deployment that died leaves it

    assert store.add("jobs", 1, source)
    assert not store.add("jobs", 1, source)
    with pytest.raises(ServiceError, match="other content"):
        store.add("jobs", 1, export(tmp_path / "two", bias=1))
    assert store.versions("jobs") == [1]
    with store.opened("jobs", 1) as folder:
        assert (folder / "model.onnx").read_bytes() == (source / "model.onnx").read_bytes()
    assert not folder.exists()
    assert store.models() == []
    store.write_live("jobs", Live(live=1))
    assert store.models() == ["jobs"]
    store.remove("jobs", 1)
    assert store.versions("jobs") == []
    assert storage.names(f"{bucket}/models/jobs") == ["live.json"]


def test_what_was_altered_is_not_loaded(bucket: str, tmp_path: Path) -> None:
    store = open_models(f"{bucket}/models")
    store.add("jobs", 1, export(tmp_path / "one"))
    storage.upload(export(tmp_path / "two", bias=1) / "model.onnx", f"{bucket}/models/jobs/1/model.onnx")

    with pytest.raises(ServiceError, match=r"jobs/1/model\.onnx is not what was stored"), store.opened("jobs", 1):
        pass


def test_of_two_deployments_one_is_refused(bucket: str, tmp_path: Path) -> None:
    first, second = open_models(f"{bucket}/models"), open_models(f"{bucket}/models")
    for store in (first, second):
        assert store.live("jobs") is None
    first.write_live("jobs", Live(live=1))
    with pytest.raises(ServiceError, match="jobs was deployed or rolled back by someone else meanwhile"):
        second.write_live("jobs", Live(live=2))
    second.live("jobs")
    second.write_live("jobs", Live(live=2, previous=1))

    assert first.live("jobs") == Live(live=2, previous=1)


def test_deploy_follow_and_rollback(bucket: str, tmp_path: Path) -> None:
    models, log = f"{bucket}/models", f"{bucket}/log"
    flags = ["--follow-seconds", "0.5", "--log-rotate-seconds", "0.5"]

    with (
        running(models, log, "--log-spool", str(tmp_path / "one" / "spool"), *flags) as one,
        running(models, log, "--log-spool", str(tmp_path / "two" / "spool"), *flags) as two,
    ):
        assert rollout.deploy(models, "jobs", 1, export(tmp_path / "v1"), one.url) == Live(live=1)
        until(lambda: status(f"{two.url}/v2/models/jobs/ready") == 200)
        rollout.deploy(models, "jobs", 2, export(tmp_path / "v2", bias=1), two.url)
        until(lambda: answer(one.url) == "2")
        damaged = export(tmp_path / "v3")
        (damaged / "model.onnx").write_bytes(b"not a graph")
        with pytest.raises(ServiceError, match="cannot be loaded"):
            rollout.deploy(models, "jobs", 3, damaged, one.url)
        assert open_models(models).versions("jobs") == [1, 2]
        assert (answer(one.url), answer(two.url)) == ("2", "2")
        assert rollout.rollback(models, "jobs", two.url) == Live(live=1, previous=2)
        until(lambda: answer(one.url) == "1")
        one.stop()
        two.stop()
    rows = read_log(log, "jobs")
    assert set(rows["version"].to_pylist()) == {1, 2}
    assert not list(tmp_path.glob("*/spool/jobs/_journal/*"))


def test_the_log_waits_for_a_store_that_is_away(
    authority: Authority, forgotten: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers go on while the spool has room, are refused when it has not, and nothing that was answered is lost."""
    port = free_ports(1)[0]
    repository, spool = tmp_path / "models", tmp_path / "spool"
    open_models(str(repository)).add("jobs", 1, export(tmp_path / "v1"))
    open_models(str(repository)).write_live("jobs", Live(live=1))
    answered: list[str] = []

    def ask() -> int:
        response = httpx.post(f"{runtime.url}/v2/models/jobs/infer", json=many)
        if response.status_code == 200:
            answered.append(response.json()["id"])
        return response.status_code

    data = [40.0, 20.0, 1000.0] * 1000
    many = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1000, 3], "data": data}]}
    with object_store(authority, tmp_path, port) as objects:
        for name, value in objects.environment.items():
            monkeypatch.setenv(name, value)
        with running(
            str(repository),
            "s3://late/log",
            *("--log-spool", str(spool), "--log-rotate-seconds", "0.3", "--log-spool-bytes", str(1 << 20)),
        ) as runtime:
            assert ask() == 200
            statuses = [ask() for _ in range(80)]
            assert set(statuses) == {200, 503}
            assert status(f"{runtime.url}/v2/health/ready") == 503
            assert "spool" in httpx.get(f"{runtime.url}/metrics").text
            # Killed and started anew, it still has what it answered.
            runtime.process.kill()
            runtime.process.wait()
        objects.client.create_bucket(Bucket="late", CreateBucketConfiguration={"LocationConstraint": "me-central-1"})
        with running(
            str(repository), "s3://late/log", "--log-spool", str(spool), "--log-rotate-seconds", "0.3"
        ) as runtime:
            assert ask() == 200
            runtime.stop()
        logged = read_log("s3://late/log", "jobs")["inference_id"].to_pylist()
        assert sorted(set(logged)) == sorted(answered)
        assert len(logged) == 1000 * len(answered)
    shutil.rmtree(spool)


def test_a_bucket_needs_a_spool(tmp_path: Path) -> None:
    with running(str(tmp_path), "s3://any/log", wait=False) as runtime:
        assert runtime.process.wait(30) == 2
        assert "set --log-spool (FALAJ_LOG_SPOOL)" in runtime.output.read_text()
