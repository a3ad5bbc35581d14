"""The same model in 8 bits, where the contract lets it lose a little, and it is faster for that.

The ranges of what flows between the layers are fixed beforehand, from rows that trained. To find them anew in each run
(dynamic quantisation) would make the answer to a row depend on the rows that are run with it, and the runtime runs
those of different clients together.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from components.export.report import BATCHES, Candidate, GraphKind
from components.modelling.metrics import Values, evaluate
from components.modelling.session import Session
from core.contract import Bound, DataContract, Task
from core.errors import DataError

Inputs = dict[str, NDArray[Any]]

_PRODUCTS = ("Gemm", "MatMul")
_CALIBRATION_ROWS = 2000
_CALIBRATION_BATCH = 500
_CALLS = 50
_IN_UNIT_OF_TARGET = frozenset({"mae", "rmse", "median_absolute_error"})


def quantised(graph: onnx.ModelProto, trained: Inputs) -> onnx.ModelProto | None:
    """The graph with its matrix products in 8 bits; None where it has none.

    Args:
        trained: Rows that the model was trained on, by input.
    """
    if not any(node.op_type in _PRODUCTS for node in graph.graph.node):
        return None
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "source.onnx", Path(name) / "target.onnx"
        onnx.save(graph, source)
        quantize_static(
            source,
            target,
            _Rows(trained),
            op_types_to_quantize=list(_PRODUCTS),
            per_channel=True,
            # Sums of products of 8 and 8 bits do not fit the 16 that processors without VNNI have for them.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        found = onnx.load(target)
    found.producer_name, found.producer_version = graph.producer_name, graph.producer_version
    onnx.checker.check_model(found, full_check=True)
    return found


def measure(
    contract: DataContract, graphs: Mapping[GraphKind, onnx.ModelProto], inputs: Inputs, wanted: Values
) -> tuple[Candidate, ...]:
    """Compare graphs, the first of which is the one that was trained.

    Args:
        inputs: The held-out rows.
        wanted: (n,) their targets.

    Raises:
        DataError: The rows have one target alone, so that nothing can be said of them.
    """
    if len(np.unique(wanted)) < 2:
        raise DataError(f"the {len(wanted)} held-out rows have fewer than two different targets: bring more data")
    data = {kind: graph.SerializeToString() for kind, graph in graphs.items()}
    sessions = {kind: Session(content, contract.task) for kind, content in data.items()}
    latency = _latency(sessions, inputs)
    found: list[Candidate] = []
    for kind, session in sessions.items():
        every = evaluate(contract.task, wanted, session.predict(inputs))
        metrics = {name: every[name] for name in contract.quality}
        base = found[0].metrics if found else metrics
        unit = float(np.std(wanted)) if contract.task is Task.REGRESSION else 1.0
        losses = {
            name: _loss(bound, base[name], metrics[name]) / (unit if name in _IN_UNIT_OF_TARGET else 1.0)
            for name, bound in contract.quality.items()
        }
        found.append(
            Candidate(kind=kind, bytes=len(data[kind]), latency_us=latency[kind], metrics=metrics, losses=losses)
        )
    return tuple(found)


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Inputs) -> None:
        self._batches = self._cut(inputs)

    def get_next(self) -> Inputs | None:
        return next(self._batches, None)

    @staticmethod
    def _cut(inputs: Inputs) -> Iterator[Inputs]:
        rows = min(_CALIBRATION_ROWS, *(len(values) for values in inputs.values()))
        for start in range(0, rows, _CALIBRATION_BATCH):
            yield {name: values[start : min(start + _CALIBRATION_BATCH, rows)] for name, values in inputs.items()}


def _loss(bound: Bound, base: float, metric: float) -> float:
    """What `metric` is worse by; a gate's bound says which way that is."""
    if bound.min is not None and bound.max is not None:
        return abs(metric - base)
    return base - metric if bound.min is not None else metric - base


def _latency(sessions: Mapping[GraphKind, Session], inputs: Inputs) -> dict[GraphKind, dict[int, float]]:
    """In turns, so that a slow moment of the machine hits all; the least of each, which such moments leave alone."""
    least: dict[GraphKind, dict[int, float]] = {kind: dict.fromkeys(BATCHES, float("inf")) for kind in sessions}
    for batch in BATCHES:
        rows = np.arange(batch) % len(next(iter(inputs.values())))
        request = {name: values[rows] for name, values in inputs.items()}
        for _ in range(_CALLS):
            for kind, session in sessions.items():
                started = time.perf_counter()
                session.raw.run(None, request)
                least[kind][batch] = min(least[kind][batch], (time.perf_counter() - started) * 1e6)
    return least
