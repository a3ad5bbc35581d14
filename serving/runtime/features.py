"""Completes requests that carry ids: identifier → pseudonym → the online store, one look-up for all that arrive
together. Nothing is kept from one look-up to the next: an answer has what the store held when it was asked."""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.model_spec import ModelSpec
from core.pseudonym import Pseudonymiser
from serving.runtime.arrays import DTYPES, Array, Arrays
from serving.runtime.codec import Entities
from serving.runtime.errors import RefusedError, invalid, unavailable
from serving.runtime.features_store import OnlineStore, Row
from serving.runtime.metrics import Metrics

_LOOKUPS_AT_ONCE = 4
_REASONS_SHOWN = 5
_MICROSECONDS = 1e6

Done = Callable[[Arrays | RefusedError], None]
_Lookup = tuple[Entities, Done]
logger = logging.getLogger("falaj.features")


@dataclass(frozen=True)
class FeatureSources:
    """What all models complete requests with. `key_file` is None where the runtime was not told of one."""

    store: OnlineStore
    key_file: Path | None


class FeatureLookup:
    """The features of one version's entities. All methods are called on the event loop."""

    def __init__(
        self, sources: FeatureSources, model: str, spec: ModelSpec, metrics: Metrics, max_rows: int, max_queued: int
    ) -> None:
        self._model = model
        self._max_rows = max_rows
        self._max_queued = max_queued
        self._waiting: deque[_Lookup] = deque()
        self._queued = 0
        self._running = 0
        self._scheduled = False
        self._seconds = metrics.feature_seconds.labels(model, "ok")
        self._failed_seconds = metrics.feature_seconds.labels(model, "unavailable")
        self._age = metrics.feature_age_seconds.labels(model)
        source = spec.features
        if source is None:
            raise ValueError(f"no feature store holds what {model} takes")
        self._source = source
        columns = [column for tensor in spec.inputs for column in tensor.columns]
        self._unknown: Row = (0, *(None for _ in columns))
        edges = itertools.pairwise(itertools.accumulate((len(tensor.columns) for tensor in spec.inputs), initial=1))
        self._slices = [(tensor.datatype, *edge) for tensor, edge in zip(spec.inputs, edges, strict=True)]
        """Of a row: which cells are whose tensor's."""
        self._reader = sources.store.reader(source.entity, source.view, columns)
        self._pseudonymiser: Pseudonymiser | None = None
        if source.pseudonymised and sources.key_file is not None:
            self._pseudonymiser = Pseudonymiser.from_file(sources.key_file, source.entity)

    def submit(self, entities: Entities, done: Done) -> None:
        """Look features up; `done` is called once with the graph's inputs, rows in the order of `entities`.

        Raises:
            RefusedError: 503, the key is not set or too many wait; 400, an id is empty.
        """
        if self._source.pseudonymised and self._pseudonymiser is None:
            raise unavailable("no pseudonym key is set: start the runtime with --pseudonym-key-file")
        if "" in entities:
            raise invalid(f"{self._source.entity} holds an empty id")
        if self._waiting and self._queued + len(entities) > self._max_queued:
            raise unavailable("the queue of feature look-ups is full")
        self._waiting.append((entities, done))
        self._queued += len(entities)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        while self._waiting and self._running < _LOOKUPS_AT_ONCE:
            lookups = [self._waiting.popleft()]
            rows = len(lookups[0][0])
            while self._waiting and rows + len(self._waiting[0][0]) <= self._max_rows:
                lookups.append(self._waiting.popleft())
                rows += len(lookups[-1][0])
            self._queued -= rows
            self._look_up(lookups)

    def _look_up(self, lookups: Sequence[_Lookup]) -> None:
        started = time.perf_counter()
        ids: Any = lookups[0][0] if len(lookups) == 1 else [entity for entities, _ in lookups for entity in entities]
        if self._pseudonymiser is not None:
            ids = [self._pseudonymiser(str(entity)) for entity in ids]

        def found(rows: Sequence[Row | None] | RefusedError) -> None:
            self._running -= 1
            failed = isinstance(rows, RefusedError)
            (self._failed_seconds if failed else self._seconds).observe(time.perf_counter() - started)
            self._answer(lookups, rows)
            if self._waiting:
                self._schedule()

        self._running += 1
        self._reader.fetch(ids, found)

    def _answer(self, lookups: Sequence[_Lookup], rows: Sequence[Row | None] | RefusedError) -> None:
        inputs = rows if isinstance(rows, RefusedError) else self._inputs([row or self._unknown for row in rows])
        if isinstance(rows, RefusedError) or isinstance(inputs, RefusedError):
            for _, done in lookups:
                done(inputs)
            return
        moments = [row[0] for row in rows if row is not None]
        if moments:
            self._age.observe(time.time() - min(moments) / _MICROSECONDS)  # type: ignore[type-var, operator]  # Integers.
        if len(lookups) == 1 and len(moments) == len(rows):
            lookups[0][1](inputs)
            return
        start = 0
        for entities, done in lookups:
            end = start + len(entities)
            missing = [place for place, row in enumerate(rows[start:end]) if row is None]
            done(
                _not_found(self._source.entity, missing, len(entities))
                if missing
                else tuple([array[start:end] for array in inputs])
            )
            start = end

    def _inputs(self, rows: Sequence[Row]) -> Arrays | RefusedError:
        """Arrays of the spec's inputs; what is missing is NaN, or an empty text."""
        arrays: list[Array] = []
        try:
            for datatype, start, end in self._slices:
                if datatype == "BYTES":
                    texts = [cell or "" for row in rows for cell in row[start:end]]
                    arrays.append(np.array(texts, object).reshape(len(rows), end - start))
                else:
                    arrays.append(np.array([row[start:end] for row in rows], DTYPES[datatype]))
        except (TypeError, ValueError):
            # The error would quote the value, which is someone's.
            logger.error("the online store holds a value of another type than the inputs of %s", self._model)
            return unavailable(f"the online store holds a value that {self._model} does not take")
        return tuple(arrays)


def _not_found(entity: str, missing: Sequence[int], rows: int) -> RefusedError:
    shown = ", ".join(map(str, missing[:_REASONS_SHOWN])) + (", …" if len(missing) > _REASONS_SHOWN else "")
    return RefusedError(
        404,
        f"{len(missing)} of {rows} ids in {entity} are unknown to the feature store "
        f"(positions {shown}): send features instead, or publish theirs",
    )
