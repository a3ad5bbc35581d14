"""`falaj backup`: the local environment's state in one sealed file."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import ConfigError
from falaj import console, environment

PASSPHRASE = "FALAJ_BACKUP_PASSPHRASE"  # noqa: S105 - the variable's name
_SHORTEST = 12


def backup(
    target: Annotated[str, typer.Argument(help="A file that is not there yet, or its s3:// address.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Copy models, registry, features, logs and keys, sealed under a passphrase; the environment goes on meanwhile.

    The passphrase is that of FALAJ_BACKUP_PASSPHRASE, or asked for. The file is age's: `age --decrypt` opens it too.
    """
    from core import storage
    from core.audit import open_log
    from core.digest import bytes_digest
    from falaj.recovery.local import back_up

    if storage.tag(target) is not None:
        raise ConfigError(f"{target} exists: name a file that does not")
    home = environment.home()
    phrase = passphrase(confirm=True)
    local = storage.local_path(target)
    folder = local.resolve().parent if local is not None else home
    folder.mkdir(parents=True, exist_ok=True)
    with console.working(f"copying {home}"), tempfile.TemporaryDirectory(prefix=".backup-", dir=folder) as scratch:
        draft = Path(scratch) / "copy"
        draft.touch(mode=0o600)
        with draft.open("wb") as stream:
            manifest = back_up(home, stream, phrase)
            stream.flush()
            os.fsync(stream.fileno())
        size = draft.stat().st_size
        if local is not None:
            draft.rename(local)
        else:
            storage.upload(draft, target)
    digest = bytes_digest(manifest.model_dump_json().encode())
    log = environment.home() / "local" / "data" / "audit" / "audit.jsonl"
    open_log(log).append("environment.backed_up", "local", manifest=digest, files=len(manifest.files), bytes=size)
    if as_json:
        found: dict[str, Any] = manifest.model_dump(mode="json")
        console.result(found | {"target": target, "bytes": size})
    else:
        console.say(f"[green]copied[/] {len(manifest.files)} files, {size / 1e6:.0f} MB, to {console.escape(target)}")


def passphrase(*, confirm: bool) -> str:
    """That of the environment, or what a person types.

    Raises:
        ConfigError: It is short.
    """
    found = os.environ.get(PASSPHRASE) or str(
        typer.prompt("Passphrase of the copy", hide_input=True, confirmation_prompt=confirm)
    )
    if len(found) < _SHORTEST:
        raise ConfigError(f"the passphrase has {len(found)} characters: take at least {_SHORTEST}")
    return found
