"""One version of a model: its ONNX Runtime session, what it admits, and how long it takes."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import ValidationError

from core.errors import ServiceError
from core.model_spec import MODEL_FILE, SPEC_FILE, FeatureRange, ModelSpec, Tensor
from serving.runtime.errors import RefusedError, invalid
from serving.runtime.providers import CPU, Device, open_session

Array = NDArray[Any]
Arrays = tuple[Array, ...]
"""One array an input (or output) of the spec, in its order; strings are `str` objects."""

DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype(np.float32),
    "INT64": np.dtype(np.int64),
    "BYTES": np.dtype(object),
}
_ORT_TYPES = {"FP32": "tensor(float)", "INT64": "tensor(int64)", "BYTES": "tensor(string)"}
_WARM_UP_RUNS = 5
_RUN_OVERHEAD_S = 50e-6
"""What a run costs beside the graph: the batch's validation, its journal entry, its metrics."""
_NEXT_TO_LEAST = 1.05
_UNBOUNDED = 1000.0
"""How far values of the warm-up go where the contract sets no bound."""
_FLOAT32 = np.finfo(np.float32)

ort.disable_telemetry_events()


class _Admitted(Protocol):
    """What the contract admits in one input."""

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        """(n, k) of what is admitted; None where all is, which is the common case and the cheap one."""

    def describe(self, column: int) -> str: ...


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Limits of an FP32 input: three vectors of its columns. No bound still means finite."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    nullable: NDArray[np.bool_]

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        inside = (values >= self.low) & (values <= self.high)
        if inside.all():
            return None
        inside |= np.isnan(values) & self.nullable
        return None if inside.all() else inside

    def describe(self, column: int) -> str:
        low, high = self.low[column], self.high[column]
        below = "-∞" if low == _FLOAT32.min else f"{low:g}"
        return f"{below}..{'∞' if high == _FLOAT32.max else f'{high:g}'}"


@dataclass(frozen=True, slots=True)
class _Categories:
    """The values of each column of a BYTES input."""

    values: tuple[frozenset[str], ...]

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        inside = np.array([[text in known for known, text in zip(self.values, row, strict=True)] for row in values])
        return None if inside.all() else inside

    def describe(self, column: int) -> str:
        return f"the {len(self.values[column])} values of its category"


class Model:
    """A loaded, warmed-up version.

    Raises:
        ServiceError: The files are missing or damaged, contradict each other, or the graph fails on a valid batch.
    """

    def __init__(
        self, name: str, version: int, folder: Path, threads: int, max_batch_rows: int, device: Device = CPU
    ) -> None:
        self.name = name
        self.version = version
        try:
            self.spec = ModelSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # A spinning idle thread takes the core from the event loop.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.log_severity_level = 3
            self._session, self.provider = open_session(folder / MODEL_FILE, options, self.spec.inputs, device)
            """What it runs on in truth."""
        except ServiceError:
            raise
        except (OSError, ValidationError) as error:
            raise ServiceError(f"{folder} is not an exported model: {error}") from error
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise ServiceError(f"{folder / MODEL_FILE} cannot be loaded: {error}") from error
        if self.spec.name != name:
            raise ServiceError(f"{folder / SPEC_FILE} describes {self.spec.name!r}, not {name!r}")
        texts = {name for tensor in self.spec.inputs if tensor.datatype == "BYTES" for name in tensor.columns}
        unlisted = texts - self.spec.categories.keys()
        if unlisted:
            raise ServiceError(
                f"{folder / SPEC_FILE} lists no categories for {min(unlisted)}: without them any text of a client "
                "would reach the inference log; export the model again"
            )
        self._check_graph(folder)
        self._limits = tuple(self._limits_of(tensor) for tensor in self.spec.inputs)
        self._input_names = [tensor.name for tensor in self.spec.inputs]
        self._output_names = [tensor.name for tensor in self.spec.outputs]
        times = self._warm_up(folder, max_batch_rows)
        self.batch_rows = _best_batch(times)
        """How many rows of different requests are run together at most: more would not be answered faster."""
        self._overhead = times[1]
        self._seconds_per_row = max((times[max_batch_rows] - times[1]) / max(max_batch_rows - 1, 1), 0.0)

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph.

        Args:
            inputs: Arrays of the spec's shapes, all with the same number of rows.

        Raises:
            RefusedError: The graph failed.
        """
        try:
            return tuple(self._session.run(self._output_names, dict(zip(self._input_names, inputs, strict=True))))
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise RefusedError(
                500, f"the graph of {self.name}/{self.version} failed: {type(error).__name__}"
            ) from error

    def seconds(self, rows: int) -> float:
        """How long a run of `rows` rows takes, from what was measured at warm-up."""
        return self._overhead + self._seconds_per_row * rows

    def faults(self, inputs: Arrays) -> NDArray[np.bool_] | None:
        """(n,) of the rows that the contract does not admit; None where it admits all."""
        bad: NDArray[np.bool_] | None = None
        for limits, values in zip(self._limits, inputs, strict=True):
            admitted = limits.admit(values) if limits is not None else None
            if admitted is not None:
                rows = np.logical_not(admitted.all(axis=1))
                bad = rows if bad is None else bad | rows
        return bad

    def fault(self, inputs: Arrays) -> RefusedError:
        """The reason why `inputs` has a fault, naming the first column at fault but never its value."""
        for tensor, limits, values in zip(self.spec.inputs, self._limits, inputs, strict=True):
            admitted = limits.admit(values) if limits is not None else None
            if limits is not None and admitted is not None:
                row, column = (int(index[0]) for index in np.nonzero(~admitted))
                name, value = tensor.columns[column], values[row, column]
                if value != value or value == "":
                    return invalid(f"{name} is missing in row {row}: the contract does not let it be")
                return invalid(f"{name} in row {row} is outside {limits.describe(column)}, see the contract")
        raise ValueError("no fault in these inputs")

    def _limits_of(self, tensor: Tensor) -> _Admitted | None:
        if not tensor.columns or tensor.datatype == "INT64":
            return None
        ranges = [self.spec.ranges.get(column, FeatureRange()) for column in tensor.columns]
        if tensor.datatype == "BYTES":
            return _Categories(
                tuple(
                    frozenset(self.spec.categories[column]) | ({""} if limits.nullable else set())
                    for column, limits in zip(tensor.columns, ranges, strict=True)
                )
            )
        return _Ranges(
            np.array([_FLOAT32.min if limits.min is None else limits.min for limits in ranges], np.float32),
            np.array([_FLOAT32.max if limits.max is None else limits.max for limits in ranges], np.float32),
            np.array([limits.nullable for limits in ranges]),
        )

    def _check_graph(self, folder: Path) -> None:
        for kind, tensors, nodes in (
            ("input", self.spec.inputs, self._session.get_inputs()),
            ("output", self.spec.outputs, self._session.get_outputs()),
        ):
            wanted = {tensor.name: _ORT_TYPES[tensor.datatype] for tensor in tensors}
            found = {node.name: node.type for node in nodes}
            missing = wanted.items() - found.items()
            if missing or (kind == "input" and len(found) != len(wanted)):
                raise ServiceError(f"{folder}: the {kind}s of {MODEL_FILE} are {found}, {SPEC_FILE} says {wanted}")

    def _warm_up(self, folder: Path, max_batch_rows: int) -> dict[int, float]:
        """Run batches of 1, 2, 4, … and of the most rows: rows to seconds."""
        times = {}
        random = np.random.default_rng(0)
        for rows in sorted({*(1 << power for power in range(max_batch_rows.bit_length())), max_batch_rows}):
            inputs = tuple(
                _sample(tensor, limits, rows, random)
                for tensor, limits in zip(self.spec.inputs, self._limits, strict=True)
            )
            samples = []
            for _ in range(_WARM_UP_RUNS):
                started = time.perf_counter()
                try:
                    outputs = self.run(inputs)
                except RefusedError as error:
                    raise ServiceError(f"{folder}: {error.reason} on a batch of {rows} valid rows") from error
                samples.append(time.perf_counter() - started)
            times[rows] = min(samples)
            for tensor, array in zip(self.spec.outputs, outputs, strict=True):
                if array.shape != _shape(tensor, rows):
                    raise ServiceError(
                        f"{folder}: output {tensor.name} has shape {array.shape} for {rows} rows, "
                        f"{SPEC_FILE} says {tensor.shape}"
                    )
        return times


def _best_batch(times: dict[int, float]) -> int:
    """The fewest rows with which a row costs next to the least, by rows to seconds."""
    costs = {rows: (seconds + _RUN_OVERHEAD_S) / rows for rows, seconds in times.items()}
    return min(rows for rows, cost in costs.items() if cost <= min(costs.values()) * _NEXT_TO_LEAST)


def _shape(tensor: Tensor, rows: int) -> tuple[int, ...]:
    return tuple(rows if size == -1 else size for size in tensor.shape)


def _sample(tensor: Tensor, admitted: _Admitted | None, rows: int, random: np.random.Generator) -> Array:
    """Values that the contract admits, each another: a graph of trees is faster on the same row again and again."""
    shape = _shape(tensor, rows)
    if isinstance(admitted, _Categories):
        columns = [random.choice(sorted(known), rows) if known else np.full(rows, "") for known in admitted.values]
        return np.stack(columns, axis=1).astype(object)
    if tensor.datatype == "BYTES":
        return np.full(shape, "", object)
    if not isinstance(admitted, _Ranges):
        return np.zeros(shape, DTYPES[tensor.datatype])
    low, high = (np.clip(bound, -_UNBOUNDED, _UNBOUNDED) for bound in (admitted.low, admitted.high))
    values = random.uniform(low, np.maximum(low, high), shape).astype(np.float32)
    return np.clip(values, admitted.low, admitted.high)
