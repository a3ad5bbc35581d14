"""Evaluate: judge the exported graph on held-out rows, write all that was found, and let the gates decide."""

import datetime as dt
import logging
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import stats

from components.evaluate.explain import explain
from components.evaluate.fairness import by_groups
from components.evaluate.plots import draw
from components.evaluate.report import (
    REPORT_FILE,
    CalibrationBin,
    Comparison,
    CrossValidation,
    EvaluationReport,
    Gate,
    GroupFairness,
    Latency,
)
from components.modelling.matrix import is_holdout, read_training, target, tensors
from components.modelling.metrics import (
    CALIBRATION_BINS,
    Interval,
    Values,
    calibration_bins,
    fold_interval,
)
from components.modelling.metrics import (
    evaluate as evaluate_metrics,
)
from components.modelling.saved import Kind
from components.modelling.session import Session
from components.train.step import TrainReport
from core.contract import DataContract, Task
from core.errors import DataError, GateError
from core.model_spec import MODEL_FILE

logger = logging.getLogger("falaj.evaluate")

RESAMPLES = 200
SEED = 0
BATCHES = (1, 8, 64)
CALLS = 300


def evaluate(
    contract: DataContract,
    onnx: Path,
    training: Path,
    predictions: Path,
    train_report: Path,
    out_report: Path,
    today: dt.date | None = None,
) -> EvaluationReport:
    """Write `report.json` and the plots, then decide.

    Args:
        onnx: The folder that export wrote.
        training: The training frame.
        predictions: The out-of-fold predictions that train wrote.
        train_report: The report that train wrote.
        out_report: Folder to write.
        today: The day that the impact assessment must not have expired before; in UTC by default.

    Raises:
        DataError: An input cannot be read, or the held-out rows are too few or all of one class.
        GateError: A gate failed; the message names each with its value and limit. The report is written.
    """
    trained = _read_train_report(train_report)
    session = Session(onnx / MODEL_FILE, contract.task)
    frame = read_training(contract, training)
    frame = frame[is_holdout(contract, frame[contract.entity])].reset_index(drop=True)
    y = target(contract, frame)
    if len(np.unique(y)) < 2:
        raise DataError(f"the {len(y)} held-out rows have fewer than two different targets: bring more data")
    inputs = tensors(contract, frame)
    predicted = session.predict(inputs)
    holdout = bootstrap(contract.task, y, predicted, frame[contract.entity])
    logger.info("held-out rows: %s", ", ".join(f"{name} {interval.value:.4f}" for name, interval in holdout.items()))
    fairness = by_groups(contract, frame, y, predicted)
    explanation = explain(contract, session, frame, SEED)
    logger.info("strongest features: %s", ", ".join(list(explanation.importance)[:5]))
    report = EvaluationReport(
        contract=contract.name,
        contract_version=contract.version,
        task=contract.task,
        training_rows=trained.rows,
        holdout_rows=len(frame),
        holdout=holdout,
        cross_validation=_cross_validation(contract.task, predictions),
        comparison=Comparison(
            metric=trained.metric,
            difference=trained.difference,
            winner=trained.winner,
            verdict=trained.verdict,
        ),
        calibration=_calibration(y, predicted) if contract.task is Task.BINARY_CLASSIFICATION else (),
        fairness=fairness,
        explanation=explanation,
        latency=tuple(_latency(session, inputs, batch) for batch in BATCHES),
        gates=gates(contract, holdout, fairness, today or dt.datetime.now(dt.UTC).date()),
    )
    out_report.mkdir(parents=True, exist_ok=True)
    (out_report / REPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n")
    draw(out_report, report, y, predicted)
    for gate in report.gates:
        logger.info("gate %s: %s", "passed" if gate.passed else "FAILED", gate.text)
    if report.failed:
        raise GateError(
            f"{contract.name}: {len(report.failed)} of {len(report.gates)} gates failed, nothing was promoted: "
            + "; ".join(gate.text for gate in report.failed)
            + ". The limits stand in the contract; the report says more."
        )
    return report


def bootstrap(task: Task, y: Values, predicted: Values, entities: pd.Series) -> dict[str, Interval]:
    """Every metric with a 95% interval: the value and 1.96 standard errors of a Poisson bootstrap over entities.

    Rows of one entity are drawn together, since they are not independent (Chamandy et al. 2012,
    "Estimating uncertainty for massive data streams"). Percentiles would mislead for the calibration
    error, which resampling biases upwards until the interval misses the value itself.

    Args:
        y: (n,) targets, at least two different ones.
        predicted: (n,) probabilities or predictions.
        entities: (n,)
    """
    generator = np.random.default_rng(SEED)
    codes, known = pd.factorize(entities)
    values = evaluate_metrics(task, y, predicted)
    samples = []
    for _ in range(RESAMPLES):
        weights = generator.poisson(1.0, len(known))[codes].astype(np.float64)
        drawn = weights > 0
        if len(np.unique(y[drawn])) > 1:
            samples.append(evaluate_metrics(task, y[drawn], predicted[drawn], weights[drawn]))
    if len(samples) < RESAMPLES // 2:
        return {name: Interval(value=value, low=None, high=None) for name, value in values.items()}
    half = float(stats.norm.ppf(0.975)) * pd.DataFrame(samples).std()
    return {
        name: Interval(value=value, low=value - float(half[name]), high=value + float(half[name]))
        for name, value in values.items()
    }


def gates(
    contract: DataContract, holdout: dict[str, Interval], fairness: tuple[GroupFairness, ...], today: dt.date
) -> tuple[Gate, ...]:
    """Each condition of the contract: quality on the held-out rows, fairness, and an impact assessment in force."""
    found = [
        Gate(
            name=name,
            value=holdout[name].value,
            min=bound.min,
            max=bound.max,
            passed=bound.admits(holdout[name].value),
        )
        for name, bound in contract.quality.items()
    ]
    if contract.fairness is not None:
        for group in fairness:
            for metric, limit in contract.fairness.limits.items():
                value = group.differences[metric]
                reason = "" if value is not None else "fewer than two groups have fairness.min_group_size rows to judge"
                found.append(
                    Gate(
                        name=f"{metric} over {group.column}",
                        value=value,
                        max=limit,
                        passed=value is not None and value <= limit,
                        reason=reason,
                    )
                )
    if contract.dpia is not None:
        left = (contract.dpia.expires - today).days
        reason = f"{contract.dpia.reference} expires on {contract.dpia.expires}"
        found.append(
            Gate(name="days until the DPIA expires", value=float(left), min=0.0, passed=left >= 0, reason=reason)
        )
    return tuple(found)


def _read_train_report(path: Path) -> TrainReport:
    try:
        return TrainReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} is no training report: {error}: run train again") from error


def _cross_validation(task: Task, path: Path) -> dict[Kind, dict[str, CrossValidation]]:
    try:
        rows = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"the out-of-fold predictions {path} cannot be read: {error}: run train again") from error
    results: dict[Kind, dict[str, CrossValidation]] = {}
    kinds: tuple[Kind, ...] = get_args(Kind)
    for kind in kinds:
        by_fold = pd.DataFrame(
            [
                evaluate_metrics(task, fold["target"].to_numpy(), fold[kind].to_numpy())
                for _, fold in rows.groupby("fold")
            ]
        )
        share = 1 / (len(by_fold) - 1)
        results[kind] = {
            str(name): CrossValidation(folds=tuple(values), mean=fold_interval(values.tolist(), share))
            for name, values in by_fold.items()
        }
    return results


def _calibration(y: Values, predicted: Values) -> tuple[CalibrationBin, ...]:
    bins = calibration_bins(predicted)
    found = []
    for index in range(CALIBRATION_BINS):
        rows = bins == index
        if rows.any():
            found.append(
                CalibrationBin(
                    rows=int(rows.sum()),
                    mean_probability=float(predicted[rows].mean()),
                    share_positive=float(y[rows].mean()),
                )
            )
    return tuple(found)


def _latency(session: Session, inputs: dict[str, NDArray[Any]], batch: int) -> Latency:
    rows = np.arange(batch) % len(next(iter(inputs.values())))
    request = {name: value[rows] for name, value in inputs.items()}
    times = np.empty(CALLS)
    for call in range(-CALLS // 10, CALLS):  # the first calls warm the session up
        started = time.perf_counter()
        session.raw.run(None, request)
        if call >= 0:
            times[call] = time.perf_counter() - started
    p50, p99 = np.percentile(times * 1e6, [50, 99])
    return Latency(batch=batch, p50_us=float(p50), p99_us=float(p99))
