"""Triton's gRPC client against a runtime that serves running sums; test_sequences_served.py runs it."""

import sys

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

with triton.InferenceServerClient(sys.argv[1]) as client:
    metadata = client.get_model_metadata("sums")
    assert list(metadata.inputs[0].shape) == [-1, -1, 2]
    assert list(metadata.outputs[0].shape) == [-1, -1, 2]
    for length in (1, 3, 3, 20):
        steps = np.arange(4 * length, dtype=np.float32).reshape(2, length, 2)
        tensor = triton.InferInput("steps", steps.shape, "FP32")
        tensor.set_data_from_numpy(steps)
        result = client.infer("sums", [tensor])
        np.testing.assert_array_equal(result.as_numpy("running"), np.cumsum(steps, 1))
        np.testing.assert_array_equal(result.as_numpy("total"), steps.sum(1))
    long = triton.InferInput("steps", [1, 21, 2], "FP32")
    long.set_data_from_numpy(np.zeros((1, 21, 2), np.float32))
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*length 21: 1 to 20 is taken"):
        client.infer("sums", [long])
