"""Runs an exported graph as the runtime does."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from core.contract import Task
from core.errors import DataError

OUTPUTS = {Task.BINARY_CLASSIFICATION: "probability", Task.REGRESSION: "prediction"}
"""The graph's output that metrics are computed of."""
_ROWS = 4096


class Session:
    """One ONNX Runtime session on one thread of the CPU."""

    def __init__(self, model: Path | bytes, task: Task) -> None:
        """Load a graph.

        Raises:
            DataError: The file is missing or not a graph that ONNX Runtime takes.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self.raw = ort.InferenceSession(
                str(model) if isinstance(model, Path) else model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base but Exception
            raise DataError(f"the exported model cannot be loaded: {error}: run export again") from error
        self._output = OUTPUTS[task]

    def predict(self, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        """(n,) probabilities of the positive class, or predictions, for inputs of n rows."""
        rows = len(next(iter(inputs.values())))
        parts = [
            self.raw.run([self._output], {name: value[start : start + _ROWS] for name, value in inputs.items()})[0]
            for start in range(0, rows, _ROWS)
        ]
        return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)
