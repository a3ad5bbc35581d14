"""The audit log: JSON lines, each bound to the one before it by its hash.

A line holds `sequence`, `time`, `event`, `actor`, `subject`, `details`, `previous` and `hash`, where
`hash` is the SHA-256 of the canonical JSON of all the others. An altered, removed, inserted or
reordered line breaks the chain. What a chain alone cannot show is a cut at its end: the head file
beside the log holds the last sequence and hash, so a log shorter than its head is found as well.
Details carry digests and counts, never personal data.
"""

import datetime as dt
import fcntl
import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.digest import bytes_digest, canonical
from core.errors import AuditError

Event = Literal[
    "environment.up",
    "environment.down",
    "pipeline.failed",
    "data.ingested",
    "gates.passed",
    "gates.failed",
    "model.registered",
    "model.deployed",
    "model.rolled_back",
]
Value = str | int | float | bool | None
_CHUNK = 1 << 16
GENESIS = "sha256:" + "0" * 64


class Record(BaseModel):
    """One line of the log."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sequence: Annotated[int, Field(ge=1)]
    time: str
    event: Event
    actor: str
    subject: str
    details: dict[str, Value]
    previous: str
    hash: str

    def expected_hash(self) -> str:
        return bytes_digest(canonical(self.model_dump(exclude={"hash"})))


class Head(BaseModel):
    """Which record was written last."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sequence: int
    hash: str


class AuditLog:
    """Appends to and verifies one log file. Safe for several processes on one machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head = path.with_suffix(".head.json")

    def append(self, event: Event, subject: str, actor: str | None = None, **details: Value) -> Record:
        """Add one record and return it once it is on disk.

        Args:
            event: What happened.
            subject: What it happened to, for example `employment/3`.
            actor: Who did it; the operating system's user by default.
            details: Digests, counts and settings; no personal data.

        Raises:
            AuditError: The log cannot be written, or its last line is damaged.
        """
        with self._locked() as descriptor:
            last = self._last(descriptor)
            fields = {
                "sequence": last.sequence + 1 if last else 1,
                "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                "event": event,
                "actor": actor or getpass.getuser(),
                "subject": subject,
                "details": details,
                "previous": last.hash if last else GENESIS,
            }
            record = Record.model_validate(fields | {"hash": bytes_digest(canonical(fields))})
            try:
                self._write(descriptor, canonical(record.model_dump()) + b"\n")
                self._write_head(record)
            except OSError as error:
                raise AuditError(f"the audit log {self.path} cannot be written: {error}") from error
            return record

    def records(self) -> Iterator[Record]:
        """Every record in order, each checked against the one before.

        A last line without its end was never acknowledged and is passed over.

        Raises:
            AuditError: At the first line that is altered, missing, added or out of place.
        """
        lines, head = self._read()
        previous, sequence = GENESIS, 0
        for number, line in enumerate(lines, start=1):
            record = self._parse(line, number)
            if record.sequence != sequence + 1:
                raise AuditError(
                    f"{self.path} line {number}: sequence {record.sequence} where {sequence + 1} was expected: "
                    "a line was removed, added or moved"
                )
            if record.previous != previous:
                raise AuditError(f"{self.path} line {number}: does not follow from the line before it")
            if record.hash != record.expected_hash():
                raise AuditError(f"{self.path} line {number}: the line was altered after it was written")
            self._check_head(head, record, at_end=False)
            previous, sequence = record.hash, record.sequence
            yield record
        self._check_head(head, record if sequence else None, at_end=True)

    def verify(self) -> int:
        """Check the whole log.

        Returns:
            How many records it holds; 0 where nothing was ever logged.

        Raises:
            AuditError: The log was tampered with; the message names the line.
        """
        return sum(1 for _ in self.records())

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise AuditError(f"the audit log {self.path} cannot be opened: {error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _last(self, descriptor: int) -> Record | None:
        # The head is a shortcut only: the file decides, since a process may die between the two writes.
        size = os.fstat(descriptor).st_size
        start, tail = size, b""
        while start and tail.count(b"\n") < 2:
            length = min(start, _CHUNK)
            start -= length
            tail = os.pread(descriptor, length, start) + tail
        whole, _, torn = tail.rpartition(b"\n")
        last = self._parse(whole.rpartition(b"\n")[2], "at the end") if whole else None
        self._check_head(self._read_head(), last, at_end=True)
        if torn:
            # A line cut short by a full disk or a kill was never acknowledged.
            os.ftruncate(descriptor, size - len(torn))
        return last

    def _parse(self, line: bytes, number: int | str) -> Record:
        try:
            record = Record.model_validate_json(line)
        except ValidationError as error:
            raise AuditError(f"{self.path} line {number}: not a record of this log") from error
        if canonical(record.model_dump()) != line:
            raise AuditError(f"{self.path} line {number}: the line was altered after it was written")
        return record

    def _read(self) -> tuple[list[bytes], Head | None]:
        # Under the lock, or a line that is being written would look torn, and the head newer than the log.
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                return file.read().split(b"\n")[:-1], self._read_head()
        except FileNotFoundError:
            head = self._read_head()
            # Another process may have begun the log since it was looked for.
            return self._read() if head is not None and self.path.exists() else ([], head)
        except OSError as error:
            raise AuditError(f"the audit log {self.path} cannot be read: {error}") from error

    def _read_head(self) -> Head | None:
        try:
            return Head.model_validate_json(self._head.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise AuditError(f"{self._head} is damaged: the end of the log cannot be vouched for") from error

    def _check_head(self, head: Head | None, record: Record | None, *, at_end: bool) -> None:
        """Compare a record with the head; `at_end` where it is the last, None in an empty log."""
        if head is None:
            if record is not None:
                raise AuditError(f"{self._head} is missing: the end of the log cannot be vouched for")
            return
        sequence = record.sequence if record else 0
        if at_end and sequence < head.sequence:
            raise AuditError(
                f"{self.path} ends at line {sequence}, yet {head.sequence} were written: its end was removed"
            )
        if record is not None and sequence == head.sequence and record.hash != head.hash:
            raise AuditError(f"{self.path} line {sequence}: is not the line that was written there")

    def _write_head(self, record: Record) -> None:
        temporary = self._head.with_suffix(".tmp")
        temporary.write_bytes(canonical(record.model_dump(include={"sequence", "hash"})))
        temporary.replace(self._head)

    @staticmethod
    def _write(descriptor: int, data: bytes) -> None:
        size = os.fstat(descriptor).st_size
        written = os.write(descriptor, data)
        if written != len(data):
            os.ftruncate(descriptor, size)
            raise OSError(f"only {written} of {len(data)} bytes were written")
        os.fsync(descriptor)
