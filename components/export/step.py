"""Export: the trained model and its preprocessing as one ONNX graph that is shown to say the same."""

import logging
from pathlib import Path

import numpy as np
import onnx
from pydantic import BaseModel, ConfigDict

from components.export.graph import assemble
from components.modelling import saved
from components.modelling.matrix import (
    FEATURES,
    TEXT_FEATURES,
    is_holdout,
    numeric_features,
    read_training,
    tensors,
    text_features,
)
from components.modelling.session import OUTPUTS, Session
from core.contract import DataContract, Task
from core.errors import DataError
from core.model_spec import MODEL_FILE, SPEC_FILE, FeatureRange, FeatureSource, Lineage, ModelSpec, Tensor

logger = logging.getLogger("falaj.export")

PARITY_LIMIT = 1e-4
"""Largest difference on a held-out row: of probabilities, or of predictions in standard deviations of the target."""


class ExportReport(BaseModel):
    """How far the graph departs from the model that was trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    max_difference: float
    """In the unit of PARITY_LIMIT."""
    bytes: int


def export(contract: DataContract, model: Path, training: Path, lineage: Lineage, out_onnx: Path) -> ExportReport:
    """Write `model.onnx` and `model.json` and compare the graph with the trained model.

    Args:
        model: The folder that train wrote.
        training: The training frame; its held-out rows are scored.
        out_onnx: Folder to write.

    Raises:
        DataError: The model or the frame cannot be read, or the graph's answers differ from the model's.
    """
    trained, reference = saved.load(model)
    graph = assemble(contract, trained)
    frame = read_training(contract, training)
    frame = frame[is_holdout(contract, frame[contract.entity])]
    answers = Session(graph.SerializeToString(), contract.task).predict(tensors(contract, frame))
    if len(answers) != len(reference):
        raise DataError(
            f"{model} was trained with {len(reference)} held-out rows, {training} has {len(answers)}: run train again"
        )
    unit = float(np.std(frame[contract.target])) if contract.task is Task.REGRESSION else 1.0
    difference = float(np.abs(answers - reference).max(initial=0.0)) / (unit or 1.0)
    if not difference <= PARITY_LIMIT:
        raise DataError(
            f"the exported graph differs from the trained model by {difference:.2e} on a held-out row, "
            f"more than {PARITY_LIMIT:.0e}: the export is wrong (components/export/graph.py)"
        )
    out_onnx.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, out_onnx / MODEL_FILE)
    (out_onnx / SPEC_FILE).write_text(spec(contract, lineage).model_dump_json(indent=2) + "\n")
    report = ExportReport(rows=len(answers), max_difference=difference, bytes=(out_onnx / MODEL_FILE).stat().st_size)
    logger.info("%s bytes; %s held-out rows differ by %.1e at most", report.bytes, report.rows, difference)
    return report


def spec(contract: DataContract, lineage: Lineage) -> ModelSpec:
    """What the runtime must know of the graph."""
    numeric, text = numeric_features(contract), text_features(contract)
    inputs = []
    if numeric:
        inputs.append(Tensor(name=FEATURES, datatype="FP32", shape=(-1, len(numeric)), columns=numeric))
    if text:
        inputs.append(Tensor(name=TEXT_FEATURES, datatype="BYTES", shape=(-1, len(text)), columns=tuple(text)))
    outputs = [Tensor(name=OUTPUTS[contract.task], datatype="FP32", shape=(-1,))]
    if contract.task is Task.BINARY_CLASSIFICATION:
        outputs.append(Tensor(name="label", datatype="INT64", shape=(-1,)))
    columns = contract.columns
    return ModelSpec(
        name=contract.name,
        task=contract.task,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        ranges={
            name: FeatureRange(min=columns[name].min, max=columns[name].max, nullable=columns[name].nullable)
            for name in numeric
        },
        categories=text,
        features=FeatureSource(
            entity=contract.entity, view=contract.name, service=contract.name, pseudonymised=contract.personal
        ),
        lineage=lineage,
    )
