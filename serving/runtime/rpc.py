"""gRPC: the Open Inference Protocol's service, on the same queues as REST."""

import logging
from typing import Any

import grpc
import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from core.errors import ConfigError
from core.model_spec import ModelSpec
from serving.runtime import codec
from serving.runtime.codec import Query, TensorHead
from serving.runtime.errors import RefusedError, invalid
from serving.runtime.identity import identity
from serving.runtime.metrics import Metrics
from serving.runtime.model import Array, Arrays
from serving.runtime.repository import Extension, Plane
from serving.runtime.version import Version

_TRITON_MODEL_NAME = 2
_CONTENTS = {"FP32": "fp32_contents", "INT64": "int64_contents", "BYTES": "bytes_contents"}
_Context = Any  # grpcio carries no types

logger = logging.getLogger("falaj.rpc")


class Servicer(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """KServe's own servicer knows no versions, and fails on repository calls and on not-ready errors."""

    def __init__(self, plane: Plane, extension: Extension, metrics: Metrics, max_rows: int) -> None:
        self._plane = plane
        self._extension = extension
        self._metrics = metrics
        self._max_rows = max_rows

    async def ServerLive(self, request: Any, context: _Context) -> Any:  # noqa: N802, ARG002
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: _Context) -> Any:  # noqa: N802, ARG002
        return pb.ServerReadyResponse(ready=await self._plane.ready())

    async def ServerMetadata(self, request: Any, context: _Context) -> Any:  # noqa: N802, ARG002
        return pb.ServerMetadataResponse(**self._plane.metadata())

    async def ModelReady(self, request: Any, context: _Context) -> Any:  # noqa: N802
        try:
            return pb.ModelReadyResponse(ready=await self._plane.model_ready(request.name, version=request.version))
        except RefusedError as refused:
            await context.abort(refused.code, refused.reason)

    async def ModelMetadata(self, request: Any, context: _Context) -> Any:  # noqa: N802
        try:
            metadata = await self._plane.model_metadata(request.name, request.version)
        except RefusedError as refused:
            await context.abort(refused.code, refused.reason)
        for tensor in (*metadata["inputs"], *metadata["outputs"]):
            tensor.pop("parameters", None)
        return pb.ModelMetadataResponse(**metadata)

    async def RepositoryModelLoad(self, request: Any, context: _Context) -> Any:  # noqa: N802
        name = _model_name(request)
        try:
            await self._extension.load(name)
        except RefusedError as refused:
            await context.abort(refused.code, refused.reason)
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def RepositoryModelUnload(self, request: Any, context: _Context) -> Any:  # noqa: N802
        name = _model_name(request)
        try:
            self._plane.repository.unload(name)
        except KeyError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no model of that name is loaded")
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)

    async def ModelInfer(self, request: Any, context: _Context) -> Any:  # noqa: N802
        metadata = dict(context.invocation_metadata() or ())
        given = metadata.get("x-request-id")
        own = identity(given.encode() if isinstance(given, str) else None)
        label = ("", "")
        try:
            version = self._plane.repository.version(request.model_name, request.model_version)
            label = (request.model_name, version.label)
            query, arrays = _decode(request, version.model.spec, self._max_rows)
            outputs = await version.infer(query, arrays, own)
        except RefusedError as refused:
            self._metrics.refused(*label, refused.status)
            await context.abort(refused.code, refused.reason)
        except Exception:
            logger.exception("an inference of %s failed", label[0] or "an unknown model")
            self._metrics.refused(*label, 500)
            await context.abort(grpc.StatusCode.INTERNAL, "the inference failed: see the runtime's log")
        text = own[1].decode()
        context.set_trailing_metadata((("x-request-id", text),))
        return _encode(version, query, text, outputs, bool(request.raw_input_contents))


def create_server(servicer: Servicer, host: str, port: int, max_message_bytes: int) -> grpc.aio.Server:
    """A server that listens, once it is started, on `host` alone.

    Raises:
        ConfigError: The port is taken.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", 32 << 10),
            # With it two runtimes would share a port in silence.
            ("grpc.so_reuseport", 0),
        ]
    )
    add_GRPCInferenceServiceServicer_to_server(servicer, server)
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise ConfigError(f"port {port} of {host} cannot be listened on: change --grpc-port") from error
    return server


def _model_name(request: Any) -> str:
    """KServe's messages have the name in field 1; Triton's have it in field 2, which KServe's do not know."""
    for field in UnknownFieldSet(request):
        if field.field_number == _TRITON_MODEL_NAME and isinstance(field.data, bytes):
            return field.data.decode(errors="replace")
    return str(request.model_name)


def _decode(request: Any, spec: ModelSpec, max_rows: int) -> tuple[Query, list[Array]]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise invalid(f"there are {len(request.inputs)} inputs and {len(raw)} raw_input_contents")
    heads = [
        codec.check_tensor(tensor.name, tensor.datatype, tensor.shape, spec, max_rows) for tensor in request.inputs
    ]
    wanted = [(output.name, None) for output in request.outputs]
    query = codec.query(heads, wanted, spec, identifier=request.id or None, binary=True)
    return query, [
        _values(request.inputs[position], raw[position] if raw else None, heads[position]) for position in query.order
    ]


def _values(tensor: Any, raw: bytes | None, head: TensorHead) -> Array:
    if raw is not None:
        if tensor.HasField("contents"):
            raise invalid(f"input {head.name} has both contents and raw_input_contents")
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


def _encode(version: Version, query: Query, inference_id: str, outputs: Arrays, raw: bool) -> Any:
    """The answer comes the way the request came: raw contents for raw, typed for typed."""
    answer = pb.ModelInferResponse(
        model_name=version.model.name, model_version=version.label, id=query.id or inference_id
    )
    answer.parameters["inference_id"].string_param = inference_id
    for output in query.outputs:
        tensor, array = version.model.spec.outputs[output.position], outputs[output.position]
        described = answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
        if raw:
            answer.raw_output_contents.append(codec.to_binary(array, tensor.datatype))
        else:
            values = array.reshape(-1).tolist()
            if tensor.datatype == "BYTES":
                values = [text.encode() for text in values]
            getattr(described.contents, _CONTENTS[tensor.datatype]).extend(values)
    return answer
