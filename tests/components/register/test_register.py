import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.report import EvaluationReport, Gate
from components.evaluate.step import evaluate
from components.export.report import read_report
from components.modelling.matrix import tensors
from components.modelling.session import OUTPUTS, Session
from components.register.card import make_card, render, risk_tier
from components.register.step import register
from components.tracking import open_run, tracking
from core.contract import DataContract, LawfulBasis
from core.digest import bytes_digest, file_digest
from core.errors import DataError, GateError, ServiceError
from core.model_spec import ModelSpec

TODAY = dt.date(2026, 1, 1)


@pytest.fixture(scope="module")
def report(trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationReport, Path]:
    out, folder = tmp_path_factory.mktemp("report"), trained.folder
    return evaluate(
        trained.use_case.contract,
        folder / "onnx",
        trained.use_case.path,
        folder / "predictions.parquet",
        folder / "train.json",
        out,
        TODAY,
    ), out


def test_version_is_whole_loadable_and_made_once(trained, report, mlflow_url: str) -> None:
    contract, onnx = trained.use_case.contract, trained.folder / "onnx"
    name = f"sample_{contract.task.split('_')[0]}"
    contract = contract.model_copy(update={"name": name})
    with tracking(mlflow_url) as client:
        run = open_run(client, name, "run-1")
        assert open_run(client, name, "run-1") == run
        assert open_run(client, name, "run-2") != run
    first = register(contract, onnx, report[1], mlflow_url, run, TODAY)
    assert (first, register(contract, onnx, report[1], mlflow_url, run, TODAY)) == (1, 1)

    import mlflow

    with tracking(mlflow_url) as client:
        other = open_run(client, name, "run-2")
        assert register(contract, onnx, report[1], mlflow_url, other, TODAY) == 2
        version = client.get_model_version(name, "1")
        assert version.tags["falaj.model"] == file_digest(onnx / "model.onnx")
        assert {version.tags[f"falaj.{key}"] for key in ("contract", "data", "code", "environment")} == set("cdxe")
        assert client.get_run(run).info.status == "FINISHED"
        mlflow.set_tracking_uri(mlflow_url)
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1"))
        card = (folder / "card.json").read_bytes()
        assert version.tags["falaj.card"] == bytes_digest(card)
        assert json.loads(card)["name"] == name
        model = mlflow.pyfunc.load_model(f"models:/{name}/1")
    spec = ModelSpec.model_validate_json((onnx / "model.json").read_bytes())
    assert [one.name for one in model.metadata.signature.inputs] == [tensor.name for tensor in spec.inputs]
    assert [one.name for one in model.metadata.signature.outputs] == [tensor.name for tensor in spec.outputs]
    inputs = tensors(contract, trained.use_case.frame.head(5))
    expected = Session(onnx / "model.onnx", contract.task).predict(inputs)
    inputs["text_features"] = inputs["text_features"].astype(str)
    np.testing.assert_allclose(model.predict(inputs)[OUTPUTS[contract.task]], expected, rtol=1e-6)


def test_what_failed_its_gates_is_not_registered(trained, report, tmp_path: Path) -> None:
    failed = Gate(name="r2", value=0.1, min=0.5, passed=False)
    (tmp_path / "report.json").write_text(report[0].model_copy(update={"gates": (failed,)}).model_dump_json())
    with pytest.raises(GateError, match="not registered"):
        register(trained.use_case.contract, trained.folder / "onnx", tmp_path, "http://127.0.0.1:1", "run")


def test_absent_parts_are_named(trained, report, tmp_path: Path) -> None:
    contract = trained.use_case.contract
    with pytest.raises(DataError, match="no exported model"):
        register(contract, tmp_path, report[1], "http://127.0.0.1:1", "run")
    with pytest.raises(ServiceError, match="falaj status"):
        register(contract, trained.folder / "onnx", report[1], "http://127.0.0.1:1", "run")


def test_refusals_of_the_server_are_told(trained, report, mlflow_url: str) -> None:
    with pytest.raises(ServiceError, match="did not do"):
        register(trained.use_case.contract, trained.folder / "onnx", report[1], mlflow_url, "0" * 32)


def card_of(trained, report: EvaluationReport, contract: DataContract | None = None):
    spec = ModelSpec.model_validate_json((trained.folder / "onnx" / "model.json").read_bytes())
    exported = read_report(trained.folder / "onnx")
    return make_card(contract or trained.use_case.contract, report, exported, spec, "sha256:m", TODAY)


def test_card_says_what_contract_and_report_say(trained, report) -> None:
    contract = trained.use_case.contract
    card = card_of(trained, report[0])
    assert card.metrics == report[0].holdout
    assert card.sensitive_columns == ("sex", "tribe")
    assert card.baseline_comparison == report[0].comparison.verdict
    assert card.review_by == TODAY + dt.timedelta(days=100), "the data's retention ends first"
    assert any("tribe" in limit and "c (" in limit for limit in card.limits)
    text = render(card)
    for expected in (
        contract.owner.contact,
        contract.purpose.description,
        "public interest",
        "DPIA-1, expires 2100-01-01",
        "a person reviews each",
        "| male |",
        "c (too small to judge)",
        report[0].comparison.verdict,
        "POST /v2/models/sample/infer",
        "<city>",
        "sha256:m",
        "run-1",
        "float32, as it was trained",
        *METRIC_NAMES[contract.task],
    ):
        assert expected in text, expected


METRIC_NAMES = {
    "binary_classification": ("roc_auc", "calibration_error", "true positive rate", "equal opportunity difference"),
    "regression": ("r2", "median_absolute_error", "mae difference"),
}


def test_requests_on_the_card_have_the_shape_of_the_graph(trained, report) -> None:
    card = card_of(trained, report[0])
    by_id, by_features = json.loads(card.request_by_id), json.loads(card.request_by_features)
    assert by_id["inputs"][0]["name"] == "person"
    assert [(one["name"], one["shape"]) for one in by_features["inputs"]] == [
        ("features", [1, 3]),
        ("text_features", [1, 1]),
    ]


def test_risk_tier_follows_the_contract(trained) -> None:
    contract = trained.use_case.contract
    assert risk_tier(contract) == "high"
    decision = contract.automated_decision.model_copy(update={"high_impact": False})
    assert risk_tier(contract.model_copy(update={"automated_decision": decision})) == "limited"
    plain = {"automated_decision": decision, "lawful_basis": LawfulBasis.NOT_PERSONAL}
    assert risk_tier(contract.model_copy(update=plain)) == "minimal"
