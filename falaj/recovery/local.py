"""The local environment's state: copied while it runs, and brought back into an empty folder.

Left out is what is made anew: configuration and processes (`falaj up`), metrics, logs of services, artifacts of runs,
and the data that came with a use case.
"""

import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import rmtree
from typing import BinaryIO

from core.audit import FileLog
from core.digest import bytes_digest
from core.errors import ConfigError, DataError
from core.model_spec import MODEL_FILE, SPEC_FILE, Live
from falaj.recovery.archive import Manifest, Writer, unpack
from falaj.recovery.sealed import Opener, Sealer
from infra.substrates.base import (
    ARTIFACTS,
    FEATURE_REGISTRY,
    INFERENCE_LOG,
    MODELS,
    OFFLINE_FEATURES,
    ONLINE_FEATURES,
    PROFILES,
    PSEUDONYM_KEY,
    TRACKING,
)
from infra.substrates.local.files import private_folder
from infra.substrates.local.paths import Layout
from serving.runtime.log import JOURNAL
from serving.store import FolderStore

DATA, STATE = "data", "state"
DATABASES = (TRACKING.name, FEATURE_REGISTRY.name, ONLINE_FEATURES.name)
_FOLDERS = (ARTIFACTS.name, OFFLINE_FEATURES.name, PROFILES.name)
KEY = f"{PSEUDONYM_KEY.name}.key"


def back_up(home: Path, target: BinaryIO, passphrase: str) -> Manifest:
    """Copy the state of the environment in `home`, which may run meanwhile.

    What refers to something is copied before it, and a model under the lock that deployments take; the audit log
    last, so that it tells of all that is in the copy.

    Raises:
        AuditError: The audit log was altered.
        ConfigError: Nothing was ever stored here.
        DataError: A database is damaged.
    """
    layout = Layout(home / "local")
    if not (layout.data / KEY).is_file():
        raise ConfigError(f"{layout.data} holds no environment's data: start one with `falaj up`")
    writer = Writer(Sealer(target, passphrase))
    for name in DATABASES:
        with _snapshot(layout.data / f"{name}.db") as copy:
            if copy is not None:
                writer.add(f"{DATA}/{name}.db", copy)
    for name in _FOLDERS:
        _add_folder(writer, layout.data / name, layout.data)
    live = _add_models(writer, layout.data)
    _add_inference_log(writer, layout.data)
    _add_lines(writer, layout.lineage_log, layout.data)
    writer.add(f"{DATA}/{KEY}", layout.data / KEY)
    for file in sorted((home / STATE / ".pulumi").glob("stacks/**/*.json")):
        writer.add(f"{STATE}/{file.relative_to(home / STATE)}", file)
    if (meta := home / STATE / ".pulumi" / "meta.yaml").is_file():
        writer.add(f"{STATE}/.pulumi/meta.yaml", meta)
    audit = FileLog(layout.audit_log)
    records = audit.verify()
    text, head = audit.snapshot()
    writer.add_bytes(f"{DATA}/audit/audit.jsonl", text)
    writer.add_bytes(f"{DATA}/audit/audit.head.json", head)
    return writer.close(home, max(records, text.count(b"\n")), live)


@contextmanager
def opened(source: BinaryIO, passphrase: str, scratch: Path) -> Iterator[tuple[Path, Manifest]]:
    """A copy's files in a folder below `scratch` that is removed with the block, once all of them were verified.

    Raises:
        AuditError: The audit log was altered.
        DataError: A database is damaged, or a model that answered is not whole.
        SealError: The copy cannot be opened, or is not whole.
    """
    opener = Opener(source, passphrase)
    staging = scratch / f".restoring-{uuid.uuid4().hex[:8]}"
    private_folder(staging)
    try:
        manifest = unpack(opener, staging)
        _verify(staging / DATA, manifest)
        yield staging, manifest
    finally:
        rmtree(staging, ignore_errors=True)


def restore(source: BinaryIO, passphrase: str, home: Path) -> Manifest:
    """Bring a copy's state back into a folder that holds none; `falaj up` then starts on it.

    Raises:
        ConfigError: There is an environment's state already; nothing was changed.
        FalajError: As `opened`; nothing was changed.
    """
    for place in (home / "local", home / STATE):
        if place.exists():
            raise ConfigError(
                f"{place} exists, and a copy is not mixed with what is there: move it away, or name another folder in "
                "FALAJ_HOME"
            )
    with opened(source, passphrase, home) as (staging, manifest):
        (home / "local").mkdir(mode=0o700)
        # The engine's state names files and processes by their place: elsewhere `falaj up` makes it anew.
        if manifest.home == str(home) and (staging / STATE).is_dir():
            (staging / STATE).rename(home / STATE)
        (staging / DATA).rename(home / "local" / DATA)
    digest = bytes_digest(manifest.model_dump_json().encode())
    FileLog(Layout(home / "local").audit_log).append(
        "environment.restored", "local", manifest=digest, made=manifest.time.isoformat(timespec="seconds")
    )
    return manifest


@contextmanager
def _snapshot(file: Path) -> Iterator[Path | None]:
    """A copy of a database as it is at one moment, writers going on; None where there is none."""
    if not file.is_file():
        yield None
        return
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as folder:
        copy = Path(folder) / file.name
        try:
            with (
                closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.DatabaseError as error:
            raise DataError(f"{file} cannot be copied: {error}") from error
        yield copy


def _add_folder(writer: Writer, folder: Path, data: Path) -> None:
    """Files that are put in place whole, and may be removed meanwhile."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            try:
                writer.add(f"{DATA}/{file.relative_to(data).as_posix()}", file)
            except FileNotFoundError:
                continue


def _add_models(writer: Writer, data: Path) -> dict[str, Live]:
    store = FolderStore(data / MODELS.name)
    found: dict[str, Live] = {}
    for model in store.models():
        with store.locked(model):
            live = store.live(model)
            if live is not None:
                _add_folder(writer, data / MODELS.name / model, data)
                found[model] = live
    return found


def _add_inference_log(writer: Writer, data: Path) -> None:
    """Journals first: one that is turned into Parquet meanwhile is found as that."""
    folder = data / INFERENCE_LOG.name
    for journal in sorted(folder.glob(f"*/{JOURNAL}")):
        _add_folder(writer, journal, data)
    for file in sorted(folder.glob("*/date=*/*.parquet")):
        writer.add(f"{DATA}/{file.relative_to(data).as_posix()}", file)


def _add_lines(writer: Writer, file: Path, data: Path) -> None:
    """A file that grows by lines, to the end of its last whole one."""
    if file.is_file():
        text = file.read_bytes()
        writer.add_bytes(f"{DATA}/{file.relative_to(data).as_posix()}", text[: text.rfind(b"\n") + 1])


def _verify(data: Path, manifest: Manifest) -> None:
    records = FileLog(data / "audit" / "audit.jsonl").verify()
    if records < manifest.records:
        raise DataError(f"the copy's audit log has {records} records, and had {manifest.records}: take another copy")
    for name in DATABASES:
        file = data / f"{name}.db"
        if file.is_file():
            _verify_database(file)
    for model, live in manifest.live.items():
        for version in filter(None, (live.live, live.previous)):
            for name in (MODEL_FILE, SPEC_FILE):
                if not (data / MODELS.name / model / str(version) / name).is_file():
                    raise DataError(f"the copy lacks {name} of {model} version {version}: take another copy")


def _verify_database(file: Path) -> None:
    try:
        with closing(sqlite3.connect(file)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise DataError(f"{file.name} of the copy is damaged ({found}): take another copy")
