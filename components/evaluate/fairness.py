"""Fairness by group, with Fairlearn."""

import numpy as np
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    count,
    demographic_parity_difference,
    equal_opportunity_difference,
    equalized_odds_difference,
)
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import mean_absolute_error

from components.evaluate.report import Group, GroupFairness
from components.modelling.metrics import Interval, Values
from core.contract import Column, DataContract, Task

SMALLEST_CELL = 10
"""A rate over fewer people is not told: it would say something about each of them."""
_DIFFERENCES = {
    "demographic_parity_difference": demographic_parity_difference,
    "equalized_odds_difference": equalized_odds_difference,
    "equal_opportunity_difference": equal_opportunity_difference,
}


def by_groups(contract: DataContract, frame: pd.DataFrame, y: Values, predicted: Values) -> tuple[GroupFairness, ...]:
    """Judge each group column by itself.

    A group is judged if it has the contract's `min_group_size` rows and, in a classification, both classes.

    Args:
        frame: (n, ...) with the group columns.
        y: (n,) targets.
        predicted: (n,) probabilities, taken as positive above 0.5, or predictions.
    """
    if contract.fairness is None:
        return ()
    smallest = contract.fairness.min_group_size
    return tuple(
        _judge(contract.task, name, column, frame[name].to_numpy(), y, predicted, smallest)
        for name, column in contract.groups.items()
    )


def _judge(
    task: Task,
    name: str,
    column: Column,
    members: NDArray[np.object_],
    y: Values,
    predicted: Values,
    smallest: int,
) -> GroupFairness:
    groups = []
    for value in column.values or ():
        rows = members == value
        if not rows.any():
            continue
        whole = task is Task.REGRESSION or len(np.unique(y[rows])) == 2
        groups.append(
            Group(
                value=value,
                label=column.labels.get(value, str(value)),
                rows=int(rows.sum()),
                judged=bool(rows.sum() >= smallest and whole),
                metrics=_errors(y[rows], predicted[rows])
                if task is Task.REGRESSION
                else _rates(y[rows], predicted[rows]),
            )
        )
    judged = np.isin(members, [group.value for group in groups if group.judged])
    differences: dict[str, float | None] = dict.fromkeys(
        ("mae_difference",) if task is Task.REGRESSION else _DIFFERENCES, None
    )
    if sum(group.judged for group in groups) >= 2:
        truth, answers, sensitive = y[judged], predicted[judged], members[judged]
        if task is Task.REGRESSION:
            frame = MetricFrame(
                metrics={"mae": mean_absolute_error, "rows": count},
                y_true=truth,
                y_pred=answers,
                sensitive_features=sensitive,
            )
            differences["mae_difference"] = float(frame.difference()["mae"])
        else:
            for metric, difference in _DIFFERENCES.items():
                differences[metric] = float(difference(truth, answers > 0.5, sensitive_features=sensitive))
    return GroupFairness(column=name, groups=tuple(groups), differences=differences)


def _rates(y: Values, predicted: Values) -> dict[str, Interval | None]:
    chosen, positive = predicted > 0.5, y == 1
    return {
        "selection_rate": _proportion(chosen),
        "true_positive_rate": _proportion(chosen[positive]),
        "false_positive_rate": _proportion(chosen[~positive]),
        "accuracy": _proportion(chosen == positive),
    }


def _proportion(successes: NDArray[np.bool_]) -> Interval | None:
    if len(successes) < SMALLEST_CELL:
        return None
    test = stats.binomtest(int(successes.sum()), len(successes))
    interval = test.proportion_ci(method="wilson")
    return Interval(value=float(successes.mean()), low=float(interval.low), high=float(interval.high))


def _errors(y: Values, predicted: Values) -> dict[str, Interval | None]:
    if len(y) < SMALLEST_CELL:
        return {"mae": None}
    errors = np.abs(y - predicted)
    mean = float(errors.mean())
    half = float(stats.norm.ppf(0.975) * errors.std(ddof=1) / np.sqrt(len(errors)))
    return {"mae": Interval(value=mean, low=mean - half, high=mean + half)}
