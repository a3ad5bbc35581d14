"""Puts the runtime together, and starts and stops it without losing a request."""

import asyncio
import gc
import logging
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

from core.errors import ConfigError
from serving.runtime import http1, http2, rpc
from serving.runtime.features import FeatureServer
from serving.runtime.listener import Limits, Server
from serving.runtime.log import InferenceLog
from serving.runtime.metrics import Metrics
from serving.runtime.repository import Extension, Plane, Repository
from serving.runtime.rest import Router, create_application
from serving.runtime.settings import Settings
from serving.store import open_models

_LOG_CLOSE_S = 30.0
_ROTATION_CHECKS = 5

logger = logging.getLogger("falaj.runtime")


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; then be not ready, finish what is in flight, and write the log.

    Raises:
        ConfigError: A port is taken, or a setting contradicts the machine.
    """
    metrics = Metrics()
    log = InferenceLog(
        settings.inference_log,
        metrics,
        settings.log_rotate_seconds,
        settings.log_rotate_bytes,
        settings.log_spool,
        settings.log_spool_bytes,
    )
    features = FeatureServer(settings.feature_server, settings.pseudonym_key_file, settings.feature_timeout)
    executor = ThreadPoolExecutor(thread_name_prefix="model")
    repository = Repository(open_models(settings.model_repository), settings, log, metrics, features, executor)
    plane = Plane(repository, log)
    extension = Extension(repository)

    listener = _listen(settings.host, settings.http_port, "--http-port")
    grpc_listener = _listen(settings.host, settings.grpc_port, "--grpc-port")
    limits = Limits(
        connections=settings.max_connections,
        body_bytes=settings.max_body_bytes,
        buffered_bytes=settings.max_buffered_bytes,
    )
    router = Router(plane, metrics, create_application(plane, extension, settings.http_port))
    rest_server = Server(lambda server: http1.Connection(server, router), limits)
    service = rpc.Service(plane, extension, metrics)
    grpc_server = Server(lambda server: http2.Connection(server, service.answer), limits)
    log.start()
    await grpc_server.start(grpc_listener)
    await rest_server.start(listener)
    rotation = asyncio.create_task(_rotate(log, settings.log_rotate_seconds))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    await repository.load_all()
    following = asyncio.create_task(repository.follow(settings.follow_seconds))
    # What is there now stays: the collector need not walk through it, which took tens of milliseconds each time.
    gc.collect()
    gc.freeze()
    reason = plane.not_ready()
    logger.info(
        "REST on %s:%d, gRPC on %d: %s", settings.host, settings.http_port, settings.grpc_port, reason or "ready"
    )
    await stopped.wait()

    plane.draining = True
    rest_server.drain()
    grpc_server.drain()
    logger.info("draining")
    await asyncio.sleep(settings.drain_seconds)
    await asyncio.gather(rest_server.stop(settings.grace_seconds), grpc_server.stop(settings.grace_seconds))
    following.cancel()
    rotation.cancel()
    await features.close()
    await asyncio.to_thread(log.close, _LOG_CLOSE_S)
    executor.shutdown(wait=False, cancel_futures=True)
    logger.info("stopped")


async def _rotate(log: InferenceLog, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds / _ROTATION_CHECKS)
        log.rotate()


def _listen(host: str, port: int, flag: str) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise ConfigError(f"port {port} of {host} cannot be listened on: change {flag}") from error
