"""Sequences by every way in: any valid request gives the graph's numbers, any invalid one a 400 with the reason."""

import http.client
import json
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import httpx
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton_http
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from core.model_spec import ModelSpec
from serving.runtime.codec import Limits
from serving.runtime.errors import RefusedError
from serving.runtime.json_codec import Decoder
from serving.runtime.log import read_log
from tests.serving.conftest import Runtime, running, wait_for
from tests.serving.sequences import (
    LONGEST,
    Request,
    publish,
    raw,
    same,
    sums_request,
    text_request,
    text_spec,
)

TOKENS = 4 * LONGEST
KINDS = {np.dtype(np.int64): "INT64", np.dtype(np.float32): "FP32"}
Way = Callable[[Runtime, str, Request], list[np.ndarray[Any, Any]]]


@pytest.fixture(scope="module")
def runtime(text: Path, sums: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("sequences")
    publish(folder / "models", text)
    publish(folder / "models", sums)
    with running(folder / "models", folder / "log", "--max-batch-tokens", str(TOKENS)) as started:
        yield started


@pytest.fixture(scope="module")
def sessions(text: Path, sums: Path) -> dict[str, ort.InferenceSession]:
    return {"text": raw(text), "sums": raw(sums)}


def heads(request: Request) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(array.shape), "datatype": KINDS[array.dtype]} for name, array in request.items()
    ]


def post(runtime: Runtime, model: str, body: bytes, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", runtime.http_port, timeout=10)
    connection.request("POST", f"/v2/models/{model}/infer", body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


def from_json(answer: tuple[int, Any]) -> list[np.ndarray[Any, Any]]:
    status, document = answer
    assert status == 200, document
    return [np.array(output["data"]).reshape(output["shape"]) for output in document["outputs"]]


def flat(runtime: Runtime, model: str, request: Request) -> list[np.ndarray[Any, Any]]:
    inputs = [head | {"data": request[head["name"]].reshape(-1).tolist()} for head in heads(request)]
    return from_json(post(runtime, model, json.dumps({"inputs": inputs}).encode()))


def nested(runtime: Runtime, model: str, request: Request) -> list[np.ndarray[Any, Any]]:
    inputs = [head | {"data": request[head["name"]].tolist()} for head in heads(request)]
    return from_json(post(runtime, model, json.dumps({"inputs": inputs}).encode()))


def triton(runtime: Runtime, model: str, request: Request) -> list[np.ndarray[Any, Any]]:
    """Binary tensors, both ways."""
    with triton_http.InferenceServerClient(runtime.netloc) as client:
        inputs = []
        for head in heads(request):
            inputs.append(triton_http.InferInput(head["name"], head["shape"], head["datatype"]))
            inputs[-1].set_data_from_numpy(request[head["name"]])
        result = client.infer(model, inputs)
    return [result.as_numpy(output["name"]) for output in result.get_response()["outputs"]]


def grpc_raw(runtime: Runtime, model: str, request: Request) -> list[np.ndarray[Any, Any]]:
    message = pb.ModelInferRequest(model_name=model)
    for head in heads(request):
        message.inputs.add(**head)
        message.raw_input_contents.append(request[head["name"]].tobytes())
    with grpc.insecure_channel(runtime.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=10)
    return [
        np.frombuffer(content, np.float32 if output.datatype == "FP32" else np.int64).reshape(output.shape)
        for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
    ]


def grpc_typed(runtime: Runtime, model: str, request: Request) -> list[np.ndarray[Any, Any]]:
    message = pb.ModelInferRequest(model_name=model)
    for head in heads(request):
        contents = message.inputs.add(**head).contents
        values = contents.fp32_contents if head["datatype"] == "FP32" else contents.int64_contents
        values.extend(request[head["name"]].reshape(-1).tolist())
    with grpc.insecure_channel(runtime.grpc) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=10)
    return [
        np.array(output.contents.fp32_contents or output.contents.int64_contents).reshape(output.shape)
        for output in answer.outputs
    ]


@settings(max_examples=60, deadline=None)
@given(
    way=st.sampled_from([flat, nested, triton, grpc_raw, grpc_typed]),
    model=st.sampled_from(["text", "sums"]),
    rows=st.integers(1, 4),
    length=st.integers(1, LONGEST),
    seed=st.integers(0, 1000),
)
def test_valid_requests_give_the_graphs_numbers(
    runtime: Runtime,
    sessions: dict[str, ort.InferenceSession],
    way: Way,
    model: str,
    rows: int,
    length: int,
    seed: int,
) -> None:
    request = text_request(rows, length, seed) if model == "text" else sums_request(rows, 1 + length % 20, seed)
    same(way(runtime, model, request), sessions[model].run(None, request))


def asked(request: Request, **changes: Any) -> bytes:
    """Flat JSON, with changes to one of its tensors each; None takes it away."""
    inputs = [head | {"data": request[head["name"]].reshape(-1).tolist()} for head in heads(request)]
    kept = [head | (changes.get(head["name"]) or {}) for head in inputs if changes.get(head["name"], {}) is not None]
    return json.dumps({"inputs": kept}).encode()


GOOD = text_request(2, 3, 0)
ONES = [1] * 6
INVALID = {
    "too long": (asked(text_request(1, LONGEST + 1, 0)), "sequences of length 41: 1 to 40 is taken"),
    "of no length": (asked(GOOD, input_ids={"shape": [2, 0], "data": []}), "sequences of length 0"),
    "too many tokens": (asked(text_request(5, 33, 0)), "5 sequences that run at a length of 40: at most 4 such"),
    "no rows": (asked(GOOD, input_ids={"shape": [0, 3], "data": []}), "no rows"),
    "rank": (asked(GOOD, input_ids={"shape": [6]}), "[n, length] is expected"),
    "width": (asked(GOOD, signal={"shape": [2, 2, 3]}), "[n, length, 2] (loudness, pitch) is expected"),
    "ragged": (asked(GOOD, input_ids={"data": [[1, 2], [1, 2, 3, 4]]}), "a row has 2 elements"),
    "ragged measurements": (asked(GOOD, signal={"data": [[[0, 0]] * 3, [[0, 0]] * 2]}), "nested otherwise"),
    "too few": (asked(GOOD, input_ids={"data": ONES[1:]}), "5 elements: shape [2, 3] needs 6"),
    "different lengths": (asked(GOOD, input_ids={"shape": [2, 2], "data": ONES[:4]}), "different lengths: [2, 3, 3]"),
    "different rows": (asked(GOOD, input_ids={"shape": [1, 3], "data": ONES[:3]}), "different numbers of rows"),
    "no mask": (asked(GOOD, attention_mask=None), "attention_mask is missing"),
    "ids of entities": (asked(GOOD, input_ids={"name": "person_id"}), "takes input_ids, attention_mask, signal"),
    "unknown id": (asked(GOOD, input_ids={"data": [*ONES[:5], 50]}), "input_ids in row 1, position 2 is outside 0..49"),
    "negative id": (asked(GOOD, input_ids={"data": [-1, *ONES[:5]]}), "input_ids in row 0, position 0"),
    "a fraction": (asked(GOOD, input_ids={"data": [1.5, *ONES[:5]]}), "not a number of type INT64"),
    "a boolean": (asked(GOOD, input_ids={"data": [True, *ONES[:5]]}), "not a number of type INT64"),
    "beyond 64 bits": (asked(GOOD, input_ids={"data": [1 << 63, *ONES[:5]]}), "not a number of type INT64"),
    "far beyond": (asked(GOOD, input_ids={"data": [1 << 80, *ONES[:5]]}), "not a number of type INT64"),
    "nothing": (asked(GOOD, input_ids={"data": [None, *ONES[:5]]}), "not a number of type INT64"),
    "a mask of twos": (asked(GOOD, attention_mask={"data": [2, *ONES[:5]]}), "attention_mask in row 0, position 0"),
    "a mask of zeros": (asked(GOOD, attention_mask={"data": [1, 1, 1, 0, 0, 0]}), "attention_mask in row 1"),
    "a pitch too high": (asked(GOOD, signal={"data": [0] * 11 + [2]}), "pitch in row 1, position 2 is outside -1..1"),
    "no loudness": (asked(GOOD, signal={"data": [None] + [0] * 11}), "loudness is missing in row 0, position 0"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_requests_are_refused_with_the_reason(runtime: Runtime, name: str) -> None:
    body, reason = INVALID[name]
    status, answer = post(runtime, "text", body)
    assert status == 400
    assert reason in answer["error"]


def test_bytes_that_do_not_fill_a_shape(runtime: Runtime) -> None:
    inputs = [
        head | {"parameters": {"binary_data_size": 40}} for head in heads({"steps": sums_request(1, 6, 0)["steps"]})
    ]
    text = json.dumps({"inputs": inputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    status, answer = post(runtime, "sums", text + struct.pack("<10f", *range(10)), **headers)
    assert status == 400
    assert "40 bytes: shape [1, 6, 2] needs 48" in answer["error"]


SIZES = st.sampled_from([1, 2, 3, 6]) | st.integers(-1, 50)
SHAPES = st.sampled_from([[2, 3], [2, 3, 2], [1, 6], [1, 6, 2]]) | st.lists(SIZES, max_size=4)
VALUES = st.integers(0, 1) | st.integers(-1, 60) | st.floats(0, 1) | st.none()
DATA = st.integers(0, 13).flatmap(lambda count: st.lists(VALUES, min_size=count, max_size=count))
TABLE = st.lists(st.lists(VALUES, min_size=3, max_size=4), min_size=2, max_size=2)


@settings(max_examples=200, deadline=None)
@given(inputs=st.fixed_dictionaries({name: st.none() | st.tuples(SHAPES, DATA | TABLE) for name in GOOD}))
def test_any_request_is_decoded_or_refused(inputs: dict[str, tuple[Any, Any] | None]) -> None:
    decoder = Decoder(ModelSpec.model_validate(text_spec()), Limits(8, TOKENS))
    changes = {name: dict(zip(("shape", "data"), change, strict=True)) for name, change in inputs.items() if change}
    try:
        query, arrays = decoder.decode(asked(GOOD, **changes), None)
        found = [len(array) for array in arrays]
        wanted = [query.rows * query.length * width for width in (1, 1, 2)]
    except RefusedError as refused:
        found, wanted = [refused.status], [400]
    assert found == wanted


def test_metadata_and_metrics(runtime: Runtime) -> None:
    flat(runtime, "text", text_request(1, 5, 0))
    metadata = httpx.get(f"{runtime.url}/v2/models/text").json()
    assert [tensor["shape"] for tensor in metadata["inputs"]] == [[-1, -1], [-1, -1], [-1, -1, 2]]
    assert [tensor["shape"] for tensor in metadata["outputs"]] == [[-1], [-1, -1, 3], [-1, -1]]
    assert metadata["parameters"]["max_length"] == LONGEST
    metrics = httpx.get(f"{runtime.url}/metrics").text
    assert 'falaj_inference_tokens_total{model="text",version="1"}' in metrics
    assert 'falaj_inference_padded_tokens_total{model="text",version="1"}' in metrics


def test_triton_grpc(runtime: Runtime, sums: Path) -> None:
    # In a process of its own: its protocol buffers and KServe's claim the same names.
    script = Path(__file__).with_name("triton_grpc_sequences.py")
    result = subprocess.run([sys.executable, script, runtime.grpc], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_killed_process_leaves_its_sequences_to_the_next(sums: Path, tmp_path: Path) -> None:
    publish(tmp_path / "models", sums)
    request = sums_request(2, 7, 0)
    body = asked(request)
    ids = [str(uuid4()) for _ in range(3)]
    with running(tmp_path / "models", tmp_path / "log", "--log-rotate-seconds", "3600") as runtime:
        for identity in ids:
            assert post(runtime, "sums", body, **{"x-request-id": identity})[0] == 200
        runtime.stop(signal.SIGKILL)

    def check() -> None:
        logged = read_log(tmp_path / "log", "sums").to_pylist()
        assert [row["inference_id"] for row in logged] == [identity for identity in ids for _ in range(2)]
        for row in logged:
            steps = request["steps"][row["row"]].T.tolist()
            assert [row["steps_0"], row["steps_1"]] == steps
            assert [row["running_0"], row["running_1"]] == np.cumsum(steps, 1).tolist()
            assert [row["total_0"], row["total_1"]] == np.sum(steps, 1).tolist()

    check()
    with running(tmp_path / "models", tmp_path / "log") as runtime:
        wait_for(lambda: not list((tmp_path / "log").glob("sums/_journal/*")), runtime)
    assert list((tmp_path / "log").glob("sums/date=*/*.parquet"))
    check()
