"""Start one supervised program: `python -m infra.substrates.local.launch <program>.json`.

A server that was killed hard leaves children behind which keep its port, so that its successor could
never start. This ends them first. It also gives the program exactly the environment that its stack
declares, whoever started the supervisor.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from core.processes import still_running

SERVER = "SUPERVISOR_SERVER_URL"
PROGRAM = "SUPERVISOR_PROCESS_NAME"
"""supervisord sets both for each program, and a program's children inherit them."""
_INHERITED = (SERVER, PROGRAM, "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")
_PATIENCE_SECONDS = 5


def belongs(process: psutil.Process, server: str, program: str | None) -> bool:
    """Whether a process descends from a program of the supervisor at `server`."""
    try:
        environment = process.environ()
    except psutil.Error:
        return False
    return environment.get(SERVER) == server and program in (None, environment.get(PROGRAM))


def stop_leftovers(server: str, program: str | None = None) -> int:
    """End what former programs of the supervisor at `server` left behind; of all programs where none is named.

    Returns:
        How many processes were ended.
    """
    spared = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    leftovers = [
        process for process in psutil.process_iter() if process.pid not in spared and belongs(process, server, program)
    ]
    for process in leftovers:
        _signal(process.terminate)
    alive = still_running(leftovers, _PATIENCE_SECONDS)
    for process in alive:
        _signal(process.kill)
    still_running(alive, _PATIENCE_SECONDS)
    return len(leftovers)


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        send()


def program_environment(declared: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """The declared variables, and those that say who and where the user is."""
    return {key: inherited[key] for key in _INHERITED if key in inherited} | dict(declared)


def main() -> None:
    program = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    stop_leftovers(os.environ[SERVER], os.environ[PROGRAM])
    # Servers leave sockets and shared metrics of dead processes here.
    shutil.rmtree(program["scratch"], ignore_errors=True)
    Path(program["scratch"]).mkdir(parents=True, mode=0o700)
    environment = program_environment(program["environment"], os.environ)
    try:
        os.execvpe(program["command"][0], program["command"], environment)  # noqa: S606 - the stack's own command
    except OSError as error:
        sys.exit(f"{program['command'][0]} cannot be started: {error}")


if __name__ == "__main__":
    main()
