"""Other people's clients against the runtime."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.http as triton_http
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from tritonclient.utils import InferenceServerException

from tests.serving.conftest import COLUMNS, Runtime, expected

ROWS = np.array([[40, 12, 1000], [20, 5, np.nan]], np.float32)


@pytest.mark.parametrize("binary_input", [False, True])
@pytest.mark.parametrize("binary_output", [False, True])
def test_triton_http(served: Runtime, binary_input: bool, binary_output: bool) -> None:
    rows = np.nan_to_num(ROWS)  # its JSON writer has no null
    with triton_http.InferenceServerClient(served.netloc) as client:
        tensor = triton_http.InferInput("features", rows.shape, "FP32")
        tensor.set_data_from_numpy(rows, binary_data=binary_input)
        outputs = [
            triton_http.InferRequestedOutput(name, binary_data=binary_output) for name in ("label", "probability")
        ]
        result = client.infer("jobs", [tensor], outputs=outputs, request_id="mine")
    answer = result.get_response()
    assert [output["name"] for output in answer["outputs"]] == ["label", "probability"]
    assert (answer["model_version"], answer["id"]) == ("2", "mine")
    assert UUID(answer["parameters"]["inference_id"])
    np.testing.assert_allclose(result.as_numpy("probability"), expected(rows), rtol=1e-5)
    assert result.as_numpy("label").tolist() == (expected(rows) > 0.5).astype(int).tolist()


def test_triton_http_surroundings(served: Runtime) -> None:
    with triton_http.InferenceServerClient(served.netloc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("jobs")
        assert client.is_model_ready("jobs", "1")
        assert not client.is_model_ready("jobs", "7")
        assert not client.is_model_ready("nothing")
        assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
        metadata = client.get_model_metadata("jobs")
        assert metadata["versions"] == ["2", "1"]
        assert metadata["inputs"][0]["shape"] == [-1, 3]
        assert metadata["inputs"][0]["parameters"]["columns"] == ",".join(COLUMNS)
        index = {(entry["name"], entry["version"]) for entry in client.get_model_repository_index()}
        assert index == {("areas", "1"), ("jobs", "1"), ("jobs", "2")}
        client.load_model("jobs")
        with pytest.raises(InferenceServerException, match="no live version"):
            client.load_model("nothing")


def test_triton_http_strings(served: Runtime) -> None:
    with triton_http.InferenceServerClient(served.netloc) as client:
        for binary in (False, True):
            numbers = triton_http.InferInput("features", [2, 3], "FP32")
            numbers.set_data_from_numpy(np.nan_to_num(ROWS), binary_data=binary)
            texts = triton_http.InferInput("text_features", [2, 1], "BYTES")
            texts.set_data_from_numpy(np.array([["north"], ["south"]], object), binary_data=binary)
            result = client.infer("areas", [numbers, texts])
            score = np.log(expected(ROWS) / (1 - expected(ROWS))) + np.array([0.5, -0.5])
            np.testing.assert_allclose(result.as_numpy("probability"), 1 / (1 + np.exp(-score)), rtol=1e-5)


def test_triton_grpc(served: Runtime) -> None:
    # In a process of its own: its protocol buffers and KServe's claim the same names.
    script = Path(__file__).with_name("triton_grpc_client.py")
    result = subprocess.run([sys.executable, script, served.grpc], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_grpc_typed_contents(served: Runtime) -> None:
    request = pb.ModelInferRequest(model_name="areas")
    numbers = request.inputs.add(name="features", datatype="FP32", shape=[1, 3])
    numbers.contents.fp32_contents.extend([40, 12, 1000])
    texts = request.inputs.add(name="text_features", datatype="BYTES", shape=[1, 1])
    texts.contents.bytes_contents.append(b"north")
    with grpc.insecure_channel(served.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer, call = stub.ModelInfer.with_call(request, timeout=5)
        assert UUID(dict(call.trailing_metadata())["x-request-id"])
        outputs = {output.name: output.contents for output in answer.outputs}
        score = np.log(expected(ROWS[:1]) / (1 - expected(ROWS[:1]))) + 0.5
        assert outputs["probability"].fp32_contents[0] == pytest.approx(float(1 / (1 + np.exp(-score[0]))), rel=1e-5)
        assert outputs["label"].int64_contents[0] == 1
        numbers.contents.int64_contents.append(1)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request, timeout=5)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_kserve_rest_client(served: Runtime) -> None:
    async def ask() -> tuple[Any, ...]:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        tensor = InferInput("features", [2, 3], "FP32")
        tensor.set_data_from_numpy(np.nan_to_num(ROWS), binary_data=True)
        binary = await client.infer(served.url, InferRequest("jobs", [tensor]), model_name="jobs")
        tensor.set_data_from_numpy(np.nan_to_num(ROWS), binary_data=False)
        plain = await client.infer(served.url, InferRequest("jobs", [tensor]), model_name="jobs")
        ready = await client.is_server_ready(served.url), await client.is_model_ready(served.url, "jobs")
        await client.close()
        return binary, plain, *ready

    binary, plain, server_ready, model_ready = asyncio.run(ask())
    assert server_ready
    assert model_ready
    for answer in (binary, plain):
        np.testing.assert_allclose(answer.outputs[0].as_numpy(), expected(ROWS), rtol=1e-5)


def test_kserve_grpc_client(served: Runtime) -> None:
    async def ask() -> tuple[Any, ...]:
        client = InferenceGRPCClient(served.grpc)
        tensor = InferInput("features", [2, 3], "FP32")
        tensor.set_data_from_numpy(ROWS)
        answer = await client.infer(InferRequest("jobs", [tensor]))
        ready = await client.is_server_ready(), await client.is_server_live(), await client.is_model_ready("jobs")
        await client.close()
        return answer, *ready

    answer, *ready = asyncio.run(ask())
    assert ready == [True, True, True]
    np.testing.assert_allclose(answer.outputs[0].as_numpy(), expected(ROWS), rtol=1e-5)


def test_v1_predict(served: Runtime) -> None:
    url = f"{served.url}/v1/models/jobs:predict"
    answer = httpx.post(url, json={"instances": [[40, 12, 1000], [20, 5, None]]})
    np.testing.assert_allclose([row["probability"] for row in answer.json()["predictions"]], expected(ROWS), rtol=1e-5)
    for wrong in ({"instances": [[1]]}, {"instances": [[1, 2, "a"]]}, {"instances": 1}, {}):
        assert httpx.post(url, json=wrong).status_code == 400
    assert httpx.post(f"{served.url}/v1/models/nothing:predict", json={}).status_code == 404


def test_metrics_and_columns(served: Runtime) -> None:
    text = httpx.get(f"{served.url}/metrics").text
    assert 'falaj_model_live_version{model="jobs"} 2.0' in text
    for name in ("requests_total", "seconds_bucket", "batch_rows_bucket"):
        assert f"falaj_inference_{name}" in text
    assert "falaj_log_lag_seconds" in text
