"""Fits the baseline: histogram gradient boosting, tuned with as many trials as the torch model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from optuna import Trial
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from components.modelling import saved
from components.modelling.matrix import Floats
from components.modelling.metrics import Values
from components.train.learner import THREADS, Parameters, stopping_rows
from core.contract import Task

MOST_TREES = 500
PATIENCE = 15


@dataclass(frozen=True)
class Boosting:
    """Trained trees. Splits were found on float32 values, so that float32 thresholds take each row the same way."""

    task: Task
    estimator: HistGradientBoostingClassifier | HistGradientBoostingRegressor

    @property
    def rounds(self) -> int:
        return int(self.estimator.n_iter_)

    def predict(self, x: Floats) -> Values:
        with threadpool_limits(THREADS):
            if self.task is Task.BINARY_CLASSIFICATION:
                return np.asarray(self.estimator.predict_proba(x)[:, 1], dtype=np.float64)
            return np.asarray(self.estimator.predict(x), dtype=np.float64)

    def save(self, folder: Path) -> None:
        graph = to_onnx(
            self.estimator,
            initial_types=[("x", FloatTensorType([None, self.estimator.n_features_in_]))],
            options={"zipmap": False} if self.task is Task.BINARY_CLASSIFICATION else None,
            target_opset=saved.OPSETS,
        )
        onnx.save(graph, folder / saved.TREES)
        saved.write_manifest(folder, saved.Manifest(kind="trees"))


@dataclass(frozen=True)
class BoostingLearner:
    """Codes of categories are taken as numbers: on both sample use cases that is as good as subset splits."""

    task: Task
    kind: saved.Kind = "trees"

    @property
    def defaults(self) -> Parameters:
        return {"learning_rate": 0.08, "max_leaf_nodes": 31, "min_samples_leaf": 20, "l2": 1e-3, "max_features": 0.7}

    def suggest(self, trial: Trial) -> Parameters:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.2, log=True),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 8, 64, log=True),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 5, 100, log=True),
            "l2": trial.suggest_float("l2", 1e-3, 10.0, log=True),
            "max_features": trial.suggest_float("max_features", 0.3, 1.0),
        }

    def fit(self, x: Floats, y: Values, parameters: Parameters, seed: int, rounds: int | None) -> Boosting:
        make = (
            HistGradientBoostingClassifier if self.task is Task.BINARY_CLASSIFICATION else HistGradientBoostingRegressor
        )
        estimator = make(
            learning_rate=parameters["learning_rate"],
            max_leaf_nodes=parameters["max_leaf_nodes"],
            min_samples_leaf=parameters["min_samples_leaf"],
            l2_regularization=parameters["l2"],
            max_features=parameters["max_features"],
            max_iter=rounds or MOST_TREES,
            early_stopping=rounds is None,
            n_iter_no_change=PATIENCE,
            random_state=seed,
        )
        with threadpool_limits(THREADS):
            if rounds is not None:
                estimator.fit(x, y)
            else:
                stopping = stopping_rows(self.task, y, seed)
                estimator.fit(x[~stopping], y[~stopping], X_val=x[stopping], y_val=y[stopping])
        return Boosting(self.task, estimator)
