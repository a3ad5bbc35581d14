"""Journal segments: append-only files that hold answered inferences until they are Parquet.

A segment is a sequence of frames `<u32 length><u32 crc32><payload>`. The first payload is the JSON of a Header;
each further one is a batch: `<i64 time in µs><u32 requests><u32 rows>`, 16 bytes of id a request, u32 rows a request,
of a model with sequences u32 their length a request, then the arrays of the inputs and the outputs in the spec's order.
An FP32 or INT64 array is its little-endian bytes, of sequences those of the tokens alone; a BYTES array is u32 lengths,
then UTF-8. A frame goes out in one write() to the page cache, so a killed process loses
none, and only the last can be torn; a torn one was never answered.

The owner of a segment holds an exclusive flock on it until it is gone: one without a lock is a dead process's.
"""

import fcntl
import math
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.model_spec import Tensor
from serving.runtime.arrays import Array, Arrays

SUFFIX = ".journal"
_FRAME = struct.Struct("<II")
_BATCH = struct.Struct("<qII")
_WIRE_TYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}


class Header(BaseModel):
    """What the arrays of a segment are."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """One frame: `ids` are 16 bytes a request, `rows` how many rows each has, `time` µs since 1970 UTC.

    `lengths` are those of the sequences of each request, 1 where there are none, whose arrays are (tokens, …).
    """

    time: int
    ids: bytes
    rows: Array
    lengths: Array
    inputs: Arrays
    outputs: Arrays
    size: int
    """In bytes."""


class Segment:
    """A segment that this process writes, or has taken over from a dead one."""

    def __init__(self, path: Path, descriptor: int, size: int, opened: float) -> None:
        self.path = path
        self.size = size
        self.opened = opened
        """Unix time."""
        self._descriptor = descriptor

    @classmethod
    def create(cls, folder: Path, header: Header) -> "Segment":
        """Open a new segment.

        Raises:
            OSError: The folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            path = folder / f"{time.time_ns()}-{header.version}-{uuid4().hex[:8]}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Between the two calls another process may have taken the empty file for a dead one's and removed it.
            if os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)
        segment = cls(path, descriptor, 0, time.time())
        try:
            segment._append(header.model_dump_json(exclude_defaults=True).encode())
        except OSError:
            segment.remove()
            raise
        return segment

    @classmethod
    def take_over(cls, path: Path) -> "Segment | None":
        """Take a dead process's segment; None where its process lives or has removed it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = os.fstat(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not state.st_nlink:
            os.close(descriptor)
            return None
        return cls(path, descriptor, state.st_size, state.st_mtime)

    def append(self, ids: bytes, rows: list[int], inputs: Arrays, outputs: Arrays, lengths: Sequence[int] = ()) -> int:
        """Add one batch.

        Args:
            lengths: Of a model with sequences, theirs, a request.

        Returns:
            How many bytes were written.

        Raises:
            OSError: It could not be written; the segment is as it was before.
        """
        parts = [
            _BATCH.pack(time.time_ns() // 1000, len(rows), sum(rows)),
            ids,
            struct.pack(f"<{len(rows) + len(lengths)}I", *rows, *lengths),
        ]
        for array in (*inputs, *outputs):
            parts.append(_dump(array))
        return self._append(b"".join(parts))

    def remove(self) -> None:
        """Delete the file, then let go of the lock."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _append(self, payload: bytes) -> int:
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            written = os.write(self._descriptor, frame)
            if written != len(frame):
                raise OSError(f"only {written} of {len(frame)} bytes were written")
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.size += written
        return written


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a tensor's array lies in a batch: `rest` are its sizes after the first, the rows or the tokens."""

    datatype: str
    rest: tuple[int, ...]
    is_sequence: bool

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        return cls(tensor.datatype, tensor.shape[1 + tensor.is_sequence :], tensor.is_sequence)


class Reader:
    """The batches of a segment, one at a time, up to its first frame that is torn.

    Args:
        file: The segment, open at its beginning.

    Raises:
        OSError: It cannot be read; also while the batches are.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.torn = os.fstat(file.fileno()).st_size
        """How many bytes are left: once all batches are read, those that are none."""
        payload = self._payload()
        self.header = Header.model_validate_json(payload) if payload is not None else None
        """None where even that is torn."""

    def __iter__(self) -> Iterator[Batch]:
        if self.header is not None:
            layout = [_Layout.of(tensor) for tensor in (*self.header.inputs, *self.header.outputs)]
            while (payload := self._payload()) is not None:
                yield _load_batch(payload, layout, len(self.header.inputs))

    def _payload(self) -> bytes | None:
        frame = self._file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            return None
        length, crc = _FRAME.unpack(frame)
        # A length that is torn itself may be any number: no memory is taken for more than there is.
        if length > self.torn - _FRAME.size:
            return None
        payload = self._file.read(length)
        if len(payload) != length or zlib.crc32(payload) != crc:
            return None
        self.torn -= _FRAME.size + length
        return payload


def _load_batch(payload: bytes, layout: Sequence[_Layout], inputs: int) -> Batch:
    moment, requests, rows = _BATCH.unpack_from(payload)
    offset = _BATCH.size
    ids = payload[offset : offset + 16 * requests]
    offset += 16 * requests
    counts = np.frombuffer(payload, "<u4", requests, offset)
    offset += 4 * requests
    lengths, tokens = np.ones(requests, np.int64), rows
    if any(tensor.is_sequence for tensor in layout):
        lengths = np.frombuffer(payload, "<u4", requests, offset).astype(np.int64)
        offset += 4 * requests
        tokens = int(counts @ lengths)
    arrays: list[Array] = []
    for tensor in layout:
        shape = (tokens if tensor.is_sequence else rows, *tensor.rest)
        array, offset = _load(payload, offset, tensor.datatype, shape)
        arrays.append(array)
    return Batch(moment, ids, counts, lengths, tuple(arrays[:inputs]), tuple(arrays[inputs:]), len(payload))


def _dump(array: Array) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    encoded = [text.encode() for text in array.reshape(-1)]
    return struct.pack(f"<{len(encoded)}I", *map(len, encoded)) + b"".join(encoded)


def _load(payload: bytes, offset: int, datatype: str, shape: tuple[int, ...]) -> tuple[Array, int]:
    count = math.prod(shape)
    if datatype != "BYTES":
        array = np.frombuffer(payload, _WIRE_TYPES[datatype], count, offset)
        return array.reshape(shape), offset + array.nbytes
    lengths = struct.unpack_from(f"<{count}I", payload, offset)
    offset += 4 * count
    texts = np.empty(count, object)
    for index, length in enumerate(lengths):
        texts[index] = payload[offset : offset + length].decode()
        offset += length
    return texts.reshape(shape), offset
