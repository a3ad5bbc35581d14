"""A resource provider that takes everything and knows nothing: for previews without a cloud.

`python -m tests.policies.provider` serves it to the engine, as whichever package the engine asks for.
"""

import signal
import sys
from concurrent import futures

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Checks nothing, differs in nothing, creates what it is given."""

    def Handshake(self, _request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return provider_pb2.ProviderHandshakeResponse()

    def CheckConfig(self, request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, _request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, _request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptResources=True)

    def Check(self, request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, _request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Create(self, request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return provider_pb2.CreateResponse(id="" if request.preview else "id", properties=request.properties)

    def GetPluginInfo(self, _request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return plugin_pb2.PluginInfo(version="99.0.0")

    def Attach(self, _request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return empty_pb2.Empty()

    def Cancel(self, _request, _context):  # type: ignore[no-untyped-def]  # noqa: N802
        return empty_pb2.Empty()


def main() -> None:
    """Serve until the engine says that it is enough."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    server = grpc.server(futures.ThreadPoolExecutor(4))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.stop(None)


if __name__ == "__main__":
    main()
