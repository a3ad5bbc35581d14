"""Files of the local substrate as resources: folders, configuration, databases and keys.

The providers hold no state and are importable, so that the engine stores a reference to them and not
their code: changing this module changes no resource.
"""

import functools
import os
import secrets
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from core.errors import ConfigError, FalajError
from core.pseudonym import KEY_BYTES

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def plain_errors(method: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Have the engine show an error that is meant for a person without the frames it came through.

    The engine's Python host reports whatever `traceback` prints, and offers nothing else.
    """

    @functools.wraps(method)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return method(*args, **kwargs)
        except FalajError as error:
            sys.tracebacklimit = 0
            raise error from None

    return call


def private_folder(path: Path) -> None:
    """Create a folder, and those above it that are missing, which only the owner may enter."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def write_atomically(path: Path, content: str) -> None:
    """Replace `path` by a rename, so that a reader sees the old text or the new one; only the owner may read it."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


class _PathProvider(ResourceProvider):
    """What all files share: the path is the identity, and a missing file is a missing resource."""

    serialize_as_secret_always = False

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        if olds.get("path") != news["path"]:
            return DiffResult(changes=True, replaces=["path"])
        return DiffResult(changes=any(olds.get(key) != value for key, value in self.wanted(news).items()))

    @plain_errors
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        path = Path(props["path"])
        if not path.exists():
            return ReadResult(None, {})
        return ReadResult(id_, props | self.found(path))

    def wanted(self, _news: dict[str, Any]) -> dict[str, Any]:
        """The properties that are compared with what was found."""
        return {}

    def found(self, _path: Path) -> dict[str, Any]:
        """The same properties as they are on disk."""
        return {}


class FolderProvider(_PathProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        private_folder(Path(props["path"]))
        return CreateResult(props["path"], props)


class Folder(Resource, module="local", name="Folder"):
    """A folder that only its owner enters. Destroying the stack keeps it, and what lies in it."""

    path: pulumi.Output[str]

    def __init__(self, name: str, path: Path, opts: pulumi.ResourceOptions) -> None:
        super().__init__(FolderProvider(), name, {"path": str(path)}, opts)


class ConfigFileProvider(_PathProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        write_atomically(Path(props["path"]), props["content"])
        return CreateResult(props["path"], props)

    def wanted(self, news: dict[str, Any]) -> dict[str, Any]:
        return {"content": news["content"]}

    def found(self, path: Path) -> dict[str, Any]:
        return {"content": path.read_text(encoding="utf-8", errors="replace")}

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        write_atomically(Path(news["path"]), news["content"])
        return UpdateResult(news)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        Path(props["path"]).unlink(missing_ok=True)


class ConfigFile(Resource, module="local", name="ConfigFile"):
    """A generated file. An edit by hand is found by a refresh and undone by the next update."""

    path: pulumi.Output[str]
    content: pulumi.Output[str]

    def __init__(self, name: str, path: Path, content: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        super().__init__(ConfigFileProvider(), name, {"path": str(path), "content": content}, opts)


def journal_mode(path: Path) -> str:
    """The journal mode of a SQLite file, such as `wal`."""
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is not a usable SQLite database ({error}): restore or move it away") from error


class DatabaseProvider(_PathProvider):
    @plain_errors
    def create(self, props: dict[str, Any]) -> CreateResult:
        self._enable(Path(props["path"]))
        return CreateResult(props["path"], props | {"journal": "wal"})

    def wanted(self, _news: dict[str, Any]) -> dict[str, Any]:
        return {"journal": "wal"}

    def found(self, path: Path) -> dict[str, Any]:
        return {"journal": journal_mode(path)}

    @plain_errors
    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        self._enable(Path(news["path"]))
        return UpdateResult(news | {"journal": "wal"})

    @staticmethod
    def _enable(path: Path) -> None:
        private_folder(path.parent)
        path.touch(mode=0o600)
        try:
            connection = sqlite3.connect(path)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{path} is not a usable SQLite database ({error}): restore or move it away") from error


class Database(Resource, module="local", name="Database"):
    """A SQLite file in write-ahead mode, in which readers and a writer do not wait for each other.

    The mode is a property of the file, so every later connection has it, whoever opens it. Destroying
    the stack keeps the file.
    """

    path: pulumi.Output[str]

    def __init__(self, name: str, path: Path, opts: pulumi.ResourceOptions) -> None:
        super().__init__(DatabaseProvider(), name, {"path": str(path)}, opts)


class KeyFileProvider(_PathProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        path = Path(props["path"])
        private_folder(path.parent)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            path.chmod(0o600)
        else:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secrets.token_bytes(KEY_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
        return CreateResult(props["path"], props | self.found(path))

    def wanted(self, _news: dict[str, Any]) -> dict[str, Any]:
        return {"mode": "0600"}

    def found(self, path: Path) -> dict[str, Any]:
        return {"mode": f"{path.stat().st_mode & 0o777:04o}"}

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        path = Path(news["path"])
        path.chmod(0o600)
        return UpdateResult(news | self.found(path))


class KeyFile(Resource, module="local", name="KeyFile"):
    """A random key, made once and never replaced or removed: pseudonyms made with it could not be matched again.

    Neither the key nor a digest of it is in the stack's state.
    """

    path: pulumi.Output[str]

    def __init__(self, name: str, path: Path, opts: pulumi.ResourceOptions) -> None:
        super().__init__(KeyFileProvider(), name, {"path": str(path)}, opts)
