"""The model card, made from the contract and the evaluation: nothing in it is written by hand."""

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from components.evaluate.report import EvaluationReport, Gate, GroupFairness
from components.export.report import ExportReport
from components.modelling.metrics import Interval
from components.modelling.saved import Kind
from core.contract import AutomatedDecision, DataContract, Dpia, LawfulBasis, Owner, Purpose, Retention, Task
from core.model_spec import Lineage, ModelSpec

REVIEW_DAYS = 365
"""Bias is to be tested at least once a year: CBUAE's guidance note on AI, February 2026."""

RiskTier = Literal["high", "limited", "minimal"]


class ModelCard(BaseModel):
    """What a person must know before using the model, and an auditor afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    title: str
    description: str
    created: dt.date
    review_by: dt.date
    """The model is to be retrained or retired by then."""
    review_reason: str
    owner: Owner
    purpose: Purpose
    lawful_basis: LawfulBasis
    retention: Retention
    automated_decision: AutomatedDecision
    dpia: Dpia | None
    risk_tier: RiskTier
    intended_use: str
    oversight: str
    limits: tuple[str, ...]
    kind: Kind
    graph: str
    """Which graph is served, and why."""
    training_rows: int
    holdout_rows: int
    trained_until: dt.date | None
    metrics: dict[str, Interval]
    fairness: tuple[GroupFairness, ...]
    baseline_comparison: str
    importance: dict[str, float]
    gates: tuple[Gate, ...]
    lineage: Lineage
    model_digest: str
    personal_columns: tuple[str, ...]
    sensitive_columns: tuple[str, ...]
    request_by_id: str
    request_by_features: str


def make_card(
    contract: DataContract,
    report: EvaluationReport,
    exported: ExportReport,
    spec: ModelSpec,
    model_digest: str,
    created: dt.date,
) -> ModelCard:
    """Gather the card's fields.

    Args:
        model_digest: Digest of model.onnx.
        created: The day of registration, in UTC.
    """
    review_by, review_reason = _review(contract, created)
    return ModelCard(
        name=contract.name,
        title=contract.title,
        description=contract.description,
        created=created,
        review_by=review_by,
        review_reason=review_reason,
        owner=contract.owner,
        purpose=contract.purpose,
        lawful_basis=contract.lawful_basis,
        retention=contract.retention,
        automated_decision=contract.automated_decision,
        dpia=contract.dpia,
        risk_tier=risk_tier(contract),
        intended_use=f"{contract.purpose.description} Any other use needs a purpose and a contract of its own.",
        oversight=_oversight(contract),
        limits=tuple(_limits(contract, report)),
        kind=report.comparison.winner,
        graph=exported.verdict,
        training_rows=report.training_rows,
        holdout_rows=report.holdout_rows,
        trained_until=contract.training.until,
        metrics=report.holdout,
        fairness=report.fairness,
        baseline_comparison=report.comparison.verdict,
        importance=report.explanation.importance,
        gates=report.gates,
        lineage=spec.lineage,
        model_digest=model_digest,
        personal_columns=tuple(name for name, column in contract.columns.items() if column.personal),
        sensitive_columns=tuple(name for name, column in contract.columns.items() if column.sensitive),
        request_by_id=_by_id(contract.entity),
        request_by_features=_by_features(spec),
    )


def risk_tier(contract: DataContract) -> RiskTier:
    """High where decisions about people follow, limited where the data is about people, else minimal."""
    if contract.automated_decision.high_impact:
        return "high"
    return "limited" if contract.personal else "minimal"


def _review(contract: DataContract, created: dt.date) -> tuple[dt.date, str]:
    dates = [
        (created + dt.timedelta(days=REVIEW_DAYS), "a model is reviewed at least once a year"),
        (created + dt.timedelta(days=contract.retention.days), "the data it was trained on may be kept no longer"),
    ]
    if contract.dpia is not None:
        dates.append((contract.dpia.expires, f"the impact assessment {contract.dpia.reference} expires"))
    return min(dates)


def _oversight(contract: DataContract) -> str:
    decision = contract.automated_decision
    if decision.high_impact:
        return "Decisions have a significant effect on people: a person reviews each before it takes effect."
    if decision.human_review:
        return "Not for decisions with a significant effect on a person; a person reviews what follows from it."
    return "Not for decisions about people; no review of single predictions is required."


def _limits(contract: DataContract, report: EvaluationReport) -> Iterator[str]:
    if contract.training.until is not None:
        yield (
            f"It was trained only on records before {contract.training.until}, and its metrics are of that period; "
            "for later ones nothing is promised."
        )
    if report.comparison.winner == "trees":
        yield "The tree-based baseline was kept, since the torch model had no higher mean over the folds."
    for fairness in report.fairness:
        small = [f"{group.label} ({group.rows} rows)" for group in fairness.groups if not group.judged]
        if small:
            yield f"Too few held-out rows to judge fairness for {fairness.column}: {', '.join(small)}."
    if contract.groups:
        yield (
            f"{', '.join(contract.groups)} are no inputs; other inputs may stand in for them, which is why the "
            "differences between groups are measured."
        )
    if contract.task is Task.BINARY_CLASSIFICATION:
        yield "A label is positive above a probability of 0.5; another threshold changes all rates by group."
    yield "Importance describes the model, not causes in the world."


def _by_id(entity: str) -> str:
    return json.dumps({"inputs": [{"name": entity, "datatype": "BYTES", "shape": [1], "data": [f"<{entity}>"]}]})


def _by_features(spec: ModelSpec) -> str:
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [1, len(tensor.columns)],
            "data": [f"<{column}>" for column in tensor.columns],
        }
        for tensor in spec.inputs
    ]
    return json.dumps({"inputs": inputs})


def _number(value: Interval | None) -> str:
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{value.value:.4f}"
    return f"{value.value:.4f} ({value.low:.4f} to {value.high:.4f})"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def render(card: ModelCard) -> str:
    """The card as Markdown."""
    dpia = f"{card.dpia.reference}, expires {card.dpia.expires}" if card.dpia else "none required"
    facts = [
        ("Owner", f"{card.owner.team}, {card.owner.contact}"),
        ("Purpose", f"{card.purpose.id} v{card.purpose.version}: {card.purpose.description}"),
        ("Lawful basis", card.lawful_basis.replace("_", " ")),
        ("Risk tier", card.risk_tier),
        ("Impact assessment", dpia),
        ("Retention of the data", f"{card.retention.days} days"),
        ("Registered", str(card.created)),
        ("Review by", f"{card.review_by}: {card.review_reason}"),
        ("Personal columns", ", ".join(card.personal_columns) or "none"),
        ("Sensitive columns", ", ".join(card.sensitive_columns) or "none"),
        ("Graph", card.graph),
    ]
    lineage = [(name.replace("_", " "), value) for name, value in card.lineage.model_dump().items()]
    parts = [
        f"# {card.title}\n\n{card.description}",
        _table(("", ""), facts),
        f"## Intended use\n\n{card.intended_use}",
        f"## Oversight\n\n{card.oversight}",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in card.limits),
        f"## Quality\n\nOn {card.holdout_rows} held-out rows, scored by the exported model ({card.kind}), with 95% "
        f"confidence intervals; trained on {card.training_rows} rows.\n\n"
        + _table(("metric", "value"), [(name, _number(value)) for name, value in card.metrics.items()]),
        f"### Against the baseline\n\nBy cross-validation, {card.baseline_comparison}.",
        *(_fairness(fairness) for fairness in card.fairness),
        "## Gates\n\n" + "\n".join(f"- {'passed' if gate.passed else 'FAILED'}: {gate.text}" for gate in card.gates),
        "## What it goes by\n\nMean absolute SHAP value on held-out rows.\n\n"
        + _table(("feature", "contribution"), [(name, f"{value:.4f}") for name, value in card.importance.items()]),
        f"## How to call it\n\n`POST /v2/models/{card.name}/infer` at the gateway, with an identifier, whose features "
        f"are looked up:\n\n```json\n{card.request_by_id}\n```\n\nor with the features:\n\n"
        f"```json\n{card.request_by_features}\n```",
        "## Lineage\n\n" + _table(("", ""), [("model", card.model_digest), *lineage]),
    ]
    return "\n\n".join(parts) + "\n"


def _fairness(fairness: GroupFairness) -> str:
    metrics = list(fairness.groups[0].metrics) if fairness.groups else []
    rows = [
        (
            group.label + ("" if group.judged else " (too small to judge)"),
            str(group.rows),
            *(_number(group.metrics[name]) for name in metrics),
        )
        for group in fairness.groups
    ]
    differences = [
        f"- {name.replace('_', ' ')}: {'not known' if value is None else f'{value:.4f}'}"
        for name, value in fairness.differences.items()
    ]
    header = (fairness.column, "rows", *(name.replace("_", " ") for name in metrics))
    return f"## Fairness over {fairness.column}\n\n" + _table(header, rows) + "\n\n" + "\n".join(differences)
