"""The Open Inference Protocol v2 over gRPC: protocol buffers to arrays and back.

As with JSON (`json_codec`), all but the values is the same in most requests of a client: what it means is worked out
once for the same bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from core.model_spec import ModelSpec
from serving.runtime import codec
from serving.runtime.arrays import Array
from serving.runtime.codec import Limits, Output, Query, TensorHead
from serving.runtime.errors import invalid
from serving.runtime.outputs import Outputs

_CONTENTS = {"FP32": "fp32_contents", "INT64": "int64_contents", "BYTES": "bytes_contents"}
_RAW_INPUT = bytes((pb.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2,))
_RAW_OUTPUT = bytes((pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | 2,))
"""How such a field begins: its number, and that it is of bytes."""
_ID = "0" * 36
"""Stands in a template for the inference id, as the only thing in it."""
_KNOWN = 512


def parse(kind: Any, message: bytes) -> Any:
    """Parse a message.

    Raises:
        RefusedError: 400, it is none of this kind.
    """
    try:
        return kind.FromString(message)
    except DecodeError:
        raise invalid(f"the message is no {kind.DESCRIPTOR.name}") from None


@dataclass(frozen=True, slots=True)
class Question:
    """What the bytes of a request say up to its raw contents, which come last.

    `marks` are what stands before each of the contents, and where; `tensors`, in the order of the spec, what each
    must be, and where in the message it is.
    """

    model: str
    number: str
    query: Query
    begin: bytes
    marks: tuple[tuple[int, bytes], ...]
    tensors: tuple[tuple[TensorHead, int, int], ...]

    def fits(self, message: bytes) -> bool:
        """Whether a message of the same length asks the same, of other values."""
        if not message.startswith(self.begin):
            return False
        for position, mark in self.marks:  # noqa: SIM110 - a generator would take longer than all the rest
            if not message.startswith(mark, position):
                return False
        return True

    def arrays(self, message: bytes) -> list[Array]:
        return [codec.from_binary(message[start:end], head) for head, start, end in self.tensors]


class Decoder:
    """Decodes the requests of one version."""

    def __init__(self, spec: ModelSpec, limits: Limits) -> None:
        self._spec = spec
        self._limits = limits

    def decode(self, request: Any) -> tuple[Query, list[Array]]:
        """Decode a ModelInferRequest: the query, and the arrays that it speaks of.

        Raises:
            RefusedError: 400, it is not for this model.
        """
        query, heads = self._query(request)
        raw = request.raw_input_contents
        return query, [
            _values(request.inputs[position], raw[position] if raw else None, heads[position])
            for position in query.order
        ]

    def learn(self, message: bytes, request: Any) -> Question | None:
        """What is the same in the next request that differs in its raw contents alone; None without such."""
        raw = request.raw_input_contents
        marks = [_RAW_INPUT + _varint(len(content)) for content in raw]
        contents = b"".join([part for pair in zip(marks, raw, strict=True) for part in pair])
        if not raw or not message.endswith(contents):
            return None
        query, heads = self._query(request)
        start = len(message) - len(contents)
        begin = message[:start]
        places: list[tuple[int, int]] = []
        positions: list[tuple[int, bytes]] = []
        for mark, content in zip(marks, raw, strict=True):
            positions.append((start, mark))
            places.append((start + len(mark), start + len(mark) + len(content)))
            start = places[-1][1]
        return Question(
            request.model_name,
            request.model_version,
            query,
            begin,
            tuple(positions),
            tuple((heads[position], *places[position]) for position in query.order),
        )

    def _query(self, request: Any) -> tuple[Query, list[TensorHead]]:
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            raise invalid(f"there are {len(request.inputs)} inputs and {len(raw)} raw_input_contents")
        heads = [
            codec.check_tensor(tensor.name, tensor.datatype, tensor.shape, self._spec, self._limits)
            for tensor in request.inputs
        ]
        for tensor in request.inputs:
            if raw and tensor.HasField("contents"):
                raise invalid(f"input {tensor.name} has both contents and raw_input_contents")
        wanted = [(output.name, None) for output in request.outputs]
        return codec.query(heads, wanted, self._spec, identifier=request.id or None, binary=True), heads


class Encoder:
    """Writes the answers of one version: all but values and ids is known once a query is."""

    def __init__(self, spec: ModelSpec, version: str) -> None:
        self._spec = spec
        self._version = version
        self._templates: dict[tuple[int, int, str | None, tuple[Output, ...]], bytes] = {}

    def encode(self, query: Query, identity: bytes, outputs: Outputs, start: int, end: int, raw: bool) -> bytes:
        """Write the rows from `start` to `end` of a run as a ModelInferResponse.

        Args:
            identity: The inference id's text.
            raw: Whether the values come as raw contents; an answer comes the way the request came.
        """
        if not raw:
            answer = self._described(end - start, query.length, query.id, query.outputs, identity.decode())
            for output, described in zip(query.outputs, answer.outputs, strict=True):
                values = outputs.rows(output.position, start, end).reshape(-1).tolist()
                if described.datatype == "BYTES":
                    values = [text.encode() for text in values]
                getattr(described.contents, _CONTENTS[described.datatype]).extend(values)
            return bytes(answer.SerializeToString())
        parts = [self._begin(end - start, query, identity)]
        for output in query.outputs:
            array, tensor = outputs.rows(output.position, start, end), self._spec.outputs[output.position]
            content = codec.to_binary(array, tensor.datatype)
            # A message may be continued by the bytes of further fields.
            parts += (_RAW_OUTPUT, _varint(len(content)), content)
        return b"".join(parts)

    def _begin(self, rows: int, query: Query, identity: bytes) -> bytes:
        """The answer's bytes up to its raw contents."""
        if query.id is not None and _ID in query.id:
            # What stands for our id must not be found in the client's.
            described = self._described(rows, query.length, query.id, query.outputs, identity.decode())
            return bytes(described.SerializeToString())
        key = (rows, query.length, query.id, query.outputs)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= _KNOWN:
                self._templates.clear()
            template = self._templates[key] = self._described(*key, _ID).SerializeToString()
        return template.replace(_ID.encode(), identity)

    def _described(
        self, rows: int, length: int, identifier: str | None, outputs: tuple[Output, ...], inference_id: str
    ) -> Any:
        """The answer without its values."""
        answer = pb.ModelInferResponse(
            model_name=self._spec.name, model_version=self._version, id=identifier or inference_id
        )
        answer.parameters["inference_id"].string_param = inference_id
        for output in outputs:
            tensor = self._spec.outputs[output.position]
            answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.sized(rows, length))
        return answer


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _values(tensor: Any, raw: bytes | None, head: TensorHead) -> Array:
    if raw is not None:
        return codec.from_binary(raw, head)
    field = _CONTENTS[head.datatype]
    others = [other.name for other, _ in tensor.contents.ListFields() if other.name != field]
    if others:
        raise invalid(f"input {head.name} is {head.datatype}, yet has {others[0]}")
    values = getattr(tensor.contents, field)
    if head.datatype == "BYTES":
        return codec.to_strings(values, head)
    codec.check_count(values, head)
    return np.array(values, np.float32 if head.datatype == "FP32" else np.int64)
