"""The Open Inference Protocol v2 over REST: JSON and the binary tensor extension, to arrays and back.

The numbers of a tensor are cut out of a body and parsed straight into a buffer; what is left, the skeleton, is the
same in most requests of a client, so that its checks are done once for the same bytes.
"""

import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
import simdjson

from core.model_spec import ModelSpec
from serving.runtime import codec
from serving.runtime.arrays import Array
from serving.runtime.codec import Limits, Output, Query, TensorHead
from serving.runtime.errors import RefusedError, invalid
from serving.runtime.outputs import Outputs

_DATA = re.compile(rb'"data"\s*:\s*(?=\[)')
_END_OF_ROWS = re.compile(rb"\]\s*\]")
_MARK = secrets.randbits(61) | 1 << 61
"""Stands for the first cut in a skeleton, the next number for the second: none that a client can know or send."""
_SKELETON_BYTES = 1024
_SKELETONS = 512
_BUFFER_TYPES: dict[str, Literal["d", "i"]] = {"FP32": "d", "INT64": "i"}
_BUFFER_DTYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype(np.float64), "INT64": np.dtype(np.int64)}
_ELEMENTS: dict[str, frozenset[type]] = {
    "FP32": frozenset((int, float, type(None))),
    "INT64": frozenset((int,)),
}


class _NotNumbersError(Exception):
    """A cut is not JSON of its own: the body has to be read whole."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """Which of the cuts a tensor's values are."""

    index: int


@dataclass(frozen=True, slots=True)
class _Tail:
    """Which bytes after the JSON a tensor's values are."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a skeleton says: the query, and for each of its arrays what it must be and where it is.

    A list as a source is the values themselves. `tail` is how many bytes follow the JSON.
    """

    query: Query
    tensors: tuple[tuple[TensorHead, "_Cut | _Tail | list[Any]"], ...]
    tail: int


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stood around the only array of numbers of a body."""

    begin: bytes
    end: bytes
    query: Query
    head: TensorHead


class Decoder:
    """Decodes the bodies of one version. Not for several threads: the parser's memory is used again."""

    def __init__(self, spec: ModelSpec, limits: Limits) -> None:
        self._spec = spec
        self._limits = limits
        self._parser = simdjson.Parser()
        self._plans: dict[bytes, _Plan] = {}
        self._last: _Frame | None = None

    def decode(self, body: bytes, json_length: int | None) -> tuple[Query, list[Array]]:
        """Decode one body: the query, and the arrays that it speaks of.

        Args:
            json_length: The value of `Inference-Header-Content-Length`, where binary tensors follow the JSON.

        Raises:
            RefusedError: 400, the body is not a request for this model.
        """
        text, tail = body, b""
        last = self._last
        if last is not None and json_length is None and body.startswith(last.begin) and body.endswith(last.end):
            numbers = body[len(last.begin) : len(body) - len(last.end)]
            # One list, or rows, whose structure is looked at: else it would be read as if it were one list.
            if numbers.rfind(b"[") == 0 or numbers.startswith(b"[["):
                try:
                    return last.query, [self._numbers(numbers, last.head)]
                except _NotNumbersError:
                    pass
        if json_length is not None:
            if json_length > len(body):
                raise invalid(f"Inference-Header-Content-Length is {json_length}, yet the body has {len(body)} bytes")
            text, tail = body[:json_length], body[json_length:]
        skeleton, cuts = _cut(text)
        plan = self._plans.get(skeleton)
        if plan is None or plan.tail != len(tail):
            plan = self._plan(skeleton, text, len(cuts), len(tail))
        elif len(cuts) == len(plan.tensors) == 1:
            begin, _, end = skeleton.partition(b"%d" % _MARK)
            self._last = _Frame(begin, end, plan.query, plan.tensors[0][0])
        try:
            return plan.query, self._fill(plan, cuts, tail)
        except _NotNumbersError:
            plan = self._read(text, 0, len(tail))
            return plan.query, self._fill(plan, [], tail)

    def _plan(self, skeleton: bytes, text: bytes, cuts: int, tail: int) -> _Plan:
        try:
            plan = self._read(skeleton, cuts, tail)
        except RefusedError:
            # The reason must speak of what the client sent.
            return self._read(text, 0, tail)
        if sum(isinstance(source, _Cut) for _, source in plan.tensors) != cuts:
            # What is no tensor's is never parsed as a cut, and must be JSON all the same.
            return self._read(text, 0, tail)
        if len(skeleton) <= _SKELETON_BYTES and not any(isinstance(source, list) for _, source in plan.tensors):
            if len(self._plans) >= _SKELETONS:
                self._plans.clear()
            self._plans[skeleton] = plan
        return plan

    def _read(self, text: bytes, cuts: int, tail: int) -> _Plan:
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise invalid(f"the body is not JSON: {error}") from None
        try:
            return self._check(document, cuts, tail)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError, OverflowError) as error:
            # What a body of the wrong structure raises at the place where it is wrong.
            raise invalid(f"the body is not an inference request: {_text(error)}") from None

    def _check(self, document: Any, cuts: int, tail: int) -> _Plan:
        if not isinstance(document, dict):
            raise invalid("the body is not a JSON object")
        inputs = document.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise invalid("inputs: a list with a tensor is needed")
        heads: list[TensorHead] = []
        sources: list[_Cut | _Tail | list[Any]] = []
        offset = 0
        for tensor in inputs:
            name = tensor["name"]
            if not isinstance(name, str):
                raise invalid("inputs: a name is not a string")
            shape = tensor["shape"]
            if not isinstance(shape, list):
                raise invalid(f"the body is not an inference request: the shape of input {name} is not a list")
            heads.append(codec.check_tensor(name, tensor["datatype"], shape, self._spec, self._limits))
            size = tensor.get("parameters", {}).get("binary_data_size")
            if size is None:
                if "data" not in tensor:
                    raise invalid(f"input {name} has neither data nor parameters.binary_data_size")
                sources.append(_source(tensor["data"], name, cuts))
            else:
                if "data" in tensor:
                    raise invalid(f"input {name} has both data and parameters.binary_data_size")
                if type(size) is not int or not 0 <= size <= tail - offset:
                    raise invalid(f"input {name}: binary_data_size is {size}, {tail - offset} bytes are left")
                sources.append(_Tail(offset, offset + size))
                offset += size
        if offset != tail:
            raise invalid(f"{tail - offset} bytes follow the last binary tensor")
        identifier = document.get("id")
        if identifier is not None and not isinstance(identifier, str):
            raise invalid("id is not a string")
        parameters = document.get("parameters")
        binary_output = parameters is not None and parameters.get("binary_data_output") is True
        wanted = [
            (output["name"], output.get("parameters", {}).get("binary_data")) for output in document.get("outputs", ())
        ]
        query = codec.query(heads, wanted, self._spec, identifier=identifier, binary=binary_output)
        return _Plan(query, tuple((heads[position], sources[position]) for position in query.order), tail)

    def _fill(self, plan: _Plan, cuts: list[bytes], tail: bytes) -> list[Array]:
        arrays = []
        for head, source in plan.tensors:
            if isinstance(source, _Cut):
                arrays.append(self._numbers(cuts[source.index], head))
            elif isinstance(source, _Tail):
                arrays.append(codec.from_binary(tail[source.start : source.end], head))
            else:
                arrays.append(_from_list(source, head))
        return arrays

    def _numbers(self, text: bytes, head: TensorHead) -> Array:
        """(count,) of an array's text: FP32 as float64, INT64 as it is."""
        if head.datatype == "BYTES":
            raise _NotNumbersError
        try:
            data = self._parse(text)
        except ValueError:
            raise _NotNumbersError from None
        if text.startswith(b"[[") and not _is_table(data, text.count(b"[") - 1, head.shape):
            raise _NotNumbersError
        try:
            buffer = data.as_buffer(of_type=_BUFFER_TYPES[head.datatype])
        except (TypeError, ValueError):
            # A null, or what is no number, or none of 64 bits.
            return _from_list(orjson.loads(text), head)
        values = np.frombuffer(buffer, _BUFFER_DTYPES[head.datatype])
        if len(values) != head.count:
            codec.check_count(values, head)
        return values

    def _parse(self, text: bytes) -> Any:
        try:
            return self._parser.parse(text)
        except RuntimeError:
            # Something still refers to the last document, or a number does not fit 64 bits.
            self._parser = simdjson.Parser()
            try:
                return self._parser.parse(text)
            except RuntimeError:
                raise ValueError from None


class Encoder:
    """Writes the answers of one version: all but numbers and ids is known once a query is."""

    def __init__(self, spec: ModelSpec, version: str) -> None:
        self._spec = spec
        self._begin = b'{"model_name":%b,"model_version":%b,"id":' % (orjson.dumps(spec.name), orjson.dumps(version))
        self._widths = [math.prod(size for size in tensor.shape[1:] if size != -1) for tensor in spec.outputs]
        self._templates: dict[tuple[int, int, tuple[Output, ...]], bytes] = {}

    def encode(self, query: Query, identity: bytes, outputs: Outputs, start: int, end: int) -> tuple[bytes, int | None]:
        """Write the rows from `start` to `end` of a run as the answer to `query`.

        Args:
            identity: The inference id's text.

        Returns:
            The body, and the length of its JSON part where binary tensors follow.
        """
        key = (end - start, query.length, query.outputs)
        template = self._templates.get(key) or self._template(*key)
        values: list[bytes | int] = []
        tail: list[bytes] = []
        for output in query.outputs:
            if output.binary:
                position = output.position
                tail.append(codec.to_binary(outputs.rows(position, start, end), self._spec.outputs[position].datatype))
                values.append(len(tail[-1]))
            else:
                values.append(outputs.text(output.position, start, end, self._widths[output.position]))
        given = b'"%b"' % identity if query.id is None else orjson.dumps(query.id)
        document = template % (given, identity, *values)
        if not tail:
            return document, None
        return b"".join((document, *tail)), len(document)

    def _template(self, rows: int, length: int, outputs: tuple[Output, ...]) -> bytes:
        parts = []
        for output in outputs:
            tensor = self._spec.outputs[output.position]
            described = orjson.dumps(
                {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.sized(rows, length)}
            )
            values = b',"parameters":{"binary_data_size":%d}}' if output.binary else b',"data":[%b]}'
            parts.append(described[:-1].replace(b"%", b"%%") + values)
        begin = self._begin.replace(b"%", b"%%")
        template = b'%b%%b,"parameters":{"inference_id":"%%b"},"outputs":[%b]}' % (begin, b",".join(parts))
        if len(self._templates) >= _SKELETONS:
            self._templates.clear()
        self._templates[rows, length, outputs] = template
        return template


def _cut(text: bytes) -> tuple[bytes, list[bytes]]:
    """Cut the arrays of numbers out of a body: the skeleton, and what was cut.

    A cut that is JSON by itself, in a skeleton that is JSON too, makes the body the JSON that it looks like: in a
    string, the first quotation mark of `"data"` would end it, and what follows would be none.
    """
    cuts: list[bytes] = []
    parts: list[bytes] = []
    position = 0
    while (match := _DATA.search(text, position)) is not None:
        start = match.end()
        if text[start + 1 : start + 2] == b"[":
            end = found.end() if (found := _END_OF_ROWS.search(text, start)) is not None else 0
        else:
            end = text.find(b"]", start) + 1
        if not end:
            break
        parts += (text[position:start], b"%d" % (_MARK + len(cuts)))
        cuts.append(text[start:end])
        position = end
    parts.append(text[position:])
    return b"".join(parts), cuts


def _source(data: Any, name: str, cuts: int) -> _Cut | list[Any]:
    if isinstance(data, list):
        return data
    if type(data) is int and _MARK <= data < _MARK + cuts:
        return _Cut(data - _MARK)
    raise invalid(f"input {name}: data is not a list")


def _from_list(values: list[Any], head: TensorHead) -> Array:
    """(count,) of a list of Python objects, nested as the shape is or flat. JSON has no NaN: null is missing."""
    if any(isinstance(value, list) for value in values):
        _check_nesting(values, head.name, head.shape)
        values = _flatten(values)
    if head.datatype == "BYTES":
        return codec.to_strings(values, head)
    codec.check_count(values, head)
    try:
        if set(map(type, values)) <= _ELEMENTS[head.datatype]:
            return np.array(values, _BUFFER_DTYPES[head.datatype])
    except OverflowError:
        pass
    raise invalid(f"input {head.name}: data holds what is not a number of type {head.datatype}")


def _is_table(data: Any, lists: int, shape: Sequence[int]) -> bool:
    """Whether parsed data holds `lists` rows of the shape's width, and nothing deeper."""
    if len(shape) != 2 or not len(data) == lists == shape[0]:
        return False
    return all(isinstance(row, simdjson.Array) and len(row) == shape[1] for row in data)


def _check_nesting(data: list[Any], name: str, shape: Sequence[int]) -> None:
    """Nested data has the shape's own structure: rows of another length would else be taken for the right ones."""
    nested = bool(data) and isinstance(data[0], list)
    for row in data:
        if isinstance(row, list) is not nested:
            raise invalid(f"input {name}: data mixes lists and elements")
    if nested:
        if len(data) != shape[0] or len(shape) == 1:
            raise invalid(f"input {name}: data is nested otherwise than shape {list(shape)}")
        for row in data:
            if math.prod(shape[1:]) != len(row) and len(shape) == 2:
                raise invalid(f"input {name}: a row has {len(row)} elements, shape {list(shape)} needs {shape[1]}")
            _check_nesting(row, name, shape[1:])


def _flatten(values: list[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        if isinstance(value, list):
            flat.extend(_flatten(value))
        else:
            flat.append(value)
    return flat


def _text(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return str(error)
