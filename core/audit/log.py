"""What every audit log is, wherever it lies: records that are bound to one another, and a head."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from core.audit.record import GENESIS, Event, Head, Record, Value
from core.errors import AuditError


class AuditLog(ABC):
    """Appends to and verifies one log.

    Attributes:
        place: Where it lies, a path or an address.
        unit: What a record is called there.
    """

    place: str
    unit: str
    _head_place: str

    @abstractmethod
    def append(self, event: Event, subject: str, actor: str | None = None, **details: Value) -> Record:
        """Add one record and return it once it is stored for good.

        Args:
            event: What happened.
            subject: What it happened to, for example `employment/3`.
            actor: Who did it; the operating system's user by default.
            details: Digests, counts and settings; no personal data.

        Raises:
            AuditError: The log cannot be written, or its end is damaged.
        """

    @abstractmethod
    def _read(self) -> tuple[Iterable[bytes], Head | None]:
        """Every record's bytes in order, and the head as it was before the last of them was written, or later."""

    def records(self) -> Iterator[Record]:
        """Every record in order, each checked against the one before.

        Raises:
            AuditError: At the first that is altered, missing, added or out of place.
        """
        lines, head = self._read()
        previous, sequence = GENESIS, 0
        for number, line in enumerate(lines, start=1):
            record = self._parse(line, number)
            if record.sequence != sequence + 1:
                raise AuditError(
                    f"{self.place} {self.unit} {number}: sequence {record.sequence} where {sequence + 1} was expected: "
                    f"a {self.unit} was removed, added or moved"
                )
            if record.previous != previous:
                raise AuditError(f"{self.place} {self.unit} {number}: does not follow from the {self.unit} before it")
            if record.hash != record.expected_hash():
                raise AuditError(f"{self.place} {self.unit} {number}: the {self.unit} was altered after it was written")
            self._check_head(head, record, at_end=False)
            previous, sequence = record.hash, record.sequence
            yield record
        self._check_head(head, record if sequence else None, at_end=True)

    def verify(self) -> int:
        """Check the whole log.

        Returns:
            How many records it holds; 0 where nothing was ever logged.

        Raises:
            AuditError: The log was tampered with; the message names the record.
        """
        return sum(1 for _ in self.records())

    def _parse(self, line: bytes, number: int | str) -> Record:
        try:
            record = Record.model_validate_json(line)
        except ValidationError as error:
            raise AuditError(f"{self.place} {self.unit} {number}: not a record of this log") from error
        if record.canonical() != line:
            raise AuditError(f"{self.place} {self.unit} {number}: the {self.unit} was altered after it was written")
        return record

    def _parse_head(self, text: bytes) -> Head:
        try:
            return Head.model_validate_json(text)
        except ValidationError as error:
            raise AuditError(f"{self._head_place} is damaged: the end of the log cannot be vouched for") from error

    def _check_head(self, head: Head | None, record: Record | None, *, at_end: bool) -> None:
        """Compare a record with the head; `at_end` where it is the last, None in an empty log."""
        if head is None:
            if record is not None:
                raise AuditError(f"{self._head_place} is missing: the end of the log cannot be vouched for")
            return
        sequence = record.sequence if record else 0
        if at_end and sequence < head.sequence:
            raise AuditError(
                f"{self.place} ends at {self.unit} {sequence}, yet {head.sequence} were written: its end was removed"
            )
        if record is not None and sequence == head.sequence and record.hash != head.hash:
            raise AuditError(f"{self.place} {self.unit} {sequence}: is not the {self.unit} that was written there")
