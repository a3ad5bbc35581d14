"""The data contract: one YAML file a use case, from which every other part follows."""

import datetime as dt
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from core import storage
from core.errors import ContractError, StorageError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,47}$")]
"""Usable as a Feast view, a KServe model and a Kubernetes label alike (underscores become dashes there)."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Type(StrEnum):
    """Logical type of a column. A `category` has a closed set of values."""

    FLOAT = "float"
    INTEGER = "integer"
    CATEGORY = "category"
    STRING = "string"
    TIMESTAMP = "timestamp"


class Role(StrEnum):
    """What a column is used for. A column with no role in the contract is dropped at ingest."""

    ENTITY = "entity"
    EVENT_TIME = "event_time"
    FEATURE = "feature"
    GROUP = "group"
    TARGET = "target"


class Task(StrEnum):
    BINARY_CLASSIFICATION = "binary_classification"
    REGRESSION = "regression"


class LawfulBasis(StrEnum):
    """Grounds of processing: UAE Federal Decree-Law 45/2021 Art 4 and 6, GDPR Art 6."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTERESTS = "vital_interests"
    PUBLIC_INTEREST = "public_interest"
    LEGITIMATE_INTERESTS = "legitimate_interests"
    PUBLIC_DATA = "public_data"
    NOT_PERSONAL = "not_personal"


class Column(_Model):
    """One column that the purpose needs.

    `values` close the set of a category; they are all strings or all integers, and their order is the
    order of the model's one-hot encoding. `min` and `max` are inclusive.
    """

    type: Type
    role: Role
    description: str
    min: float | None = None
    max: float | None = None
    values: tuple[int, ...] | tuple[str, ...] | None = None
    labels: dict[int | str, str] = {}
    nullable: bool = False
    personal: bool = False
    sensitive: bool = False

    @field_validator("values", mode="before")
    @classmethod
    def _no_booleans(cls, values: object) -> object:
        if isinstance(values, list | tuple) and any(isinstance(value, bool) for value in values):
            raise ValueError("YAML reads yes, no, on, off, true and false as booleans: quote them")
        return values

    @field_validator("labels")
    @classmethod
    def _typed_as_values(cls, labels: dict[int | str, str], info: ValidationInfo) -> dict[int | str, str]:
        # JSON has no integer keys.
        values = {str(value): value for value in info.data.get("values") or ()}
        return {values.get(str(key), key): label for key, label in labels.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.type is Type.CATEGORY) != (self.values is not None):
            raise ValueError("values: a category needs its values, and only a category has them")
        if self.values is not None and len(set(self.values)) != len(self.values):
            raise ValueError("values: a value is listed twice")
        if self.values is not None and len(self.values) < 2:
            raise ValueError("values: a category needs at least two values")
        numeric = self.type in (Type.FLOAT, Type.INTEGER)
        if not numeric and (self.min is not None or self.max is not None):
            raise ValueError(f"min, max: a column of type {self.type} has no range")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.role is Role.FEATURE and self.type in (Type.STRING, Type.TIMESTAMP):
            raise ValueError(f"a feature is a float, integer or category, not {self.type}")
        if self.role is Role.GROUP and self.type is not Type.CATEGORY:
            raise ValueError("a fairness group is a category")
        if self.role is Role.EVENT_TIME and self.type is not Type.TIMESTAMP:
            raise ValueError("the event time is a timestamp")
        if self.role is Role.ENTITY and self.type not in (Type.STRING, Type.INTEGER):
            raise ValueError("the entity is a string or an integer")
        if self.nullable and self.role is not Role.FEATURE:
            raise ValueError(f"a {self.role} column cannot be nullable")
        unknown = [key for key in self.labels if key not in (self.values or ())]
        if unknown:
            raise ValueError(f"labels: {unknown[0]!r} is not one of the values")
        return self


class Owner(_Model):
    team: str
    contact: str


class Purpose(_Model):
    """What the data may be used for: PDPL Art 5, GDPR Art 5(1)(b)."""

    id: Name
    version: int = Field(ge=1)
    description: str


class Consent(_Model):
    """Where consent is recorded.

    `source` is a CSV or Parquet file with the columns `subject` (the entity's value), `purpose`,
    `version` (of the purpose), `status` (granted or withdrawn) and `time`. A path without a scheme is
    relative to the data file.
    """

    source: str


class Retention(_Model):
    """How long the platform keeps what a run wrote, in days from its ingest. The event time plays no part:
    records of long ago may be ingested lawfully today."""

    days: int = Field(gt=0)


class AutomatedDecision(_Model):
    """PDPL Art 18, GDPR Art 22: a decision with a significant effect on a person needs human review."""

    high_impact: bool
    human_review: bool

    @model_validator(mode="after")
    def _reviewed(self) -> Self:
        if self.high_impact and not self.human_review:
            raise ValueError("high_impact needs human_review: true (PDPL Art 18)")
        return self


class Dpia(_Model):
    """Data-protection impact assessment: PDPL Art 21, GDPR Art 35."""

    reference: Annotated[str, Field(pattern=r"\S")]
    expires: dt.date


class Bound(_Model):
    """Inclusive limits of one metric; at least one side is set."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a gate needs a min or a max")
        return self

    def admits(self, value: float) -> bool:
        """Whether `value` lies within; NaN never does."""
        above = value >= self.min if self.min is not None else value == value
        below = value <= self.max if self.max is not None else value == value
        return above and below


METRICS: dict[Task, frozenset[str]] = {
    Task.BINARY_CLASSIFICATION: frozenset(
        {
            "roc_auc",
            "average_precision",
            "accuracy",
            "balanced_accuracy",
            "f1",
            "log_loss",
            "brier",
            "calibration_error",
        }
    ),
    Task.REGRESSION: frozenset({"r2", "mae", "rmse", "median_absolute_error"}),
}
"""The metrics that the evaluation computes and a quality gate may name."""

FAIRNESS_METRICS: dict[Task, frozenset[str]] = {
    Task.BINARY_CLASSIFICATION: frozenset(
        {"demographic_parity_difference", "equalized_odds_difference", "equal_opportunity_difference"}
    ),
    Task.REGRESSION: frozenset({"mae_difference"}),
}


class Fairness(_Model):
    """Limits on the difference between groups; each column with the role `group` is judged by itself.

    Groups with fewer than `min_group_size` rows are reported and not judged.
    """

    limits: dict[str, Annotated[float, Field(gt=0)]]
    min_group_size: int = Field(default=100, ge=1)


class Drift(_Model):
    """Limits on the change of a column's distribution between two periods."""

    method: Literal["jensen_shannon"] = "jensen_shannon"
    limit: float = Field(gt=0, le=1)


class Training(_Model):
    """Which rows train: those whose event time is before `until`; all where it is not set."""

    until: dt.date | None = None
    holdout: float = Field(default=0.2, gt=0, lt=0.5)
    folds: int = Field(default=5, ge=2, le=10)


class Export(_Model):
    """Whether a graph of fewer bits may stand for the model that was trained, where it is faster.

    `max_loss` is how much worse it may be on held-out rows by each metric that `quality` names, in the metric's unit,
    and in standard deviations of the target where that is the metric's unit. None keeps the graph as it was trained.
    """

    max_loss: float | None = Field(default=None, ge=0)


class DataContract(_Model):
    """Everything the platform knows of one use case."""

    name: Name
    version: int = Field(ge=1)
    title: str
    description: str
    owner: Owner
    task: Task
    columns: dict[str, Column]
    purpose: Purpose
    lawful_basis: LawfulBasis
    consent: Consent | None = None
    retention: Retention
    automated_decision: AutomatedDecision
    dpia: Dpia | None = None
    training: Training = Training()
    export: Export = Export()
    quality: dict[str, Bound]
    fairness: Fairness | None = None
    drift: Drift

    @field_validator("columns")
    @classmethod
    def _named(cls, columns: dict[str, Column]) -> dict[str, Column]:
        for name in columns:
            if not name.isidentifier():
                raise ValueError(f"{name!r} is not a usable column name: use letters, digits and underscores")
        return columns

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for role in (Role.ENTITY, Role.EVENT_TIME, Role.TARGET):
            found = self.with_role(role)
            if len(found) != 1:
                raise ValueError(f"columns: exactly one column has the role {role}, not {len(found)}")
        if not self.features:
            raise ValueError("columns: at least one column has the role feature")
        target = self.columns[self.target]
        if self.task is Task.BINARY_CLASSIFICATION and target.values not in ((0, 1),):
            raise ValueError(f"columns.{self.target}: a binary target is a category with the values [0, 1]")
        if self.task is Task.REGRESSION and target.type not in (Type.FLOAT, Type.INTEGER):
            raise ValueError(f"columns.{self.target}: a regression target is a float or an integer")
        self._check_metrics()
        self._check_law()
        return self

    def _check_metrics(self) -> None:
        for gate in self.quality:
            if gate not in METRICS[self.task]:
                raise ValueError(f"quality.{gate}: not a metric of {self.task}; known: {sorted(METRICS[self.task])}")
        if not self.quality:
            raise ValueError("quality: at least one gate is needed, or every model would be promoted")
        if self.fairness is None:
            if self.groups:
                raise ValueError(f"fairness: limits are missing for the group columns {list(self.groups)}")
            return
        if not self.groups:
            raise ValueError("fairness: no column has the role group")
        for metric, limit in self.fairness.limits.items():
            if metric not in FAIRNESS_METRICS[self.task]:
                known = sorted(FAIRNESS_METRICS[self.task])
                raise ValueError(f"fairness.limits.{metric}: not a fairness metric of {self.task}; known: {known}")
            if self.task is Task.BINARY_CLASSIFICATION and limit >= 1:
                raise ValueError(f"fairness.limits.{metric}: rates differ by 1 at most: choose less")

    def _check_law(self) -> None:
        if (self.lawful_basis is LawfulBasis.CONSENT) != (self.consent is not None):
            raise ValueError("consent: required with the lawful basis consent, and only then")
        personal = [name for name, column in self.columns.items() if column.personal or column.sensitive]
        if self.lawful_basis is LawfulBasis.NOT_PERSONAL and personal:
            raise ValueError(f"lawful_basis: not_personal, yet {personal[0]} is marked personal")
        sensitive = [name for name, column in self.columns.items() if column.sensitive]
        if sensitive and self.dpia is None:
            raise ValueError(f"dpia: required, since {sensitive[0]} is sensitive (PDPL Art 21)")

    def with_role(self, role: Role) -> dict[str, Column]:
        """The columns of one role, in the contract's order."""
        return {name: column for name, column in self.columns.items() if column.role is role}

    @property
    def features(self) -> dict[str, Column]:
        return self.with_role(Role.FEATURE)

    @property
    def groups(self) -> dict[str, Column]:
        return self.with_role(Role.GROUP)

    @property
    def entity(self) -> str:
        return next(iter(self.with_role(Role.ENTITY)))

    @property
    def event_time(self) -> str:
        return next(iter(self.with_role(Role.EVENT_TIME)))

    @property
    def target(self) -> str:
        return next(iter(self.with_role(Role.TARGET)))

    @property
    def personal(self) -> bool:
        """Whether the data is about people, so that identifiers are hashed and access is logged."""
        return self.lawful_basis is not LawfulBasis.NOT_PERSONAL


class _UniqueKeyLoader(yaml.CSafeLoader):
    """YAML takes the last of two equal keys in silence; in a contract that would hide a column."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_contract(text: str, source: str = "contract.yaml") -> DataContract:
    """Parse the YAML of a contract.

    Args:
        text: The YAML.
        source: The name of the file, for errors.

    Raises:
        ContractError: The text is not YAML or not a contract; the message lists each fault with its place.
    """
    try:
        document = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # PyYAML raises TypeError, KeyError and others at odd tags and keys
        raise ContractError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{source} holds no mapping: see datasets/employment/contract.yaml for an example")
    try:
        return DataContract.model_validate(document)
    except ValidationError as error:
        faults = [
            f"  {'.'.join(str(part) for part in fault['loc']) or 'contract'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise ContractError(f"{source} is not a valid data contract:\n" + "\n".join(faults)) from error


def load_contract(uri: str | Path) -> DataContract:
    """Read a contract from a path or an address in a bucket.

    Raises:
        ContractError: The file is missing, unreadable or invalid.
    """
    return parse_contract(read_contract(uri), str(uri))


def read_contract(uri: str | Path) -> str:
    """The text of a contract, at a path or an address in a bucket.

    Raises:
        ContractError: The file is missing, or not UTF-8.
    """
    try:
        data = storage.read(uri)
        if data is None:
            raise ContractError(f"the contract {uri} cannot be read: there is no such file")
        return data.decode()
    except (StorageError, UnicodeDecodeError) as error:
        raise ContractError(f"the contract {uri} cannot be read: {error}") from error
