"""Puts the runtime together, and starts and stops it without losing a request."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from core.errors import ConfigError
from serving.runtime import rpc
from serving.runtime.features import FeatureServer
from serving.runtime.log import InferenceLog
from serving.runtime.metrics import Metrics
from serving.runtime.repository import Extension, Plane, Repository
from serving.runtime.rest import Gate, Infer, Protocol, create_application
from serving.runtime.settings import Settings
from serving.store import ModelStore

_KEEP_ALIVE_S = 75
"""Longer than a gateway keeps idle connections, so that it is never surprised by a closed one."""
_LAST_REQUESTS_S = 0.3
_LOG_CLOSE_S = 30.0
_ROTATION_CHECKS = 5

logger = logging.getLogger("falaj.runtime")


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which would close the sockets at once.

    Its shutdown closes idle connections; one that was just made, or whose request is on the way, is not idle in
    truth. So the listener is closed first, and each connection has time for one more request, after which it closes.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(_LAST_REQUESTS_S)
        await super().shutdown(sockets)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; then be not ready, finish what is in flight, and write the log.

    Raises:
        ConfigError: A port is taken, or a setting contradicts the machine.
    """
    metrics = Metrics()
    log = InferenceLog(settings.inference_log, metrics, settings.log_rotate_seconds, settings.log_rotate_bytes)
    features = FeatureServer(settings.feature_server, settings.pseudonym_key_file, settings.feature_timeout)
    executor = ThreadPoolExecutor(thread_name_prefix="model")
    repository = Repository(ModelStore(settings.model_repository), settings, log, metrics, features, executor)
    plane = Plane(repository, log)
    extension = Extension(repository)

    listener = _listen(settings.host, settings.http_port)
    servicer = rpc.Servicer(plane, extension, metrics, settings.max_request_rows)
    grpc_server = rpc.create_server(servicer, settings.host, settings.grpc_port, settings.max_body_bytes)
    application = create_application(plane, extension, settings.http_port)
    infer = Infer(plane, metrics, settings.max_body_bytes, settings.max_request_rows)
    rest_server = _Server(
        uvicorn.Config(
            Gate(application, infer),
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # The protocol looks for the gate, which the middleware of these headers would hide.
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(settings.grace_seconds),
        )
    )
    log.start()
    await grpc_server.start()
    rest = asyncio.create_task(rest_server.serve(sockets=[listener]))
    rotation = asyncio.create_task(_rotate(log, settings.log_rotate_seconds))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    await repository.load_all()
    # What is there now stays: the collector need not walk through it, which took tens of milliseconds each time.
    gc.collect()
    gc.freeze()
    reason = plane.not_ready()
    logger.info(
        "REST on %s:%d, gRPC on %d: %s", settings.host, settings.http_port, settings.grpc_port, reason or "ready"
    )
    await stopped.wait()

    plane.draining = True
    logger.info("draining")
    await asyncio.sleep(settings.drain_seconds)
    rest_server.should_exit = True
    await asyncio.gather(rest, grpc_server.stop(settings.grace_seconds))
    rotation.cancel()
    await features.close()
    await asyncio.to_thread(log.close, _LOG_CLOSE_S)
    executor.shutdown(wait=False, cancel_futures=True)
    logger.info("stopped")


async def _rotate(log: InferenceLog, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds / _ROTATION_CHECKS)
        log.rotate()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise ConfigError(f"port {port} of {host} cannot be listened on: change --http-port") from error
