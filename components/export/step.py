"""Export: the trained model and its preprocessing as one ONNX graph that is shown to say the same."""

import logging
from pathlib import Path

import numpy as np
import onnx

from components.export.graph import assemble
from components.export.optimise import measure, quantised
from components.export.report import EXPORT_FILE, ExportReport, GraphKind, choose
from components.modelling import saved
from components.modelling.matrix import (
    FEATURES,
    TEXT_FEATURES,
    is_holdout,
    numeric_features,
    read_training,
    target,
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


def export(contract: DataContract, model: Path, training: Path, lineage: Lineage, out_onnx: Path) -> ExportReport:
    """Write the graph, its specification and the report, and compare the graph with the trained model.

    Where the contract lets something be lost, the graph is made in 8 bits too, and the better of the two is written.

    Args:
        model: The folder that train wrote.
        training: The training frame; its held-out rows are scored.
        out_onnx: Folder to write.

    Raises:
        DataError: The model or the frame cannot be read, the graph's answers differ from the model's, or the held-out
            rows say nothing of an optimised graph.
    """
    trained, reference = saved.load(model)
    graph = assemble(contract, trained)
    every = read_training(contract, training)
    held_out = is_holdout(contract, every[contract.entity])
    frame = every[held_out]
    inputs = tensors(contract, frame)
    answers = Session(graph.SerializeToString(), contract.task).predict(inputs)
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
    report = ExportReport(rows=len(answers), max_difference=difference, bytes=graph.ByteSize())
    if contract.export.max_loss is not None:
        graphs: dict[GraphKind, onnx.ModelProto] = {"float32": graph}
        smaller = quantised(graph, tensors(contract, every[~held_out]))
        if smaller is not None:
            graphs["int8"] = smaller
        candidates = measure(contract, graphs, inputs, target(contract, frame))
        kind, verdict = choose(candidates, contract.export.max_loss)
        graph = graphs[kind]
        report = report.model_copy(
            update={"bytes": graph.ByteSize(), "kind": kind, "candidates": candidates, "verdict": verdict}
        )
    out_onnx.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, out_onnx / MODEL_FILE)
    (out_onnx / SPEC_FILE).write_text(spec(contract, lineage).model_dump_json(indent=2) + "\n")
    (out_onnx / EXPORT_FILE).write_text(report.model_dump_json(indent=2) + "\n")
    logger.info("%s bytes; %s held-out rows differ by %.1e at most", report.bytes, report.rows, difference)
    logger.info("%s", report.verdict)
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
