"""A copy's state, brought onto the stores of a cluster: buckets and PostgreSQL.

Models with what is live, the registry with its artifacts, offline features, profiles and the trails. The feature
registry and the online features are made anew by the next run of each use case, and the pseudonyms' key goes into the
site's secret store by hand: this program never signs in there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from core import storage
from core.audit import open_log
from core.digest import bytes_digest
from core.errors import ConfigError
from falaj.recovery import databases
from falaj.recovery.archive import Manifest
from falaj.recovery.local import DATA, KEY, opened
from infra.config import KEY as SETTINGS
from infra.config import Kubernetes, parse_config
from infra.plan import PROJECT, read_stack
from infra.substrates.base import (
    ARTIFACTS,
    AUDIT_LOG,
    INFERENCE_LOG,
    LINEAGE,
    MODELS,
    OFFLINE_FEATURES,
    PROFILES,
    TRACKING,
)
from infra.substrates.kubernetes.site import SiteBindings
from serving.runtime.log import JOURNAL
from serving.runtime.log_parquet import convert
from serving.store import open_models

_FOLDERS = (ARTIFACTS, OFFLINE_FEATURES, PROFILES, LINEAGE)


@dataclass(frozen=True)
class Stores:
    """Addresses of a stack's stores, by name; how to reach them the process's environment says."""

    uris: dict[str, str]

    @classmethod
    def of(cls, stack: str, root: Path) -> Self:
        """Those of a stack on a site.

        Raises:
            ConfigError: There is no such stack, or it is on no site.
        """
        settings = parse_config(read_stack(root, stack)[f"{PROJECT}:{SETTINGS}"], stack)
        if not isinstance(settings.substrate, Kubernetes):
            raise ConfigError(
                f"{stack} is no stack on a site's own cluster: name one whose substrate.kind is kubernetes"
            )
        bindings = SiteBindings(settings.substrate.stores)
        wanted = (*_FOLDERS, MODELS, TRACKING, AUDIT_LOG, INFERENCE_LOG)
        return cls({store.name: bindings.bind(store).uri for store in wanted})

    def occupied(self) -> list[str]:
        """Addresses of the stores that hold something already.

        Raises:
            ConfigError: The database cannot be reached.
            StorageError: A bucket cannot be read.
        """
        folders = [uri for name, uri in self.uris.items() if name != TRACKING.name and storage.names(uri)]
        database = self.uris[TRACKING.name]
        return [*folders, *([database] if databases.used(database) else [])]


def restore(source: BinaryIO, passphrase: str, stores: Stores, stack: str, key_file: Path, scratch: Path) -> Manifest:
    """Put a copy's state into empty stores.

    Args:
        key_file: Where the pseudonyms' key is left, for the site's secret store.
        scratch: Folder with room for the copy, opened; nothing stays there.

    Raises:
        ConfigError: A store holds something, or the key's file is there; nothing was changed.
        FalajError: The copy is not whole; nothing was changed. Or a store failed midway: empty them and try again.
    """
    if key_file.exists():
        raise ConfigError(f"{key_file} exists, and may hold a key: name another file")
    if occupied := stores.occupied():
        raise ConfigError(f"{', '.join(occupied)} holds something already, and a copy is not mixed with it: empty it")
    with opened(source, passphrase, scratch) as (staging, manifest):
        data = staging / DATA
        for store in _FOLDERS:
            _upload(data / store.name, stores.uris[store.name])
        _upload_inference_log(data / INFERENCE_LOG.name, stores.uris[INFERENCE_LOG.name])
        databases.move(data / f"{TRACKING.name}.db", stores.uris[TRACKING.name], stores.uris[ARTIFACTS.name])
        _add_audit_log(data / "audit", stores.uris[AUDIT_LOG.name])
        key_file.touch(mode=0o600)
        key_file.write_bytes((data / KEY).read_bytes())
        # Last: a runtime that waits for it answers at once.
        _add_models(data / MODELS.name, stores.uris[MODELS.name], manifest)
    digest = bytes_digest(manifest.model_dump_json().encode())
    open_log(stores.uris[AUDIT_LOG.name]).append(
        "environment.restored", stack, manifest=digest, made=manifest.time.isoformat(timespec="seconds")
    )
    return manifest


def _upload(folder: Path, uri: str) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            storage.upload(file, storage.join(uri, *file.relative_to(folder).parts))


def _upload_inference_log(folder: Path, uri: str) -> None:
    """What is in a journal yet becomes Parquet: in a bucket there are none."""
    for file in sorted(folder.glob("*/date=*/*.parquet")):
        storage.upload(file, storage.join(uri, *file.relative_to(folder).parts))
    for segment in sorted(folder.glob(f"*/{JOURNAL}/*")):
        convert(segment, uri)


def _add_audit_log(folder: Path, uri: str) -> None:
    """The same records, which are objects there; the head last, as when they are written one by one."""
    for number, line in enumerate((folder / "audit.jsonl").read_bytes().splitlines(), start=1):
        storage.create(storage.join(uri, f"{number:012d}.json"), line)
    storage.create(storage.join(uri, "head.json"), (folder / "audit.head.json").read_bytes())
    open_log(uri).verify()


def _add_models(folder: Path, uri: str, manifest: Manifest) -> None:
    store = open_models(uri)
    for model, live in manifest.live.items():
        for version in sorted(int(found.name) for found in (folder / model).iterdir() if found.name.isdigit()):
            store.add(model, version, folder / model / str(version))
        store.write_live(model, live)
