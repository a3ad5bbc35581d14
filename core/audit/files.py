"""The audit log as one file of JSON lines, for the processes of one machine."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.audit.log import AuditLog
from core.audit.record import Event, Head, Record, Value
from core.errors import AuditError

_CHUNK = 1 << 16


class FileLog(AuditLog):
    """Lines in `path`; beside it the head, `<path without suffix>.head.json`."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self._head = path.with_suffix(".head.json")
        self._head_place = str(self._head)

    def append(self, event: Event, subject: str, actor: str | None = None, **details: Value) -> Record:
        with self._locked() as descriptor:
            record = Record.after(self._last(descriptor), event, subject, actor, details)
            try:
                self._write(descriptor, record.canonical() + b"\n")
                self._write_head(record)
            except OSError as error:
                raise AuditError(f"the audit log {self.path} cannot be written: {error}") from error
            return record

    def snapshot(self) -> tuple[bytes, bytes]:
        """The whole records, and the head, as they were at one moment; both empty where nothing was ever logged.

        Raises:
            AuditError: The log cannot be read, or its head is damaged.
        """
        lines, head = self._read()
        return b"".join(line + b"\n" for line in lines), b"" if head is None else head.canonical()

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

    def _read(self) -> tuple[list[bytes], Head | None]:
        # Under the lock, or a line that is being written would look torn, and the head newer than the log. A last
        # line without its end was never acknowledged and is passed over.
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
            return self._parse_head(self._head.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AuditError(f"{self._head} is damaged: the end of the log cannot be vouched for") from error

    def _write_head(self, record: Record) -> None:
        temporary = self._head.with_suffix(".tmp")
        temporary.write_bytes(Head.of(record).canonical())
        temporary.replace(self._head)

    @staticmethod
    def _write(descriptor: int, data: bytes) -> None:
        size = os.fstat(descriptor).st_size
        written = os.write(descriptor, data)
        if written != len(data):
            os.ftruncate(descriptor, size)
            raise OSError(f"only {written} of {len(data)} bytes were written")
        os.fsync(descriptor)
