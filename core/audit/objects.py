"""The audit log as objects of a bucket, one a record, for any number of writers on any number of machines.

`<place>/<sequence of 12 digits>.json` is created by a conditional write, which succeeds for one writer alone, so the
chain cannot fork: who comes second reads the winner's record and follows that. `head.json` is replaced after each, so
that records that were hidden at the end are missed. A writer that dies between the two leaves a head that is behind;
the next one finds the records after it.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from core import storage
from core.audit.log import AuditLog
from core.audit.record import Event, Head, Record, Value
from core.errors import AuditError, StorageError

_NAME = re.compile(r"\d{12}\.json")
_READERS = 16
_AT_ONCE = 1024


class ObjectLog(AuditLog):
    """Objects below `place`, an address such as `s3://bucket/audit`."""

    unit = "record"

    def __init__(self, place: str) -> None:
        self.place = place
        self._head_place = storage.join(place, "head.json")

    def append(self, event: Event, subject: str, actor: str | None = None, **details: Value) -> Record:
        try:
            last = self._last()
            while True:
                record = Record.after(last, event, subject, actor, details)
                if storage.create(self._uri(record.sequence), record.canonical()):
                    break
                last = self._record(record.sequence)
            self._advance(record)
        except StorageError as error:
            raise AuditError(f"the audit log {self.place} cannot be written: {error}") from error
        return record

    def _last(self) -> Record | None:
        head = self._read_head()
        if head is None:
            first = self._record(1)
            # Its writer may be about to write the head; but only a whole head lets a second one follow.
            if first is not None and self._record(2) is not None:
                self._check_head(None, first, at_end=True)
            return first
        last = self._record(head.sequence)
        if last is None:
            raise AuditError(f"{self._uri(head.sequence)} is missing, yet {head.sequence} records were written")
        self._check_head(head, last, at_end=True)
        while (following := self._record(last.sequence + 1)) is not None:
            last = following
        return last

    def _record(self, sequence: int) -> Record | None:
        data = storage.read(self._uri(sequence))
        return None if data is None else self._parse(data, sequence)

    def _advance(self, record: Record) -> None:
        """Let the head name this record, unless another writer's is further."""
        while True:
            seen = storage.tag(self._head_place)
            head = self._read_head()
            if head is not None and head.sequence >= record.sequence:
                return
            if storage.replace(self._head_place, Head.of(record).canonical(), seen):
                return

    def _read(self) -> tuple[Iterator[bytes], Head | None]:
        try:
            # The head first: a record that is added meanwhile would look like one that was removed.
            head = self._read_head()
            found = [name for name in storage.names(self.place) if _NAME.fullmatch(name)]
        except StorageError as error:
            raise AuditError(f"the audit log {self.place} cannot be read: {error}") from error
        if head is None and len(found) == 1:
            # Its writer died, or is about to write the head.
            return self._contents(found), Head.of(self._parse(next(self._contents(found)), 1))
        return self._contents(found), head

    def _contents(self, names: list[str]) -> Iterator[bytes]:
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                for name, data in zip(some, pool.map(self._content, some), strict=True):
                    if data is None:
                        raise AuditError(f"{storage.join(self.place, name)} was removed while the log was read")
                    yield data

    def _content(self, name: str) -> bytes | None:
        try:
            return storage.read(storage.join(self.place, name))
        except StorageError as error:
            raise AuditError(f"the audit log {self.place} cannot be read: {error}") from error

    def _read_head(self) -> Head | None:
        text = storage.read(self._head_place)
        return None if text is None else self._parse_head(text)

    def _uri(self, sequence: int) -> str:
        return storage.join(self.place, f"{sequence:012d}.json")
