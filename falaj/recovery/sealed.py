"""Encryption of a stream under a passphrase, in the format of age: https://age-encryption.org/v1.

`age --decrypt` opens what is sealed here, and what it sealed can be opened here: no one needs this program to get at
a copy. The file's key is wrapped by scrypt of the passphrase; the content is in chunks of 64 KiB, each encrypted and
authenticated with its place and with whether it is the last, so that a chunk that was altered, moved or cut off is
found.
"""

import base64
import binascii
import os
import re
from typing import BinaryIO

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from core.errors import FalajError

_VERSION = b"age-encryption.org/v1\n"
_LABEL = b"age-encryption.org/v1/scrypt"
_WORK = 18
"""Exponent of scrypt's cost: 256 MiB and about a second for each guess of the passphrase."""
_MOST_WORK = 22
"""A file that asks for more is refused: it would take the memory of the machine."""
_CHUNK = 64 << 10
_TAG = 16
_NONCE = 16
_STANZA = re.compile(rb"-> scrypt ([A-Za-z0-9+/]{22}) ([1-9][0-9]?)\n")
_NO_NONCE = bytes(12)


class SealError(FalajError):
    """A sealed file cannot be opened: another passphrase, damage, or no such file at all."""


class Sealer:
    """A stream to write into; `close` ends it, without which the file cannot be opened."""

    def __init__(self, target: BinaryIO, passphrase: str) -> None:
        key, salt = os.urandom(16), os.urandom(16)
        wrapped = ChaCha20Poly1305(_wrapping_key(passphrase, salt, _WORK)).encrypt(_NO_NONCE, key, None)
        header = _VERSION + b"-> scrypt %s %d\n%s\n---" % (_encoded(salt), _WORK, _encoded(wrapped))
        nonce = os.urandom(_NONCE)
        target.write(header + b" " + _encoded(_mac(key, header)) + b"\n" + nonce)
        self._target = target
        self._cipher = ChaCha20Poly1305(_derived(key, nonce, b"payload"))
        self._held = bytearray()
        self._chunks = 0

    def write(self, data: bytes) -> int:
        """Take some of the content; it is on its way once more than a chunk is there."""
        self._held += data
        # The last chunk is only known at the end.
        while len(self._held) > _CHUNK:
            self._put(bytes(self._held[:_CHUNK]), last=False)
            del self._held[:_CHUNK]
        return len(data)

    def close(self) -> None:
        """Write the last chunk."""
        self._put(bytes(self._held), last=True)
        self._held.clear()

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._target.write(self._cipher.encrypt(_chunk_nonce(self._chunks, last), chunk, None))
        self._chunks += 1


class Opener:
    """A sealed stream to read from; what it gives is authentic."""

    def __init__(self, source: BinaryIO, passphrase: str) -> None:
        """Read the header.

        Raises:
            SealError: It is not one, or the passphrase is another.
        """
        self._source = source
        key, nonce = _read_header(source, passphrase)
        self._cipher = ChaCha20Poly1305(_derived(key, nonce, b"payload"))
        self._next = source.read(_CHUNK + _TAG)
        self._opened = bytearray()
        self._chunks = 0
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """The next bytes, fewer at the end.

        Raises:
            SealError: The file was altered or cut off.
        """
        while not self._ended and (size < 0 or len(self._opened) < size):
            self._take()
        found = bytes(self._opened) if size < 0 else bytes(self._opened[:size])
        del self._opened[: len(found)]
        return found

    def _take(self) -> None:
        chunk, self._next = self._next, self._source.read(_CHUNK + _TAG)
        last = not self._next
        try:
            plain = self._cipher.decrypt(_chunk_nonce(self._chunks, last), chunk, None)
        except (InvalidTag, ValueError) as error:
            raise SealError("the copy was altered, or its end is missing: take another") from error
        if not plain and self._chunks:
            raise SealError("the copy was altered: take another")
        self._opened += plain
        self._chunks += 1
        self._ended = last


def _read_header(source: BinaryIO, passphrase: str) -> tuple[bytes, bytes]:
    """The file's key and the nonce of its content."""
    version, stanza, body, end = (source.readline(200) for _ in range(4))
    match = _STANZA.fullmatch(stanza)
    if version != _VERSION or match is None or not end.startswith(b"--- "):
        raise SealError("the file is no copy that was sealed under a passphrase")
    work = int(match[2])
    if work > _MOST_WORK:
        raise SealError(f"the file asks for scrypt with 2^{work}: at most 2^{_MOST_WORK} is tried")
    try:
        wrapped, mac = _decoded(body[:-1]), _decoded(end[4:-1])
        key = ChaCha20Poly1305(_wrapping_key(passphrase, _decoded(match[1]), work)).decrypt(_NO_NONCE, wrapped, None)
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise SealError("the passphrase is another, or the file is damaged") from error
    signed = hmac.HMAC(_derived(key, b"", b"header"), hashes.SHA256())
    signed.update(version + stanza + body + b"---")
    try:
        signed.verify(mac)
    except InvalidSignature as error:
        raise SealError("the file's header was altered: take another copy") from error
    nonce = source.read(_NONCE)
    if len(nonce) != _NONCE:
        raise SealError("the copy's end is missing: take another")
    return key, nonce


def _wrapping_key(passphrase: str, salt: bytes, work: int) -> bytes:
    return Scrypt(salt=_LABEL + salt, length=32, n=1 << work, r=8, p=1).derive(passphrase.encode())


def _derived(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt or None, info=purpose).derive(key)


def _mac(key: bytes, header: bytes) -> bytes:
    signed = hmac.HMAC(_derived(key, b"", b"header"), hashes.SHA256())
    signed.update(header)
    return signed.finalize()


def _chunk_nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _encoded(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _decoded(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
