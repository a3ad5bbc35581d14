"""What a copy is, once it is opened: a tar whose last member is the manifest of all the others."""

import datetime as dt
import hashlib
import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from core.model_spec import Live
from falaj.recovery.sealed import Opener, Sealer, SealError
from infra.substrates.local.files import private_folder

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


class Entry(BaseModel):
    """One file of a copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a copy holds, and of what.

    Attributes:
        home: Folder that it was made of: the engine's state is of no use elsewhere.
        records: How many the audit log holds.
        live: Which version of each model answered.
        files: By name, each with its digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    time: dt.datetime
    home: str
    records: int
    live: dict[str, Live]
    files: dict[str, Entry]


class Writer:
    """Puts files into a copy; `close` adds the manifest, without which there is none."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        # tarfile asks for less than its type says, and is closed by `close`.
        self._tar = tarfile.open(fileobj=cast(Any, sealer), mode="w|", bufsize=_BLOCK)  # noqa: SIM115
        self._files: dict[str, Entry] = {}

    def add(self, name: str, file: Path) -> None:
        """Add a file as it is now; one that grows meanwhile is added to where it ended.

        Raises:
            FileNotFoundError: It is gone.
            OSError: It became shorter meanwhile.
        """
        with file.open("rb") as stream:
            self._add(name, stream, stream.seek(0, io.SEEK_END))

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add a file with this content."""
        self._add(name, io.BytesIO(data), len(data))

    def close(self, home: Path, records: int, live: dict[str, Live]) -> Manifest:
        """End the copy."""
        manifest = Manifest(
            time=dt.datetime.now(dt.UTC), home=str(home), records=records, live=live, files=dict(self._files)
        )
        text = manifest.model_dump_json(indent=1).encode()
        self._add(MANIFEST, io.BytesIO(text), len(text))
        self._tar.close()
        self._sealer.close()
        return manifest

    def _add(self, name: str, stream: BinaryIO, size: int) -> None:
        stream.seek(0)
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        read = _Digested(stream)
        self._tar.addfile(member, cast(Any, read))
        self._files[name] = Entry(bytes=size, sha256=read.state.hexdigest())


class _Digested:
    """A stream that knows the digest of what was read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.state = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.state.update(data)
        return data


def unpack(source: Opener, folder: Path) -> Manifest:
    """Write the files of a copy below an empty folder, readable by their owner alone.

    Raises:
        SealError: Something is altered, missing, or in there twice or beside the manifest.
    """
    found: dict[str, Entry] = {}
    text = b""
    try:
        with tarfile.open(fileobj=cast(Any, source), mode="r|", bufsize=_BLOCK) as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is None or text or member.name in found or not _is_inside(member.name):
                    raise SealError(f"the copy holds {member.name}, which no copy does")
                if member.name == MANIFEST:
                    text = content.read()
                else:
                    found[member.name] = _write(content, folder / member.name)
        # What follows the tar's own end is still to be authentic.
        while source.read(_BLOCK):
            pass
        manifest = Manifest.model_validate_json(text)
    except (tarfile.TarError, ValidationError) as error:
        raise SealError(f"the copy is not whole: {error}") from error
    wrong = sorted(name for name in found.keys() | manifest.files.keys() if found.get(name) != manifest.files.get(name))
    if wrong:
        raise SealError(f"{', '.join(wrong[:5])} is not what the copy's manifest says: take another copy")
    return manifest


def _write(content: IO[bytes], file: Path) -> Entry:
    private_folder(file.parent)
    state, size = hashlib.sha256(), 0
    file.touch(mode=0o600)
    with file.open("wb") as stream:
        while data := content.read(_BLOCK):
            stream.write(data)
            state.update(data)
            size += len(data)
    return Entry(bytes=size, sha256=state.hexdigest())


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
