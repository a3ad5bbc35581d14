"""The Open Inference Protocol v2 over REST: JSON and the binary tensor extension, to arrays and back.

https://github.com/kserve/open-inference-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
import simdjson

from core.model_spec import ModelSpec, Tensor
from serving.runtime.errors import invalid
from serving.runtime.model import Array, Arrays

_BUFFER_TYPES: dict[str, Literal["d", "i"]] = {"FP32": "d", "INT64": "i"}
_BUFFER_DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype(np.float64), "INT64": np.dtype(np.int64)}
_WIRE_TYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}

Entities = list[str] | list[int]


@dataclass(slots=True)
class Output:
    """One output that the client asked for: its index in the spec, and whether as raw bytes."""

    index: int
    binary: bool


@dataclass(slots=True)
class Request:
    """What is asked: arrays for the graph, or the ids of entities whose features are to be looked up."""

    id: str | None
    rows: int
    inputs: Arrays | None
    entities: Entities | None
    outputs: Sequence[Output]


class Decoder:
    """Decodes request bodies. Not for several threads: the parser's memory is used again."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._parser = simdjson.Parser()

    def decode(self, body: bytes, json_length: int | None, spec: ModelSpec) -> Request:
        """Decode one body.

        Args:
            json_length: The value of `Inference-Header-Content-Length`, where binary tensors follow the JSON.

        Raises:
            RefusedError: 400, the body is not a request for this model.
        """
        text, binary = (body, b"") if json_length is None else (body[:json_length], body[json_length:])
        if json_length is not None and json_length > len(body):
            raise invalid(f"Inference-Header-Content-Length is {json_length}, yet the body has {len(body)} bytes")
        document = self._parse(text)
        try:
            return self._read(document, text, binary, spec)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError, OverflowError, RuntimeError) as error:
            # What a body of the wrong structure raises at the place where it is wrong.
            raise invalid(f"the body is not an inference request: {_text(error)}") from None

    def _parse(self, text: bytes) -> Any:
        try:
            try:
                return self._parser.parse(text)
            except RuntimeError:
                # Something still refers to the last document, or a number does not fit 64 bits.
                self._parser = simdjson.Parser()
                return self._parser.parse(text)
        except (ValueError, RuntimeError) as error:
            raise invalid(f"the body is not JSON: {_text(error)}") from None

    def _read(self, document: Any, text: bytes, binary: bytes, spec: ModelSpec) -> Request:
        if not _is_object(document):
            raise invalid("the body is not a JSON object")
        # Looking up a key that is not there costs more than all the rest of a small body.
        keys = list(document)
        inputs: Any = document["inputs"] if "inputs" in keys else None
        if not _is_list(inputs) or not len(inputs):
            raise invalid("inputs: a list with a tensor is needed")
        # Brackets: one for the inputs, two for each. More may be outputs, or data in rows that must be looked into.
        flat = text.count(b"[") == 1 + 2 * len(inputs)
        arrays: dict[str, Array] = {}
        offset = 0
        for tensor in inputs:
            fields = list(tensor)
            name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"].as_list()
            if not isinstance(name, str):
                raise invalid("inputs: a name is not a string")
            if name in arrays:
                raise invalid(f"input {name} stands twice")
            count = check_tensor(name, datatype, shape, spec, self._max_rows)
            size = tensor["parameters"].get("binary_data_size") if "parameters" in fields else None
            if size is None:
                if "data" not in fields:
                    raise invalid(f"input {name} has neither data nor parameters.binary_data_size")
                arrays[name] = _from_json(tensor["data"], name, datatype, shape, count, flat)
            else:
                if "data" in fields:
                    raise invalid(f"input {name} has both data and parameters.binary_data_size")
                if type(size) is not int or not 0 <= size <= len(binary) - offset:
                    raise invalid(f"input {name}: binary_data_size is {size}, {len(binary) - offset} bytes are left")
                arrays[name] = from_binary(binary[offset : offset + size], name, datatype, shape)
                offset += size
        if offset != len(binary):
            raise invalid(f"{len(binary) - offset} bytes follow the last binary tensor")
        identifier = document["id"] if "id" in keys else None
        if identifier is not None and not isinstance(identifier, str):
            raise invalid("id is not a string")
        parameters = document["parameters"] if "parameters" in keys else None
        outputs = document["outputs"].as_list() if "outputs" in keys else ()
        wanted = [(output["name"], output.get("parameters", {}).get("binary_data")) for output in outputs]
        binary_output = parameters is not None and parameters.get("binary_data_output") is True
        selected = select_outputs(wanted, binary_output, spec)
        return assemble(identifier, arrays, selected, spec)


def check_tensor(name: str, datatype: Any, shape: Sequence[Any], spec: ModelSpec, max_rows: int) -> int:
    """Compare a request's tensor with the spec.

    Returns:
        How many elements the shape holds.

    Raises:
        RefusedError: 400, with what was expected.
    """
    for size in shape:
        if type(size) is not int or size < 0:
            raise invalid(f"input {name}: shape {list(shape)} is not a list of sizes")
    if name == spec.features.entity and not any(tensor.name == name for tensor in spec.inputs):
        if datatype not in ("BYTES", "INT64"):
            raise invalid(f"input {name} is {datatype}: BYTES or INT64 is expected")
        if not 1 <= len(shape) <= 2 or shape[1:] not in ([], [1]):
            raise invalid(f"input {name} has shape {list(shape)}: [n] or [n, 1] is expected")
    else:
        tensor = next((tensor for tensor in spec.inputs if tensor.name == name), None)
        if tensor is None:
            names = ", ".join(tensor.name for tensor in spec.inputs)
            raise invalid(f"input {name} is unknown: {spec.name} takes {names}, or {spec.features.entity} alone")
        if datatype != tensor.datatype:
            raise invalid(f"input {name} is {datatype}: {tensor.datatype} is expected")
        if len(shape) != len(tensor.shape) or any(
            size not in (-1, given) for size, given in zip(tensor.shape, shape, strict=True)
        ):
            raise invalid(f"input {name} has shape {list(shape)}: {_shape_text(tensor)} is expected")
    if not shape[0]:
        raise invalid(f"input {name} has no rows")
    if shape[0] > max_rows:
        raise invalid(f"input {name} has {shape[0]} rows: at most {max_rows} are taken in one request")
    return math.prod(shape)


def select_outputs(wanted: Sequence[tuple[str, bool | None]], binary: bool, spec: ModelSpec) -> list[Output]:
    """The outputs asked for, all where none is named; `binary` is what holds for those that do not say."""
    if not wanted:
        return [Output(index, binary) for index in range(len(spec.outputs))]
    names = [tensor.name for tensor in spec.outputs]
    selected: list[Output] = []
    for name, own in wanted:
        if name not in names:
            raise invalid(f"output {name} is unknown: {spec.name} gives {', '.join(names)}")
        index = names.index(name)
        if any(output.index == index for output in selected):
            raise invalid(f"output {name} stands twice")
        selected.append(Output(index, binary if own is None else own is True))
    return selected


def assemble(identifier: str | None, arrays: dict[str, Array], outputs: Sequence[Output], spec: ModelSpec) -> Request:
    """Put a request's checked tensors in the spec's order.

    Raises:
        RefusedError: 400, a tensor is missing, ids and features are mixed, or the rows differ in number.
    """
    ids = arrays.get(spec.features.entity)
    if ids is not None and not any(tensor.name == spec.features.entity for tensor in spec.inputs):
        if len(arrays) > 1:
            raise invalid(f"{spec.features.entity} stands alone: its features are looked up")
        return Request(identifier, len(ids), None, ids.reshape(-1).tolist(), outputs)
    missing = [tensor.name for tensor in spec.inputs if tensor.name not in arrays]
    if missing:
        raise invalid(f"input {missing[0]} is missing")
    inputs = tuple(arrays[tensor.name] for tensor in spec.inputs)
    rows = len(inputs[0])
    if any(len(array) != rows for array in inputs):
        raise invalid(f"the inputs have different numbers of rows: {[len(array) for array in inputs]}")
    return Request(identifier, rows, inputs, None, outputs)


def from_binary(data: bytes, name: str, datatype: str, shape: Sequence[int]) -> Array:
    """Decode a tensor of the binary extension (and of gRPC's raw contents): little-endian, row-major.

    Raises:
        RefusedError: 400, the bytes do not fill the shape.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return to_strings(_split(data, name), name, shape, count)
    dtype = _WIRE_TYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise invalid(f"input {name} has {len(data)} bytes: shape {list(shape)} needs {count * dtype.itemsize}")
    return np.frombuffer(data, dtype).reshape(shape)


def to_strings(elements: Sequence[Any], name: str, shape: Sequence[int], count: int) -> Array:
    """Decode UTF-8 (or take strings as they are; None is missing, "") into an object array of `str`.

    Raises:
        RefusedError: 400, not UTF-8, not text, or too few or many.
    """
    if len(elements) != count:
        raise invalid(f"input {name} has {len(elements)} elements: shape {list(shape)} needs {count}")
    array = np.empty(count, object)
    for index, element in enumerate(elements):
        if isinstance(element, bytes):
            try:
                array[index] = element.decode()
            except UnicodeDecodeError:
                raise invalid(f"input {name}: element {index} is not UTF-8") from None
        elif isinstance(element, str):
            array[index] = element
        elif element is None:
            array[index] = ""
        else:
            raise invalid(f"input {name}: element {index} is not a string")
    return array.reshape(shape)


def encode(
    model: str, version: str, request: Request, inference_id: str, spec: ModelSpec, outputs: Arrays
) -> tuple[bytes, int | None]:
    """Encode an answer.

    Returns:
        The body, and the length of its JSON part where binary tensors follow.
    """
    tensors: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for output in request.outputs:
        array, tensor = outputs[output.index], spec.outputs[output.index]
        described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": array.shape}
        if output.binary:
            tail.append(to_binary(array, tensor.datatype))
            described["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            # Row-major and flat, as the protocol's reference has it.
            described["data"] = array.reshape(-1).tolist() if tensor.datatype == "BYTES" else array.reshape(-1)
        tensors.append(described)
    document = orjson.dumps(
        {
            "model_name": model,
            "model_version": version,
            "id": request.id if request.id is not None else inference_id,
            "parameters": {"inference_id": inference_id},
            "outputs": tensors,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    if not tail:
        return document, None
    return b"".join((document, *tail)), len(document)


def to_binary(array: Array, datatype: str) -> bytes:
    """The reverse of `from_binary`."""
    if datatype != "BYTES":
        return array.astype(_WIRE_TYPES[datatype], copy=False).tobytes()
    encoded = [text.encode() for text in array.reshape(-1)]
    return b"".join(part for text in encoded for part in (struct.pack("<I", len(text)), text))


def _from_json(data: Any, name: str, datatype: str, shape: Sequence[int], count: int, flat: bool) -> Array:
    if not _is_list(data):
        raise invalid(f"input {name}: data is not a list")
    if not flat:
        _check_nesting(data, name, shape)
    if datatype == "BYTES":
        return to_strings(_flatten(data.as_list()), name, shape, count)
    try:
        buffer = data.as_buffer(of_type=_BUFFER_TYPES[datatype])
    except TypeError:
        values = _with_missing(_flatten(data.as_list()), name, datatype)
    else:
        values = np.frombuffer(buffer, _BUFFER_DTYPES[datatype])
    if len(values) != count:
        raise invalid(f"input {name} has {len(values)} elements: shape {list(shape)} needs {count}")
    return _narrow(values).reshape(shape) if datatype == "FP32" else values.reshape(shape)


def floats(values: Sequence[float]) -> Array:
    """(n,) FP32; what does not fit becomes infinite, which no contract admits."""
    return _narrow(np.array(values, np.float64))


def _narrow(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _with_missing(values: list[Any], name: str, datatype: str) -> Array:
    """JSON has no NaN: null stands for a missing number."""
    for value in values:
        if datatype == "FP32" and value is None:
            continue
        if type(value) is int or (datatype == "FP32" and type(value) is float):
            continue
        raise invalid(f"input {name}: data holds what is not a number of type {datatype}")
    if datatype == "INT64":
        return np.array(values, np.int64)
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _check_nesting(data: Any, name: str, shape: Sequence[int]) -> None:
    """Nested data has the shape's own structure: rows of another length would else be taken for the right ones."""
    first = data[0] if len(data) else None
    nested = _is_list(first)
    for row in data:
        if _is_list(row) is not nested:
            raise invalid(f"input {name}: data mixes lists and elements")
    if nested:
        if len(data) != shape[0] or len(shape) == 1:
            raise invalid(f"input {name}: data is nested otherwise than shape {list(shape)}")
        for row in data:
            if math.prod(shape[1:]) != len(row) and len(shape) == 2:
                raise invalid(f"input {name}: a row has {len(row)} elements, shape {list(shape)} needs {shape[1]}")
            _check_nesting(row, name, shape[1:])


def _is_list(value: Any) -> bool:
    return isinstance(value, simdjson.Array)


def _is_object(value: Any) -> bool:
    return isinstance(value, simdjson.Object)


def _flatten(values: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        if isinstance(value, list):
            flat.extend(_flatten(value))
        else:
            flat.append(value)
    return flat


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
    sizes = ["n" if size == -1 else str(size) for size in tensor.shape]
    columns = f" ({', '.join(tensor.columns)})" if tensor.columns else ""
    return f"[{', '.join(sizes)}]{columns}"


def _text(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return str(error)
