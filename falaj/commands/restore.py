"""`falaj restore`: a copy's state into an empty folder, or onto the stores of a cluster."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from core import storage
from core.errors import ConfigError
from falaj import console, environment
from falaj.commands.backup import passphrase

if TYPE_CHECKING:
    from falaj.recovery.archive import Manifest

_BLOCK = 1 << 20


def restore(
    source: Annotated[str, typer.Argument(help="A file that `falaj backup` made, or its s3:// address.")],
    to: Annotated[
        str | None,
        typer.Option(help="A stack on a site's cluster, onto whose stores the state goes; this machine by default."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="With --to: where to leave the pseudonyms' key, for the site's secret store.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Bring a copy back into an empty folder; nothing is written before all of it was verified.

    The folder is .falaj, or what FALAJ_HOME names. `falaj up` then starts the environment. With --to, buckets and
    PostgreSQL are reached as AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, PGHOST, PGUSER and their like say.
    """
    if (to is None) != (key is None):
        raise ConfigError(
            "--to and --key go together: the key of the pseudonyms goes where no program of ours may write"
        )
    home = environment.home()
    phrase = passphrase(confirm=False)
    with (
        console.working(f"verifying {source}"),
        tempfile.TemporaryDirectory(prefix="falaj-restore-") as scratch,
        _fetched(source, Path(scratch)).open("rb") as stream,
    ):
        manifest = _restored(stream, phrase, home, to, key, Path(scratch))
    if as_json:
        console.result(manifest.model_dump(mode="json"))
    else:
        live = ", ".join(f"{model} {found.live}" for model, found in sorted(manifest.live.items()))
        where = f"the stores of {to}" if to else home
        console.say(
            f"[green]restored[/] to {where} as of {manifest.time:%Y-%m-%d %H:%M} UTC; live: {live or 'nothing'}"
        )
        if key is not None:
            console.say(f"Put {key} into the secret store as falaj/pseudonym, key `key`, and delete it here")
        else:
            console.say("Next: [bold]falaj up --no-train[/], and [bold]falaj verify[/]")


def _fetched(source: str, scratch: Path) -> Path:
    """The copy as a file of this machine."""
    here = storage.local_path(source)
    try:
        if here is not None:
            here.stat()
            return here
        with storage.opened(source) as stream, (scratch / "copy").open("wb") as file:
            shutil.copyfileobj(stream, file, _BLOCK)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {source}: name a file that `falaj backup` made") from error
    return scratch / "copy"


def _restored(stream: BinaryIO, phrase: str, home: Path, to: str | None, key: Path | None, scratch: Path) -> "Manifest":
    # Imported where they are needed: they bring the serving runtime, and the second MLflow.
    from falaj.recovery import local

    if to is None or key is None:
        return local.restore(stream, phrase, home)
    from falaj.recovery import site

    return site.restore(stream, phrase, site.Stores.of(to, environment.ROOT), to, key, scratch)
