# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["mlserver==1.7.1", "onnxruntime==1.31.1"]
# ///
"""MLServer with an ONNX model and its adaptive batching, in an environment of its own.

Used by compare.py. Run as: uv run --script peer_mlserver.py MODEL.onnx HTTP_PORT GRPC_PORT
Its versions are in peer_mlserver.py.lock; uv lock --script peer_mlserver.py writes that anew.
"""

import asyncio
import sys

import numpy as np
import onnxruntime as ort
from mlserver import MLModel, MLServer, ModelSettings, Settings  # type: ignore[import-not-found]
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]

_BATCH_ROWS = 64
_BATCH_S = 0.001


class OnnxModel(MLModel):  # type: ignore[misc]
    """One session with one thread, as the other servers have it."""

    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        values = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        outputs = zip(self.session.get_outputs(), self.session.run(None, {"features": values}), strict=True)
        # Each with a column, else its batching cannot tell the rows of one request from another's.
        encoded = [NumpyCodec.encode_output(node.name, array.reshape(-1, 1)) for node, array in outputs]
        return InferenceResponse(model_name=self.name, outputs=encoded)


async def main() -> None:
    http, grpc = map(int, sys.argv[2:4])
    # Without workers of its own: one process, as the other servers are.
    settings = Settings(
        host="127.0.0.1", http_port=http, grpc_port=grpc, metrics_endpoint=None, parallel_workers=0, debug=False
    )
    model = ModelSettings(name="bench", implementation=OnnxModel, max_batch_size=_BATCH_ROWS, max_batch_time=_BATCH_S)
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
