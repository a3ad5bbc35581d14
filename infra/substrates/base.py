"""What a service says of itself, and what every substrate does with it.

A service knows this module alone. What it reads and writes is declared here once; each
substrate derives from it what its own world needs: folders and order locally, identities, policies
and network rules in a cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import pulumi

from infra.config.model import DataClass
from infra.config.nodes import Role


@dataclass(frozen=True)
class Store:
    """A place where data outlives the processes; `uri` of the substrate says where."""

    name: str
    kind: Literal["folder", "database", "key"]
    data_class: DataClass = "platform"
    """Decides key, retention and tags; in the cloud a folder is a prefix, by its name, of the class's bucket."""
    engine: Literal["postgresql", "mysql"] = "postgresql"
    """Of a database."""


ARTIFACTS = Store("artifacts", "folder", "artifacts")
TRACKING = Store("tracking", "database")
FEATURE_REGISTRY = Store("feature-registry", "database")
ONLINE_FEATURES = Store("online-features", "database", "features")
OFFLINE_FEATURES = Store("offline-features", "folder", "features")
PROFILES = Store("profiles", "folder", "curated")
MODELS = Store("models", "folder", "artifacts")
INFERENCE_LOG = Store("inference-log", "folder", "inference-log")
METRICS = Store("metrics", "folder", "logs")
PSEUDONYM_KEY = Store("pseudonym", "key", "raw")
RAW = Store("raw", "folder", "raw")
CURATED = Store("curated", "folder", "curated")
PIPELINE_ARTIFACTS = Store("pipelines", "folder", "artifacts")
PIPELINE_RUNS = Store("pipeline-runs", "database", engine="mysql")
PIPELINE_METADATA = Store("pipeline-metadata", "database")
AUDIT_LOG = Store("audit", "folder", "audit")
LINEAGE = Store("lineage", "folder", "audit")
CLUSTER_BACKUP = Store("cluster-backup", "folder", "artifacts")
CLUSTER_LOGS = Store("cluster-logs", "folder", "logs")


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that a workload listens on.

    Attributes:
        setting: The key in the stack's file that sets it; errors name it.
    """

    number: int
    setting: str
    protocol: Literal["http1", "http2"] = "http1"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Answers 200 over HTTP when the workload is ready."""

    port: str
    path: str


@dataclass(frozen=True, kw_only=True)
class File:
    """A configuration file of a workload. A changed one restarts the workload unless it watches the file."""

    name: str
    content: pulumi.Input[str]
    watched: bool = False


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one replica is expected to need; a cluster reserves it."""

    cpu: float
    memory_mib: int
    gpus: int = 0


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What a workload is scaled by beside its CPU, as Prometheus has it.

    Attributes:
        name: Tells signals of a workload apart.
        server: Address of Prometheus.
        expression: In PromQL, of all pods together; `$pods` stands for what selects their series.
        target: What each replica may have of it; where it is more, a replica is added.
    """

    name: str
    server: str
    expression: str
    target: str

    def query(self, namespace: str, deployment: str) -> str:
        """The expression for the pods of a Deployment, whose names are known by how Kubernetes makes them."""
        pods = f'namespace="{namespace}",pod=~"{deployment}-[0-9a-z]+-[0-9a-z]{{5}}"'
        return self.expression.replace("$pods", pods)


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """One value of a secret in the stack's secret store."""

    secret: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A long-running service of ours.

    Attributes:
        name: Names the service everywhere: gateway upstream, metrics job, log file.
        command: Program and arguments; the program is found in the platform's environment.
        ports: By name; the first is the one that the gateway and the metrics go to.
        metrics_path: Where Prometheus metrics are served on the first port; None where the service
            has none of its own and is watched through the gateway.
        reads: Stores that the service may read.
        writes: Stores that the service may read and write.
        grace_seconds: How long it may take to stop before it is killed.
        start_seconds: How long it may take until its probe answers.
        replicas: How many run at the least.
        max_replicas: How many run at the most, by the use of the CPU.
        target_cpu: Percent of the requested CPU, where a replica more is started.
        signals: What else it is scaled by on a cluster; whichever asks for most replicas decides.
        role: Whose node pools it may run on.
        pool: The one node pool that it runs on; None for any of its role that is open to all.
        priority: What gives way when nodes are full: `batch` to `service` to `system`.
        secrets: Variables whose values the stack's secret store holds. What its stores need, user and
            password included, the substrate adds by itself.
        cluster_api: Whether it calls the cluster's API, and so gets a token.
    """

    name: str
    command: Sequence[pulumi.Input[str]]
    ports: Mapping[str, Port]
    readiness: Probe
    resources: Resources
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    files: Sequence[File] = ()
    metrics_path: str | None = None
    reads: Sequence[Store] = ()
    writes: Sequence[Store] = ()
    replicas: int = 1
    max_replicas: int = 1
    target_cpu: int = 70
    signals: Sequence[Signal] = ()
    role: Role = "services"
    pool: str | None = None
    priority: Literal["system", "service", "batch"] = "service"
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    cluster_api: bool = False
    grace_seconds: int = 10
    start_seconds: int = 120


@dataclass(frozen=True, kw_only=True)
class Route:
    """Requests whose path begins with `prefix` go to `upstream`.

    Attributes:
        rewrite: Replaces the prefix; None leaves the path as it is.
        timeout_seconds: For the whole answer; None for none.
        limit_body: Whether the gateway holds the body back and refuses one above its limit.
        page: Whether a person opens it, and may leave out the slash at its end.
    """

    prefix: str
    upstream: str
    rewrite: str | None = None
    timeout_seconds: int | None = 60
    limit_body: bool = True
    page: bool = False


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A port of a service that routes lead to."""

    name: str
    port: Port
    health_path: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """What Prometheus scrapes."""

    service: str
    port: int
    path: str


@dataclass(frozen=True, kw_only=True)
class GatewaySpec:
    """The one entrance to all services."""

    name: str
    port: Port
    upstreams: Sequence[Upstream]
    routes: Sequence[Route]
    max_body_bytes: int
    max_connections: int


class Substrate(Protocol):
    """Where services run."""

    def uri(self, store: Store) -> str:
        """Address of a store: a path or object-store URI for a folder or key, an SQLAlchemy URL for a database."""

    def file_path(self, workload: str, name: str) -> str:
        """Where a workload finds its file `name`."""

    @property
    def listen(self) -> str:
        """The address that a service listens on."""

    def url(self, prefix: str, service: str) -> str:
        """Where other services reach `service`, whose gateway route is `prefix`; without a slash at its end."""

    def hosts(self, service: str) -> Sequence[str]:
        """Names, with or without port, by which `service` is called beside its addresses."""

    def public_url(self, prefix: str) -> str:
        """Where people reach a gateway route, without a slash at its end."""

    def scratch(self, workload: str) -> str:
        """A folder of the workload's own that is empty whenever it starts."""

    def gateway(self, spec: GatewaySpec, parent: pulumi.Resource) -> Workload:
        """Open the entrance."""

    def run(self, workload: Workload, parent: pulumi.Resource) -> pulumi.Resource:
        """Run a workload; the resource is there once its probe answers."""
