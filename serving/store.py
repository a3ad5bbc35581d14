"""The model repository's files: the one place that knows where they lie and how they change atomically."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from pydantic import ValidationError

from core.digest import tree_digest
from core.errors import ConfigError, ServiceError
from core.model_spec import LIVE_FILE, MODEL_FILE, SPEC_FILE, Live, ModelSpec

_NAME = re.compile(r"[a-z][a-z0-9_]{1,47}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class ModelStore:
    """A repository in a local folder: `<repository>/<model>/<version>/…` and `<repository>/<model>/live.json`."""

    def __init__(self, uri: str) -> None:
        parsed = urlparse(uri)
        if parsed.scheme not in ("", "file"):
            raise ConfigError(
                f"the model repository {uri} is not a local folder: set FALAJ_MODEL_REPOSITORY to a path that every "
                "runtime mounts"
            )
        self.root = Path(parsed.path if parsed.scheme else uri)

    def models(self) -> list[str]:
        """Names of the models that have a live version."""
        if not self.root.is_dir():
            return []
        return sorted(folder.name for folder in self.root.iterdir() if (folder / LIVE_FILE).is_file())

    def versions(self, model: str) -> list[int]:
        """Versions on disk, oldest first."""
        folder = self._model(model)
        if not folder.is_dir():
            return []
        return sorted(int(entry.name) for entry in folder.iterdir() if _VERSION.fullmatch(entry.name))

    def version(self, model: str, version: int) -> Path:
        """The folder of one version."""
        return self._model(model) / str(version)

    def live(self, model: str) -> Live | None:
        """What live.json says, None where the model has none.

        Raises:
            ServiceError: It cannot be read.
        """
        path = self._model(model) / LIVE_FILE
        try:
            return Live.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise ServiceError(f"{path} cannot be read: {error}") from error

    def write_live(self, model: str, live: Live | None) -> None:
        """Replace live.json at once, so that no reader sees half of it; None removes it."""
        path = self._model(model) / LIVE_FILE
        if live is None:
            path.unlink(missing_ok=True)
        else:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(live.model_dump_json())
            _sync(temporary)
            temporary.replace(path)
        _sync(path.parent)

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
        target = self.version(model, version)
        if target.is_dir():
            if tree_digest(target, _files(target)) == tree_digest(source, files):
                return False
            raise ServiceError(f"version {version} of {model} exists with other content: deploy under a new version")
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
        return True

    def remove(self, model: str, version: int) -> None:
        """Delete a version; a half-deleted one is never mistaken for a whole one."""
        target = self.version(model, version)
        doomed = target.with_name(f".{version}.old")
        target.rename(doomed)
        shutil.rmtree(doomed)

    @contextmanager
    def locked(self, model: str) -> Iterator[None]:
        """Let one process at a time change a model."""
        folder = self._model(model)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _model(self, model: str) -> Path:
        if not _NAME.fullmatch(model):
            raise ServiceError(f"{model!r} is not a model's name: lower-case letters, digits and _, 2 to 48 of them")
        return self.root / model


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
