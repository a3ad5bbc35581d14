"""The stock KServe server with an ONNX model: what KServe's documentation shows, and no more.

Used by compare.py. Run as: python stock.py MODEL.onnx PORT
"""

import sys

import kserve
import numpy as np
import onnxruntime as ort
from kserve.protocol.rest import server as rest

path, port = sys.argv[1:3]
sys.argv[1:] = ["--http_port", port, "--enable_grpc", "false"]
# KServe listens on every address of the machine; a benchmark has no reason to.
_uvicorn_config = rest.uvicorn.Config
rest.uvicorn.Config = lambda *arguments, **settings: _uvicorn_config(*arguments, **settings | {"host": "127.0.0.1"})


class OnnxModel(kserve.Model):  # type: ignore[misc]
    """One session with one thread, as the other servers have it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True

    async def predict(
        self,
        payload: kserve.InferRequest,
        headers: dict[str, str] | None = None,  # noqa: ARG002 - KServe passes them
    ) -> kserve.InferResponse:
        values = payload.inputs[0].as_numpy().astype(np.float32, copy=False)
        outputs = []
        for node, array in zip(self.session.get_outputs(), self.session.run(None, {"features": values}), strict=True):
            datatype = "FP32" if array.dtype == np.float32 else "INT64"
            outputs.append(kserve.InferOutput(node.name, list(array.shape), datatype))
            outputs[-1].set_data_from_numpy(array, binary_data=False)
        return kserve.InferResponse(payload.id or "0", self.name, outputs)


if __name__ == "__main__":
    kserve.ModelServer(http_port=int(port), enable_grpc=False).start([OnnxModel("bench")])
