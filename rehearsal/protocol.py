"""Pulumi's protocol of providers: what the engine says, as plain values, to a class with a method for each word."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import empty_pb2, struct_pb2

# The SDK has a copy of its own, which cannot be loaded beside this one.
from google.rpc import status_pb2
from pulumi.runtime import rpc
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from core.errors import FalajError

Values = dict[str, Any]
"""Properties as the engine has them, with the names of the SDK."""
_WRAPPED = {rpc._special_secret_sig, rpc._special_output_value_sig}
VERSION = "99.0.0"
"""Newer than any SDK, so that the engine takes the plugin."""


class ProviderError(FalajError):
    """What was asked of the provider fails, as it would in the cloud; the message is what a person sees."""


class NotFoundError(ProviderError):
    """What is asked for is not there."""


class NotReadyError(ProviderError):
    """A resource was made or changed, and does not become what it is for: `outputs` are what there is of it."""

    def __init__(self, message: str, outputs: Values) -> None:
        super().__init__(message)
        self.outputs = outputs


@dataclass(frozen=True, kw_only=True)
class Made:
    """A resource as it is after a change."""

    id: str
    outputs: Values


@dataclass(frozen=True, kw_only=True)
class Found:
    """A resource as a refresh found it: `inputs` differ from those that were declared where someone changed it."""

    inputs: Values
    outputs: Values


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Properties that change, and those of them that take a new resource."""

    changed: Collection[str]
    replaced: Collection[str] = ()
    delete_first: bool = False


class Provider:
    """What a package does with its resources. Each method gets the type's token, such as `aws:ec2/vpc:Vpc`.

    Attributes:
        constructs: Whether it has components. The engine then wants it to say itself what is secret, which ours
            do not: what a rehearsal's state holds is made up.
    """

    constructs = False

    def configure(self, settings: Mapping[str, str]) -> None:
        """Take the provider's own settings; those that are no text are JSON."""

    def check(self, kind: str, inputs: Values) -> list[str]:
        """What is wrong with the inputs."""
        raise NotImplementedError

    def difference(self, kind: str, before: Values, outputs: Values, inputs: Values) -> Difference:
        """What changing a resource declared by `before` to `inputs` comes to."""
        raise NotImplementedError

    def create(self, kind: str, name: str, inputs: Values) -> Made:
        raise NotImplementedError

    def read(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> Found:
        """Look at a resource.

        Raises:
            NotFoundError: It is gone.
        """
        raise NotImplementedError

    def update(self, kind: str, identifier: str, before: Values, outputs: Values, inputs: Values) -> Values:
        """Change a resource; the new outputs."""
        raise NotImplementedError

    def settle(self, kind: str, outputs: Values, seconds: float) -> Values:  # noqa: ARG002
        """Wait until a resource that was made or changed is ready; its outputs then.

        Args:
            seconds: The resource's own timeout; 0 where it has none.

        Raises:
            NotReadyError: It does not become ready.
        """
        return outputs

    def delete(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> None:
        """Delete a resource; one that is gone already is deleted."""
        raise NotImplementedError

    def construct(self, request: Any) -> provider_pb2.ConstructResponse:
        """Register the children of a component that the provider makes."""
        raise ProviderError(f"there is no component {request.type}")


def decode(struct: struct_pb2.Struct) -> Values:
    """Plain values of a message, secrets in clear; whole numbers become integers."""
    return {key: _decode(value) for key, value in struct.fields.items()}


def _decode(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            found = decode(value.struct_value)
            return found.get("value") if found.get(rpc._special_sig_key) in _WRAPPED else found
        case "list_value":
            return [_decode(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def encode(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """A message of plain values."""
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    """Names of the properties that differ; what is absent and what is null are the same."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


class _Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Turns each call into one of a `Provider`'s, and its errors into the engine's.

    Secrets come in clear: the engine itself keeps what is made of them secret, but for a provider of components.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=self._provider.constructs)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return plugin_pb2.PluginInfo(version=VERSION)

    def Attach(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        differs = changed(decode(request.old_inputs), decode(request.news))
        kind = provider_pb2.DiffResponse.DIFF_SOME if differs else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=kind, diffs=sorted(differs))

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        settings = decode(request.args)
        _guarded(context, lambda: self._provider.configure(settings))
        return provider_pb2.ConfigureResponse(acceptSecrets=self._provider.constructs)

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request.urn)
        wrong = _guarded(context, lambda: self._provider.check(kind, decode(request.news)))
        failures = [provider_pb2.CheckFailure(reason=reason) for reason in wrong]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        before, outputs, inputs = decode(request.old_inputs), decode(request.olds), decode(request.news)
        for name in request.ignoreChanges:
            if name in before:
                inputs[name] = before[name]
            else:
                inputs.pop(name, None)
        found = _guarded(context, lambda: self._provider.difference(_kind(request.urn), before, outputs, inputs))
        some, none = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(
            changes=some if found.changed else none,
            diffs=sorted(found.changed),
            replaces=sorted(found.replaced),
            deleteBeforeReplace=found.delete_first,
        )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind, name = _kind(request.urn), request.urn.rpartition("::")[2]
        made = _guarded(context, lambda: self._provider.create(kind, name, decode(request.properties)))
        outputs = self._settled(context, request, made.id, made.outputs, request.properties)
        return provider_pb2.CreateResponse(id=made.id, properties=encode(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind, inputs, outputs = _kind(request.urn), decode(request.inputs), decode(request.properties)
        try:
            found = self._provider.read(kind, request.id, inputs, outputs)
        except NotFoundError:
            return provider_pb2.ReadResponse()
        except ProviderError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        return provider_pb2.ReadResponse(id=request.id, inputs=encode(found.inputs), properties=encode(found.outputs))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind = _kind(request.urn)
        before, outputs, inputs = decode(request.old_inputs), decode(request.olds), decode(request.news)
        after = _guarded(context, lambda: self._provider.update(kind, request.id, before, outputs, inputs))
        return provider_pb2.UpdateResponse(
            properties=encode(self._settled(context, request, request.id, after, request.news))
        )

    def _settled(
        self, context: Any, request: Any, identifier: str, outputs: Values, inputs: struct_pb2.Struct
    ) -> Values:
        """The outputs once the resource is ready; where it is not, the engine keeps it all the same, as not ready."""
        try:
            return self._provider.settle(_kind(request.urn), outputs, request.timeout)
        except NotReadyError as error:
            found = provider_pb2.ErrorResourceInitFailed(
                id=identifier, properties=encode(error.outputs), reasons=[str(error)], inputs=inputs
            )
            code = grpc.StatusCode.UNKNOWN
            status = status_pb2.Status(code=code.value[0], message=str(error))
            status.details.add().Pack(found)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(code, str(error))
            raise
        except ProviderError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
            raise

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        kind, inputs, outputs = _kind(request.urn), decode(request.old_inputs), decode(request.properties)
        _guarded(context, lambda: self._provider.delete(kind, request.id, inputs, outputs))
        return empty_pb2.Empty()

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: N802
        return _guarded(context, lambda: self._provider.construct(request))


def _kind(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def _guarded(context: Any, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except FalajError as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))


def serve(provider: Provider) -> None:
    """Serve the provider to the engine that started this process, until the engine ends it or ends itself."""
    # More than the engine calls at once: those that wait for pods must not keep those from coming that pods wait for.
    server = grpc.server(futures.ThreadPoolExecutor(64))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(_Servicer(provider), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    engine, ended = os.getppid(), threading.Event()
    with contextlib.suppress(KeyboardInterrupt):
        while os.getppid() == engine:
            # A killed engine ends no plugin; whoever lost its parent ends by itself.
            ended.wait(1)
