"""The metrics that a contract's gates may name, and intervals around them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import stats
from sklearn import metrics

from core.contract import Task

Values = NDArray[np.float64]
PRIMARY = {Task.BINARY_CLASSIFICATION: "roc_auc", Task.REGRESSION: "r2"}
"""What tuning and the choice between models go by; higher is better."""
CALIBRATION_BINS = 15


class Interval(BaseModel):
    """A value and the ends of its 95% confidence interval; None where the rows do not suffice for one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float | None
    high: float | None


def evaluate(task: Task, y: Values, predicted: Values, weights: Values | None = None) -> dict[str, float]:
    """Every metric of the task.

    Args:
        y: (n,) 0 and 1, or the values; both classes are present.
        predicted: (n,) probabilities of the positive class, or predictions.
        weights: (n,) >= 0.

    Returns:
        The metrics of `core.contract.METRICS[task]` by name. Labels are positive above a probability of 0.5.
    """
    if task is Task.REGRESSION:
        return {
            "r2": float(metrics.r2_score(y, predicted, sample_weight=weights)),
            "mae": float(metrics.mean_absolute_error(y, predicted, sample_weight=weights)),
            "rmse": float(metrics.root_mean_squared_error(y, predicted, sample_weight=weights)),
            "median_absolute_error": float(metrics.median_absolute_error(y, predicted, sample_weight=weights)),
        }
    label = predicted > 0.5
    return {
        "roc_auc": float(metrics.roc_auc_score(y, predicted, sample_weight=weights)),
        "average_precision": float(metrics.average_precision_score(y, predicted, sample_weight=weights)),
        "accuracy": float(metrics.accuracy_score(y, label, sample_weight=weights)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(y, label, sample_weight=weights)),
        "f1": float(metrics.f1_score(y, label, sample_weight=weights, zero_division=0.0)),
        "log_loss": float(metrics.log_loss(y, predicted, sample_weight=weights)),
        "brier": float(metrics.brier_score_loss(y, predicted, sample_weight=weights)),
        "calibration_error": calibration_error(y, predicted, weights),
    }


def primary(task: Task, y: Values, predicted: Values) -> float:
    """The metric that models are compared by."""
    score = metrics.r2_score if task is Task.REGRESSION else metrics.roc_auc_score
    return float(score(y, predicted))


def calibration_bins(predicted: Values) -> NDArray[np.int64]:
    """(n,): which of the equal-width bins of [0, 1] each probability lies in."""
    return np.minimum((predicted * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def calibration_error(y: Values, predicted: Values, weights: Values | None = None) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017, arXiv:1706.04599)."""
    weights = np.ones_like(y) if weights is None else weights
    gaps = np.bincount(calibration_bins(predicted), weights * (predicted - y), minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def fold_interval(values: Sequence[float], test_share: float) -> Interval:
    """Mean over the folds of a cross-validation, with a t interval.

    The variance is corrected for the overlap of the training parts (Nadeau and Bengio 2003,
    Machine Learning 52:239-281); without that the interval would be too narrow.

    Args:
        values: One value a fold; >= 2.
        test_share: Rows of a fold divided by the rows that trained it.
    """
    mean = float(np.mean(values))
    error = float(np.sqrt((1 / len(values) + test_share) * np.var(values, ddof=1)))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Interval(value=mean, low=mean - half, high=mean + half)
