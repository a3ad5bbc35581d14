"""What an evaluation finds, as it is written to report.json."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from components.modelling.metrics import Interval
from components.modelling.saved import Kind
from core.contract import Task
from core.errors import DataError

REPORT_FILE = "report.json"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Gate(_Model):
    """One condition for promotion. A value of None could not be computed, and does not pass."""

    name: str
    value: float | None
    min: float | None = None
    max: float | None = None
    passed: bool
    reason: str = ""
    """Why there is no value, or what else a person should know."""

    @property
    def text(self) -> str:
        limits = [f"at least {self.min:g}"] if self.min is not None else []
        limits += [f"at most {self.max:g}"] if self.max is not None else []
        value = "unknown" if self.value is None else f"{self.value:.4g}"
        return f"{self.name} is {value}, must be {' and '.join(limits)}" + (f" ({self.reason})" if self.reason else "")


class CrossValidation(_Model):
    """One metric over the folds of one kind of model; a t interval corrected for overlapping training parts."""

    folds: tuple[float, ...]
    mean: Interval


class Group(_Model):
    """One group of the held-out rows. Rates have Wilson intervals, errors normal ones; None over too few rows."""

    value: int | str
    label: str
    rows: int
    judged: bool
    metrics: dict[str, Interval | None]


class GroupFairness(_Model):
    """The groups of one column, and the largest differences between those that are judged."""

    column: str
    groups: tuple[Group, ...]
    differences: dict[str, float | None]
    """None where fewer than two groups are judged."""


class CalibrationBin(_Model):
    rows: int
    mean_probability: float
    share_positive: float


class Explanation(_Model):
    """Mean absolute SHAP value of each feature, in the unit of the prediction, from the exported graph."""

    rows: int
    background: int
    importance: dict[str, float]


class Latency(_Model):
    """Time of one call of the graph on one thread, without the server around it, in microseconds."""

    batch: int
    p50_us: float
    p99_us: float


class Comparison(_Model):
    """The torch model against the tree-based baseline, by the primary metric, paired by fold."""

    metric: str
    difference: Interval
    winner: Kind
    verdict: str


class EvaluationReport(_Model):
    """Everything that the gates, the model card and the plots say.

    Held-out metrics are those of the exported graph, with intervals from a bootstrap over entities; the
    cross-validation is of the models before export and never saw the held-out rows.
    """

    contract: str
    contract_version: int
    task: Task
    training_rows: int
    holdout_rows: int
    holdout: dict[str, Interval]
    cross_validation: dict[Kind, dict[str, CrossValidation]]
    comparison: Comparison
    calibration: tuple[CalibrationBin, ...]
    fairness: tuple[GroupFairness, ...]
    explanation: Explanation
    latency: tuple[Latency, ...]
    gates: tuple[Gate, ...]

    @property
    def failed(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if not gate.passed)


def read_report(folder: Path) -> EvaluationReport:
    """The report of an evaluation's folder.

    Raises:
        DataError: The folder holds no report.
    """
    try:
        return EvaluationReport.model_validate_json((folder / REPORT_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{folder} holds no evaluation report: {error}: run evaluate again") from error
