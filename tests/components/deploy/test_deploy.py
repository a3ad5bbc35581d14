"""The deploy step against a real runtime and a real registry."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from components.deploy import step
from components.deploy.component import deploy
from core.audit import open_log
from core.contract import load_contract
from core.errors import ServiceError
from core.model_spec import Live
from core.platform import Platform
from tests.serving.conftest import ROOT, Runtime, export, running

CONTRACT = ROOT / "datasets" / "employment" / "contract.yaml"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("deploy")
    with running(folder / "models", folder / "log") as started:
        yield started


@pytest.fixture(scope="module")
def registry(mlflow_url: str) -> str:
    client = MlflowClient(tracking_uri=mlflow_url, registry_uri=mlflow_url)
    client.create_registered_model("employment")
    run = client.create_run("0").info
    for _ in range(3):
        client.create_model_version("employment", f"{run.artifact_uri}/model", run.run_id)
    return mlflow_url


def test_the_shell_deploys_moves_the_aliases_and_leaves_an_audit_record(
    runtime: Runtime, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = dict.fromkeys(Platform.model_fields, "unused") | {
        "mlflow_url": registry,
        "runtime_url": runtime.url,
        "model_repository": str(runtime.log.parent / "models"),
        "audit_log": str(tmp_path / "audit.jsonl"),
        "lineage_log": str(tmp_path / "lineage.jsonl"),
    }
    for name, value in Platform.model_validate(fields).to_environment().items():
        monkeypatch.setenv(name, value)
    contract = SimpleNamespace(path=str(CONTRACT))
    for version in (1, 2):
        onnx = SimpleNamespace(path=str(export(tmp_path / str(version), bias=version, name="employment")))
        deploy.python_func(run_id="run-1", version=version, contract=contract, onnx=onnx)
    client = MlflowClient(tracking_uri=registry, registry_uri=registry)
    assert str(client.get_model_version_by_alias("employment", "live").version) == "2"
    assert str(client.get_model_version_by_alias("employment", "previous").version) == "1"
    first, second = open_log(tmp_path / "audit.jsonl").records()
    assert (first.event, first.subject, first.details["previous"]) == ("model.deployed", "employment/1", None)
    assert (second.subject, second.details["version"], second.details["previous"]) == ("employment/2", 2, 1)
    assert str(second.details["model"]).startswith("sha256:")
    assert '"COMPLETE"' in (tmp_path / "lineage.jsonl").read_text()


def test_an_unknown_version_of_the_registry_is_said(runtime: Runtime, registry: str, tmp_path: Path) -> None:
    models = str(runtime.log.parent / "models")
    onnx = export(tmp_path / "nine", bias=9, name="employment")
    with pytest.raises(ServiceError, match="aliases were not moved"):
        step.deploy(load_contract(CONTRACT), onnx, 9, models, runtime.url, registry)
    # The step may run again, and a registry is not needed.
    assert step.deploy(load_contract(CONTRACT), onnx, 9, models, runtime.url, None).live == 9


def test_no_registry(runtime: Runtime, tmp_path: Path) -> None:
    contract = load_contract(ROOT / "datasets" / "housing" / "contract.yaml")
    models = str(runtime.log.parent / "models")
    live = step.deploy(contract, export(tmp_path / "one", name="housing"), 1, models, runtime.url, None)
    assert live == Live(live=1)
