"""The audit log: records, each bound to the one before it by its hash.

A record holds `sequence`, `time`, `event`, `actor`, `subject`, `details`, `previous` and `hash`, where `hash` is the
SHA-256 of the canonical JSON of all the others. An altered, removed, inserted or reordered record breaks the chain.
What a chain alone cannot show is a cut at its end: the head beside the log holds the last sequence and hash, so a log
shorter than its head is found as well. Details carry digests and counts, never personal data.
"""

from pathlib import Path

from core.audit.files import FileLog
from core.audit.log import AuditLog
from core.audit.objects import ObjectLog
from core.audit.record import GENESIS, Event, Record, Value
from core.storage import local_path

__all__ = ["GENESIS", "AuditLog", "Event", "FileLog", "ObjectLog", "Record", "Value", "open_log"]


def open_log(uri: str | Path) -> AuditLog:
    """The log at a path, or below the address of a bucket.

    Raises:
        StorageError: The address is of an unknown kind.
    """
    path = local_path(uri)
    return FileLog(path) if path is not None else ObjectLog(str(uri).rstrip("/"))
