"""A grpc.aio server that parses a request and answers it with what it was given beforehand: what grpcio itself costs.

Used by compare.py. Run as: python bare_grpc.py PORT
"""

import sys
from typing import Any

import grpc
import uvloop
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

ANSWER = pb.ModelInferResponse(model_name="bench", model_version="1", id="0", raw_output_contents=[bytes(4), bytes(8)])


class Bare(GRPCInferenceServiceServicer):  # type: ignore[misc]
    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return pb.ServerReadyResponse(ready=True)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return ANSWER


async def main() -> None:
    server = grpc.aio.server()
    add_GRPCInferenceServiceServicer_to_server(Bare(), server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
