"""`falaj restore`: a copy's state into an empty folder, or onto the stores of a cluster."""

from contextlib import ExitStack
from typing import Annotated

import typer

from core import storage
from core.errors import ConfigError
from falaj import console, environment
from falaj.commands.backup import passphrase


def restore(
    source: Annotated[str, typer.Argument(help="A file that `falaj backup` made, or its s3:// address.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Bring a copy back into an empty folder; nothing is written before all of it was verified.

    The folder is .falaj, or what FALAJ_HOME names. `falaj up` then starts the environment.
    """
    from falaj.recovery import local

    home = environment.home()
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(storage.opened(source))
        except FileNotFoundError as error:
            raise ConfigError(f"there is no {source}: name a file that `falaj backup` made") from error
        phrase = passphrase(confirm=False)
        with console.working(f"verifying {source}"):
            manifest = local.restore(stream, phrase, home)
    if as_json:
        console.result(manifest.model_dump(mode="json"))
    else:
        live = ", ".join(f"{model} {found.live}" for model, found in sorted(manifest.live.items()))
        console.say(f"[green]restored[/] to {home} as of {manifest.time:%Y-%m-%d %H:%M} UTC; live: {live or 'nothing'}")
        console.say("Next: [bold]falaj up --no-train[/], and [bold]falaj verify[/]")
