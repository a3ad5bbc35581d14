"""Parts that run on a cluster from their own charts and manifests. An absent part is not deployed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infra.config.model import Cron, Days, Gib, HttpsUrl, Model, Name
from infra.config.services import Replicas, Size

ModelPart = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,22}[a-z0-9])?$")]
"""Name of a model or version; both together, and what KServe appends, fit into a Service's name."""
_PUBLIC_KEY = r"^-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+\n-----END PUBLIC KEY-----\n?$"


class Quota(Model):
    """The most that all pods of a namespace may request together."""

    cpu: Annotated[int, Field(ge=1, le=10_000)]
    """Virtual CPUs."""
    memory_gib: Annotated[int, Field(ge=1, le=100_000)]
    """Memory."""
    gpus: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Whole GPUs."""
    pods: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Pods."""


class Pipelines(Model):
    """Kubeflow Pipelines on managed stores: no MinIO, no database in the cluster, no static keys.

    Its runs are in MySQL, though it has settings for PostgreSQL: its server writes MySQL's dialect to either, and
    no TLS to the latter (https://github.com/kubeflow/pipelines/issues/13956).
    """

    pool: Name
    """The node pool of its steps."""
    gpu_pool: Name | None = None
    """The node pool of steps that ask for a GPU; absent means that none may."""
    step: Size = Size(cpu=1, memory_mib=2048)
    """What a step gets that does not ask."""
    quota: Quota = Quota(cpu=16, memory_gib=64)
    run_days: Days = 30
    """How long the pods of a finished run are kept; its record stays, and its artifacts have their own retention."""


class ModelVersion(Model):
    """One version of a model, as an InferenceService of its own."""

    repository: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}(/[a-z0-9][a-z0-9._-]{0,62})*$")]
    """Folder of the stack's model store: a model repository with one model, put there by a deployment."""
    weight: Annotated[int, Field(ge=0, le=100)]
    """Percent of the model's requests. A version with 0 stays warm, and is gone back to by changing weights."""
    card: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """Digest of its model card: the tag `falaj.card` of the version in the registry. A rule asks for it."""
    replicas: Replicas = Replicas()
    size: Size = Size(cpu=1, memory_mib=2048)
    """Of one replica; with `gpus` it runs on `serving.gpu_pool`."""


class ServedModel(Model):
    """A model that answers below `/serving/serving/<its name>/`."""

    versions: Annotated[dict[ModelPart, ModelVersion], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _weights_are_whole(self) -> Self:
        total = sum(version.weight for version in self.versions.values())
        if total != 100:
            raise ValueError(f"the weights of its versions add up to {total}: change them, so that they make 100")
        return self


class Serving(Model):
    """KServe, with our runtime as a ServingRuntime. Its weights are those of our own routes, behind the sign-in."""

    models: dict[ModelPart, ServedModel] = Field(default_factory=dict)
    """By name; each version is deployed, and the weights say which answers."""
    pool: Name | None = None
    """The node pool of models; absent means any with the role inference that is open to all."""
    gpu_pool: Name | None = None
    """The node pool of models that ask for a GPU; absent means that none may."""
    quota: Quota = Quota(cpu=32, memory_gib=128)
    scale_to_zero: bool = False
    """Installs KEDA, with which a ScaledObject of your own may take a model to no replica; nothing here wakes one."""


class Scaling(Model):
    """KEDA: replicas of the inference runtime and of models follow what Prometheus reads of them, beside their CPU.

    Absent means by their CPU alone, which does where a pod has the one core that a runtime uses, and never gets high
    where it has more. The least and the most are those of `replicas`: nothing is taken to no replica, for nothing here
    would wake it.
    """

    busy_percent: Annotated[int, Field(ge=10, le=95)] = 70
    """Of the time in which a process computes, where a replica more is started."""
    wait_milliseconds: Annotated[int, Field(ge=1, le=10_000)] = 20
    """That requests wait for their run on average, where a replica more is started."""


class Training(Model):
    """Kubeflow Trainer: training on several machines at once."""

    pool: Name
    """The node pool of the workers."""
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Most workers of one job."""
    worker: Size
    quota: Quota


class Spark(Model):
    """The Spark operator, for data that outgrow one machine."""

    pool: Name
    """The node pool of drivers and executors."""
    executors: Annotated[int, Field(ge=1, le=200)] = 4
    """Most executors of one job."""
    executor: Size = Size(cpu=2, memory_mib=8192)
    quota: Quota = Quota(cpu=32, memory_gib=128)


class Notebooks(Model):
    """JupyterHub, signed in through the gateway's issuer. A notebook reaches neither the node nor other people's."""

    pool: Name
    """The node pool of notebooks."""
    gpu_pool: Name | None = None
    """The node pool of notebooks with a GPU; absent means that there are none."""
    users: Annotated[int, Field(ge=1, le=1000)] = 10
    """Most notebooks that run at once."""
    notebook: Size = Size(cpu=1, memory_mib=4096)
    home_gib: Gib = 10
    """Volume of each person."""
    idle_minutes: Annotated[int, Field(ge=5, le=1440)] = 60
    """Unused for so long, a notebook is stopped; its files stay."""
    quota: Quota = Quota(cpu=16, memory_gib=64)


class Logging(Model):
    """Logs of pods and nodes, shipped by Fluent Bit and kept as `governance.retention.logs` says."""

    destination: Literal["cloudwatch", "opensearch", "loki"]
    """CloudWatch and OpenSearch on `aws` alone; Loki keeps its chunks in the object store."""
    loki_replicas: Annotated[int, Field(ge=1, le=9)] = 1
    """With three or more, each line is held by three of them until it is in the object store."""
    loki_size: Size = Size(cpu=0.5, memory_mib=2048)
    """Of each replica."""
    loki_gib: Gib = 20
    """Volume of each replica, for what is not in the object store yet."""


class ClusterBackup(Model):
    """Velero: objects of the cluster and its volumes, to the object store, so that another cluster can take over."""

    schedule: Cron = "30 20 * * *"
    """When copies are made, in UTC."""
    keep_days: Days = 30
    """How long a copy is kept."""
    volumes: bool = True
    """Whether volumes are copied too. A site then needs a VolumeSnapshotClass of its storage's driver, with the label
    velero.io/csi-volumesnapshot-class."""


class UnitPrices(Model):
    """What OpenCost reckons with, in US dollars: no price list is asked, for there is none in the country.

    The defaults are estimates for me-central-1 (November 2026): prices of us-east-1 by a fifth and more higher, CPU
    and memory told apart by the families that differ in memory alone.
    """

    cpu_hour: Annotated[float, Field(ge=0)] = 0.044
    """Of a virtual CPU."""
    spot_cpu_hour: Annotated[float, Field(ge=0)] = 0.016
    """Of one that may be taken away."""
    memory_gib_hour: Annotated[float, Field(ge=0)] = 0.0044
    """Of memory."""
    spot_memory_gib_hour: Annotated[float, Field(ge=0)] = 0.0016
    """Of memory that may be taken away."""
    gpu_hour: Annotated[float, Field(ge=0)] = 0.74
    """Of a GPU, beside its machine's CPU and memory; the default is an L4's."""
    storage_gib_month: Annotated[float, Field(ge=0)] = 0.097
    """Of volumes."""


class CostMonitor(Model):
    """OpenCost: what each namespace and pool costs. It reads Prometheus."""

    prices: UnitPrices = UnitPrices()


class Admission(Model):
    """Kyverno: what may run at all."""

    mode: Literal["audit", "enforce"] = "enforce"
    """`audit` lets pass and reports."""
    public_key: Annotated[str, Field(pattern=_PUBLIC_KEY)] | None = None
    """PEM of the key that signs every image of the registry, mirrored ones too; absent means that none is asked for."""
    replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Of its webhooks: with one, nothing can be created while it restarts."""


class Gpu(Model):
    """NVIDIA's device plugin and metrics exporter. Required where a pool has GPUs."""

    replicas_per_gpu: Annotated[int, Field(ge=1, le=16)] = 1
    """Above one, that many pods share a GPU by turns, without protection of their memory from each other."""


class Sources(Model):
    """Where charts, manifests and images come from; absent means the upstream addresses of pins.yaml."""

    vendored: bool = False
    """Whether charts and manifests are read from `vendor/`, as `falaj vendor` left them there: no access outside."""
    charts: HttpsUrl | None = None
    """A mirror of all chart repositories: `<charts>/<repository's name>`."""
    images: Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$")] | None = None
    """A mirror of all images; absent means the substrate's own registry."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.vendored and self.charts:
            raise ValueError("vendored charts come from no mirror: remove charts, or set vendored to false")
        return self
