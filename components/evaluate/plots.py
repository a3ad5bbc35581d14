"""The plots of an evaluation, as PNG files."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from components.evaluate.report import EvaluationReport, GroupFairness
from components.modelling.metrics import Values
from core.contract import Task


def draw(folder: Path, report: EvaluationReport, y: Values, predicted: Values) -> tuple[Path, ...]:
    """Write every plot that the task and the contract call for.

    Args:
        folder: An existing folder.
        y: (n,) targets of the held-out rows.
        predicted: (n,) what the exported graph says of them.
    """
    figures = {"folds": _folds(report), "importance": _importance(report)}
    if report.task is Task.BINARY_CLASSIFICATION:
        figures |= {"curves": _curves(y, predicted), "calibration": _calibration(report)}
    else:
        figures["residuals"] = _residuals(y, predicted)
    for fairness in report.fairness:
        figures[f"fairness_{fairness.column}"] = _fairness(fairness)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=110, metadata={"Software": None})
    return tuple(paths)


def _axes(title: str, width: float = 6.0, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    return figure, axes


def _folds(report: EvaluationReport) -> Figure:
    metric = report.comparison.metric
    figure, axes = _axes(f"{metric} by fold")
    for kind, results in report.cross_validation.items():
        folds = results[metric].folds
        axes.plot(range(1, len(folds) + 1), folds, marker="o", label=f"{kind}, mean {results[metric].mean.value:.4f}")
    axes.set(xlabel="fold", ylabel=metric, xticks=range(1, len(folds) + 1))
    axes.legend()
    return figure


def _importance(report: EvaluationReport) -> Figure:
    top = list(report.explanation.importance.items())[:20][::-1]
    figure, axes = _axes("Mean |SHAP| on held-out rows", height=1.5 + 0.25 * len(top))
    axes.barh([name for name, _ in top], [value for _, value in top])
    unit = "probability" if report.task is Task.BINARY_CLASSIFICATION else "unit of the target"
    axes.set_xlabel(f"mean absolute contribution ({unit})")
    return figure


def _curves(y: Values, predicted: Values) -> Figure:
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    RocCurveDisplay.from_predictions(y, predicted, ax=left, plot_chance_level=True)
    PrecisionRecallDisplay.from_predictions(y, predicted, ax=right, plot_chance_level=True)
    return figure


def _calibration(report: EvaluationReport) -> Figure:
    figure, axes = _axes(f"Calibration, expected error {report.holdout['calibration_error'].value:.4f}")
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey")
    bins = [one for one in report.calibration if one.rows]
    axes.plot([one.mean_probability for one in bins], [one.share_positive for one in bins], marker="o")
    axes.set(xlabel="mean predicted probability", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
    return figure


def _residuals(y: Values, predicted: Values) -> Figure:
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(predicted, y, s=4, alpha=0.4)
    ends = [float(min(y.min(), predicted.min())), float(max(y.max(), predicted.max()))]
    left.plot(ends, ends, linestyle="--", color="grey")
    left.set(xlabel="prediction", ylabel="target")
    right.hist(y - predicted, bins=50)
    right.set(xlabel="target minus prediction", ylabel="rows")
    return figure


def _fairness(fairness: GroupFairness) -> Figure:
    names = list(fairness.groups[0].metrics)
    figure, axes = _axes(f"By {fairness.column}, pale: too small to judge", width=9.0)
    width = 0.8 / len(names)
    places = np.arange(len(fairness.groups))
    for index, name in enumerate(names):
        values = [group.metrics[name] for group in fairness.groups]
        heights = np.asarray([np.nan if one is None else one.value for one in values])
        ends = pd.DataFrame(
            [(one.low, one.high) if one is not None else (None, None) for one in values], dtype=float
        ).to_numpy()
        bars = axes.bar(
            places + (index - (len(names) - 1) / 2) * width,
            heights,
            width,
            label=name.replace("_", " "),
            yerr=np.nan_to_num(np.abs(ends.T - heights)),
            capsize=2,
        )
        for bar, group in zip(bars, fairness.groups, strict=True):
            bar.set_alpha(1.0 if group.judged else 0.35)
    labels = [f"{textwrap.fill(group.label, 14)}\n({group.rows})" for group in fairness.groups]
    axes.set_xticks(places, labels, fontsize=8)
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(names))
    return figure
