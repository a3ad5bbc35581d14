"""`python -m serving.runtime`: see --help for the settings."""

import logging
import sys

# KServe parses the command line when it is imported, and would take flags of ours for its own.
_ARGUMENTS, sys.argv[1:] = sys.argv[1:], []

from core.telemetry import silence  # noqa: E402

# However the runtime is started: its libraries read this when they are imported, here and in its processes.
silence()

from core.errors import FalajError  # noqa: E402
from serving.runtime.processes import cores, listen, supervise  # noqa: E402
from serving.runtime.settings import Settings  # noqa: E402
from serving.runtime.worker import configure_logging, run, work  # noqa: E402


def main() -> int:
    configure_logging()
    try:
        settings = Settings.parse(_ARGUMENTS)
        count = settings.processes or cores()
        if count > 1:
            return supervise(settings, count, work)
        run(settings, listen(settings))
    except FalajError as error:
        logging.getLogger("falaj.runtime").error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
