"""One record of the audit log, and what a record must be in order to follow another."""

import datetime as dt
import getpass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.digest import bytes_digest, canonical

Event = Literal[
    "environment.up",
    "environment.down",
    "environment.backed_up",
    "environment.restored",
    "pipeline.failed",
    "data.ingested",
    "gates.passed",
    "gates.failed",
    "model.registered",
    "model.deployed",
    "model.rolled_back",
]
Value = str | int | float | bool | None
GENESIS = "sha256:" + "0" * 64


class Record(BaseModel):
    """One line or object of the log."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sequence: Annotated[int, Field(ge=1)]
    time: str
    event: Event
    actor: str
    subject: str
    details: dict[str, Value]
    previous: str
    hash: str

    @classmethod
    def after(
        cls, last: "Record | None", event: Event, subject: str, actor: str | None, details: dict[str, Value]
    ) -> "Record":
        """The record that follows `last`; None where it is the first."""
        fields = {
            "sequence": last.sequence + 1 if last else 1,
            "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "actor": actor or getpass.getuser(),
            "subject": subject,
            "details": details,
            "previous": last.hash if last else GENESIS,
        }
        return cls.model_validate(fields | {"hash": bytes_digest(canonical(fields))})

    def expected_hash(self) -> str:
        return bytes_digest(canonical(self.model_dump(exclude={"hash"})))

    def canonical(self) -> bytes:
        return canonical(self.model_dump())


class Head(BaseModel):
    """Which record was written last."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sequence: int
    hash: str

    @classmethod
    def of(cls, record: Record) -> "Head":
        return cls(sequence=record.sequence, hash=record.hash)

    def canonical(self) -> bytes:
        return canonical(self.model_dump())
