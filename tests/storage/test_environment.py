"""A use case from a file in a bucket to an answer by id, on what the cloud's stores are: the whole of our own code."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from components.tracking import tracking
from core import storage
from core.audit import open_log
from core.digest import ROOT
from core.model_spec import SPEC_FILE, ModelSpec
from core.platform import Platform
from core.telemetry import SILENT
from falaj.commands.predict import by_id
from infra.services.feature_server import feature_store
from rehearsal.ports import free_ports
from serving.runtime.log import read_log
from tests.components.conftest import BINARY, CONTRACT
from tests.storage.servers import Authority, Database, ObjectStore, cache
from tests.storage.test_features import connection

_STEPS = """
import sys
from pathlib import Path
from kfp import dsl
from components.deploy.component import deploy
from components.evaluate.component import evaluate
from components.export.component import export
from components.featurize.component import featurize
from components.ingest.component import ingest
from components.register.component import register
from components.train.component import train
from components.validate.component import validate

root, contract_uri, data_uri = sys.argv[1:]
kinds = {"metrics": dsl.Metrics}
names = ["contract", "records", "refused", "ingested", "validated", "training", "featurized", "model", "predictions"]
names += ["trained", "onnx", "evaluated", "metrics"]
made = {name: kinds.get(name, dsl.Artifact)(name=name, uri=f"{root}/{name}", metadata={}) for name in names}
(contract, records, refused, ingested, validated, training, featurized, model, predictions, trained, onnx, evaluated,
 metrics) = made.values()
run = f"{root}/mlflow_run"
ingest.python_func(contract_uri, data_uri, "run-1", contract, records, refused, ingested)
validate.python_func("run-1", contract, records, validated)
featurize.python_func("run-1", contract, records, training, featurized)
train.python_func(1, 0, "run-1", contract, training, model, predictions, trained, run)
run = Path(run).read_text()
export.python_func(run, "run-1", contract, model, training, ingested, onnx)
evaluate.python_func(run, "run-1", contract, onnx, training, predictions, trained, evaluated, metrics)
version = register.python_func(run, "run-1", contract, onnx, evaluated)
deploy.python_func("run-1", version, contract, onnx)
"""
"""The shells of all steps in one process: what KFP adds around each is tried elsewhere, and takes its time."""


def write_use_case(bucket: str) -> tuple[str, str]:
    """Contract and records as their owners put them into the bucket."""
    generator = np.random.default_rng(7)
    rows = 1000
    age = generator.integers(0, 100, rows)
    score = age / 25 + generator.normal(0, 0.3, rows)
    frame = pd.DataFrame(
        {
            "person": [f"784-{number:04d}" for number in np.arange(rows) % 800],
            "at": pd.date_range("2020-01-01", periods=rows, freq="h", tz="UTC"),
            "city": generator.choice(["Dubai", "Al Ain"], rows),
            "age": age,
            "income": generator.lognormal(3, 2, rows),
            "grade": generator.choice([1, 2, 5], rows),
            "sex": generator.integers(1, 3, rows),
            "tribe": generator.choice(["a", "b"], rows),
            "outcome": (score > np.median(score)).astype("int64"),
        }
    )
    contract, data = f"{bucket}/contracts/sample.yaml", f"{bucket}/raw/sample.parquet"
    storage.write(contract, CONTRACT.format(**BINARY).encode())
    storage.write(data, frame.to_parquet(index=False))
    return contract, data


@contextmanager
def server(name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{name}.txt").open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def wait(folder: Path, **health: str) -> None:
    deadline = time.monotonic() + 200
    for name, url in health.items():
        while True:
            try:
                httpx.get(url, timeout=5).raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, (folder / f"{name}.txt").read_text()
                time.sleep(0.3)


@pytest.mark.timeout(600)
def test_from_a_file_in_a_bucket_to_an_answer_by_id(
    s3: ObjectStore, postgres: Database, authority: Authority, bucket: str, tmp_path: Path
) -> None:
    contract, data = write_use_case(bucket)
    for name in ("feature_registry", "tracking"):
        postgres.create(name)
    (tmp_path / "key").write_bytes(b"k" * 32)
    mlflow, features, http, grpc = free_ports(4)
    platform = Platform(
        mlflow_url=f"http://127.0.0.1:{mlflow}",
        runtime_url=f"http://127.0.0.1:{http}",
        feature_store=str(tmp_path),
        offline_store=f"{bucket}/features",
        profiles=f"{bucket}/profiles",
        model_repository=f"{bucket}/models",
        pseudonym_key_file=str(tmp_path / "key"),
        audit_log=f"{bucket}/audit",
        lineage_log=f"{bucket}/lineage",
    )
    python = [sys.executable, "-m"]
    with cache(authority, tmp_path) as online:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"},
            **SILENT,
            **s3.environment,
            **postgres.environment,
            **online.environment,
            **platform.to_environment(),
        }
        text = feature_store("postgresql+psycopg:///feature_registry", connection(online), 1)
        (tmp_path / "feature_store.yaml").write_text(text)
        with (
            server(
                "mlflow",
                [
                    *(*python, "mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow), "--workers", "1"),
                    *("--backend-store-uri", "postgresql+psycopg:///tracking"),
                    *("--artifacts-destination", f"{bucket}/runs"),
                ],
                environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                tmp_path,
            ),
            server(
                "runtime",
                [
                    *(*python, "serving.runtime", "--http-port", str(http), "--grpc-port", str(grpc)),
                    *("--model-repository", platform.model_repository, "--inference-log", f"{bucket}/inference-log"),
                    *("--log-spool", str(tmp_path / "spool"), "--log-rotate-seconds", "1", "--drain-seconds", "0"),
                    *("--feature-store", str(tmp_path), "--feature-timeout", "60"),
                    *("--pseudonym-key-file", platform.pseudonym_key_file),
                ],
                environment,
                tmp_path,
            ),
            server(
                "feast",
                [
                    *(str(Path(sys.executable).with_name("feast")), "--chdir", str(tmp_path), "serve"),
                    *("--host", "127.0.0.1", "--port", str(features), "--workers", "1", "--no-access-log"),
                    *("--registry_ttl_sec", "1"),
                ],
                environment,
                tmp_path,
            ),
        ):
            wait(tmp_path, mlflow=f"{platform.mlflow_url}/health", runtime=f"{platform.runtime_url}/v2/health/ready")
            done = subprocess.run(
                [sys.executable, "-c", _STEPS, str(tmp_path), contract, data],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            wait(tmp_path, feast=f"http://127.0.0.1:{features}/health")
            spec = ModelSpec.model_validate_json(storage.read(f"{bucket}/models/sample/1/{SPEC_FILE}") or b"")
            url = f"{platform.runtime_url}/v2/models/sample/infer"
            answer = httpx.post(url, json=by_id(spec, ["784-0001"]), timeout=90)
            unknown = httpx.post(url, json=by_id(spec, ["784-9999"]), timeout=90)
            with tracking(platform.mlflow_url) as client:
                version = client.get_model_version_by_alias("sample", "live")
                assert version.version == "1"
    assert answer.status_code == 200, answer.text
    assert unknown.status_code == 404
    events = [record.event for record in open_log(platform.audit_log).records()]
    assert events == ["data.ingested", "gates.passed", "model.registered", "model.deployed"]
    assert storage.names(f"{bucket}/profiles") == ["sample.json"]
    (day,) = storage.names(f"{bucket}/lineage")
    assert len(storage.names(f"{bucket}/lineage/{day}")) == 16
    assert storage.names(f"{bucket}/models/sample") == ["1", "live.json"]
    assert "model.onnx" in str(s3.client.list_objects_v2(Bucket=bucket[5:], Prefix="runs/"))
    logged = read_log(f"{bucket}/inference-log", "sample")
    assert logged["inference_id"].to_pylist() == [answer.headers["x-request-id"]]
    assert "784-0001" not in str(logged.to_pydict())
