"""Any valid request gives the graph's numbers; any invalid one a 4xx with the reason."""

import http.client
import json
import socket
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.conftest import Runtime, expected

ROW = st.tuples(
    st.floats(0, 99, width=32),
    st.floats(0, 24, width=32),
    st.none() | st.floats(0, 1e6, width=32),
)


def post(
    served: Runtime, body: bytes, path: str = "/v2/models/jobs/infer", **headers: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", served.http_port, timeout=10)
    connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content), {name.lower(): value for name, value in response.getheaders()}


def tensor(rows: Any, **changes: Any) -> dict[str, Any]:
    values = [value for row in rows for value in row]
    return {"name": "features", "shape": [len(rows), 3], "datatype": "FP32", "data": values} | changes


def request(*tensors: Any, **fields: Any) -> bytes:
    return json.dumps({"inputs": list(tensors)} | fields).encode()


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=70), nested=st.booleans(), binary=st.booleans(), version=st.booleans())
def test_valid_requests_give_the_graphs_numbers(
    served: Runtime, rows: list[Any], nested: bool, binary: bool, version: bool
) -> None:
    path = "/v2/models/jobs/versions/1/infer" if version else "/v2/models/jobs/infer"
    if binary:
        data = np.array([[np.nan if value is None else value for value in row] for row in rows], "<f4").tobytes()
        described = tensor(rows, parameters={"binary_data_size": len(data)})
        del described["data"]
        text = request(described)
        status, answer, _ = post(served, text + data, path, Inference_Header_Content_Length=str(len(text)))
    else:
        status, answer, _ = post(served, request(tensor(rows, **({"data": rows} if nested else {}))), path)
    assert status == 200
    assert answer["model_version"] == ("1" if version else "2")
    filled = [[value or 0 for value in row] for row in rows]
    np.testing.assert_allclose(
        answer["outputs"][0]["data"], expected(filled, 0.5 if version else 0), rtol=1e-4, atol=1e-7
    )
    assert answer["outputs"][0]["shape"] == [len(rows)]


GOOD = [[40.0, 12.0, 1000.0]]
INVALID = {
    "not JSON": (b"{", "not JSON"),
    "empty": (b"", "not JSON"),
    "not UTF-8": (b'{"inputs": [{"name": "\xff"}]}', "not JSON"),
    "NaN is not JSON": (request(tensor(GOOD)).replace(b"40.0", b"NaN"), "not JSON"),
    "number beyond double": (request(tensor(GOOD)).replace(b"40.0", b"1e999"), "not JSON"),
    "number beyond float": (request(tensor(GOOD)).replace(b"40.0", b"1e300"), "AGEP in row 0"),
    "a list": (b"[]", "not a JSON object"),
    "no inputs": (b"{}", "inputs"),
    "inputs empty": (b'{"inputs": []}', "inputs"),
    "inputs a number": (b'{"inputs": 1}', "inputs"),
    "input a number": (b'{"inputs": [1]}', "not an inference request"),
    "no name": (b'{"inputs": [{"shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}', "not an inference request"),
    "name a number": (request(tensor(GOOD, name=1)), "not a string"),
    "unknown name": (request(tensor(GOOD, name="x")), "input x is unknown: jobs takes features"),
    "twice": (request(tensor(GOOD), tensor(GOOD)), "twice"),
    "wrong datatype": (request(tensor(GOOD, datatype="INT64")), "FP32 is expected"),
    "datatype a list": (request(tensor(GOOD, datatype=[])), "FP32 is expected"),
    "too narrow": (request(tensor(GOOD, shape=[1, 2], data=[1, 2])), "(AGEP, SCHL, WAGE) is expected"),
    "rank": (request(tensor(GOOD, shape=[3])), "is expected"),
    "shape and data differ": (request(tensor(GOOD, shape=[2, 3])), "3 elements: shape [2, 3] needs 6"),
    "negative shape": (request(tensor(GOOD, shape=[-1, 3])), "not a list of sizes"),
    "shape of strings": (request(tensor(GOOD, shape=["1", 3])), "not a list of sizes"),
    "shape of bools": (request(tensor(GOOD, shape=[True, 3])), "not a list of sizes"),
    "shape a number": (request(tensor(GOOD, shape=3)), "not an inference request"),
    "no rows": (request(tensor(GOOD, shape=[0, 3], data=[])), "no rows"),
    "too many rows": (request(tensor(GOOD * 1025)), "at most 1024"),
    "ragged": (request(tensor(GOOD, shape=[2, 3], data=[[1, 2], [3, 4, 5, 6]])), "needs 3"),
    "transposed": (request(tensor(GOOD, shape=[2, 3], data=[[1, 2], [3, 4], [5, 6]])), "otherwise than shape"),
    "mixed nesting": (request(tensor(GOOD, data=[1, 2, [3]])), "mixes"),
    "too deep": (request(tensor(GOOD, data=[[[1, 2, 3]]])), "row has 1 elements"),
    "a string": (request(tensor(GOOD, data=[1, 2, "3"])), "not a number"),
    "a boolean": (request(tensor(GOOD, data=[1, 2, True])), "not a number"),
    "an object": (request(tensor(GOOD, data=[1, 2, {}])), "not a number"),
    "data a string": (request(tensor(GOOD, data="abc")), "not a list"),
    "no data": (request({"name": "features", "shape": [1, 3], "datatype": "FP32"}), "neither data"),
    "missing value": (request(tensor([[None, 1, 1]])), "AGEP is missing in row 0"),
    "above the range": (request(tensor([*GOOD, [40, 25, 1]])), "SCHL in row 1 is outside 0..24"),
    "below the range": (request(tensor([[-1, 1, 1]])), "AGEP in row 0 is outside 0..99"),
    "unknown output": (request(tensor(GOOD), outputs=[{"name": "x"}]), "output x is unknown"),
    "output twice": (request(tensor(GOOD), outputs=[{"name": "label"}] * 2), "twice"),
    "outputs a number": (request(tensor(GOOD), outputs=1), "not an inference request"),
    "output a number": (request(tensor(GOOD), outputs=[1]), "not an inference request"),
    "id a number": (request(tensor(GOOD), id=1), "id is not a string"),
    "parameters a list": (request(tensor(GOOD), parameters=[]), "not an inference request"),
    "ids and features": (
        request(tensor(GOOD), {"name": "person_id", "shape": [1], "datatype": "BYTES", "data": ["a"]}),
        "stands alone",
    ),
    "huge integer": (request(tensor(GOOD, data=[1, 10**30, 2])), "SCHL in row 0"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_requests_are_refused_with_the_reason(served: Runtime, name: str) -> None:
    body, reason = INVALID[name]
    status, answer, _ = post(served, body)
    assert status == 400
    assert reason in answer["error"]


@pytest.mark.parametrize(
    ("parameters", "tail", "header", "reason"),
    [
        ({"binary_data_size": 8}, bytes(8), 0, "needs 12"),
        ({"binary_data_size": 12}, bytes(8), 0, "bytes are left"),
        ({"binary_data_size": 12}, bytes(20), 0, "follow the last"),
        ({"binary_data_size": "12"}, bytes(12), 0, "binary_data_size"),
        ({"binary_data_size": -1}, bytes(12), 0, "binary_data_size"),
        ({"binary_data_size": 12}, bytes(12), 10_000, "the body has"),
        ({"binary_data_size": 12}, struct.pack("<3f", 1, np.inf, 1), 0, "SCHL in row 0"),
        ({"binary_data_size": 12}, struct.pack("<3f", 1, np.nan, 1), 0, "SCHL is missing"),
    ],
)
def test_invalid_binary_tensors(
    served: Runtime, parameters: dict[str, Any], tail: bytes, header: int, reason: str
) -> None:
    described = tensor(GOOD, parameters=parameters)
    del described["data"]
    text = request(described)
    status, answer, _ = post(served, text + tail, Inference_Header_Content_Length=str(len(text) + header))
    assert status == 400
    assert reason in answer["error"]


@pytest.mark.parametrize("elements", [b"\x05\x00\x00\x00ab", b"\x05", b"\x01\x00\x00\x00\xff"])
def test_invalid_binary_strings(served: Runtime, elements: bytes) -> None:
    text = request(
        tensor(GOOD),
        {
            "name": "text_features",
            "shape": [1, 1],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": len(elements)},
        },
    )
    status, answer, _ = post(
        served, text + elements, "/v2/models/areas/infer", Inference_Header_Content_Length=str(len(text))
    )
    assert status == 400
    assert "text_features" in answer["error"]


@settings(max_examples=200, deadline=None)
@given(
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputs", "name", "shape", "datatype", "data", "outputs", "id", "parameters"]),
                inner,
                max_size=5,
            )
        ),
    ).map(lambda value: json.dumps({"inputs": value} if not isinstance(value, dict) else value).encode())
)
def test_no_body_is_a_server_error(served: Runtime, body: bytes) -> None:
    status, answer, _ = post(served, body)
    assert status == 400
    assert answer["error"]


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 200), byte=st.integers(0, 255))
def test_damaged_bodies_are_never_a_server_error(served: Runtime, position: int, byte: int) -> None:
    body = bytearray(request(tensor(GOOD), outputs=[{"name": "label"}], id="a"))
    body[position % len(body)] = byte
    assert post(served, bytes(body))[0] in (200, 400)


def test_unknown_models_and_versions(served: Runtime) -> None:
    for path in ("/v2/models/nothing/infer", "/v2/models/jobs/versions/9/infer", "/v2/models/%2e%2e/infer"):
        status, answer, _ = post(served, request(tensor(GOOD)), path)
        assert status == 404
        assert answer["error"]


def test_limits_of_the_transport(served: Runtime) -> None:
    assert post(served, b"x" * ((8 << 20) + 1))[0] == 413
    assert post(served, request(tensor(GOOD)), "/v2/models/" + "a" * 5000 + "/infer")[0] == 414
    assert post(served, request(tensor(GOOD)), X_Padding="a" * 40_000)[0] == 431
    assert post(served, request(tensor(GOOD)), Content_Encoding="gzip")[0] == 415
    with socket.create_connection(("127.0.0.1", served.http_port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nx-endless: ")
        answer = b""
        for _ in range(100):
            try:
                connection.sendall(b"a" * 4096)
            except OSError:
                break
        try:
            answer = connection.recv(100)
        except ConnectionResetError:
            return  # the server closed while more was under way
        assert b"431" in answer


def test_pipelined_and_chunked_requests_are_answered_in_order(served: Runtime) -> None:
    def raw(identifier: str, path: str = "/v2/models/jobs/infer") -> bytes:
        body = request(tensor(GOOD), id=identifier)
        return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    chunk = request(tensor(GOOD), id="d")
    chunked = (
        b"POST /v2/models/jobs/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        + b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunk), chunk)
    )
    live = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.http_port), 10) as connection:
        connection.sendall(raw("a") + live + raw("b") + raw("c", "/v2/models/nothing/infer") + chunked)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    places = [answer.find(mark) for mark in (b'"id":"a"', b'{"live":true}', b'"id":"b"', b"no model", b'"id":"d"')]
    assert -1 not in places
    assert places == sorted(places)


def test_request_id_is_kept_only_where_it_is_a_uuid(served: Runtime) -> None:
    given_id = "6f2c2a5e-8e0e-4a6e-9a51-0b8d7a7a7f10"
    _, answer, headers = post(served, request(tensor(GOOD)), X_Request_Id=given_id)
    assert headers["x-request-id"] == answer["parameters"]["inference_id"] == given_id
    _, answer, headers = post(served, request(tensor(GOOD)), X_Request_Id="Fatima Al Mansoori 784-1990-1234567-1")
    assert headers["x-request-id"] == answer["parameters"]["inference_id"] != given_id
