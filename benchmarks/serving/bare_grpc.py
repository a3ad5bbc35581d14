"""A grpc.aio server that parses a request and answers it: what grpcio itself costs.

It answers with what it was given beforehand, or, with a model, with what that gives, a run for each request.

Used by compare.py. Run as: python bare_grpc.py PORT [MODEL.onnx]
"""

import sys
from typing import Any

import grpc
import numpy as np
import onnxruntime as ort
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


class WithModel(Bare):
    """One session with one thread, as the other servers have it; it checks and counts nothing."""

    def __init__(self, path: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        values = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(request.inputs[0].shape)
        arrays = self.session.run(None, {"features": values})
        return pb.ModelInferResponse(
            model_name="bench",
            model_version="1",
            id="0",
            outputs=[
                pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=array.shape)
                for name, datatype, array in zip(("probability", "label"), ("FP32", "INT64"), arrays, strict=True)
            ],
            raw_output_contents=[array.tobytes() for array in arrays],
        )


async def main() -> None:
    server = grpc.aio.server()
    add_GRPCInferenceServiceServicer_to_server(WithModel(sys.argv[2]) if sys.argv[2:] else Bare(), server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
