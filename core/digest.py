"""Digests that tie a model to the data, code, contract and environment it came from."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core import storage

_CHUNK = 1 << 20
ROOT = Path(__file__).resolve().parent.parent
LINEAGE_PACKAGES = ("core", "features", "components", "pipelines")
"""The packages whose source decides what a pipeline produces."""


def canonical(value: Any) -> bytes:
    """JSON of `value` with sorted keys and no spaces: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def bytes_digest(data: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def file_digest(uri: str | Path) -> str:
    """Digest of one file's bytes, at a path or an address in a bucket."""
    state = hashlib.sha256()
    with storage.opened(uri) as stream:
        while chunk := stream.read(_CHUNK):
            state.update(chunk)
    return "sha256:" + state.hexdigest()


def tree_digest(folder: Path, files: Iterable[Path]) -> str:
    """Digest over the relative names and the contents of `files` below `folder`, in the order of their names."""
    state = hashlib.sha256()
    for file in sorted(files):
        state.update(f"{file.relative_to(folder).as_posix()}\0{file_digest(file)}\n".encode())
    return "sha256:" + state.hexdigest()


def code_digest(root: Path = ROOT) -> str:
    """Digest of the Python source that a pipeline run executes."""
    return tree_digest(root, (file for package in LINEAGE_PACKAGES for file in (root / package).rglob("*.py")))


def environment_digest(root: Path = ROOT) -> str:
    """Digest of the locked Python environment (uv.lock)."""
    return file_digest(root / "uv.lock")
