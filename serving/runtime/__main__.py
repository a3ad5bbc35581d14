"""`python -m serving.runtime`: see --help for the settings."""

import logging
import os
import sys

# KServe parses the command line when it is imported, and would take flags of ours for its own.
_ARGUMENTS, sys.argv[1:] = sys.argv[1:], []

import uvloop  # noqa: E402

from core.errors import FalajError  # noqa: E402
from serving.runtime.settings import Settings  # noqa: E402

_SWITCH_INTERVAL_S = 0.0005
"""How long the log's thread may hold the interpreter while a request waits; Python's default is ten times that."""


def main() -> int:
    logging.basicConfig(
        level=os.environ.get("FALAJ_LOG_LEVEL", "INFO"), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    for name in ("kserve", "kserve.trace", "uvicorn.error", "httpx", "botocore", "aiobotocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        settings = Settings.parse(_ARGUMENTS)
        from serving.runtime.server import serve

        uvloop.run(serve(settings))
    except FalajError as error:
        logging.getLogger("falaj.runtime").error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
