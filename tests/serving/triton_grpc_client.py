"""Triton's gRPC client against a runtime that serves versions 1 and 2 of jobs; test_conformance.py runs it."""

import sys
from uuid import uuid4

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ROWS = np.array([[40, 12, 1000], [20, 5, np.nan]], np.float32)


def expected(bias: float) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.nan_to_num(ROWS).astype(np.float64) @ [0.05, -0.1, 1e-5] + bias)))


identity = str(uuid4())
with triton.InferenceServerClient(sys.argv[1]) as client:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("jobs", "1")
    assert list(client.get_model_metadata("jobs").versions) == ["2", "1"]
    assert client.get_model_metadata("jobs", "1").inputs[0].datatype == "FP32"
    tensor = triton.InferInput("features", [2, 3], "FP32")
    tensor.set_data_from_numpy(ROWS)
    result = client.infer("jobs", [tensor], request_id="mine", headers={"x-request-id": identity})
    np.testing.assert_allclose(result.as_numpy("probability"), expected(0), rtol=1e-5)
    response = result.get_response()
    assert (response.model_version, response.id) == ("2", "mine")
    assert response.parameters["inference_id"].string_param == identity
    old = client.infer("jobs", [tensor], model_version="1", outputs=[triton.InferRequestedOutput("probability")])
    np.testing.assert_allclose(old.as_numpy("probability"), expected(0.5), rtol=1e-5)
    assert old.as_numpy("label") is None
    client.load_model("jobs")
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.infer("nothing", [tensor])
    with pytest.raises(InferenceServerException, match="NOT_FOUND"):
        client.load_model("nothing")
    wrong = triton.InferInput("features", [2, 2], "FP32")
    wrong.set_data_from_numpy(ROWS[:, :2])
    with pytest.raises(InferenceServerException, match=r"INVALID_ARGUMENT.*AGEP, SCHL, WAGE"):
        client.infer("jobs", [wrong])
