"""One loaded version of a model with its queues: where a decoded request is answered, whatever brought it."""

import asyncio
import math
import time
from collections.abc import Sequence

from serving.runtime import json_codec, proto_codec
from serving.runtime.arrays import Array, Arrays
from serving.runtime.batching import Batcher, Job
from serving.runtime.codec import Limits, Query
from serving.runtime.errors import RefusedError
from serving.runtime.features import FeatureLookup
from serving.runtime.identity import Identity
from serving.runtime.model import Model
from serving.runtime.outputs import Outputs


class Version:
    """A request in flight holds it, so that unloading a version drops none."""

    def __init__(self, model: Model, batcher: Batcher, features: FeatureLookup | None, limits: Limits) -> None:
        self.model = model
        self.label = str(model.version)
        self.limits = limits
        self.json_decoder = json_codec.Decoder(model.spec, limits)
        self.json_encoder = json_codec.Encoder(model.spec, self.label)
        self.grpc_decoder = proto_codec.Decoder(model.spec, limits)
        self.grpc_encoder = proto_codec.Encoder(model.spec, self.label)
        self.batcher = batcher
        self._features = features

    def submit(self, query: Query, arrays: Sequence[Array], job: Job) -> None:
        """Answer a request by `job.done`, whose inputs, rows and length are set here.

        Raises:
            RefusedError: It cannot be taken; `job.done` is not called.
        """
        job.rows = query.rows
        job.length = query.length
        if self._features is None or not query.by_id:
            job.inputs = arrays
            self.batcher.submit(job)
            return

        def joined(features: Arrays | RefusedError) -> None:
            if isinstance(features, RefusedError):
                job.done(features, 0, 0)
                return
            job.inputs = [array.reshape(-1) for array in features]
            try:
                self.batcher.submit(job)
            except RefusedError as refused:
                job.done(refused, 0, 0)

        self._features.submit(arrays[0].tolist(), joined)

    async def infer(
        self, query: Query, arrays: Sequence[Array], identity: Identity, deadline: float = math.inf
    ) -> Arrays:
        """Answer a request.

        Raises:
            RefusedError: The reason why it is not answered.
        """
        job = _Awaited(identity, deadline)
        self.submit(query, arrays, job)
        return await job.outputs


class _Awaited(Job):
    __slots__ = ("outputs",)

    def __init__(self, identity: Identity, deadline: float) -> None:
        self.identity = identity
        self.started = time.perf_counter()
        self.deadline = deadline
        self.outputs: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()

    def done(self, outputs: Outputs | RefusedError, start: int, end: int) -> None:
        if self.outputs.done():
            return
        if isinstance(outputs, RefusedError):
            self.outputs.set_exception(outputs)
        else:
            self.outputs.set_result(outputs.all(start, end))
