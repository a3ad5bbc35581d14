"""gRPC: the Open Inference Protocol's service, on the same queues as REST."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from serving.runtime.batching import Job
from serving.runtime.codec import Query
from serving.runtime.errors import RefusedError
from serving.runtime.http2 import Call
from serving.runtime.identity import identity
from serving.runtime.metrics import Metrics
from serving.runtime.outputs import Outputs
from serving.runtime.proto_codec import Question, parse
from serving.runtime.repository import Extension, Plane
from serving.runtime.version import Version

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_PREFIX = f"/{_SERVICE.full_name}/"
_INFER = f"{_PREFIX}ModelInfer"
_TRITON_MODEL_NAME = 2
_UNIMPLEMENTED = 12
_INTERNAL = 13
_KNOWN = 512

logger = logging.getLogger("falaj.rpc")


class Service:
    """KServe's service. Its own servicer knows no versions, and fails on repository calls and not-ready errors."""

    def __init__(self, plane: Plane, extension: Extension, metrics: Metrics) -> None:
        self._plane = plane
        self._extension = extension
        self._metrics = metrics
        self._known: dict[int, tuple[Question, Version]] = {}
        """The last request of each length, see `Question`, and the version that it was for."""
        self._tasks: set[asyncio.Task[None]] = set()
        methods: tuple[Callable[[Any], Awaitable[Any]], ...] = (
            *(self._server_live, self._server_ready, self._server_metadata, self._model_ready),
            *(self._model_metadata, self._repository_model_load, self._repository_model_unload),
        )
        requests = {f"{_PREFIX}{method.name}": GetMessageClass(method.input_type) for method in _SERVICE.methods}
        self._methods = {
            path: (request, method)
            for path, request in requests.items()
            for method in methods
            if method.__name__.replace("_", "") == path.removeprefix(_PREFIX).lower()
        }

    def answer(self, call: Call, message: bytes) -> None:
        """Answer a call, now or later on the event loop."""
        if call.head.path == _INFER:
            self._infer(call, message)
            return
        found = self._methods.get(call.head.path)
        if found is None:
            call.refuse(_UNIMPLEMENTED, "the runtime has no such method")
            return
        task = asyncio.get_running_loop().create_task(self._run(call, message, *found))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, call: Call, message: bytes, kind: Any, method: Callable[[Any], Awaitable[Any]]) -> None:
        try:
            answer = await method(parse(kind, message))
            call.respond(answer.SerializeToString(), None)
        except RefusedError as refused:
            call.refuse(refused.grpc_code, refused.reason)
        except Exception:
            logger.exception("%s failed", call.head.path)
            call.refuse(_INTERNAL, "the call failed: see the runtime's log")

    def _infer(self, call: Call, message: bytes) -> None:
        version: Version | None = None
        try:
            question, asked = self._known.get(len(message), (None, None))
            if question is not None and question.fits(message):
                version = self._plane.repository.version(question.model, question.number)
            if question is not None and version is not None and version is asked:
                version.batcher.check_room(1)
                query, arrays, raw = question.query, question.arrays(message), True
            else:
                request = parse(pb.ModelInferRequest, message)
                version = self._plane.repository.version(request.model_name, request.model_version)
                query, arrays = version.grpc_decoder.decode(request)
                raw = bool(request.raw_input_contents)
                self._learn(message, request, version)
            version.submit(query, arrays, _Inference(call, version, query, raw, self._metrics))
        except RefusedError as refused:
            self._refused(version, refused.status)
            call.refuse(refused.grpc_code, refused.reason)
        except Exception:
            logger.exception("an inference call failed")
            self._refused(version, 500)
            call.refuse(_INTERNAL, "the inference failed: see the runtime's log")

    def _learn(self, message: bytes, request: Any, version: Version) -> None:
        question = version.grpc_decoder.learn(message, request)
        if question is not None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[len(message)] = (question, version)

    def _refused(self, version: Version | None, status: int) -> None:
        self._metrics.refused(
            "" if version is None else version.model.name, "" if version is None else version.label, status
        )

    async def _server_live(self, request: Any) -> Any:  # noqa: ARG002
        return pb.ServerLiveResponse(live=True)

    async def _server_ready(self, request: Any) -> Any:  # noqa: ARG002
        return pb.ServerReadyResponse(ready=await self._plane.ready())

    async def _server_metadata(self, request: Any) -> Any:  # noqa: ARG002
        return pb.ServerMetadataResponse(**self._plane.metadata())

    async def _model_ready(self, request: Any) -> Any:
        return pb.ModelReadyResponse(ready=await self._plane.model_ready(request.name, version=request.version))

    async def _model_metadata(self, request: Any) -> Any:
        metadata = await self._plane.model_metadata(request.name, request.version)
        # Its messages have no place for them.
        for described in (metadata, *metadata["inputs"], *metadata["outputs"]):
            described.pop("parameters", None)
        return pb.ModelMetadataResponse(**metadata)

    async def _repository_model_load(self, request: Any) -> Any:
        name = _model_name(request)
        await self._extension.load(name)
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def _repository_model_unload(self, request: Any) -> Any:
        name = _model_name(request)
        try:
            self._plane.repository.unload(name)
        except KeyError:
            raise RefusedError(404, "no model of that name is loaded") from None
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)


class _Inference(Job):
    """An inference call in the queue, and then its answer."""

    __slots__ = ("_call", "_metrics", "_query", "_raw", "_version")

    def __init__(self, call: Call, version: Version, query: Query, raw: bool, metrics: Metrics) -> None:
        self._call = call
        self._version = version
        self._query = query
        self._raw = raw
        self._metrics = metrics
        self.started = call.started
        self.identity = identity(call.head.request_id)

    @property
    def deadline(self) -> float:  # type: ignore[override]
        """It moves to the past when the client takes the call back."""
        return self._call.deadline

    def done(self, outputs: Outputs | RefusedError, start: int, end: int) -> None:
        if isinstance(outputs, RefusedError):
            self._metrics.refused(self._version.model.name, self._version.label, outputs.status)
            self._call.refuse(outputs.grpc_code, outputs.reason)
            return
        text = self.identity[1]
        answer = self._version.grpc_encoder.encode(self._query, text, outputs, start, end, self._raw)
        self._call.respond(answer, text)


def _model_name(request: Any) -> str:
    """KServe's messages have the name in field 1; Triton's have it in field 2, which KServe's do not know."""
    for field in UnknownFieldSet(request):
        if field.field_number == _TRITON_MODEL_NAME and isinstance(field.data, bytes):
            return field.data.decode(errors="replace")
    return str(request.model_name)
