"""The whole of a stack, and what its sections ask of each other."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from infra.config.aws import Aws
from infra.config.governance import Governance
from infra.config.kubernetes import Kubernetes, NodeSelection
from infra.config.model import DataClass, Model
from infra.config.nodes import NodePool, Role, Shape
from infra.config.platform import (
    Admission,
    ClusterBackup,
    CostMonitor,
    Gpu,
    Logging,
    Notebooks,
    Pipelines,
    Quota,
    Scaling,
    Serving,
    Sources,
    Spark,
    Training,
)
from infra.config.policies import Policies
from infra.config.services import Acme, FeatureServer, Gateway, Inference, Mlflow, Prometheus, Service, Size


class Local(Model):
    """Processes on this machine, all on the loopback interface."""

    kind: Literal["local"]


Environment = Literal["local", "development", "staging", "production"]
_RETAINED: Mapping[DataClass, str] = {
    "raw": "raw",
    "curated": "curated",
    "features": "features",
    "artifacts": "artifacts",
    "inference-log": "inference_log",
    "audit": "audit",
    "logs": "logs",
    "platform": "logs",
}


class StackConfig(Model):
    """Everything that differs between environments."""

    substrate: Annotated[Local | Aws | Kubernetes, Field(discriminator="kind")]
    environment: Environment = "local"
    """What the stack is for. `production` asks for protection from deletion, backups and closed access."""
    protect: bool = False
    """Whether what holds data, namespaces with volumes too, is protected from deletion: by the engine and the cloud."""
    governance: Governance | None = None
    """Required on a cluster."""
    gateway: Gateway
    mlflow: Mlflow | None = None
    feature_server: FeatureServer | None = None
    inference: Inference | None = None
    prometheus: Prometheus | None = None
    pipelines: Pipelines | None = None
    serving: Serving | None = None
    scaling: Scaling | None = None
    training: Training | None = None
    spark: Spark | None = None
    notebooks: Notebooks | None = None
    logging: Logging | None = None
    gpu: Gpu | None = None
    admission: Admission | None = None
    cluster_backup: ClusterBackup | None = None
    cost_monitor: CostMonitor | None = None
    sources: Sources = Sources()
    policies: Policies = Policies()

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        owners: dict[int, str] = {}
        for key, port in self.ports().items():
            if port in owners:
                raise ValueError(f"{key} and {owners[port]} are both {port}: give one of them another port")
            owners[port] = key
        return self

    @model_validator(mode="after")
    def _parts_have_what_they_need(self) -> Self:
        if self.inference is not None and self.feature_server is None:
            raise ValueError("inference looks features up by id: it needs feature_server")
        if self.pipelines is not None and self.mlflow is None:
            raise ValueError("pipelines track their runs and register models: they need mlflow")
        if self.cost_monitor is not None and self.prometheus is None:
            raise ValueError("cost_monitor reads prometheus: add it, or remove cost_monitor")
        if self.scaling is not None and self.prometheus is None:
            raise ValueError("scaling follows what prometheus reads: add it, or remove scaling")
        if self.prometheus is not None and self.prometheus.grafana is not None and isinstance(self.substrate, Local):
            raise ValueError("prometheus.grafana runs on a cluster alone: remove it")
        return self

    @model_validator(mode="after")
    def _suits_the_substrate(self) -> Self:
        if isinstance(self.substrate, Local):
            return self._suits_this_machine()
        missing = [
            key for key, part in (("governance", self.governance), ("gateway.public", self.gateway.public)) if not part
        ]
        if missing:
            raise ValueError(f"a cluster needs {' and '.join(missing)}: add it")
        if self.environment == "local":
            raise ValueError(
                "environment is local, and the substrate a cluster: say development, staging or production"
            )
        if self.prometheus is not None and not self.prometheus.routes:
            raise ValueError("prometheus.routes is empty, so no alert would reach a person: add one")
        public = self.gateway.public
        if public is not None and isinstance(public.tls, Acme) and not isinstance(self.substrate, Aws):
            raise ValueError(
                "gateway.public.tls is acme, whose challenge needs Route 53, on aws alone: "
                "take the kind authority or certificate"
            )
        self._suits_the_stores(self.substrate)
        return self

    @model_validator(mode="after")
    def _pods_fit_their_pools(self) -> Self:
        if isinstance(self.substrate, Local):
            return self
        for key, pool, role, size in self._placements():
            self._fits(key, pool, role, size)
        for key in ("pipelines", "serving", "notebooks"):
            part: Pipelines | Serving | Notebooks | None = getattr(self, key)
            if part is not None and part.quota.gpus and part.gpu_pool is None:
                raise ValueError(f"{key}.quota.gpus is {part.quota.gpus}, and {key}.gpu_pool absent: name a pool, or 0")
        gpu_pools = [name for name, nodes in self.pools().items() if nodes.gpu]
        installed = isinstance(self.substrate, Kubernetes) and "gpu-operator" in self.substrate.installed
        if gpu_pools and self.gpu is None and not installed:
            raise ValueError(f"substrate.nodes.{gpu_pools[0]} has GPUs, which pods see through gpu: add it")
        if self.gpu is not None and not gpu_pools:
            raise ValueError("gpu is set, and no pool of substrate.nodes has GPUs: remove it, or add a pool")
        return self

    @model_validator(mode="after")
    def _quotas_hold(self) -> Self:
        """Whether what a part may start at once fits its quota, and its pool: the rest would wait for ever."""
        if isinstance(self.substrate, Local):
            return self
        for key, what, number, size, quota in self._together():
            wanted = (number * size.cpu, number * size.memory_mib / 1024, number * size.gpus)
            given = (quota.cpu, quota.memory_gib, quota.gpus)
            if any(one > other for one, other in zip(wanted, given, strict=True)):
                raise ValueError(
                    f"{key}.quota is below {number} {what}, which ask for {_told(wanted)} together: "
                    "raise it, or have fewer"
                )
        if self.training is not None:
            pool = self.pools()[self.training.pool]
            gpus = pool.count * pool.gpus if isinstance(pool, NodeSelection) else pool.limits.gpus
            asked = self.training.workers * self.training.worker.gpus
            if asked > gpus:
                raise ValueError(f"training.workers ask for {asked} GPUs together, and the pool has {gpus}: lower them")
        return self

    @model_validator(mode="after")
    def _production_is_safe(self) -> Self:
        if self.environment != "production":
            return self
        # That it is protected is for the policies to ask, which take exceptions: some day a stack is to go.
        if self.cluster_backup is None:
            raise ValueError("cluster_backup is absent, and a production stack must come back elsewhere: add it")
        if self.admission is None or self.admission.mode != "enforce":
            raise ValueError(
                "admission.mode is not enforce, and a production stack must refuse what it forbids: set it"
            )
        if isinstance(self.substrate, Aws):
            if self.substrate.backup is None:
                raise ValueError("substrate.backup is absent, and a production stack must be restorable: add it")
            if self.substrate.cluster.public_from:
                raise ValueError("substrate.cluster.public_from is set, and production's API is private: empty it")
            for name, pool in self.substrate.nodes.items():
                if "services" in pool.roles and pool.capacity == ("spot",):
                    raise ValueError(f"substrate.nodes.{name} runs services on spot alone: add on-demand to capacity")
        return self

    def ports(self) -> dict[str, int]:
        """Every port by its key, such as `inference.http_port`."""
        return {
            f"{service}.{field}": value
            for service, settings in self
            if isinstance(settings, BaseModel)
            for field, value in settings
            if field == "port" or field.endswith("_port")
        }

    def pools(self) -> Mapping[str, NodePool | NodeSelection]:
        """The node pools by name; none on `local`."""
        return {} if isinstance(self.substrate, Local) else self.substrate.nodes

    def tags(self) -> dict[str, str]:
        """Tags of everything in the stack; `data_tags` has the rest."""
        if self.governance is None:
            return {}
        return {
            **self.governance.tags,
            "owner": self.governance.owner,
            "cost-centre": self.governance.cost_centre,
            "purpose": self.governance.purpose,
            "environment": self.environment,
            "managed-by": "falaj",
        }

    def data_tags(self, data_class: DataClass) -> dict[str, str]:
        """Tags of what holds data of a class."""
        return {"data-class": data_class, "retention": f"{self.retention(data_class)}d"}

    def retention(self, data_class: DataClass) -> int:
        """Days that data of a class are kept.

        Raises:
            ValueError: The stack has no governance; only `local` lacks it.
        """
        if self.governance is None:
            raise ValueError("a local stack keeps data until they are deleted")
        days: int = getattr(self.governance.retention, _RETAINED[data_class])
        return days

    def _suits_this_machine(self) -> Self:
        clustered = ("pipelines", "serving", "scaling", "training", "spark", "notebooks", "logging", "gpu", "admission")
        for key in (*clustered, "cluster_backup", "cost_monitor"):
            if getattr(self, key) is not None:
                raise ValueError(f"{key} needs a cluster, and the substrate is local: remove it")
        for key, service in self:
            if isinstance(service, Service) and service.replicas.maximum > 1:
                raise ValueError(f"{key}.replicas.maximum is {service.replicas.maximum}: this machine runs one of each")
        if self.environment != "local":
            raise ValueError(f"environment is {self.environment}, and the substrate local: remove it")
        return self

    def _suits_the_stores(self, substrate: Aws | Kubernetes) -> None:
        if self.feature_server is not None and substrate.stores.cache is None:
            raise ValueError("feature_server answers from substrate.stores.cache: add it")
        if self.pipelines is not None and substrate.stores.mysql is None:
            raise ValueError("pipelines keep their runs in substrate.stores.mysql: add it")
        if self.pipelines is None and substrate.stores.mysql is not None:
            raise ValueError("substrate.stores.mysql is for pipelines, which are absent: remove it")
        destination = self.logging.destination if self.logging else None
        if destination in ("cloudwatch", "opensearch") and not isinstance(substrate, Aws):
            raise ValueError(f"logging.destination {destination} is on aws alone: set it to loki")
        search = isinstance(substrate, Aws) and substrate.search is not None
        if destination == "opensearch" and not search:
            raise ValueError("logging.destination is opensearch: add substrate.search")

    def _placements(self) -> Iterator[tuple[str, str | None, Role, Size | None]]:
        """Each thing that runs on a pool: its key, the pool, whose it is, and what one pod of it asks for."""
        for key in ("mlflow", "feature_server", "inference"):
            service: Service | None = getattr(self, key)
            if service is not None:
                role: Role = "inference" if key == "inference" else "services"
                yield f"{key}.pool", service.pool, role, service.size
        if self.pipelines is not None:
            yield "pipelines.pool", self.pipelines.pool, "pipelines", self.pipelines.step
            if self.pipelines.gpu_pool is not None:
                yield "pipelines.gpu_pool", self.pipelines.gpu_pool, "pipelines", Size(cpu=1, memory_mib=2048, gpus=1)
        if self.serving is not None:
            yield "serving.pool", self.serving.pool, "inference", None
            if self.serving.gpu_pool is not None:
                yield "serving.gpu_pool", self.serving.gpu_pool, "inference", Size(cpu=1, memory_mib=2048, gpus=1)
            for model, served in self.serving.models.items():
                for version, settings in served.versions.items():
                    key = f"serving.models.{model}.versions.{version}.size"
                    if settings.size.gpus and self.serving.gpu_pool is None:
                        raise ValueError(f"{key}.gpus is {settings.size.gpus}, and serving.gpu_pool absent: name one")
                    pool = self.serving.gpu_pool if settings.size.gpus else self.serving.pool
                    yield key, pool, "inference", settings.size
        if self.training is not None:
            yield "training.pool", self.training.pool, "training", self.training.worker
        if self.spark is not None:
            yield "spark.pool", self.spark.pool, "pipelines", self.spark.executor
        if self.notebooks is not None:
            yield "notebooks.pool", self.notebooks.pool, "notebooks", self.notebooks.notebook
            if self.notebooks.gpu_pool is not None:
                yield "notebooks.gpu_pool", self.notebooks.gpu_pool, "notebooks", Size(cpu=1, memory_mib=2048, gpus=1)

    def _together(self) -> Iterator[tuple[str, str, int, Size, Quota]]:
        """What a part may run at once: its key, what they are, how many, how large, and its quota."""
        if self.training is not None:
            yield "training", "workers", self.training.workers, self.training.worker, self.training.quota
        if self.spark is not None:
            yield "spark", "executors", self.spark.executors, self.spark.executor, self.spark.quota
        if self.notebooks is not None:
            yield "notebooks", "notebooks", self.notebooks.users, self.notebooks.notebook, self.notebooks.quota
        if self.serving is not None:
            for model, served in self.serving.models.items():
                for version, found in served.versions.items():
                    what = f"replicas of {model} {version}"
                    yield "serving", what, found.replicas.maximum, found.size, self.serving.quota

    def _fits(self, key: str, pool: str | None, role: Role, size: Size | None) -> None:
        pools = self.pools()
        if pool is not None and pool not in pools:
            raise ValueError(f"{key} is {pool}, and substrate.nodes has {', '.join(sorted(pools))}: name one of them")
        if pool is not None and role not in pools[pool].roles:
            raise ValueError(f"{key} is {pool}, whose roles lack {role}: add it to substrate.nodes.{pool}.roles")
        open_to_all = [name for name, nodes in pools.items() if role in nodes.roles and not nodes.taints(name)]
        candidates = [pool] if pool is not None else open_to_all
        if not candidates:
            raise ValueError(
                f"{key} is absent, and no pool of substrate.nodes that is open to all has the role {role}: name a pool"
            )
        if size is None:
            return
        shapes = [shape for name in candidates for shape in pools[name].shapes()]
        if not any(_holds(shape, size) for shape in shapes):
            widest = max(shapes, key=lambda shape: (shape.gpus, shape.cpu, shape.memory_mib))
            raise ValueError(
                f"{key}: a pod of {size.cpu:g} CPU, {size.memory_mib} MiB and {size.gpus} GPU fits no node there "
                f"(the largest has {widest.cpu:g}, {widest.memory_mib} and {widest.gpus}): ask for less, or choose "
                "larger nodes"
            )


def _told(wanted: tuple[float, float, float]) -> str:
    cpu, memory, gpus = wanted
    return f"{cpu:g} CPU, {memory:g} GiB and {gpus:g} GPU"


def _holds(shape: Shape, size: Size) -> bool:
    return shape.cpu >= size.cpu and shape.memory_mib >= size.memory_mib and shape.gpus >= size.gpus
