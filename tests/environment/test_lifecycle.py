"""From data to a live model, and back: what a first run leaves behind, and what a user does next."""

import json
import os
import shutil
from pathlib import Path

import httpx
import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest
from mlflow import MlflowClient

from core.audit import open_log
from core.contract import DataContract
from core.digest import code_digest, file_digest
from core.model_spec import MODEL_FILE, ModelSpec
from serving.runtime.log import read_log
from tests.environment import loans
from tests.environment.local import ROOT, Local

pytestmark = pytest.mark.timeout(1800)

STEPS = ["ingest", "validate", "featurize", "train", "export", "evaluate", "register", "deploy"]


def test_the_registry_holds_the_model_with_its_lineage_and_card(local: Local) -> None:
    client = MlflowClient(local.environment.platform.mlflow_url)
    version = client.get_model_version_by_alias("employment", "live")
    mlflow.set_tracking_uri(local.environment.platform.mlflow_url)
    model = mlflow.pyfunc.load_model("models:/employment@live")
    card = json.loads(
        Path(client.download_artifacts(version.run_id, f"{Path(version.source).name}/card.json")).read_text()
    )
    lineage = _spec(local, "employment", int(version.version)).lineage

    assert [column.name for column in model.metadata.signature.inputs] == ["features"]
    assert lineage.data == file_digest(_data(local))
    assert lineage.contract == file_digest(ROOT / "datasets" / "employment" / "contract.yaml")
    assert lineage.code == code_digest()
    for name, digest in lineage.model_dump().items():
        assert version.tags[f"falaj.{name}"] == card["lineage"][name] == digest


def test_the_better_of_the_torch_model_and_the_baseline_was_kept(local: Local) -> None:
    report = json.loads(_artifact(local, "train", "report").read_text())
    means = {kind: float(np.mean(each["folds"])) for kind, each in report["candidates"].items()}

    assert set(means) == {"torch", "trees"}
    assert report["winner"] == max(means, key=lambda kind: means[kind])


def test_an_id_is_answered_as_its_features_are(local: Local, employment: DataContract) -> None:
    rows = pd.read_parquet(_data(local)).set_index("person_id")
    people = ["270001", "270002", "277001"]
    by_id = local.json("predict", "employment", *(part for person in people for part in ("--id", person)))
    features = [{name: float(rows.loc[person, name]) for name in employment.features} for person in people]
    by_features = local.json("predict", "employment", "--features", json.dumps(features))
    expected = _session(local).run(
        ["probability"], {"features": np.array([list(row.values()) for row in features], np.float32)}
    )[0]

    for given in (by_id, by_features):
        answered = [row["probability"] for row in given["predictions"]]
        np.testing.assert_allclose(answered, expected, atol=1e-6)


def test_who_withdrew_consent_is_not_known_to_the_feature_store(local: Local) -> None:
    consent = pd.read_parquet(_data(local).parent / "consent.parquet")
    withdrawn = consent.loc[consent["status"] == "withdrawn", "subject"].iloc[-1]

    refused = local.run("predict", "employment", "--id", withdrawn, check=False)

    assert refused.returncode == 1
    assert "404" in refused.stderr
    assert withdrawn not in refused.stderr


def test_every_step_left_its_lineage(local: Local) -> None:
    lines = Path(local.environment.platform.lineage_log).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    completed = {event["job"]["name"] for event in events if event["eventType"] == "COMPLETE"}
    assert completed >= {f"training.{step}" for step in STEPS}
    written = {dataset["name"] for event in events for dataset in event["outputs"]}
    read = {dataset["name"] for event in events for dataset in event["inputs"]}
    assert {"employment.records", "employment.training"} <= written & read


def test_the_audit_log_tells_the_whole_story_and_shows_any_tampering(local: Local, tmp_path: Path) -> None:
    log = Path(local.environment.platform.audit_log)
    events = [record.event for record in open_log(log).records()]
    assert [event for event in events if event != "environment.up"][:4] == [
        "data.ingested",
        "gates.passed",
        "model.registered",
        "model.deployed",
    ]
    assert "records" in local.json("audit", "verify")

    home = tmp_path / "home"
    shutil.copytree(local.home / "local" / "data" / "audit", home / "audit")
    document = json.loads((local.home / "local" / "platform.json").read_text())
    document["platform"]["audit_log"] = str(home / "audit" / log.name)
    (home / "local").mkdir()
    (home / "local" / "platform.json").write_text(json.dumps(document))
    copy = home / "audit" / log.name
    lines = copy.read_bytes().splitlines(keepends=True)
    copy.write_bytes(b"".join([*lines[:1], *lines[2:]]))
    tampered = Local(home, local.stack_file, "").run("audit", "verify", check=False)

    assert tampered.returncode == 1
    assert "line 2" in tampered.stderr


def test_what_was_answered_is_logged_without_who_it_was_about(local: Local, employment: DataContract) -> None:
    answer = httpx.post(f"{local.url}/v2/models/employment/infer", json=_by_id("270003"))
    logged = read_log(local.home / "local" / "data" / "inference-log", "employment").to_pandas()
    row = logged[logged["inference_id"] == answer.headers["x-request-id"]]

    assert row["probability"].tolist() == pytest.approx([answer.json()["outputs"][0]["data"][0]])
    assert set(employment.features) <= set(logged.columns)
    assert employment.entity not in logged.columns


def test_a_use_case_of_ones_own_needs_a_contract_and_a_file(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    local.run("run", str(contract), "--data", str(data), "--trials", "2")

    assert local.json("predict", "loans", "--id", "customer-3")["model"] == "loans"
    columns = local.json("models", "loans")["inputs"]
    assert columns == {"features": ["income", "defaults"], "text_features": ["city"]}


def test_a_new_version_takes_over_and_the_former_comes_back(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    before = int(local.json("predict", "loans", "--id", "customer-3")["version"])
    local.run("run", str(contract), "--data", str(data), "--trials", "2", "--seed", "1")
    assert int(local.json("predict", "loans", "--id", "customer-3")["version"]) == before + 1

    back = local.json("rollback", "loans")

    assert back == {"model": "loans", "live": before, "previous": before + 1}
    assert int(local.json("predict", "loans", "--id", "customer-3")["version"]) == before
    client = MlflowClient(local.environment.platform.mlflow_url)
    assert int(client.get_model_version_by_alias("loans", "live").version) == before


def test_the_same_input_gives_the_same_model(local: Local, tmp_path: Path) -> None:
    contract, data = loans.write(tmp_path)
    digests = []
    for _ in range(2):
        local.run("run", str(contract), "--data", str(data), "--trials", "2", "--seed", "2")
        live = json.loads((_repository(local) / "loans" / "live.json").read_text())["live"]
        digests.append(file_digest(_repository(local) / "loans" / str(live) / MODEL_FILE))
    assert digests[0] == digests[1]


def test_the_second_sample_runs_from_its_contract_alone(local: Local) -> None:
    local.run("run", "housing", "--trials", "2")
    answer = local.json("predict", "housing", "--id", "14000")
    assert 0 < answer["predictions"][0]["prediction"] < 16


def _by_id(person: str) -> dict[str, object]:
    return {"inputs": [{"name": "person_id", "datatype": "BYTES", "shape": [1], "data": [person]}]}


def _data(local: Local) -> Path:
    return local.home / "data" / "employment" / "records.parquet"


def _repository(local: Local) -> Path:
    return Path(local.environment.platform.model_repository)


def _spec(local: Local, model: str, version: int) -> ModelSpec:
    return ModelSpec.model_validate_json((_repository(local) / model / str(version) / "model.json").read_bytes())


def _session(local: Local) -> onnxruntime.InferenceSession:
    live = json.loads((_repository(local) / "employment" / "live.json").read_text())["live"]
    return onnxruntime.InferenceSession(_repository(local) / "employment" / str(live) / MODEL_FILE)


def _artifact(local: Local, step: str, name: str) -> Path:
    """An artifact of the first run of the sample."""
    runs = sorted((local.home / "local" / "runs" / "employment").iterdir(), key=os.path.getmtime)
    return next(runs[0].glob(f"training-*/{step}/{name}"))
