"""The files of an environment on this machine."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from core.pseudonym import KEY_BYTES
from verify.asked import Each
from verify.local import Local

_OTHERS = 0o077
_ENTERED = 0o011
"""Without these, only its owner enters a folder."""


def test_folders_are_the_owners_alone(each: Each, local: Local, host: Any) -> None:
    """No one but their owner enters the folders of data, logs and configuration."""
    each(
        [str(folder) for folder in (local.home, local.data, local.home / "logs", local.home / "conf", local.sockets)],
        lambda folder: _open(host.file(folder).mode),
    )


def test_no_file_is_readable_by_others(each: Each, local: Local) -> None:
    """No file with data, configuration or logs can be read or written by others."""

    def judge(path: Path) -> str | None:
        # A closed folder above a file closes the file; those above the environment's own are not its to vouch for.
        above = [folder for folder in path.parents if folder.is_relative_to(local.home)]
        closed = any(folder.stat().st_mode & _ENTERED == 0 for folder in above)
        return None if closed else _open(path.stat().st_mode & 0o777)

    each({str(path.relative_to(local.home)): path for path in local.home.rglob("*") if path.is_file()}, judge)


def test_key(each: Each, local: Local, host: Any) -> None:
    """The key of the pseudonyms is whole and its owner's alone."""

    def judge(path: str) -> list[str]:
        key = host.file(path)
        if not key.exists:
            return ["is missing: pseudonyms can no longer be matched"]
        faults = [_open(key.mode), f"has {key.size} bytes" if key.size < KEY_BYTES else None]
        return [fault for fault in faults if fault]

    each([local.environment.platform.pseudonym_key_file], judge)


def test_socket(each: Each, local: Local, host: Any) -> None:
    """Only its owner talks to the supervisor."""
    each([str(local.sockets / "supervisor.sock")], lambda path: _open(host.file(path).mode))


def test_databases(each: Each, local: Local) -> None:
    """Every database is whole, and its readers and writers do not wait for each other."""

    def judge(path: Path) -> list[str]:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            whole = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        return [*([f"journal mode {mode}"] if mode != "wal" else []), *([str(whole)] if whole != "ok" else [])]

    def told(path: Path) -> list[str]:
        try:
            return judge(path)
        except sqlite3.DatabaseError as error:
            return [str(error)]

    each({file.name: file for file in local.data.glob("*.db")}, told)


def test_no_secret_in_the_state(each: Each, local: Local) -> None:
    """The key of the pseudonyms is neither in the engine's state nor in a log."""
    key = Path(local.environment.platform.pseudonym_key_file).read_bytes()
    forms = (key, key.hex().encode())
    places = [*(local.home.parent / "state").rglob("*.json"), *(local.home / "logs").glob("*.log")]
    each(
        {str(path.relative_to(local.home.parent)): path for path in places},
        lambda path: "holds the key" if any(form in path.read_bytes() for form in forms) else None,
    )


def _open(mode: int) -> str | None:
    return f"has mode {mode:04o}: run `chmod go-rwx`" if mode & _OTHERS else None
