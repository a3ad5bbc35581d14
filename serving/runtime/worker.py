"""One process of the runtime, alone or one of several."""

import logging
import os
import sys

import uvloop

from core.errors import FalajError
from serving.runtime.peers import Peers
from serving.runtime.processes import Listeners
from serving.runtime.settings import Settings

_SWITCH_INTERVAL_S = 0.0005
"""How long the log's thread may hold the interpreter while a request waits; Python's default is ten times that."""


def configure_logging() -> None:
    logging.basicConfig(
        level=os.environ.get("FALAJ_LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for name in ("kserve", "kserve.trace", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


def run(settings: Settings, listeners: Listeners, peers: Peers | None = None) -> None:
    """Serve until told to stop.

    Raises:
        ConfigError: A setting contradicts the machine.
    """
    # KServe parses the command line, of which it must have nothing left, when it is imported.
    from serving.runtime.server import serve

    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    uvloop.run(serve(settings, listeners, peers))


def work(settings: Settings, listeners: Listeners, peers: Peers) -> None:
    """What a process that was started by another does."""
    configure_logging()
    try:
        run(settings, listeners, peers)
    except FalajError as error:
        logging.getLogger("falaj.runtime").error("%s", error)
        sys.exit(2)
