"""One loaded version of a model with its queues: where a decoded request is answered, whatever brought it."""

import asyncio
import math
import time

from serving.runtime.batching import Batcher, Done, Job
from serving.runtime.codec import Request
from serving.runtime.errors import RefusedError
from serving.runtime.features import FeatureLookup
from serving.runtime.identity import Identity
from serving.runtime.json_codec import Decoder, Encoder
from serving.runtime.model import Arrays, Model
from serving.runtime.outputs import Outputs


class Version:
    """A request in flight holds it, so that unloading a version drops none."""

    def __init__(self, model: Model, batcher: Batcher, features: FeatureLookup, max_rows: int) -> None:
        self.model = model
        self.label = str(model.version)
        self.max_rows = max_rows
        """Rows that one request may have."""
        self.decoder = Decoder(model.spec, max_rows)
        self.encoder = Encoder(model.spec, self.label)
        self.batcher = batcher
        self._features = features

    def submit(self, request: Request, identity: Identity, started: float, deadline: float, done: Done) -> None:
        """Answer a request: `done` is called once, on the event loop, when its rows are in the log.

        Args:
            started: When the request was there whole; both moments are of `time.perf_counter`.
            deadline: When an answer is of no use any more.

        Raises:
            RefusedError: It cannot be taken; `done` is not called.
        """
        if request.inputs is not None:
            self.batcher.submit(Job(request.inputs, request.rows, identity, started, deadline, done))
            return

        def joined(features: Arrays | RefusedError) -> None:
            if isinstance(features, RefusedError):
                done(features, 0, 0)
                return
            flat = tuple([array.reshape(-1) for array in features])
            try:
                self.batcher.submit(Job(flat, request.rows, identity, started, deadline, done))
            except RefusedError as refused:
                done(refused, 0, 0)

        self._features.submit(request.entities or [], joined)

    async def infer(self, request: Request, identity: Identity, deadline: float = math.inf) -> Arrays:
        """Answer a request.

        Raises:
            RefusedError: The reason why it is not answered.
        """
        future: asyncio.Future[Arrays | RefusedError] = asyncio.get_running_loop().create_future()

        def done(outputs: Outputs | RefusedError, start: int, end: int) -> None:
            if not future.done():
                future.set_result(
                    outputs
                    if isinstance(outputs, RefusedError)
                    else tuple([array[start:end] for array in outputs.arrays])
                )

        self.submit(request, identity, time.perf_counter(), deadline, done)
        result = await future
        if isinstance(result, RefusedError):
            raise result
        return result
