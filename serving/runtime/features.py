"""Completes requests that carry ids: identifier → pseudonym → Feast's feature server, one look-up for all that
arrive together."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from core.model_spec import ModelSpec
from core.pseudonym import Pseudonymiser
from serving.runtime.codec import Entities
from serving.runtime.errors import RefusedError, invalid, unavailable
from serving.runtime.metrics import Metrics
from serving.runtime.model import DTYPES, Array, Arrays

_LOOKUPS_AT_ONCE = 4
_REASONS_SHOWN = 5
_TIME_ZERO = "1970-01-01T00:00:00Z"

Done = Callable[[Arrays | RefusedError], None]
logger = logging.getLogger("falaj.features")


@dataclass(slots=True)
class _Lookup:
    entities: Entities
    done: Done


class FeatureServer:
    """The connection to Feast's feature server, shared by all models."""

    def __init__(self, url: str | None, key_file: Path | None, timeout: float) -> None:
        self.key_file = key_file
        self._url = url
        self._client = httpx.AsyncClient(
            timeout=timeout, limits=httpx.Limits(max_connections=16, keepalive_expiry=30), trust_env=False
        )

    async def lookup(self, service: str, entity: str, ids: Entities) -> dict[str, Any]:
        """Feast's answer of `POST /get-online-features`.

        Raises:
            RefusedError: 503, it is not configured, cannot be reached, or refused.
        """
        if self._url is None:
            raise unavailable("no feature server is set: start the runtime with --feature-server")
        content = orjson.dumps({"feature_service": service, "entities": {entity: ids}})
        for attempt in (1, 2):
            try:
                response = await self._client.post(
                    f"{self._url}/get-online-features", content=content, headers={"content-type": "application/json"}
                )
                break
            except httpx.TimeoutException as error:
                raise unavailable("the feature server did not answer in time") from error
            except httpx.TransportError as error:
                # A server that restarts closes idle connections; the look-up only reads, so once more is safe.
                if attempt == 2:
                    raise unavailable(f"the feature server cannot be reached ({type(error).__name__})") from error
        if response.status_code != 200:
            logger.error("the feature server answered %d for service %s", response.status_code, service)
            raise unavailable(f"the feature server answered {response.status_code} for the feature service {service}")
        try:
            document = orjson.loads(response.content)
            names, results = document["metadata"]["feature_names"], document["results"]
            return {
                name: (result["values"], result["statuses"], result["event_timestamps"])
                for name, result in zip(names, results, strict=True)
            }
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
            raise unavailable("the feature server's answer is not one of Feast's") from error

    async def close(self) -> None:
        await self._client.aclose()


class FeatureLookup:
    """The features of one version's entities. All methods are called on the event loop."""

    def __init__(
        self, server: FeatureServer, model: str, spec: ModelSpec, metrics: Metrics, max_rows: int, max_queued: int
    ) -> None:
        self._server = server
        self._model = model
        self._spec = spec
        self._metrics = metrics
        self._max_rows = max_rows
        self._max_queued = max_queued
        self._waiting: deque[_Lookup] = deque()
        self._queued = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._pseudonymiser: Pseudonymiser | None = None
        if spec.features.pseudonymised and server.key_file is not None:
            self._pseudonymiser = Pseudonymiser.from_file(server.key_file, spec.features.entity)

    def submit(self, entities: Entities, done: Done) -> None:
        """Look features up; `done` is called once with the graph's inputs, rows in the order of `entities`.

        Raises:
            RefusedError: 503, the key is not set or too many wait; 400, an id is empty.
        """
        if self._spec.features.pseudonymised and self._pseudonymiser is None:
            raise unavailable("no pseudonym key is set: start the runtime with --pseudonym-key-file")
        if "" in entities:
            raise invalid(f"{self._spec.features.entity} holds an empty id")
        if self._waiting and self._queued + len(entities) > self._max_queued:
            raise unavailable("the queue of feature look-ups is full")
        self._waiting.append(_Lookup(entities, done))
        self._queued += len(entities)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._tasks) < _LOOKUPS_AT_ONCE:
            lookups = [self._waiting.popleft()]
            rows = len(lookups[0].entities)
            while self._waiting and rows + len(self._waiting[0].entities) <= self._max_rows:
                lookups.append(self._waiting.popleft())
                rows += len(lookups[-1].entities)
            self._queued -= rows
            task = asyncio.get_running_loop().create_task(self._run(lookups))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._flush()

    async def _run(self, lookups: list[_Lookup]) -> None:
        source = self._spec.features
        started = time.perf_counter()
        try:
            ids: Any = [entity for lookup in lookups for entity in lookup.entities]
            if self._pseudonymiser is not None:
                ids = [self._pseudonymiser(str(entity)) for entity in ids]
            found = await self._server.lookup(source.service, source.entity, ids)
            inputs, unknown = self._inputs(found, len(ids))
        except RefusedError as refused:
            self._metrics.feature_seconds.labels(self._model, "unavailable").observe(time.perf_counter() - started)
            for lookup in lookups:
                lookup.done(refused)
            return
        except Exception:
            logger.exception("a feature look-up of %s failed", self._model)
            for lookup in lookups:
                lookup.done(RefusedError(500, "the feature look-up failed: see the runtime's log"))
            return
        self._metrics.feature_seconds.labels(self._model, "ok").observe(time.perf_counter() - started)
        start = 0
        for lookup in lookups:
            end = start + len(lookup.entities)
            missing = np.flatnonzero(unknown[start:end])
            lookup.done(
                _not_found(source.entity, missing, end - start)
                if len(missing)
                else tuple(array[start:end] for array in inputs)
            )
            start = end

    def _inputs(self, found: dict[str, Any], rows: int) -> tuple[Arrays, Array]:
        """Arrays of the spec's inputs, and (n,) of the entities that the store does not know.

        Feast tells an unknown entity from a known one without a value: NOT_FOUND is unknown, NULL_VALUE is missing,
        OUTSIDE_MAX_AGE is older than the view's time to live and counts as unknown. From Redis it gives for an unknown
        one values that are missing, of the time zero.
        """
        unknown = np.zeros(rows, bool)
        arrays = []
        for tensor in self._spec.inputs:
            array = np.empty((rows, len(tensor.columns)), DTYPES[tensor.datatype])
            for position, column in enumerate(tensor.columns):
                if column not in found:
                    raise unavailable(f"the feature service {self._spec.features.service} does not give {column}")
                values, statuses, times = found[column]
                unknown |= np.array([status in ("NOT_FOUND", "OUTSIDE_MAX_AGE") for status in statuses])
                unknown |= np.array([time == _TIME_ZERO for time in times])
                if tensor.datatype == "BYTES":
                    array[:, position] = ["" if value is None else str(value) for value in values]
                else:
                    array[:, position] = [np.nan if value is None else value for value in values]
            arrays.append(array)
        return tuple(arrays), unknown


def _not_found(entity: str, missing: Array, rows: int) -> RefusedError:
    shown = ", ".join(str(row) for row in missing[:_REASONS_SHOWN]) + (", …" if len(missing) > _REASONS_SHOWN else "")
    return RefusedError(
        404,
        f"{len(missing)} of {rows} ids in {entity} are unknown to the feature store, or their features are too old "
        f"(positions {shown}): send features instead, or materialize them",
    )
