"""What the contract admits in one input, and values that it does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.model_spec import FeatureRange, ModelSpec, Tensor
from serving.runtime.arrays import DTYPES, Array

_UNBOUNDED = 1000.0
"""How far samples go where the contract sets no bound."""
_FLOAT32 = np.finfo(np.float32)


class Admitted(Protocol):
    """What the contract admits in one input."""

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        """What is admitted, of the shape of `values`; None where all is, which is the common case and the cheap one."""

    def describe(self, column: int) -> str: ...

    def sample(self, shape: Sequence[int], random: np.random.Generator) -> Array:
        """Values that are admitted, each another: a graph of trees is faster on the same row again and again."""


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Limits of an FP32 input: three vectors of its columns. No bound still means finite."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    nullable: NDArray[np.bool_]

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        inside = values >= self.low
        inside &= values <= self.high
        if inside.all():
            return None
        inside |= np.isnan(values) & self.nullable
        return None if inside.all() else inside

    def describe(self, column: int) -> str:
        low, high = self.low[column], self.high[column]
        below = "-∞" if low == _FLOAT32.min else f"{low:g}"
        return f"{below}..{'∞' if high == _FLOAT32.max else f'{high:g}'}"

    def sample(self, shape: Sequence[int], random: np.random.Generator) -> Array:
        low, high = (np.clip(bound, -_UNBOUNDED, _UNBOUNDED) for bound in (self.low, self.high))
        values = random.uniform(low, np.maximum(low, high), shape).astype(np.float32)
        return np.clip(values, self.low, self.high)


@dataclass(frozen=True, slots=True)
class _Ids:
    """Limits of the numbers of a sequence, such as ids of tokens: two vectors of its columns."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        inside: NDArray[np.bool_] = (values >= self.low) & (values <= self.high)
        return None if inside.all() else inside

    def describe(self, column: int) -> str:
        return f"{self.low[column]}..{self.high[column]}"

    def sample(self, shape: Sequence[int], random: np.random.Generator) -> Array:
        return random.integers(self.low, self.high, shape, endpoint=True)


@dataclass(frozen=True, slots=True)
class _Mask:
    """Ones and zeros; a row without a one would leave the graph with nothing but what it is to ignore."""

    dtype: np.dtype[np.generic]

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        inside: NDArray[np.bool_] = ((values == 0) | (values == 1)) & values.any(axis=1, keepdims=True)
        return None if inside.all() else inside

    def describe(self, column: int) -> str:  # noqa: ARG002 - it has but one
        return "0..1, or without a 1"

    def sample(self, shape: Sequence[int], random: np.random.Generator) -> Array:  # noqa: ARG002
        return np.ones(shape, self.dtype)


@dataclass(frozen=True, slots=True)
class _Categories:
    """The values of each column of a BYTES input."""

    values: tuple[frozenset[str], ...]

    def admit(self, values: Array) -> NDArray[np.bool_] | None:
        inside = np.array([[text in known for known, text in zip(self.values, row, strict=True)] for row in values])
        return None if inside.all() else inside

    def describe(self, column: int) -> str:
        return f"the {len(self.values[column])} values of its category"

    def sample(self, shape: Sequence[int], random: np.random.Generator) -> Array:
        rows = shape[0]
        columns = [random.choice(sorted(known), rows) if known else np.full(rows, "") for known in self.values]
        return np.stack(columns, axis=1).astype(object)


def admitted(tensor: Tensor, spec: ModelSpec) -> Admitted | None:
    """What the contract admits in an input; None where it says nothing of it."""
    if spec.sequences is not None and tensor.name == spec.sequences.mask:
        return _Mask(DTYPES[tensor.datatype])
    if not (tensor.columns or tensor.is_sequence) or (tensor.datatype == "INT64" and not tensor.is_sequence):
        return None
    ranges = [spec.ranges.get(column, FeatureRange()) for column in columns(tensor)]
    if tensor.datatype == "BYTES":
        return _Categories(
            tuple(
                frozenset(spec.categories[column]) | ({""} if limits.nullable else set())
                for column, limits in zip(tensor.columns, ranges, strict=True)
            )
        )
    if tensor.datatype == "INT64":
        return _Ids(*(np.array([getattr(limits, end) for limits in ranges], np.int64) for end in ("min", "max")))
    return _Ranges(
        np.array([_FLOAT32.min if limits.min is None else limits.min for limits in ranges], np.float32),
        np.array([_FLOAT32.max if limits.max is None else limits.max for limits in ranges], np.float32),
        np.array([limits.nullable for limits in ranges]),
    )


def columns(tensor: Tensor) -> tuple[str, ...]:
    """The names under which the contract has an input's ranges."""
    return tensor.columns or (tensor.name,)


def sample(tensor: Tensor, limits: Admitted | None, rows: int, length: int, random: np.random.Generator) -> Array:
    """An input with values that the contract admits."""
    shape = tensor.sized(rows, length)
    if limits is not None:
        return limits.sample(shape, random)
    return np.full(shape, "", object) if tensor.datatype == "BYTES" else np.zeros(shape, DTYPES[tensor.datatype])
