"""What the tests of several steps share: a small use case of each task, and a real MLflow server."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from components.export.step import export
from components.train.step import TrainReport, train
from core.contract import DataContract, Task, parse_contract
from core.model_spec import Lineage
from core.telemetry import SILENT
from rehearsal.ports import free_ports

CONTRACT = """
name: sample
version: 1
title: Sample
description: A made-up use case.
owner: {{team: tests, contact: tests@example.ae}}
task: {task}
columns:
  person: {{type: string, role: entity, personal: true, description: Who}}
  at: {{type: timestamp, role: event_time, description: When}}
  city: {{type: category, role: feature, values: [Dubai, "Al Ain", "رأس الخيمة"], nullable: true, description: Where}}
  age: {{type: integer, role: feature, min: 0, max: 99, description: Years}}
  income: {{type: float, role: feature, min: 0, nullable: true, description: Money}}
  grade: {{type: category, role: feature, values: [1, 2, 5], description: Grade}}
  sex: {{type: category, role: group, sensitive: true, values: [1, 2], labels: {{1: male, 2: female}}, description: s}}
  tribe: {{type: category, role: group, sensitive: true, values: [a, b, c], description: Group}}
  outcome: {target}
purpose: {{id: tests, version: 1, description: Test the steps.}}
lawful_basis: public_interest
retention: {{days: 100}}
automated_decision: {{high_impact: true, human_review: true}}
dpia: {{reference: DPIA-1, expires: 2100-01-01}}
training: {{holdout: 0.3, folds: 2}}
quality: {quality}
fairness: {{min_group_size: 30, limits: {fairness}}}
drift: {{limit: 0.1}}
"""
BINARY = {
    "task": "binary_classification",
    "target": "{type: category, role: target, values: [0, 1], description: Whether}",
    "quality": "{roc_auc: {min: 0.7}, log_loss: {max: 0.69}}",
    "fairness": "{equal_opportunity_difference: 0.9}",
}
REGRESSION = {
    "task": "regression",
    "target": "{type: float, role: target, description: How much}",
    "quality": "{r2: {min: 0.5}}",
    "fairness": "{mae_difference: 1000}",
}
LINEAGE = Lineage(contract="c", data="d", code="x", environment="e", pipeline_run="run-1", mlflow_run="m")


@dataclass(frozen=True)
class UseCase:
    contract: DataContract
    frame: pd.DataFrame
    path: Path


@dataclass(frozen=True)
class Trained:
    use_case: UseCase
    folder: Path
    report: TrainReport


def make_use_case(task: Task, folder: Path) -> UseCase:
    """1,000 rows of 800 people; the outcome depends on all features."""
    generator = np.random.default_rng(7)
    rows = 1000
    age = generator.integers(0, 100, rows)
    income = generator.lognormal(3, 2, rows)
    grade = generator.choice([1, 2, 5], rows)
    city = generator.choice(["Dubai", "Al Ain", "رأس الخيمة", None], rows, p=[0.4, 0.3, 0.2, 0.1])
    score = age / 25 + np.log(income) / 2 + (grade == 5) + 2.0 * (city == "Dubai") + generator.normal(0, 0.5, rows)
    binary = task is Task.BINARY_CLASSIFICATION
    frame = pd.DataFrame(
        {
            "person": [f"{number:032x}" for number in np.arange(rows) % 800],
            "at": pd.date_range("2020-01-01", periods=rows, freq="h", tz="UTC"),
            "city": pd.Series(city, dtype="string"),
            "age": age,
            "income": np.where(generator.random(rows) < 0.1, np.nan, income),
            "grade": grade,
            "sex": generator.integers(1, 3, rows),
            "tribe": generator.choice(["a", "b", "c"], rows, p=[0.6, 0.38, 0.02]),
            "outcome": (score > np.median(score)).astype("int64") if binary else score * 1000,
        }
    ).sort_values("person")
    path = folder / "training.parquet"
    frame.to_parquet(path, index=False)
    text = CONTRACT.format(**(BINARY if binary else REGRESSION))
    return UseCase(parse_contract(text), frame.reset_index(drop=True), path)


def train_into(use_case: UseCase, folder: Path) -> TrainReport:
    return train(
        use_case.contract,
        use_case.path,
        trials=1,
        seed=3,
        out_model=folder / "model",
        out_predictions=folder / "predictions.parquet",
        out_report=folder / "train.json",
    )


@pytest.fixture(scope="session", params=list(Task), ids=str)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A use case through train and export, in one folder: model, predictions.parquet, train.json, onnx."""
    folder = tmp_path_factory.mktemp(str(request.param))
    use_case = make_use_case(request.param, folder)
    report = train_into(use_case, folder)
    export(use_case.contract, folder / "model", use_case.path, LINEAGE, folder / "onnx")
    return Trained(use_case, folder, report)


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on a free port."""
    folder = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, *stores],
            stdout=log,
            stderr=log,
            env=os.environ | SILENT | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    httpx.get(f"{url}/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    if server.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield url
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)
