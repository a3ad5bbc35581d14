"""One loaded version of a model with its queues: where a decoded request is answered, whatever brought it."""

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

from serving.runtime.batching import Batcher, Job
from serving.runtime.codec import Request
from serving.runtime.errors import RefusedError
from serving.runtime.features import FeatureLookup
from serving.runtime.metrics import VersionMetrics
from serving.runtime.model import Arrays, Model

Done = Callable[[Arrays | RefusedError], None]


class Version:
    """A request in flight holds it, so that unloading a version drops none."""

    def __init__(
        self, model: Model, batcher: Batcher, features: FeatureLookup, metrics: VersionMetrics, max_rows: int
    ) -> None:
        self.model = model
        self.label = str(model.version)
        self.metrics = metrics
        self.max_rows = max_rows
        """Rows that one request may have."""
        self._batcher = batcher
        self._features = features

    def submit(self, request: Request, inference_id: UUID, done: Done) -> None:
        """Answer a request: `done` is called once, on the event loop, when its rows are in the log.

        Raises:
            RefusedError: It cannot be taken; `done` is not called.
        """
        if request.inputs is not None:
            self._batcher.submit(Job(request.inputs, request.rows, inference_id.bytes, done))
            return

        def joined(features: Arrays | RefusedError) -> None:
            if isinstance(features, RefusedError):
                done(features)
                return
            try:
                self._batcher.submit(Job(features, request.rows, inference_id.bytes, done))
            except RefusedError as refused:
                done(refused)

        self._features.submit(request.entities or [], joined)

    async def infer(self, request: Request, inference_id: UUID) -> Arrays:
        """Answer a request.

        Raises:
            RefusedError: The reason why it is not answered.
        """
        future: asyncio.Future[Arrays | RefusedError] = asyncio.get_running_loop().create_future()
        self.submit(request, inference_id, lambda result: None if future.done() else future.set_result(result))
        result = await future
        if isinstance(result, RefusedError):
            raise result
        return result


def inference_id(given: str | None) -> UUID:
    """The client's request id where it is a UUID, so that it can find its answer in the log, else a new one.

    Nothing else that a client sends may reach the log: it could be an identifier.
    """
    if given is not None and len(given) == 36:
        try:
            return UUID(given)
        except ValueError:
            pass
    return uuid4()
