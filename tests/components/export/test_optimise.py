"""Graphs in 8 bits: what they answer, what they lose, and when one is taken."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from components.export.graph import assemble
from components.export.optimise import measure, quantised
from components.export.report import Candidate, choose, read_report
from components.export.step import export
from components.modelling import saved
from components.modelling.matrix import is_holdout, matrix, target, tensors
from components.modelling.network import layout
from components.modelling.session import Session
from components.train.perceptron import PerceptronLearner
from components.train.trees import BoostingLearner
from core.contract import Export, Task
from core.errors import DataError
from core.model_spec import Lineage

LINEAGE = Lineage(contract="c", data="d", code="x", environment="e", pipeline_run="r", mlflow_run="m")
LOSS = 0.05


@pytest.fixture(scope="module")
def network(trained, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """A network on either task, the folder that train would have written, and the contract that lets it lose some."""
    folder = tmp_path_factory.mktemp("network")
    contract = trained.use_case.contract.model_copy(update={"export": Export(max_loss=LOSS)})
    frame = trained.use_case.frame
    held_out = is_holdout(contract, frame["person"])
    x = matrix(contract, frame)
    learner = PerceptronLearner(contract.task, layout(contract))
    model = learner.fit(x[~held_out], target(contract, frame)[~held_out], learner.defaults, 0, 5)
    model.save(folder)
    saved.write_holdout(folder, model.predict(x[held_out]))
    return contract, frame, held_out, folder, trained.use_case.path


def test_a_row_is_answered_alike_whatever_is_run_with_it(network) -> None:
    contract, frame, held_out, folder, _ = network
    graph = assemble(contract, saved.load(folder)[0])
    smaller = quantised(graph, tensors(contract, frame[~held_out]))
    assert smaller is not None
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in smaller.graph.node}
    session = Session(smaller.SerializeToString(), contract.task)
    inputs = tensors(contract, frame[held_out])
    together = session.predict(inputs)
    for row in range(0, len(together), 20):
        alone = session.predict({name: values[row : row + 1] for name, values in inputs.items()})
        assert alone[0] == together[row]
    exact = Session(graph.SerializeToString(), contract.task).predict(inputs)
    assert 0 < np.abs(together - exact).mean() < 0.05 * exact.std()


def test_export_measures_both_and_writes_what_it_chose(network, tmp_path: Path) -> None:
    contract, _, _, folder, training = network
    report = export(contract, folder, training, LINEAGE, tmp_path / "onnx")
    assert read_report(tmp_path / "onnx") == report
    first, second = report.candidates
    assert (first.kind, second.kind) == ("float32", "int8")
    assert set(first.losses.values()) == {0.0}
    assert set(second.losses) == set(contract.quality) == set(second.metrics)
    assert all(0 < times < float("inf") for one in report.candidates for times in one.latency_us.values())
    assert (report.kind, report.verdict) == choose(report.candidates, LOSS)
    assert report.bytes == (tmp_path / "onnx" / "model.onnx").stat().st_size
    kinds = {node.op_type for node in onnx.load(tmp_path / "onnx" / "model.onnx").graph.node}
    assert ("QuantizeLinear" in kinds) == (report.kind == "int8")


def test_a_loss_counts_in_the_direction_of_its_gate(network) -> None:
    contract, frame, held_out, folder, _ = network
    graph = assemble(contract, saved.load(folder)[0])
    # Ranges of one row do not hold those of the others.
    worse = quantised(graph, tensors(contract, frame[~held_out].head(1)))
    assert worse is not None
    inputs, wanted = tensors(contract, frame[held_out]), target(contract, frame[held_out])
    _, second = measure(contract, {"float32": graph, "int8": worse}, inputs, wanted)
    assert second.losses["roc_auc" if contract.task is Task.BINARY_CLASSIFICATION else "r2"] > 0
    _, first = measure(contract, {"int8": worse, "float32": graph}, inputs, wanted)
    assert first.losses == {name: -loss for name, loss in second.losses.items()}
    with pytest.raises(DataError, match="fewer than two different targets"):
        measure(contract, {"float32": graph}, inputs, np.zeros_like(wanted))


def test_trees_have_nothing_to_quantise(network, tmp_path: Path) -> None:
    contract, frame, held_out, _, training = network
    x = matrix(contract, frame)
    learner = BoostingLearner(contract.task)
    model = learner.fit(x[~held_out], target(contract, frame)[~held_out], learner.defaults, 0, 5)
    model.save(tmp_path)
    saved.write_holdout(tmp_path, model.predict(x[held_out]))
    report = export(contract, tmp_path, training, LINEAGE, tmp_path / "onnx")
    assert [one.kind for one in report.candidates] == ["float32"] == [report.kind]


def candidate(kind: str, microseconds: float, loss: float, alone: float | None = None) -> Candidate:
    times = {1: microseconds if alone is None else alone, 64: microseconds}
    return Candidate(kind=kind, bytes=1, latency_us=times, metrics={"r2": 0.9}, losses={"r2": loss, "mae": 0.0})


@pytest.mark.parametrize(
    ("other", "kind", "reason"),
    [
        (candidate("int8", 30, 0.001), "int8", "0.30 of the time for 64 rows and loses 0.0010 of r2"),
        (candidate("int8", 30, -0.1), "int8", "loses 0.0000 of mae"),
        (candidate("int8", 30, 0.003), "float32", "more than export.max_loss 0.002"),
        (candidate("int8", 30, float("nan")), "float32", "more than export.max_loss"),
        (candidate("int8", 90, 0.001), "float32", "too little faster"),
        (candidate("int8", 30, 0.001, alone=101), "float32", "too little faster"),
    ],
)
def test_the_faster_is_taken_where_it_loses_little(other: Candidate, kind: str, reason: str) -> None:
    chosen, verdict = choose([candidate("float32", 100, 0.0), other], 0.002)
    assert chosen == kind
    assert reason in verdict
