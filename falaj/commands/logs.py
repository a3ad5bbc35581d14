"""`falaj logs`: what a service wrote."""

import subprocess
from typing import Annotated

import typer

from core.errors import ConfigError
from falaj import environment


def logs(
    service: Annotated[str, typer.Argument(help="Name of a service, as `falaj status` shows it.")],
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last lines.")] = 100,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines until interrupted.")] = False,
) -> None:
    """Show the log of one service."""
    services = environment.load().services
    if service not in services:
        raise ConfigError(f"no service {service}: there are {', '.join(sorted(services))}")
    log = services[service].log
    if log is None:
        raise ConfigError(f"{service} keeps no log on this machine")
    # tail follows a log across its rotation, which an own loop would have to learn.
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), log]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
