"""Numbers that are cut out of a body are those that the body, read as a whole, has."""

import json
import re
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.model_spec import ModelSpec
from serving.runtime.codec import Limits, Query
from serving.runtime.errors import RefusedError
from serving.runtime.json_codec import Decoder, Encoder
from serving.runtime.outputs import Outputs
from tests.serving.conftest import spec

SPEC = ModelSpec.model_validate(spec())
LIMITS = Limits(rows=1024, tokens=16384)
HEAD = b'"name": "features", "shape": [1, 3], "datatype": "FP32"'
NUMBER = st.none() | st.integers(-5, 10**20) | st.floats(0, 100) | st.booleans() | st.sampled_from(["3", "]", '"data"'])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Requests that are right, nearly right, or meant to mislead a reader that looks for `"data"`."""
    rows = draw(st.integers(1, 3))
    number = st.floats(0, 100, width=32) if draw(st.booleans()) else NUMBER
    values: Any = draw(st.lists(number, min_size=rows * 3, max_size=rows * 3))
    if draw(st.booleans()):
        values = [values[3 * row : 3 * row + 3] for row in range(rows)]
    fields = {"name": "features", "shape": [rows, 3], "datatype": "FP32", "data": values}
    extra = st.sampled_from(
        [
            {},
            {"parameters": {"data": [7, 8, 9]}},
            {'x"data': [1, 2]},
            {"note": '"data": [1, 2, 3]'},
            {"Data": [1]},
            {"parameters": {"a": [[1]]}},
        ]
    )
    fields |= draw(extra)
    names = draw(st.permutations(list(fields)))
    document = {"inputs": [{name: fields[name] for name in names}]} | draw(extra)
    if draw(st.booleans()):
        document["id"] = draw(st.text(max_size=5))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]))
    text = json.dumps(document, separators=separators, ensure_ascii=draw(st.booleans())).encode()
    if draw(st.booleans()):
        text = text.replace(b'"data"', b'"d\\u0061ta"', draw(st.integers(0, 2)))
    if draw(st.integers(0, 3)) == 0:
        position = draw(st.integers(0, len(text) - 1))
        text = text[:position] + draw(st.sampled_from([b"[", b"]", b'"', b",", b"", b"1"])) + text[position + 1 :]
    return text


def read(decoder: Decoder, body: bytes) -> tuple[Query, list[np.ndarray]] | str:
    try:
        query, arrays = decoder.decode(body, None)
    except RefusedError as refused:
        return re.sub(r"line \d+ column \d+ \(char \d+\)", "", refused.reason)
    return query, [array.copy() for array in arrays]


def read_whole(body: bytes) -> tuple[Query, list[np.ndarray]] | str:
    """The same without a cut."""
    decoder = Decoder(SPEC, LIMITS)
    try:
        plan = decoder._read(body, 0, 0)
        return plan.query, decoder._fill(plan, [], b"")
    except RefusedError as refused:
        return re.sub(r"line \d+ column \d+ \(char \d+\)", "", refused.reason)


KNOWING = Decoder(SPEC, LIMITS)
"""It remembers the skeletons of all examples."""


@settings(max_examples=1000, deadline=None)
@given(body=bodies())
@example(
    b'{"inputs": [{"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3], "data": [4, 5, 6]}]}'
)
@example(
    b'{"inputs": [{"data": [4, 5, 6]}], "inputs": [{"name":"features","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'
)
@example(b'{"inputs": [{%b, "data": [1, 2, 3]}], "parameters": {"data": [7[ 8]}}' % HEAD)
def test_a_cut_body_is_read_as_a_whole_one(body: bytes) -> None:
    whole = read_whole(body)
    for _ in range(3):
        cut = read(KNOWING, body)
        if isinstance(whole, str):
            assert cut == whole
        else:
            assert not isinstance(cut, str)
            assert cut[0] == whole[0]
            np.testing.assert_array_equal(cut[1][0], whole[1][0])


VALUES = st.sampled_from([b"1", b"-2.5e3", b"null", b"true", b'"1"', b"{}", b"7]", b"[8", b""])
SPACE = st.sampled_from([b"", b" ", b"\n"])


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(VALUES, max_size=4), min_size=1, max_size=3),
    brackets=st.lists(st.sampled_from([b"", b"["]), min_size=3, max_size=3),
    spaces=st.lists(SPACE, min_size=4, max_size=4),
)
@example([[b"1", b"2"], [b"3", b"4", b"5", b"6"]], [b"[", b"[", b"["], [b" ", b" ", b"", b""])
@example([[b"1", b"2"], [b"3", b"4", b"5", b"6"]], [b"[", b"[", b"["], [b"", b" ", b"", b""])
def test_other_values_in_a_known_frame_are_read_as_a_whole_body(
    rows: list[list[bytes]], brackets: list[bytes], spaces: list[bytes]
) -> None:
    frame = b'{"inputs": [{"name": "features", "shape": [2, 3], "datatype": "FP32", "data": %b}]}'
    decoder = Decoder(SPEC, LIMITS)
    for _ in range(2):
        decoder.decode(frame % b"[1, 2, 3, 4, 5, 6]", None)
    assert decoder._last is not None
    opened, closed = brackets[0], b"]" if brackets[0] else b""
    text = b",".join([brackets[1] + spaces[0] + b",".join(row) + (b"]" if brackets[1] else b"") for row in rows])
    body = frame % (spaces[1] + opened + spaces[2] + brackets[2] + text + closed + spaces[3])
    whole, known = read_whole(body), read(decoder, body)
    if isinstance(whole, str):
        assert known == whole
    else:
        assert not isinstance(known, str)
        np.testing.assert_array_equal(known[1][0], whole[1][0])


def test_a_client_cannot_send_the_mark_of_a_cut() -> None:
    body = b'{"inputs": [{%b, "data": %d}], "x": {"data": [1, 2, 3]}}'
    for number in (0, 1 << 61, (1 << 62) - 1, (1 << 64) - 1):
        with pytest.raises(RefusedError, match="data is not a list"):
            Decoder(SPEC, LIMITS).decode(body % (HEAD, number), None)


def test_what_is_remembered_is_bounded() -> None:
    decoder = Decoder(SPEC, LIMITS)
    encoder = Encoder(SPEC, "1")
    tensor = {"name": "features", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    for number in range(3000):
        query, _ = decoder.decode(json.dumps({"inputs": [tensor], "id": str(number)}).encode(), None)
        decoder.decode(json.dumps({"inputs": [tensor], "id": "a" * 5000}).encode(), None)
        outputs = Outputs((np.zeros(1, np.float32), np.zeros(1, np.int64)), SPEC)
        document = orjson.loads(encoder.encode(query, b"i" * 36, outputs, 0, 1)[0])
        assert document["id"] == str(number)
    assert len(decoder._plans) <= 512
    assert len(encoder._templates) <= 512


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    identifier=st.none() | st.text(max_size=10),
    names=st.lists(st.sampled_from(["label", "probability"]), unique=True),
    seed=st.integers(0, 100),
)
def test_answers_of_one_run_have_each_their_own_rows(
    sizes: list[int], identifier: str | None, names: list[str], seed: int
) -> None:
    random = np.random.default_rng(seed)
    probability = random.random(sum(sizes), np.float32)
    probability[0] = np.nan
    outputs = Outputs((probability, random.integers(-9, 9, sum(sizes))), SPEC)
    encoder = Encoder(SPEC, "1")
    start = 0
    for rows in sizes:
        tensor = {"name": "features", "shape": [rows, 3], "datatype": "FP32", "data": [1] * 3 * rows}
        asked = {"inputs": [tensor], "outputs": [{"name": name} for name in names]}
        body = orjson.dumps(asked if identifier is None else asked | {"id": identifier})
        query, _ = KNOWING.decode(body, None)
        content, _ = encoder.encode(query, b"%036d" % rows, outputs, start, start + rows)
        document = orjson.loads(content)
        assert document["id"] == (f"{rows:036d}" if identifier is None else identifier)
        found = {output["name"]: output for output in document["outputs"]}
        assert list(found) == (names or ["probability", "label"])
        for name, array in zip(("probability", "label"), outputs.all(0, sum(sizes)), strict=True):
            if name in found:
                assert found[name]["shape"] == [rows]
                data = [np.nan if value is None else value for value in found[name]["data"]]
                np.testing.assert_allclose(data, array[start : start + rows], rtol=1e-6)
        start += rows
