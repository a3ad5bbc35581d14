"""The model repository's files: the one place that knows where they lie and how they change atomically.

`<repository>/<model>/<version>/…` never changes once it is there; `<repository>/<model>/live.json` says which answer.
"""

import fcntl
import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core import storage
from core.digest import file_digest, tree_digest
from core.errors import ServiceError
from core.model_spec import LIVE_FILE, MODEL_FILE, SPEC_FILE, Live, ModelSpec

_NAME = re.compile(r"[a-z][a-z0-9_]{1,47}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_MANIFEST = "manifest.json"


def open_models(uri: str) -> "ModelStore":
    """The repository in a folder, or below the address of a bucket.

    Raises:
        StorageError: The address is of an unknown kind.
    """
    path = storage.local_path(uri)
    return FolderStore(path) if path is not None else BucketStore(uri.rstrip("/"))


class ModelStore(ABC):
    """What is done with a repository wherever it lies.

    Attributes:
        place: A path or an address.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._seen: dict[str, str | None] = {}

    def models(self) -> list[str]:
        """Names of the models that have a live version."""
        return [
            name
            for name in storage.names(self.place)
            if _NAME.fullmatch(name) and LIVE_FILE in storage.names(storage.join(self.place, name))
        ]

    @abstractmethod
    def versions(self, model: str) -> list[int]:
        """Versions that are there, oldest first."""

    @abstractmethod
    def opened(self, model: str, version: int) -> AbstractContextManager[Path]:
        """The folder of one version on this machine, for the time of the block.

        Raises:
            ServiceError: What arrived is not what was stored.
        """

    def live(self, model: str) -> Live | None:
        """What live.json says, None where the model has none.

        Raises:
            ServiceError: It cannot be understood.
            StorageError: It cannot be read.
        """
        uri = self._live(model)
        # The tag first: one that is older than what is read makes `write_live` refuse, a newer one would not.
        self._seen[model] = storage.tag(uri)
        text = storage.read(uri)
        try:
            return None if text is None else Live.model_validate_json(text)
        except ValidationError as error:
            raise ServiceError(f"{uri} cannot be read: {error}") from error

    def write_live(self, model: str, live: Live | None) -> None:
        """Replace live.json at once, so that no reader sees half of it; None removes it.

        Raises:
            ServiceError: Someone else has replaced it since it was read here.
        """
        uri = self._live(model)
        if live is None:
            storage.delete(uri)
            self._seen[model] = None
            return
        if model not in self._seen:
            self.live(model)
        if not storage.replace(uri, live.model_dump_json().encode(), self._seen[model]):
            raise ServiceError(f"{model} was deployed or rolled back by someone else meanwhile: try again")
        self._seen[model] = storage.tag(uri)

    def add(self, model: str, version: int, source: Path) -> bool:
        """Copy a version in, so that it is there whole or not at all.

        Args:
            source: Folder with model.onnx, the files that it refers to, and model.json.

        Returns:
            False where the same content is there already.

        Raises:
            ServiceError: `source` is incomplete, or the version is there with other content: versions never change.
        """
        files = _files(source)
        spec = _read_spec(source)
        if spec.name != model:
            raise ServiceError(f"{source / SPEC_FILE} describes {spec.name!r}, not {model!r}")
        present = self._digest(model, version)
        if present is None:
            self._copy(model, version, source, files)
        elif present != tree_digest(source, files):
            raise ServiceError(f"version {version} of {model} exists with other content: deploy under a new version")
        return present is None

    @abstractmethod
    def _digest(self, model: str, version: int) -> str | None:
        """`tree_digest` of a version, None where it is not there."""

    @abstractmethod
    def _copy(self, model: str, version: int, source: Path, files: list[Path]) -> None:
        """Make a version of `files`, which lie below `source`."""

    @abstractmethod
    def remove(self, model: str, version: int) -> None:
        """Delete a version; a half-deleted one is never mistaken for a whole one."""

    @abstractmethod
    def locked(self, model: str) -> AbstractContextManager[None]:
        """Let one process at a time change a model, as far as the store can; where not, `write_live` refuses."""

    def _model(self, model: str) -> str:
        if not _NAME.fullmatch(model):
            raise ServiceError(f"{model!r} is not a model's name: lower-case letters, digits and _, 2 to 48 of them")
        return storage.join(self.place, model)

    def _live(self, model: str) -> str:
        return storage.join(self._model(model), LIVE_FILE)

    def _version(self, model: str, version: int) -> str:
        return storage.join(self._model(model), str(version))


class FolderStore(ModelStore):
    """A repository in a folder that deploy steps and runtimes share."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))

    def versions(self, model: str) -> list[int]:
        return sorted(int(name) for name in storage.names(self._model(model)) if _VERSION.fullmatch(name))

    def opened(self, model: str, version: int) -> AbstractContextManager[Path]:
        return nullcontext(Path(self._version(model, version)))

    def _digest(self, model: str, version: int) -> str | None:
        folder = Path(self._version(model, version))
        return tree_digest(folder, _files(folder)) if folder.is_dir() else None

    def _copy(self, model: str, version: int, source: Path, files: list[Path]) -> None:
        target = Path(self._version(model, version))
        temporary = target.with_name(f".{version}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        for file in files:
            copy = temporary / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            _sync(copy)
        _sync(temporary)
        temporary.rename(target)
        _sync(target.parent)

    def remove(self, model: str, version: int) -> None:
        target = Path(self._version(model, version))
        doomed = target.with_name(f".{version}.old")
        target.rename(doomed)
        shutil.rmtree(doomed)

    @contextmanager
    def locked(self, model: str) -> Iterator[None]:
        folder = Path(self._model(model))
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Manifest(BaseModel):
    """What a version in a bucket consists of. It is written last and removed first: without it there is no version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    """`tree_digest` of the files."""
    files: dict[str, str]
    """The digest of each, by its name below the version."""


class BucketStore(ModelStore):
    """A repository in an object store, which renames nothing: a version is there when its manifest is."""

    def versions(self, model: str) -> list[int]:
        found = sorted(int(name) for name in storage.names(self._model(model)) if _VERSION.fullmatch(name))
        return [version for version in found if self._manifest(model, version) is not None]

    @contextmanager
    def opened(self, model: str, version: int) -> Iterator[Path]:
        place = self._version(model, version)
        manifest = self._manifest(model, version)
        if manifest is None:
            raise ServiceError(
                f"{place} has no {_MANIFEST}: the version was never whole, or is removed: deploy it again"
            )
        with tempfile.TemporaryDirectory(prefix=f"{model}-{version}-") as scratch:
            for name, digest in manifest.files.items():
                copy = Path(scratch) / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with storage.opened(storage.join(place, name)) as stream, copy.open("wb") as file:
                        shutil.copyfileobj(stream, file)
                except FileNotFoundError as error:
                    raise ServiceError(f"{place}/{name} is missing: deploy the model as a new version") from error
                if file_digest(copy) != digest:
                    raise ServiceError(f"{place}/{name} is not what was stored: deploy the model as a new version")
            yield Path(scratch)

    def _digest(self, model: str, version: int) -> str | None:
        manifest = self._manifest(model, version)
        return None if manifest is None else manifest.digest

    def _copy(self, model: str, version: int, source: Path, files: list[Path]) -> None:
        place = self._version(model, version)
        names = {file.relative_to(source).as_posix(): file for file in files}
        for name, file in names.items():
            storage.upload(file, storage.join(place, name))
        manifest = Manifest(
            digest=tree_digest(source, files), files={name: file_digest(file) for name, file in names.items()}
        )
        text = manifest.model_dump_json().encode()
        if not storage.create(storage.join(place, _MANIFEST), text) and self._digest(model, version) != manifest.digest:
            raise ServiceError(f"version {version} of {model} exists with other content: deploy under a new version")

    def remove(self, model: str, version: int) -> None:
        storage.delete(storage.join(self._version(model, version), _MANIFEST))
        storage.delete(self._version(model, version))

    def locked(self, model: str) -> AbstractContextManager[None]:  # noqa: ARG002 - a bucket has no locks
        return nullcontext()

    def _manifest(self, model: str, version: int) -> Manifest | None:
        uri = storage.join(self._version(model, version), _MANIFEST)
        text = storage.read(uri)
        try:
            return None if text is None else Manifest.model_validate_json(text)
        except ValidationError as error:
            raise ServiceError(f"{uri} is not a manifest: {error}") from error


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def _read_spec(folder: Path) -> ModelSpec:
    for name in (MODEL_FILE, SPEC_FILE):
        if not (folder / name).is_file():
            raise ServiceError(f"{folder / name} is missing: the folder is not an exported model")
    try:
        return ModelSpec.model_validate_json((folder / SPEC_FILE).read_bytes())
    except ValidationError as error:
        raise ServiceError(f"{folder / SPEC_FILE} is not a model spec: {error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
