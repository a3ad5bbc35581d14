"""The models in memory: KServe's model repository and data plane over the store, with versions side by side."""

import asyncio
import logging
from concurrent.futures import Executor
from typing import Any

import numpy as np
from kserve import InferRequest, InferResponse, ModelRepository
from kserve.model import InferenceModel, InferenceVerb
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import InferOutput
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from core.errors import FalajError
from core.model_spec import Live, Tensor
from serving.runtime import codec
from serving.runtime.batching import Batcher
from serving.runtime.errors import RefusedError, invalid, unavailable
from serving.runtime.features import FeatureLookup, FeatureSources
from serving.runtime.identity import identity
from serving.runtime.log import InferenceLog
from serving.runtime.metrics import Metrics
from serving.runtime.model import Model
from serving.runtime.providers import Device
from serving.runtime.settings import Settings
from serving.runtime.version import Version
from serving.store import ModelStore

logger = logging.getLogger("falaj.repository")


class ServedModel(InferenceModel):  # type: ignore[misc]
    """What KServe's data plane sees of a model: the version that answers, and the others in memory."""

    def __init__(self, name: str, versions: dict[int, Version], live: int) -> None:
        super().__init__(name)
        self.versions = {str(number): version for number, version in versions.items()}
        self.live = versions[live]
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        return [_metadata(tensor) for tensor in self.live.model.spec.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [_metadata(tensor) for tensor in self.live.model.spec.outputs]

    async def __call__(
        self,
        body: dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,
        verb: InferenceVerb = InferenceVerb.PREDICT,
    ) -> tuple[dict[str, Any] | InferResponse, dict[str, str]]:
        """KServe's own way in: v1 `{"instances": [[…], …]}`, or an InferRequest of a caller in this process."""
        if verb is not InferenceVerb.PREDICT:
            raise NotImplementedError(f"{self.name} has no explainer")
        version = self.live
        given = (headers or {}).get("x-request-id")
        own = identity(None if given is None else given.encode("latin-1", "replace"))
        text = own[1].decode()
        spec = version.model.spec
        answer_headers = {"x-request-id": text}
        if isinstance(body, InferRequest):
            tensors = [
                (item.name, item.datatype, list(item.shape), item.as_numpy().reshape(-1)) for item in body.inputs
            ]
        else:
            tensors = [_instances(body, spec.inputs)]
        heads = [codec.check_tensor(name, kind, shape, spec, version.limits) for name, kind, shape, _ in tensors]
        query = codec.query(heads, (), spec)
        arrays = [
            codec.to_strings(list(tensors[position][3]), heads[position])
            if heads[position].datatype == "BYTES"
            else codec.from_binary(codec.to_binary(tensors[position][3], heads[position].datatype), heads[position])
            for position in query.order
        ]
        outputs = await version.infer(query, arrays, own)
        if not isinstance(body, InferRequest):
            names = [tensor.name for tensor in spec.outputs]
            rows = zip(*[array.tolist() for array in outputs], strict=True)
            return {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}, answer_headers
        answer = []
        for tensor, array in zip(spec.outputs, outputs, strict=True):
            answer.append(InferOutput(tensor.name, list(array.shape), tensor.datatype))
            answer[-1].set_data_from_numpy(array, binary_data=False)
        return InferResponse(body.id or text, self.name, answer, version.label), answer_headers


class Repository(ModelRepository):  # type: ignore[misc]
    """Loads what live.json names, and switches between versions without dropping a request."""

    def __init__(
        self,
        store: ModelStore,
        settings: Settings,
        log: InferenceLog,
        metrics: Metrics,
        features: FeatureSources,
        executor: Executor,
    ) -> None:
        super().__init__(store.place)
        self.models: dict[str, ServedModel] = {}
        self.starting = True
        """Whether models are still being loaded for the first time, so that one that is missing may yet come."""
        self.failures: dict[str, str] = {}
        """Models of the repository that could not be loaded, and why."""
        self._store = store
        self._settings = settings
        self._log = log
        self._metrics = metrics
        self._features = features
        self._executor = executor
        self._locks: dict[str, asyncio.Lock] = {}
        self._followed: dict[str, Live | None] = {}
        """What live.json said of each model when it was last acted upon."""

    async def load_all(self) -> None:
        """Load every model of the repository; one that fails is kept in `failures` and keeps the runtime not ready."""
        for name in await asyncio.to_thread(self._store.models):
            try:
                await self.load(name)
            except RefusedError as refused:
                self.failures[name] = refused.reason
        self.starting = False

    async def follow(self, seconds: float) -> None:
        """Do what the repository says: of several runtimes a deployment tells one alone.

        A model that an operator unloaded stays so until its live.json changes; one that could not be loaded is tried
        again each time.
        """
        while True:
            await asyncio.sleep(seconds)
            try:
                for name in {*await asyncio.to_thread(self._store.models), *self._followed}:
                    live = await asyncio.to_thread(self._store.live, name)
                    if live == self._followed.get(name) and name not in self.failures:
                        continue
                    if live is not None:
                        await self.load(name)
                        continue
                    self._followed[name] = None
                    if name in self.models:
                        self.unload(name)
            except FalajError as error:
                logger.error("the model repository could not be followed: %s", error)

    async def load(self, name: str) -> bool:
        """Load and warm up the live and the previous version, then let the live one answer.

        Raises:
            RefusedError: 404, the repository has no such model; 400, it cannot be loaded, and what answered before
                still does.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            try:
                live = await asyncio.to_thread(self._store.live, name)
                if live is None:
                    raise RefusedError(404, f"the model repository has no live version of {name}")
                served = self.models.get(name)
                versions: dict[int, Version] = {}
                for number in {live.live, live.previous or live.live}:
                    kept = served.versions.get(str(number)) if served is not None else None
                    versions[number] = kept or await self._load_version(name, number)
            except FalajError as error:
                if isinstance(error, RefusedError):
                    raise
                logger.error("%s was not loaded: %s", name, error)
                raise RefusedError(400, str(error)) from error
            self.models[name] = ServedModel(name, versions, live.live)
            self.failures.pop(name, None)
            self._followed[name] = live
            self._metrics.live_version.labels(name).set(live.live)
            logger.info("%s: version %d answers, %s in memory", name, live.live, sorted(versions))
            return True

    def unload(self, name: str) -> None:
        """Forget a model; KeyError where it is not loaded, as KServe expects."""
        del self.models[name]
        self._metrics.live_version.labels(name).set(0)

    def version(self, name: str, version: str | None) -> Version:
        """The version that answers, or the one that is named.

        Raises:
            RefusedError: 404; 503 while models are being loaded, or where this one could not be.
        """
        served = self.models.get(name)
        if served is None:
            if self.starting:
                raise unavailable("models are being loaded")
            if name in self.failures:
                raise unavailable(f"{name} could not be loaded: {self.failures[name]}")
            raise RefusedError(404, f"no model of the name {name[:64]!r} is loaded")
        if not version:
            return served.live
        found = served.versions.get(version)
        if found is None:
            raise RefusedError(
                404, f"version {version[:16]!r} of {name} is not loaded: {', '.join(served.versions)} are"
            )
        return found

    async def _load_version(self, name: str, number: int) -> Version:
        settings = self._settings
        device = Device(
            provider=settings.provider,
            cpu_fallback=settings.cpu_fallback,
            engine_cache=settings.engine_cache,
            max_rows=max(settings.max_request_rows, settings.max_batch_rows),
            max_tokens=settings.max_batch_tokens,
        )

        def opened() -> Model:
            # What is in memory needs no file any more.
            with self._store.opened(name, number) as folder:
                return Model(
                    name,
                    number,
                    folder,
                    settings.threads,
                    settings.max_batch_rows,
                    settings.max_batch_tokens,
                    device,
                )

        model = await asyncio.to_thread(opened)
        self._metrics.provider.labels(name, str(number), model.provider).set(1)
        return Version(
            model,
            Batcher(
                model,
                self._log,
                self._metrics,
                self._executor,
                settings.max_queued_rows,
                settings.max_queue_seconds,
            ),
            FeatureLookup(
                self._features, name, model.spec, self._metrics, settings.max_batch_rows, settings.max_queued_rows
            )
            if model.spec.features is not None
            else None,
            codec.Limits(settings.max_request_rows, settings.max_batch_tokens),
        )


class Extension(ModelRepositoryExtension):  # type: ignore[misc]
    """KServe's hides the reason of a failed load in a 503."""

    async def load(self, model_name: str) -> None:
        await self._model_registry.load(model_name)


class Plane(DataPlane):  # type: ignore[misc]
    """KServe's data plane, with versions, and with a readiness that means ready."""

    def __init__(self, repository: Repository, log: InferenceLog) -> None:
        super().__init__(repository)
        self.repository = repository
        self.draining = False
        self._log = log

    def not_ready(self) -> str | None:
        """Why requests should go elsewhere; None where the runtime is ready."""
        if self.repository.starting:
            return "models are being loaded"
        if self.draining:
            return "the runtime stops"
        if self._log.failure is not None:
            return f"the inference log cannot be written: {self._log.failure}"
        if self.repository.failures:
            return "; ".join(f"{name}: {reason}" for name, reason in self.repository.failures.items())
        return None

    async def ready(self) -> bool:
        return self.not_ready() is None

    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = super().metadata()
        return metadata | {"extensions": ["model_repository", "binary_tensor_data"]}

    def index(self) -> list[dict[str, str]]:
        """Triton's repository index: each version in memory, and each model that could not be loaded."""
        loaded = [
            {"name": name, "version": label, "state": "READY", "reason": ""}
            for name, served in self.repository.models.items()
            for label in served.versions
        ]
        return loaded + [
            {"name": name, "state": "UNAVAILABLE", "reason": reason}
            for name, reason in self.repository.failures.items()
        ]

    async def model_ready(
        self,
        model_name: str,
        disable_predictor_health_check: bool = False,  # noqa: ARG002 - KServe passes it
        version: str | None = None,
    ) -> bool:
        self.repository.version(model_name, version)
        return True

    async def model_metadata(self, model_name: str, version: str | None = None) -> dict[str, Any]:
        """Metadata of the version that answers, or of the one named; `versions` lists it first.

        A tensor's `parameters.columns` are the names of its last dimension, joined by commas; those of the model say
        what it runs on, and how long its sequences may be.
        """
        found = self.repository.version(model_name, version)
        others = [label for label in self.repository.models[model_name].versions if label != found.label]
        spec = found.model.spec
        return {
            "name": model_name,
            "versions": [found.label, *others],
            "platform": "onnxruntime_onnx",
            "parameters": {"provider": found.model.provider}
            | ({"max_length": spec.sequences.max_length} if spec.sequences is not None else {}),
            "inputs": [_metadata(tensor) for tensor in spec.inputs],
            "outputs": [_metadata(tensor) for tensor in spec.outputs],
        }


def _metadata(tensor: Tensor) -> dict[str, Any]:
    described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    if tensor.columns:
        described["parameters"] = {"columns": ",".join(tensor.columns)}
    return described


def _instances(body: Any, inputs: tuple[Tensor, ...]) -> tuple[str, str, list[int], Any]:
    if len(inputs) != 1 or inputs[0].datatype != "FP32":
        raise invalid("a model with several inputs speaks v2 alone: use /v2/models/<model>/infer")
    instances = body.get("instances") if isinstance(body, dict) else None
    if not isinstance(instances, list) or not all(isinstance(row, list) for row in instances):
        raise invalid("instances: a list of rows is needed")
    width = len(instances[0]) if instances else 0
    values = []
    for row in instances:
        if len(row) != width:
            raise invalid("instances: the rows have different lengths")
        for value in row:
            if value is not None and type(value) not in (int, float):
                raise invalid("instances: a value is not a number")
            values.append(float("nan") if value is None else value)
    return inputs[0].name, "FP32", [len(instances), width], np.array(values, np.float64)
