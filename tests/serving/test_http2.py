"""gRPC's connection: what the protocol asks of a server, by grpcio's client and by frames of our own."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from serving.runtime.http2 import Call, Connection
from serving.runtime.listener import Limits, Server
from tests.serving.conftest import Runtime, expected
from tests.serving.test_http1 import Wire

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
PATH = [
    *((":method", "POST"), (":scheme", "http"), (":path", "/service/Method"), (":authority", "a")),
    *(("content-type", "application/grpc"), ("te", "trailers")),
]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def message(content: bytes, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(content)) + content


class Client:
    """A connection under test, and the other end of it."""

    def __init__(self, settings: bytes = b"") -> None:
        self.calls: list[tuple[Call, bytes]] = []
        limits = Limits(connections=10, body_bytes=100_000, buffered_bytes=200_000)
        self.server = Server(lambda server: Connection(server, self.answer), limits)
        self.connection = Connection(self.server, self.answer)
        self.wire = Wire()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.connection._write = self.wire.write  # type: ignore[method-assign]  # without an event loop
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def answer(self, call: Call, content: bytes) -> None:
        self.calls.append((call, content))

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def call(self, stream: int, content: bytes, *more: tuple[str, str]) -> bytes:
        block = self.encoder.encode([*PATH, *more])
        return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, message(content))

    def received(self) -> list[tuple[int, int, int, bytes]]:
        """The frames that came since the last time: kind, flags, stream, payload."""
        found, data = [], self.wire.written
        self.wire.written = b""
        while data:
            head, flags, stream = struct.unpack_from(">IBI", data)
            found.append((head & 0xFF, flags, stream, data[9 : 9 + (head >> 8)]))
            data = data[9 + (head >> 8) :]
        return found

    def goaway(self) -> int | None:
        codes = [struct.unpack(">II", payload)[1] for kind, _, _, payload in self.received() if kind == GOAWAY]
        return codes[0] if codes else None


def test_an_answer_is_headers_data_trailers() -> None:
    client = Client()
    client.send(client.call(1, b"question"))
    client.received()
    call, content = client.calls[0]
    assert content == b"question"
    call.respond(b"answer", b"0" * 36)
    (kind, _, _, head), (data_kind, _, _, data), (end_kind, flags, stream, trailers) = client.received()
    assert (kind, data_kind, end_kind, flags, stream) == (HEADERS, DATA, HEADERS, END_HEADERS | END_STREAM, 1)
    assert dict(client.decoder.decode(head))[":status"] == "200"
    assert data == message(b"answer")
    assert dict(client.decoder.decode(trailers)) == {"grpc-status": "0", "x-request-id": "0" * 36}


@settings(max_examples=100, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=2000), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=30),
    padding=st.integers(0, 20),
    identities=st.lists(st.sampled_from(["a", "b", "c"]), min_size=5, max_size=5),
)
def test_calls_arrive_whole_however_they_are_cut(
    contents: list[bytes], cuts: list[int], padding: int, identities: list[str]
) -> None:
    client = Client()
    stream = b""
    for number, (content, identity) in enumerate(zip(contents, identities, strict=False)):
        block = client.encoder.encode([*PATH, ("x-request-id", identity)])
        half = len(block) // 2
        stream += frame(HEADERS, 0, 2 * number + 1, block[:half])
        stream += frame(CONTINUATION, END_HEADERS, 2 * number + 1, block[half:])
        text = message(content)
        padded = bytes([padding]) + text[: len(text) // 2] + bytes(padding)
        stream += frame(DATA, PADDED, 2 * number + 1, padded)
        stream += frame(PING, 0, 0, b"12345678") + frame(99, 0, 0, b"unknown") + frame(PRIORITY, 0, 1, bytes(5))
        stream += frame(DATA, END_STREAM, 2 * number + 1, text[len(text) // 2 :])
    position = index = 0
    while position < len(stream):
        size = cuts[index % len(cuts)]
        client.send(stream[position : position + size])
        position, index = position + size, index + 1
    assert [content for _, content in client.calls] == contents
    assert [call.head.request_id for call, _ in client.calls] == [name.encode() for name in identities[: len(contents)]]
    assert [kind for kind, *_ in client.received()].count(PING) == len(contents)


def test_an_answer_waits_for_room_at_the_client() -> None:
    client = Client(settings=struct.pack(">HI", 4, 10))
    client.send(client.call(1, b"a") + client.call(3, b"b"))
    client.received()
    for call, content in client.calls:
        call.respond(content * 20, None)
    assert sum(len(payload) for kind, _, _, payload in client.received() if kind == DATA) == 20
    client.send(frame(WINDOW, 0, 3, struct.pack(">I", 15)))
    kinds = [(kind, stream) for kind, _, stream, _ in client.received()]
    assert kinds == [(DATA, 3), (HEADERS, 3)]
    client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 25)))
    kinds = [(kind, stream) for kind, _, stream, _ in client.received()]
    assert kinds == [(SETTINGS, 0), (DATA, 1), (HEADERS, 1)]


def test_the_whole_connection_has_a_window_too() -> None:
    client = Client(settings=struct.pack(">HI", 4, 1 << 30))
    client.send(client.call(1, b"a"))
    client.received()
    client.calls[0][0].respond(bytes(200_000), None)
    sizes = [len(payload) for kind, _, _, payload in client.received() if kind == DATA]
    assert sum(sizes) == 65_535
    assert max(sizes) == 16_384
    client.send(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 20)))
    assert sum(len(payload) for kind, _, _, payload in client.received() if kind == DATA) == 200_005 - 65_535


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 1),
        (PREFACE + frame(HEADERS, END_HEADERS, 2, b""), 1),
        (PREFACE + frame(CONTINUATION, END_HEADERS, 1, b""), 1),
        (PREFACE + frame(HEADERS, 0, 1, b"\x82") + frame(DATA, 0, 1, b""), 1),
        (PREFACE + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff"), 9),
        (PREFACE + frame(DATA, 0, 5, b"x"), 1),
        (PREFACE + frame(WINDOW, 0, 0, bytes(4)), 1),
        (PREFACE + frame(WINDOW, 0, 0, b"1"), 6),
        (PREFACE + frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (PREFACE + frame(PING, 0, 0, b"1"), 6),
        (PREFACE + frame(SETTINGS, 0, 0, b"1"), 6),
        (PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), 3),
        (PREFACE + struct.pack(">IBI", (1 << 19) << 8, 0, 1), 6),
        (PREFACE + frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09"), 1),
        (PREFACE + frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"") * 100, 11),
    ],
)
def test_a_broken_protocol_is_a_goaway(sent: bytes, code: int) -> None:
    client = Client()
    if not sent.startswith(PREFACE):
        client.connection._greeted = False
        client.connection._chunks = []
    client.send(sent.removeprefix(PREFACE))
    assert client.goaway() == code
    assert client.wire.closed


def test_calls_that_are_taken_back_at_once_end_the_connection() -> None:
    client = Client()
    for number in range(1, 1000, 2):
        client.send(client.call(number, b"a") + frame(RST, 0, number, struct.pack(">I", 8)))
        if client.wire.closed:
            break
    assert client.goaway() == 11
    assert all(call.deadline == 0 for call, _ in client.calls[:-1])


def test_a_call_that_was_taken_back_is_not_answered() -> None:
    client = Client()
    client.send(client.call(1, b"a") + frame(RST, 0, 1, struct.pack(">I", 8)))
    client.received()
    client.calls[0][0].respond(b"late", None)
    client.calls[0][0].refuse(3, "late")
    assert client.received() == []


def status(client: Client) -> dict[str, str]:
    blocks = [payload for kind, flags, _, payload in client.received() if kind == HEADERS and flags & END_STREAM]
    return {str(name): str(value) for name, value in client.decoder.decode(blocks[-1])}


def test_messages_and_headers_that_are_refused() -> None:
    client = Client()
    block = client.encoder.encode(PATH)
    for number, (text, code) in enumerate(
        [(b"", "3"), (b"\0\0\0\0\x05ab", "3"), (message(b"a") * 2, "3"), (message(b"a", 1), "3"), (bytes(100_010), "8")]
    ):
        client.send(frame(HEADERS, END_HEADERS, 2 * number + 1, block))
        client.send(frame(DATA, END_STREAM, 2 * number + 1, text))
        assert status(client)["grpc-status"] == code
    assert client.calls == []
    assert client.server.buffered == 0
    block = client.encoder.encode([(":method", "GET"), (":path", "/"), (":scheme", "http")])
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 101, block))
    assert status(client) == {":status": "415"}


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_compressed_messages(name: str) -> None:
    client = Client()
    packed = zlib.compressobj(wbits=31 if name == "gzip" else 15)
    block = client.encoder.encode([*PATH, ("grpc-encoding", name)])
    data = packed.compress(b"a" * 50_000) + packed.flush()
    client.send(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, message(data, 1)))
    assert client.calls[0][1] == b"a" * 50_000
    packed = zlib.compressobj(wbits=31)
    bomb = packed.compress(bytes(1 << 24)) + packed.flush()
    client.send(frame(HEADERS, END_HEADERS, 3, block) + frame(DATA, END_STREAM, 3, message(bomb, 1)))
    assert "more than 100000 bytes" in status(client)["grpc-message"]


def test_slow_calls_are_given_up() -> None:
    client = Client()
    client.send(frame(HEADERS, END_HEADERS, 1, client.encoder.encode(PATH)) + frame(DATA, 0, 1, b"\0\0"))
    client.connection.sweep(client.server.now + 29)
    client.received()
    client.connection.sweep(client.server.now + 31)
    assert [(kind, stream) for kind, _, stream, _ in client.received()] == [(RST, 1)]
    assert client.server.buffered == 0
    client.send(client.call(3, b"a"))
    client.connection.sweep(client.server.now + 10_000)
    assert client.received() == [], "an answer takes as long as it takes"


def test_draining_answers_what_has_come_and_closes() -> None:
    client = Client()
    client.send(client.call(1, b"a"))
    client.connection.drain()
    assert client.goaway() == 0
    client.send(client.call(3, b"b"))
    client.connection.close_if_idle()
    client.send(client.call(5, b"c"))
    assert [content for _, content in client.calls] == [b"a", b"b"]
    for call, _ in client.calls:
        assert not client.wire.closed
        call.respond(b"", None)
    assert client.wire.closed


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10), st.integers(0, 63), st.integers(0, 7), st.binary(max_size=40)).map(
            lambda parts: frame(*parts)
        )
        | st.binary(max_size=40)
        | st.sampled_from([1, 3, 5]).map(lambda stream: frame(HEADERS, 4, stream, Encoder().encode(PATH)))
    )
)
def test_no_frames_crash_a_connection(frames: list[bytes]) -> None:
    client = Client()
    for data in frames:
        client.send(data)
        for call, _ in client.calls:
            call.respond(b"x" * 100, None)
    client.connection.connection_lost(None)
    assert client.server.buffered == 0


ROW = np.array([[40, 12, 1000]], np.float32)


def asked(rows: int = 1, **fields: Any) -> Any:
    request = pb.ModelInferRequest(model_name="jobs", **fields)
    request.inputs.add(name="features", datatype="FP32", shape=[rows, 3])
    request.raw_input_contents.append(np.tile(ROW, (rows, 1)).tobytes())
    return request


@pytest.fixture
def stub(served: Runtime) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(served.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def test_deadlines_compression_and_metadata_of_grpcio(stub: GRPCInferenceServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(asked(), timeout=1e-9)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        answer = stub.ModelInfer(asked(rows=500), timeout=10, compression=algorithm)
        assert len(answer.raw_output_contents[0]) == 2000
    identity = "6f2c2a5e-8e0e-4a6e-9a51-0b8d7a7a7f10"
    for number in range(300):
        _, call = stub.ModelInfer.with_call(
            asked(), timeout=10 + number, metadata=(("x-request-id", identity), ("n", str(number)))
        )
        assert dict(call.trailing_metadata())["x-request-id"] == identity


def test_known_questions_give_the_numbers_of_their_own_values(stub: GRPCInferenceServiceStub) -> None:
    for identifier in ("", "mine", "0" * 36):
        for age in range(20, 60):
            request = asked(id=identifier)
            values = np.array([[age, 12, 1000]], np.float32)
            request.raw_input_contents[0] = values.tobytes()
            answer = stub.ModelInfer(request, timeout=10)
            found = np.frombuffer(answer.raw_output_contents[0], np.float32)
            np.testing.assert_allclose(found, expected(values), rtol=1e-5)
            inference_id = answer.parameters["inference_id"].string_param
            assert answer.id == (identifier or inference_id)
            assert len(inference_id) == 36
            assert [tuple(output.shape) for output in answer.outputs] == [(1,), (1,)]
    old = stub.ModelInfer(asked(model_version="1"), timeout=10)
    np.testing.assert_allclose(np.frombuffer(old.raw_output_contents[0], np.float32), expected(ROW, 0.5), rtol=1e-5)
    request = asked()
    request.raw_input_contents[0] = (ROW * 10).tobytes()
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request, timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_large_and_many(served: Runtime, stub: GRPCInferenceServiceStub) -> None:
    answer = stub.ModelInfer(asked(rows=1024), timeout=10)
    assert len(answer.raw_output_contents[0]) == 4096
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(asked(rows=1 << 20), timeout=30)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    futures = [stub.ModelInfer.future(asked(rows=1 + number % 7), timeout=30) for number in range(2000)]
    for number, future in enumerate(futures):
        assert len(future.result().raw_output_contents[0]) == 4 * (1 + number % 7)
    with grpc.insecure_channel(served.grpc) as channel:
        unknown = channel.unary_unary("/inference.GRPCInferenceService/ModelStreamInfer")
        with pytest.raises(grpc.RpcError) as refused:
            unknown(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
