"""Where the local substrate keeps what."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SOCKET_LIMIT = 80
"""A Unix socket's path holds at most 108 bytes, and supervisord and gunicorn append to it."""


@dataclass(frozen=True)
class Layout:
    """Folders below the substrate's home."""

    home: Path

    @property
    def configuration(self) -> Path:
        return self.home / "conf"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def environment(self) -> Path:
        """The document that the command line reads."""
        return self.home / "platform.json"

    @property
    def audit_log(self) -> Path:
        return self.data / "audit" / "audit.jsonl"

    @property
    def lineage_log(self) -> Path:
        return self.data / "lineage" / "events.jsonl"

    @property
    def sockets(self) -> Path:
        """Folder of Unix sockets; elsewhere where the home's own path is too long for one."""
        folder = self.home / "run"
        if len(os.fsencode(folder)) <= _SOCKET_LIMIT:
            return folder
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"falaj-{os.getuid()}-{digest}"

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"
