from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

from components.export.step import export
from components.modelling import saved
from components.modelling.matrix import is_holdout, matrix, target, tensors
from components.modelling.network import layout
from components.modelling.session import OUTPUTS, Session
from components.train.learner import Learner
from components.train.perceptron import PerceptronLearner
from components.train.trees import BoostingLearner
from core.contract import Role, Task
from core.errors import DataError
from core.model_spec import Lineage, ModelSpec

LINEAGE = Lineage(contract="c", data="d", code="x", environment="e", pipeline_run="r", mlflow_run="m")


@pytest.fixture(scope="module", params=["torch", "trees"])
def exported(trained, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Either kind of model on either task, trained on the non-held-out rows and exported."""
    folder = tmp_path_factory.mktemp("export")
    contract, frame = trained.use_case.contract, trained.use_case.frame
    learner: Learner = (
        PerceptronLearner(contract.task, layout(contract))
        if request.param == "torch"
        else BoostingLearner(contract.task)
    )
    held_out = is_holdout(contract, frame["person"])
    x = matrix(contract, frame)
    model = learner.fit(x[~held_out], target(contract, frame)[~held_out], learner.defaults, 0, 5)
    model.save(folder)
    saved.write_holdout(folder, model.predict(x[held_out]))
    report = export(contract, folder, trained.use_case.path, LINEAGE, folder / "onnx")
    return trained.use_case, folder, model, report


def test_graph_says_what_the_model_says(exported) -> None:
    use_case, folder, model, report = exported
    assert report.max_difference < 1e-5
    answers = Session(folder / "onnx" / "model.onnx", use_case.contract.task).predict(
        tensors(use_case.contract, use_case.frame)
    )
    np.testing.assert_allclose(answers, model.predict(matrix(use_case.contract, use_case.frame)), rtol=2e-5, atol=1e-6)


def test_rows_on_a_threshold_go_the_same_way(exported) -> None:
    use_case, folder, model, _ = exported
    session = Session(folder / "onnx" / "model.onnx", use_case.contract.task)
    frame = pd.concat([use_case.frame.head(1)] * 3000, ignore_index=True)
    incomes = np.sort(use_case.frame["income"].dropna().to_numpy(dtype=np.float32))
    middles = ((incomes[1:].astype(float) + incomes[:-1]) / 2).astype(np.float32)
    around = np.concatenate([np.nextafter(middles, np.float32(0)), middles, np.nextafter(middles, np.float32(1e9))])
    frame["income"] = np.resize(around, len(frame)).astype(float)
    answers = session.predict(tensors(use_case.contract, frame))
    np.testing.assert_allclose(answers, model.predict(matrix(use_case.contract, frame)), rtol=2e-5, atol=1e-6)


def test_interface_is_the_one_of_the_spec(exported) -> None:
    use_case, folder, _, _ = exported
    contract = use_case.contract
    spec = ModelSpec.model_validate_json((folder / "onnx" / "model.json").read_bytes())
    assert [tensor.columns for tensor in spec.inputs] == [("age", "income", "grade"), ("city",)]
    assert spec.ranges["age"].max == 99
    assert spec.ranges["income"].nullable
    assert spec.categories == {"city": ("Dubai", "Al Ain", "رأس الخيمة")}
    assert spec.features.pseudonymised
    assert spec.lineage == LINEAGE
    session = Session(folder / "onnx" / "model.onnx", contract.task).raw
    types = {"FP32": "tensor(float)", "INT64": "tensor(int64)", "BYTES": "tensor(string)"}
    for declared, actual in ((spec.inputs, session.get_inputs()), (spec.outputs, session.get_outputs())):
        assert [(tensor.name, types[tensor.datatype]) for tensor in declared] == [(a.name, a.type) for a in actual]
        for tensor, one in zip(declared, actual, strict=True):
            assert one.shape == ["batch", *tensor.shape[1:]]


def test_label_follows_the_probability(exported) -> None:
    use_case, folder, _, _ = exported
    if use_case.contract.task is not Task.BINARY_CLASSIFICATION:
        pytest.skip("a regression has no label")
    session = Session(folder / "onnx" / "model.onnx", use_case.contract.task).raw
    probability, label = session.run(["probability", "label"], tensors(use_case.contract, use_case.frame))
    np.testing.assert_array_equal(label, (probability > 0.5).astype(np.int64))
    assert 0 < label.mean() < 1
    assert probability.min() >= 0
    assert probability.max() <= 1


@pytest.mark.parametrize("rows", [1, 8, 0])
def test_what_the_contract_does_not_know_is_answered_safely(exported, rows: int) -> None:
    use_case, folder, _, _ = exported
    session = Session(folder / "onnx" / "model.onnx", use_case.contract.task).raw
    features = np.tile(np.asarray([np.nan, -1e30, 77], dtype=np.float32), (rows, 1))
    cities = np.full((rows, 1), "Atlantis", dtype=object)
    answer = session.run([OUTPUTS[use_case.contract.task]], {"features": features, "text_features": cities})[0]
    assert answer.shape == (rows,)
    assert np.isfinite(answer).all()


def test_graph_holds_no_paths_and_passes_the_checker(exported) -> None:
    _, folder, _, _ = exported
    file = folder / "onnx" / "model.onnx"
    onnx.checker.check_model(onnx.load(file), full_check=True)
    data = file.read_bytes()
    assert b"site-packages" not in data
    assert b"/components/" not in data
    assert len(data) < 1_000_000


def test_export_is_deterministic(exported, tmp_path: Path) -> None:
    use_case, folder, _, _ = exported
    export(use_case.contract, folder, use_case.path, LINEAGE, tmp_path)
    assert (tmp_path / "model.onnx").read_bytes() == (folder / "onnx" / "model.onnx").read_bytes()


def test_a_graph_that_differs_is_refused(exported, tmp_path: Path) -> None:
    use_case, folder, _, _ = exported
    for file in folder.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    reference = pd.read_parquet(tmp_path / saved.HOLDOUT)["prediction"].to_numpy()
    bent = reference.copy()
    bent[len(bent) // 2] *= 1.01
    saved.write_holdout(tmp_path, bent)
    with pytest.raises(DataError, match="differs from the trained model"):
        export(use_case.contract, tmp_path, use_case.path, LINEAGE, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()
    saved.write_holdout(tmp_path, reference[:-1])
    with pytest.raises(DataError, match="run train again"):
        export(use_case.contract, tmp_path, use_case.path, LINEAGE, tmp_path / "onnx")


@pytest.mark.parametrize("kind", ["text", "float"])
@pytest.mark.parametrize("learner_type", [PerceptronLearner, BoostingLearner])
def test_features_of_one_sort_alone(trained, tmp_path: Path, kind: str, learner_type: type[Learner]) -> None:
    keep = {"text": "city", "float": "income"}[kind]
    columns = {
        name: column
        for name, column in trained.use_case.contract.columns.items()
        if column.role is not Role.FEATURE or name == keep
    }
    contract = trained.use_case.contract.model_copy(update={"columns": columns})
    frame = trained.use_case.frame
    learner = (
        PerceptronLearner(contract.task, layout(contract))
        if learner_type is PerceptronLearner
        else BoostingLearner(contract.task)
    )
    x, held_out = matrix(contract, frame), is_holdout(contract, frame["person"])
    model = learner.fit(x, target(contract, frame), learner.defaults, 0, 2)
    model.save(tmp_path)
    saved.write_holdout(tmp_path, model.predict(x[held_out]))
    export(contract, tmp_path, trained.use_case.path, LINEAGE, tmp_path / "onnx")
    spec = ModelSpec.model_validate_json((tmp_path / "onnx" / "model.json").read_bytes())
    assert [tensor.name for tensor in spec.inputs] == ["text_features" if kind == "text" else "features"]
