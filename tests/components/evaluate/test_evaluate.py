import datetime as dt
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.evaluate.explain import from_matrix
from components.evaluate.fairness import by_groups
from components.evaluate.report import EvaluationReport, read_report
from components.evaluate.step import bootstrap, evaluate, gates
from components.modelling.matrix import is_holdout, matrix, tensors
from components.modelling.metrics import Interval
from core.contract import FAIRNESS_METRICS, METRICS, Bound, DataContract, Task
from core.errors import DataError, GateError

TODAY = dt.date(2026, 1, 1)


def run(trained, out: Path, contract: DataContract | None = None, today: dt.date = TODAY) -> EvaluationReport:
    folder = trained.folder
    return evaluate(
        contract or trained.use_case.contract,
        folder / "onnx",
        trained.use_case.path,
        folder / "predictions.parquet",
        folder / "train.json",
        out,
        today,
    )


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationReport, Path]:
    out = tmp_path_factory.mktemp("report")
    return run(trained, out), out


def test_report_holds_everything_and_is_what_was_written(trained, evaluated) -> None:
    report, out = evaluated
    contract = trained.use_case.contract
    assert read_report(out) == report
    assert report.holdout.keys() == METRICS[contract.task]
    assert set(report.cross_validation) == {"torch", "trees"}
    assert {len(one.folds) for metrics in report.cross_validation.values() for one in metrics.values()} == {2}
    assert report.holdout_rows == is_holdout(contract, trained.use_case.frame["person"]).sum()
    assert set(report.explanation.importance) == set(contract.features)
    assert [latency.batch for latency in report.latency] == [1, 8, 64]
    assert all(0 < latency.p50_us <= latency.p99_us for latency in report.latency)
    assert not report.failed
    for interval in report.holdout.values():
        assert interval.low < interval.value < interval.high


def test_plots_are_pictures(trained, evaluated) -> None:
    _, out = evaluated
    names = {"folds", "importance", "fairness_sex", "fairness_tribe"}
    names |= (
        {"curves", "calibration"} if trained.use_case.contract.task is Task.BINARY_CLASSIFICATION else {"residuals"}
    )
    assert {file.stem for file in out.glob("*.png")} == names
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in out.glob("*.png"))


def test_same_inputs_give_the_same_report_but_for_latency(trained, evaluated, tmp_path: Path) -> None:
    again = run(trained, tmp_path)
    assert again.model_copy(update={"latency": ()}) == evaluated[0].model_copy(update={"latency": ()})


def test_explanations_find_what_matters(evaluated) -> None:
    importance = evaluated[0].explanation.importance
    assert list(importance)[-1] == "grade"
    assert min(importance.values()) > 0


def test_fairness_judges_large_groups_alone(trained, evaluated) -> None:
    tribe = next(one for one in evaluated[0].fairness if one.column == "tribe")
    assert tribe.groups[2].rows < 10
    assert set(tribe.groups[2].metrics.values()) == {None}, "a rate over few people tells of each"
    assert [(group.value, group.judged) for group in tribe.groups] == [("a", True), ("b", True), ("c", False)]
    assert tribe.differences.keys() == FAIRNESS_METRICS[trained.use_case.contract.task]
    metric = "mae" if trained.use_case.contract.task is Task.REGRESSION else "true_positive_rate"
    difference = abs(tribe.groups[0].metrics[metric].value - tribe.groups[1].metrics[metric].value)
    name = "mae_difference" if metric == "mae" else "equal_opportunity_difference"
    assert tribe.differences[name] == pytest.approx(difference)


def test_a_group_of_one_class_is_not_judged(trained) -> None:
    contract = trained.use_case.contract
    if contract.task is Task.REGRESSION:
        pytest.skip("classes")
    frame = pd.DataFrame({"sex": [1] * 50 + [2] * 50, "tribe": ["a"] * 100})
    y = np.asarray([0.0, 1.0] * 25 + [0.0] * 50)
    sex, tribe = by_groups(contract, frame, y, np.full(100, 0.7))
    assert [group.judged for group in sex.groups] == [True, False]
    assert sex.groups[1].metrics["true_positive_rate"] is None
    assert set(sex.differences.values()) == set(tribe.differences.values()) == {None}
    holdout = {name: Interval(value=0.0, low=None, high=None) for name in contract.quality}
    failed = {gate.name for gate in gates(contract, holdout, (sex, tribe), TODAY) if not gate.passed}
    assert "equal_opportunity_difference over sex" in failed


def test_failed_gates_stop_with_every_reason_and_the_report_written(trained, tmp_path: Path) -> None:
    contract = trained.use_case.contract
    metric = next(iter(contract.quality))
    limit = next(iter(contract.fairness.limits))
    strict = contract.model_copy(
        update={
            "quality": {metric: Bound(min=0.9999)},
            "fairness": contract.fairness.model_copy(update={"limits": {limit: 1e-9}}),
        }
    )
    with pytest.raises(GateError) as caught:
        run(trained, tmp_path, strict, today=dt.date(2100, 1, 2))
    message = str(caught.value)
    assert "nothing was promoted" in message
    assert re.search(rf"{metric} is 0\.\d+, must be at least 0\.9999", message)
    assert f"{limit} over sex" in message
    assert f"{limit} over tribe" in message
    assert "days until the DPIA expires is -1, must be at least 0 (DPIA-1 expires on 2100-01-01)" in message
    assert len(read_report(tmp_path).failed) == 4
    assert len(list(tmp_path.glob("*.png"))) >= 5


def test_dpia_holds_on_its_last_day(trained) -> None:
    contract = trained.use_case.contract
    holdout = {name: Interval(value=0.9, low=None, high=None) for name in contract.quality}
    last = gates(contract, holdout, (), dt.date(2100, 1, 1))[-1]
    assert last.passed
    assert last.value == 0


def test_bootstrap_draws_entities_not_rows() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(size=400)
    predicted = y + generator.normal(size=400)
    alone = bootstrap(Task.REGRESSION, y, predicted, pd.Series(range(400)))["mae"]
    fourfold = bootstrap(Task.REGRESSION, np.tile(y, 4), np.tile(predicted, 4), pd.Series(np.tile(np.arange(400), 4)))[
        "mae"
    ]
    assert fourfold.value == pytest.approx(alone.value)
    assert fourfold.high - fourfold.low == pytest.approx(alone.high - alone.low, rel=0.25)
    standard_error = np.abs(y - predicted).std() / 20
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * standard_error, rel=0.25)


def test_matrix_turns_back_into_the_inputs(trained) -> None:
    contract, frame = trained.use_case.contract, trained.use_case.frame
    expected = tensors(contract, frame)
    found = from_matrix(contract, matrix(contract, frame))
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["features"], expected["features"])
    np.testing.assert_array_equal(found["text_features"], expected["text_features"])


def test_missing_inputs_are_named(trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exported model cannot be loaded"):
        evaluate(
            trained.use_case.contract,
            tmp_path,
            trained.use_case.path,
            trained.folder / "predictions.parquet",
            trained.folder / "train.json",
            tmp_path / "out",
        )
    with pytest.raises(DataError, match=r"train\.json is no training report"):
        evaluate(
            trained.use_case.contract,
            trained.folder / "onnx",
            trained.use_case.path,
            trained.folder / "predictions.parquet",
            tmp_path / "train.json",
            tmp_path / "out",
        )
    with pytest.raises(DataError, match="no evaluation report"):
        read_report(tmp_path)
