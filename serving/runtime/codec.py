"""Requests and answers as arrays: what every transport checks and converts in the same way.

https://github.com/kserve/open-inference-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from core.model_spec import ModelSpec, Sequences, Tensor
from serving.runtime.arrays import Array
from serving.runtime.errors import invalid
from serving.runtime.lengths import run_length

_WIRE_TYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}

Entities = list[str] | list[int]


class Limits(NamedTuple):
    """How much one request may ask: rows, and of sequences tokens, which are rows times length, filled up."""

    rows: int
    tokens: int


class Output(NamedTuple):
    """One output that the client asked for: its position in the spec, and whether as raw bytes."""

    position: int
    binary: bool


@dataclass(frozen=True, slots=True)
class TensorHead:
    """A request's tensor without its values; `count` is how many elements the shape holds."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    count: int


@dataclass(slots=True)
class Query:
    """What is asked, checked, without the values.

    These are, in the order of the spec's inputs, flat arrays; `order` are their positions among the request's
    tensors. One of an FP32 input may be float64, as JSON's numbers are: a batch is converted at once, and what does
    not fit becomes infinite, which no contract admits. With `by_id` there is one array, of the ids of entities whose
    features are to be looked up. `length` is that of the sequences, 1 of a model without.
    """

    id: str | None
    rows: int
    length: int
    order: tuple[int, ...]
    by_id: bool
    outputs: tuple[Output, ...]


def check_tensor(name: str, datatype: Any, shape: Sequence[Any], spec: ModelSpec, limits: Limits) -> TensorHead:
    """Compare a request's tensor with the spec.

    Raises:
        RefusedError: 400, with what was expected.
    """
    for size in shape:
        if type(size) is not int or size < 0:
            raise invalid(f"input {name}: shape {list(shape)} is not a list of sizes")
    entity = spec.features and spec.features.entity
    if name == entity and not any(tensor.name == name for tensor in spec.inputs):
        if datatype not in ("BYTES", "INT64"):
            raise invalid(f"input {name} is {datatype}: BYTES or INT64 is expected")
        if not 1 <= len(shape) <= 2 or shape[1:] not in ([], [1]):
            raise invalid(f"input {name} has shape {list(shape)}: [n] or [n, 1] is expected")
    else:
        tensor = next((tensor for tensor in spec.inputs if tensor.name == name), None)
        if tensor is None:
            names = ", ".join(tensor.name for tensor in spec.inputs)
            raise invalid(
                f"input {name} is unknown: {spec.name} takes {names}{f', or {entity} alone' if entity else ''}"
            )
        if datatype != tensor.datatype:
            raise invalid(f"input {name} is {datatype}: {tensor.datatype} is expected")
        if len(shape) != len(tensor.shape) or any(
            size not in (-1, given) for size, given in zip(tensor.shape, shape, strict=True)
        ):
            raise invalid(f"input {name} has shape {list(shape)}: {_shape_text(tensor)} is expected")
        if tensor.is_sequence and spec.sequences is not None:
            _check_sequences(name, shape[0], shape[1], spec.sequences, limits)
    if not shape[0]:
        raise invalid(f"input {name} has no rows")
    if shape[0] > limits.rows:
        raise invalid(f"input {name} has {shape[0]} rows: at most {limits.rows} are taken in one request")
    return TensorHead(name, datatype, tuple(shape), math.prod(shape))


def _check_sequences(name: str, rows: int, length: int, sequences: Sequences, limits: Limits) -> None:
    if not 1 <= length <= sequences.max_length:
        raise invalid(f"input {name} has sequences of length {length}: 1 to {sequences.max_length} is taken")
    filled_up = run_length(length, sequences)
    if rows * filled_up > limits.tokens:
        most = limits.tokens // filled_up
        raise invalid(
            f"input {name} has {rows} sequences that run at a length of {filled_up}: at most {most} such are taken in "
            "one request"
        )


def query(
    heads: Sequence[TensorHead],
    wanted: Sequence[tuple[str, bool | None]],
    spec: ModelSpec,
    *,
    identifier: str | None = None,
    binary: bool = False,
) -> Query:
    """Put a request together.

    Args:
        heads: Its tensors, from `check_tensor`.
        wanted: The outputs that it names, and whether each is wanted as raw bytes; all where it names none.
        binary: What holds for those that do not say.

    Raises:
        RefusedError: 400, a tensor is missing or stands twice, ids and features are mixed, the rows differ in
            number or the sequences in length, or an output is unknown.
    """
    outputs = _select(wanted, binary, spec)
    positions: dict[str, int] = {}
    for position, head in enumerate(heads):
        if head.name in positions:
            raise invalid(f"input {head.name} stands twice")
        positions[head.name] = position
    entity = spec.features and spec.features.entity
    if entity is not None and entity in positions and not any(tensor.name == entity for tensor in spec.inputs):
        if len(heads) > 1:
            raise invalid(f"{entity} stands alone: its features are looked up")
        return Query(identifier, heads[0].shape[0], 1, (0,), True, outputs)
    missing = [tensor.name for tensor in spec.inputs if tensor.name not in positions]
    if missing:
        raise invalid(f"input {missing[0]} is missing")
    rows = {head.shape[0] for head in heads}
    if len(rows) > 1:
        raise invalid(f"the inputs have different numbers of rows: {[head.shape[0] for head in heads]}")
    lengths = [heads[positions[tensor.name]].shape[1] for tensor in spec.inputs if tensor.is_sequence] or [1]
    if len(set(lengths)) > 1:
        raise invalid(f"the inputs have sequences of different lengths: {lengths}")
    order = tuple(positions[tensor.name] for tensor in spec.inputs)
    return Query(identifier, rows.pop(), lengths[0], order, False, outputs)


def _select(wanted: Sequence[tuple[str, bool | None]], binary: bool, spec: ModelSpec) -> tuple[Output, ...]:
    if not wanted:
        return tuple(Output(index, binary) for index in range(len(spec.outputs)))
    names = [tensor.name for tensor in spec.outputs]
    selected: list[Output] = []
    for name, own in wanted:
        if name not in names:
            raise invalid(f"output {name} is unknown: {spec.name} gives {', '.join(names)}")
        index = names.index(name)
        if any(output.position == index for output in selected):
            raise invalid(f"output {name} stands twice")
        selected.append(Output(index, binary if own is None else own is True))
    return tuple(selected)


def from_binary(data: bytes | memoryview, head: TensorHead) -> Array:
    """Decode a tensor of the binary extension (and of gRPC's raw contents): little-endian, row-major; (n,).

    Raises:
        RefusedError: 400, the bytes do not fill the shape.
    """
    if head.datatype == "BYTES":
        return to_strings(_split(bytes(data), head.name), head)
    dtype = _WIRE_TYPES[head.datatype]
    if len(data) != head.count * dtype.itemsize:
        raise invalid(
            f"input {head.name} has {len(data)} bytes: shape {list(head.shape)} needs {head.count * dtype.itemsize}"
        )
    return np.frombuffer(data, dtype)


def check_count(values: Sequence[Any] | Array, head: TensorHead) -> None:
    """Raises:
    RefusedError: 400, the values do not fill the shape.
    """
    if len(values) != head.count:
        raise invalid(f"input {head.name} has {len(values)} elements: shape {list(head.shape)} needs {head.count}")


def to_strings(elements: Sequence[Any], head: TensorHead) -> Array:
    """Decode UTF-8 (or take strings as they are; None is missing, "") into a flat object array of `str`.

    Raises:
        RefusedError: 400, not UTF-8, not text, or too few or many.
    """
    check_count(elements, head)
    array = np.empty(head.count, object)
    for index, element in enumerate(elements):
        if isinstance(element, bytes):
            try:
                array[index] = element.decode()
            except UnicodeDecodeError:
                raise invalid(f"input {head.name}: element {index} is not UTF-8") from None
        elif isinstance(element, str):
            array[index] = element
        elif element is None:
            array[index] = ""
        else:
            raise invalid(f"input {head.name}: element {index} is not a string")
    return array


def to_binary(array: Array, datatype: str) -> bytes:
    """The reverse of `from_binary`."""
    if datatype != "BYTES":
        return array.astype(_WIRE_TYPES[datatype], copy=False).tobytes()
    encoded = [text.encode() for text in array.reshape(-1)]
    return b"".join(part for text in encoded for part in (struct.pack("<I", len(text)), text))


def _split(data: bytes, name: str) -> list[bytes]:
    elements = []
    offset = 0
    while offset < len(data):
        if offset + 4 > len(data):
            raise invalid(f"input {name}: its bytes end inside an element's length")
        (length,) = struct.unpack_from("<I", data, offset)
        offset += 4
        if offset + length > len(data):
            raise invalid(f"input {name}: its bytes end inside an element")
        elements.append(data[offset : offset + length])
        offset += length
    return elements


def _shape_text(tensor: Tensor) -> str:
    names = ("n", "length")
    sizes = [names[axis] if size == -1 else str(size) for axis, size in enumerate(tensor.shape)]
    columns = f" ({', '.join(tensor.columns)})" if tensor.columns else ""
    return f"[{', '.join(sizes)}]{columns}"
