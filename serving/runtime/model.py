"""One version of a model: its ONNX Runtime session, what it admits, and how long it takes."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import ValidationError

from core.errors import ServiceError
from core.model_spec import MODEL_FILE, SPEC_FILE, ModelSpec
from serving.runtime.admitted import admitted, columns, sample
from serving.runtime.arrays import Arrays
from serving.runtime.errors import RefusedError, invalid
from serving.runtime.lengths import buckets, fill_up, run_length
from serving.runtime.providers import CPU, Device, open_session

_ORT_TYPES = {"FP32": "tensor(float)", "INT64": "tensor(int64)", "BYTES": "tensor(string)"}
_WARM_UP_RUNS = 5
_WARM_UP_SECONDS = 0.5
"""After which no more runs of one size are needed, and larger ones are tried only while they make a row cheaper."""
_RUN_OVERHEAD_S = 50e-6
"""What a run costs beside the graph: the batch's validation, its journal entry, its metrics."""
_NEXT_TO_LEAST = 1.05
_SAME = 1e-3
"""How far answers may be apart that are the same, in shares of the largest: sums in another order."""
_COMPARED_ROWS = 2

ort.disable_telemetry_events()


@dataclass(frozen=True, slots=True)
class Bucket:
    """The runs of one length, as measured at warm-up; of a model without sequences that is 1."""

    length: int
    batch_rows: int
    """How many rows of different requests are run together at most: more would not be answered faster."""
    row_seconds: float
    """What a row costs in such a run."""
    overhead: float
    seconds_per_row: float

    @classmethod
    def measured(cls, length: int, times: dict[int, float]) -> Self:
        """By seconds of runs, by their rows, of which one is 1."""
        most, batch_rows = max(times), _best_batch(times)
        seconds_per_row = max((times[most] - times[1]) / max(most - 1, 1), 0.0)
        row_seconds = (times[1] + seconds_per_row * batch_rows) / batch_rows
        return cls(length, batch_rows, row_seconds, times[1], seconds_per_row)

    def seconds(self, rows: int) -> float:
        """How long a run of `rows` rows takes."""
        return self.overhead + self.seconds_per_row * rows


class Model:
    """A loaded, warmed-up version.

    Raises:
        ServiceError: The files are missing or damaged, contradict each other, or the graph fails on a valid batch.
    """

    def __init__(
        self,
        name: str,
        version: int,
        folder: Path,
        threads: int,
        max_batch_rows: int,
        max_batch_tokens: int,
        device: Device = CPU,
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
            self._session, self.provider = open_session(folder / MODEL_FILE, options, self.spec, device)
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
        sequences = self.spec.sequences
        if sequences is not None and sequences.max_length > max_batch_tokens:
            raise ServiceError(
                f"{folder / SPEC_FILE} admits sequences of {sequences.max_length} tokens, a run {max_batch_tokens}: "
                "raise --max-batch-tokens (FALAJ_MAX_BATCH_TOKENS)"
            )
        self._check_graph(folder)
        self._limits = tuple(admitted(tensor, self.spec) for tensor in self.spec.inputs)
        self._input_names = [tensor.name for tensor in self.spec.inputs]
        self._output_names = [tensor.name for tensor in self.spec.outputs]
        self._random = np.random.default_rng(0)
        table: list[Bucket] = []
        for length in (1,) if sequences is None else buckets(sequences.max_length):
            rows = max_batch_rows if sequences is None else min(max_batch_rows, max_batch_tokens // length)
            measured = Bucket.measured(length, self._warm_up(folder, rows, length))
            while len(table) <= length:
                table.append(replace(measured, length=run_length(len(table), sequences)))
        self.buckets = tuple(table)
        """By the length of a request's sequences, what runs it is in."""
        if sequences is not None and sequences.mask is not None:
            self._check_mask(folder, sequences.mask, max_batch_tokens)

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph.

        Args:
            inputs: Arrays of the spec's shapes, all with the same number of rows and of the same length.

        Raises:
            RefusedError: The graph failed.
        """
        try:
            return tuple(self._session.run(self._output_names, dict(zip(self._input_names, inputs, strict=True))))
        except Exception as error:  # ONNX Runtime's errors share no base but Exception
            raise RefusedError(
                500, f"the graph of {self.name}/{self.version} failed: {type(error).__name__}"
            ) from error

    def faults(self, inputs: Arrays) -> NDArray[np.bool_] | None:
        """(n,) of the rows that the contract does not admit; None where it admits all."""
        bad: NDArray[np.bool_] | None = None
        for limits, values in zip(self._limits, inputs, strict=True):
            inside = limits.admit(values) if limits is not None else None
            if inside is not None:
                rows = np.logical_not(inside.reshape(len(inside), -1).all(axis=1))
                bad = rows if bad is None else bad | rows
        return bad

    def fault(self, inputs: Arrays) -> RefusedError:
        """The reason why `inputs` has a fault, naming the first column at fault but never its value."""
        for tensor, limits, values in zip(self.spec.inputs, self._limits, inputs, strict=True):
            inside = limits.admit(values) if limits is not None else None
            if limits is not None and inside is not None:
                row, *place = (int(index[0]) for index in np.nonzero(~inside))
                column = place[-1] if tensor.columns else 0
                name, value = columns(tensor)[column], values[row, *place]
                where = f"row {row}, position {place[0]}" if tensor.is_sequence else f"row {row}"
                if value != value or value == "":
                    return invalid(f"{name} is missing in {where}: the contract does not let it be")
                return invalid(f"{name} in {where} is outside {limits.describe(column)}, see the contract")
        raise ValueError("no fault in these inputs")

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
        shapes = {node.name: node.shape for node in self._session.get_inputs()}
        for tensor in self.spec.inputs:
            shape = shapes[tensor.name]
            # A graph need not say what shape it takes, nor a size in it.
            if shape and (
                len(shape) != len(tensor.shape)
                or any(
                    isinstance(size, int) and size != wanted for size, wanted in zip(shape, tensor.shape, strict=True)
                )
            ):
                raise ServiceError(
                    f"{folder}: input {tensor.name} of {MODEL_FILE} has the shape {shape}, {SPEC_FILE} says "
                    f"{list(tensor.shape)}"
                )

    def _warm_up(self, folder: Path, max_rows: int, length: int) -> dict[int, float]:
        """Run batches of 1, 2, 4, … and of the most rows: rows to seconds."""
        times: dict[int, float] = {}
        for rows in sorted({*(1 << power for power in range(max_rows.bit_length())), max_rows}):
            inputs = self._sample(rows, length)
            samples: list[float] = []
            while sum(samples) < _WARM_UP_SECONDS and len(samples) < _WARM_UP_RUNS:
                started = time.perf_counter()
                outputs = self._try(folder, inputs, self._described(rows, length))
                samples.append(time.perf_counter() - started)
            times[rows] = min(samples)
            for tensor, array in zip(self.spec.outputs, outputs, strict=True):
                if array.shape != tensor.sized(rows, length):
                    raise ServiceError(
                        f"{folder}: output {tensor.name} has shape {array.shape} for "
                        f"{self._described(rows, length)}, {SPEC_FILE} says {tensor.shape}"
                    )
            if sum(samples) >= _WARM_UP_SECONDS and _best_batch(times) != rows:
                break
        return times

    def _check_mask(self, folder: Path, mask: str, max_batch_tokens: int) -> None:
        """Compare the answers to short sequences with those to the same, filled up as far as may be."""
        longest = self.buckets[-1].length
        length = min(self.buckets[0].length, max(longest // 2, 1))
        rows = min(_COMPARED_ROWS, max_batch_tokens // longest)
        inputs = self._sample(rows, length)
        filled_up = tuple(
            fill_up(array, rows, longest, tensor).reshape(tensor.sized(rows, longest)) if tensor.is_sequence else array
            for tensor, array in zip(self.spec.inputs, inputs, strict=True)
        )
        answers = [
            self._try(folder, arrays, self._described(rows, size))
            for arrays, size in ((inputs, length), (filled_up, longest))
        ]
        for tensor, alone, other in zip(self.spec.outputs, *answers, strict=True):
            own = other[:, :length] if tensor.is_sequence else other
            # Of a label, which has to jump somewhere, its probability tells more.
            if tensor.datatype == "FP32" and not np.allclose(
                own, alone, rtol=0, atol=_SAME * float(np.abs(alone).max()), equal_nan=True
            ):
                raise ServiceError(
                    f"{folder}: {tensor.name} of {MODEL_FILE} depends on what its inputs hold where {mask} is 0: mend "
                    f"the graph, or take sequences.mask out of {SPEC_FILE}, so that only equal lengths run together"
                )

    def _try(self, folder: Path, inputs: Arrays, described: str) -> Arrays:
        try:
            return self.run(inputs)
        except RefusedError as error:
            raise ServiceError(f"{folder}: {error.reason} on a batch of {described}") from error

    def _described(self, rows: int, length: int) -> str:
        return f"{rows} valid rows" + ("" if self.spec.sequences is None else f" of length {length}")

    def _sample(self, rows: int, length: int) -> Arrays:
        return tuple(
            sample(tensor, limits, rows, length, self._random)
            for tensor, limits in zip(self.spec.inputs, self._limits, strict=True)
        )


def _best_batch(times: dict[int, float]) -> int:
    """The fewest rows with which a row costs next to the least, by rows to seconds."""
    costs = {rows: (seconds + _RUN_OVERHEAD_S) / rows for rows, seconds in times.items()}
    return min(rows for rows, cost in costs.items() if cost <= min(costs.values()) * _NEXT_TO_LEAST)
