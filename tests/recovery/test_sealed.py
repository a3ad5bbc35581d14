"""A sealed stream opens whole under its passphrase, and not otherwise."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.recovery.sealed import Opener, Sealer, SealError

CHUNK = 64 << 10
PHRASE = "a passphrase of some length"
FROM_AGE = bytes.fromhex(
    "6167652d656e6372797074696f6e2e6f72672f76310a2d3e20736372797074206b5a75616e7931417049536f38735931"
    "547648634f512031360a6e496445714f756b4851763757446e4173714b464a7862445a5a384c694a53387974426d6e74"
    "6f78516b490a2d2d2d205155334855337833666442382f666673526a6a4f483735594d6b3353566e5a2f6d6b3865534b"
    "504d4133630a917152ff13f3f766d215727c40888f22fb9b9f66142ff2544ace53350c3d38890f5dc3973d45c923"
)
"""`pyrage.passphrase.encrypt(b"from age", PHRASE)`, pyrage 1.4.0."""


def _sealed(content: bytes, piece: int = 1 << 20) -> bytes:
    target = io.BytesIO()
    sealer = Sealer(target, PHRASE)
    for at in range(0, len(content), piece):
        sealer.write(content[at : at + piece])
    sealer.close()
    return target.getvalue()


def _opened(data: bytes, phrase: str = PHRASE) -> bytes:
    return Opener(io.BytesIO(data), phrase).read()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 200_000])
def test_what_was_sealed_is_opened(size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    assert _opened(_sealed(content, 1000)) == content


def test_it_is_read_in_pieces() -> None:
    content = bytes(range(256)) * 1000
    opener = Opener(io.BytesIO(_sealed(content)), PHRASE)
    pieces = iter(lambda: opener.read(777), b"")
    assert b"".join(pieces) == content


def test_another_passphrase() -> None:
    with pytest.raises(SealError, match="the passphrase is another"):
        _opened(_sealed(b"x"), PHRASE + "!")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_bit_is_found(data: st.DataObject) -> None:
    whole = _sealed(b"content" * 20_000)
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealError):
        _opened(bytes(changed))


@pytest.mark.parametrize("kept", [0, 30, 150, 300, 66_000, -16, -1])
def test_a_missing_end_is_found(kept: int) -> None:
    whole = _sealed(b"content" * 20_000)
    with pytest.raises(SealError):
        _opened(whole[:kept])


def test_a_whole_chunk_less_is_found() -> None:
    header = len(_sealed(b"")) - 16
    whole = _sealed(bytes(3 * CHUNK))
    with pytest.raises(SealError, match="altered, or its end is missing"):
        _opened(whole[: header + 2 * (CHUNK + 16)])


def test_chunks_that_changed_places_are_found() -> None:
    header, size = len(_sealed(b"")) - 16, CHUNK + 16
    whole = _sealed(bytes(CHUNK) + b"\1" * CHUNK + b"end")
    first, second = whole[header : header + size], whole[header + size : header + 2 * size]
    with pytest.raises(SealError):
        _opened(whole[:header] + second + first + whole[header + 2 * size :])


def test_no_more_memory_than_is_there() -> None:
    whole = _sealed(b"x")
    stanza = whole.split(b"\n")[1]
    with pytest.raises(SealError, match="at most"):
        _opened(whole.replace(stanza, stanza[:-1] + b"40"))


def test_what_age_sealed_is_opened() -> None:
    assert _opened(FROM_AGE) == b"from age"
