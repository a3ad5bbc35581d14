"""moto's server, told to say apart what it lacks from what it refuses: `python -m rehearsal.aws.emulation`.

It prints its address once it listens, and ends with the process that started it.
"""

import os
import sys
import threading
import time
from typing import Any

from flask import Flask, Response
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.rds.models import DBSubnetGroup, RDSBackend
from werkzeug.serving import make_server


def _lacking(error: Exception) -> Response:  # noqa: ARG001
    # With no body, clients of all protocols understand that it is an error, and which.
    return Response(status=501)


def _service(name: Any) -> Flask:
    app: Flask = create_backend_app(name)
    app.register_error_handler(NotImplementedError, _lacking)
    return app


_changed = RDSBackend.modify_db_subnet_group


def _kept(backend: RDSBackend, subnet_name: str, description: str, subnets: Any) -> DBSubnetGroup:
    """Change a group of subnets, which moto takes out for that and does not put back."""
    group = _changed(backend, subnet_name, description, subnets)
    backend.subnet_groups[subnet_name] = group
    return group


def main() -> None:
    """Serve on a free port of 127.0.0.1."""
    RDSBackend.modify_db_subnet_group = _kept  # type: ignore[method-assign, assignment]
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(_service), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    started = os.getppid()
    while os.getppid() == started:
        time.sleep(1)


if __name__ == "__main__":
    main()
