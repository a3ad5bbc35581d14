"""Puts the runtime together, and starts and stops it without losing a request."""

import asyncio
import gc
import logging
import signal
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import REGISTRY

from serving.runtime import http1, http2, rpc
from serving.runtime.features import FeatureSources
from serving.runtime.features_store import open_online_store
from serving.runtime.listener import Limits, Server
from serving.runtime.log import InferenceLog
from serving.runtime.metrics import Metrics
from serving.runtime.peers import Peers
from serving.runtime.processes import Listeners, end_with_parent
from serving.runtime.repository import Extension, Plane, Repository
from serving.runtime.rest import Router, create_application
from serving.runtime.settings import Settings
from serving.store import open_models

_LOG_CLOSE_S = 30.0
_ROTATION_CHECKS = 5

logger = logging.getLogger("falaj.runtime")


async def serve(settings: Settings, listeners: Listeners, peers: Peers | None = None) -> None:
    """Run until SIGTERM or SIGINT; then be not ready, finish what is in flight, and write the log.

    Args:
        peers: The other processes on these listeners, where there are some.

    Raises:
        ConfigError: A setting contradicts the machine.
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
    online = open_online_store(settings.feature_store, settings.feature_timeout)
    features = FeatureSources(online, settings.pseudonym_key_file)
    executor = ThreadPoolExecutor(thread_name_prefix="model")
    repository = Repository(open_models(settings.model_repository), settings, log, metrics, features, executor)
    plane = Plane(repository, log)
    extension = Extension(repository)

    limits = Limits(
        connections=settings.max_connections,
        body_bytes=settings.max_body_bytes,
        buffered_bytes=settings.max_buffered_bytes,
    )
    router = Router(plane, metrics, create_application(plane, extension, settings.http_port, peers))
    rest_server = Server(lambda server: http1.Connection(server, router), limits)
    service = rpc.Service(plane, extension, metrics)
    grpc_server = Server(lambda server: http2.Connection(server, service.answer), limits)
    log.start()

    async def listen() -> None:
        await rest_server.start(listeners[0])
        await grpc_server.start(listeners[1])

    if peers is None:
        # Requests are told that it is not ready; where there are other processes, they may be.
        await listen()
    rotation = asyncio.create_task(_rotate(log, settings.log_rotate_seconds))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    end_with_parent(stopped.set)

    await repository.load_all()
    if peers is not None:
        told = await peers.start(REGISTRY)
        await listen()
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
    if peers is not None:
        told.close()
    following.cancel()
    rotation.cancel()
    await online.close()
    await asyncio.to_thread(log.close, _LOG_CLOSE_S)
    executor.shutdown(wait=False, cancel_futures=True)
    logger.info("stopped")


async def _rotate(log: InferenceLog, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds / _ROTATION_CHECKS)
        log.rotate()
