import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import dill
import pytest
from pulumi.dynamic import ResourceProvider

from core.errors import ConfigError
from core.pseudonym import KEY_BYTES
from infra.substrates.local.files import (
    ConfigFileProvider,
    DatabaseProvider,
    FolderProvider,
    KeyFileProvider,
    journal_mode,
    write_atomically,
)
from infra.substrates.local.paths import Layout
from infra.substrates.local.supervisor import ProcessProvider, SupervisorProvider


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    "provider",
    [
        FolderProvider(),
        ConfigFileProvider(),
        DatabaseProvider(),
        KeyFileProvider(),
        ProcessProvider(),
        SupervisorProvider(),
    ],
    ids=lambda provider: type(provider).__name__,
)
def test_the_state_refers_to_a_provider_and_does_not_copy_its_code(provider: ResourceProvider) -> None:
    pickled = dill.dumps(provider, recurse=True)
    assert len(pickled) < 200
    assert type(dill.loads(pickled)) is type(provider)  # noqa: S301 - pickled a line above


def test_a_config_file_edited_by_hand_is_drift_and_a_removed_one_is_gone(tmp_path: Path) -> None:
    provider, path = ConfigFileProvider(), tmp_path / "conf" / "a.json"
    props = {"path": str(path), "content": "wanted"}
    created = provider.create(props)
    assert (path.read_text(), mode(path), mode(path.parent)) == ("wanted", 0o600, 0o700)
    assert provider.diff("", created.outs or {}, props).changes is False

    path.write_text("edited")
    found = provider.read(str(path), created.outs or {})
    assert provider.diff("", found.outs or {}, props).changes is True
    provider.update("", {}, props)
    assert path.read_text() == "wanted"

    path.unlink()
    assert provider.read(str(path), props).id is None


def test_a_file_at_another_path_is_another_file() -> None:
    diff = ConfigFileProvider().diff("", {"path": "/a", "content": "x"}, {"path": "/b", "content": "x"})
    assert (diff.changes, diff.replaces) == (True, ["path"])


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, "new" * 1000)
        assert reader.read() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_is_in_write_ahead_mode_for_whoever_opens_it_and_is_kept(tmp_path: Path) -> None:
    provider, path = DatabaseProvider(), tmp_path / "a.db"
    created = provider.create({"path": str(path)})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
    provider.delete("", created.outs or {})
    assert journal_mode(path) == "wal"
    provider.create({"path": str(path)})
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        connection.execute("PRAGMA journal_mode=DELETE")
    found = provider.read("", created.outs or {})
    assert provider.diff("", found.outs or {}, {"path": str(path)}).changes is True


def test_a_damaged_database_is_reported_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database, and long enough to look like one" * 50)
    before = path.read_bytes()
    for call in (DatabaseProvider().create, lambda props: DatabaseProvider().read("", props)):
        with pytest.raises(ConfigError, match="restore or move it away"):
            call({"path": str(path)})
    assert path.read_bytes() == before


def test_a_key_is_made_once_and_survives_everything(tmp_path: Path) -> None:
    provider, path = KeyFileProvider(), tmp_path / "secret" / "a.key"
    props = {"path": str(path)}
    created = provider.create(props)
    key = path.read_bytes()
    assert (len(key), mode(path)) == (KEY_BYTES, 0o600)
    assert set(created.outs or {}) == {"path", "mode"}

    provider.delete("", props)
    provider.create(props)
    assert path.read_bytes() == key

    path.chmod(0o644)
    found = provider.read("", props)
    assert provider.diff("", found.outs or {}, props).changes is True
    provider.update("", {}, props)
    assert (path.read_bytes(), mode(path)) == (key, 0o600)


def test_a_folder_is_private_and_kept(tmp_path: Path) -> None:
    provider, path = FolderProvider(), tmp_path / "a" / "b"
    provider.create({"path": str(path)})
    provider.delete("", {"path": str(path)})
    assert (mode(path), mode(path.parent)) == (0o700, 0o700)


def test_sockets_move_where_the_home_is_too_deep_for_one(tmp_path: Path) -> None:
    assert Layout(Path("/home/a/.falaj/local")).sockets == Path("/home/a/.falaj/local/run")
    deep = Layout(Path("/home") / ("x" * 120))
    assert len(os.fsencode(deep.sockets / "feature_server" / "gunicorn.ctl")) < 108
    assert deep.sockets != Layout(Path("/home") / ("y" * 120)).sockets
