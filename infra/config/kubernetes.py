"""The substrate `kubernetes`: a cluster in the country that someone else runs, with the site's own stores."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from infra.config.model import AllowedCidr, Gib, Hostname, HttpsUrl, Model, Name, SecretName, duplicates
from infra.config.nodes import GPU_TAINT, Arch, Role, Shape, Taint

Label = Annotated[str, Field(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]
Part = Literal[
    "cert-manager",
    "envoy-gateway",
    "external-secrets",
    "gpu-operator",
    "keda",
    "kyverno",
    "metrics-server",
    "prometheus-operator",
]
"""What a site may already run."""


class NodeSelection(Model):
    """Nodes of the cluster that a pool stands for. The program makes none: the site has them."""

    roles: tuple[Role, ...] = Field(min_length=1)
    """Whose pods run here."""
    selector: Mapping[Label, LabelValue] = Field(min_length=1)
    """Labels that the nodes have."""
    tolerate: Mapping[Label, LabelValue] = {}
    """Taints of the nodes, all with effect NoSchedule."""
    arch: Arch = "amd64"
    """Of all its nodes."""
    count: Annotated[int, Field(ge=1, le=10_000)]
    """Nodes that there are."""
    cpu: Annotated[float, Field(gt=0)]
    """That one node offers to pods."""
    memory_gib: Annotated[int, Field(ge=1)]
    """That one node offers to pods."""
    gpus: Annotated[int, Field(ge=0, le=16)] = 0
    """Of one node."""

    @property
    def gpu(self) -> bool:
        """Whether its nodes have GPUs."""
        return self.gpus > 0

    def taints(self, _name: str) -> list[Taint]:
        """What a pod must tolerate to run here."""
        taints = [Taint(key, value) for key, value in sorted(self.tolerate.items())]
        implied = Taint(GPU_TAINT, "present")
        return taints if not self.gpu or any(taint.key == GPU_TAINT for taint in taints) else [*taints, implied]

    def shapes(self) -> list[Shape]:
        """What a node offers to pods."""
        return [Shape(self.cpu, 1024 * self.memory_gib, self.gpus)]


class ObjectStore(Model):
    """A store that speaks S3, inside the country."""

    endpoint: HttpsUrl
    """Its address."""
    networks: tuple[AllowedCidr, ...] = Field(min_length=1)
    """Networks that its addresses lie in; pods are let out to these alone."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    """What the store wants in signatures; many want this name and mean nothing by it."""
    bucket_prefix: Name = "falaj"
    """The buckets `<prefix>-raw`, `-curated`, `-features`, `-artifacts`, `-inference-log` and `-audit` must exist, and
    `-logs` where `logging.destination` is loki."""
    secret: SecretName
    """Holds `access-key` and `secret-key`."""
    authority: SecretName | None = None
    """Holds `ca.crt`, where a private authority signed the endpoint's certificate."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.endpoint).port or 443


class PostgresqlServer(Model):
    """A PostgreSQL server of the site. The databases are made by whoever runs it."""

    host: Hostname
    """Its name, as in its certificate."""
    networks: tuple[AllowedCidr, ...] = Field(min_length=1)
    """Networks that its addresses lie in; pods are let out to these alone."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 5432
    """Where it listens."""
    secret: SecretName
    """Holds `username` and `password`."""
    authority: SecretName | None = None
    """Holds `ca.crt`, where a private authority signed the server's certificate."""


class MysqlServer(Model):
    """A MySQL server of the site, over TLS. The database `pipeline_runs` is made by whoever runs it."""

    host: Hostname
    """Its name, as in its certificate."""
    networks: tuple[AllowedCidr, ...] = Field(min_length=1)
    """Networks that its addresses lie in; pods are let out to these alone."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 3306
    """Where it listens."""
    secret: SecretName
    """Holds `username` and `password`."""
    authority: SecretName | None = None
    """Holds `ca.crt`, where a private authority signed the server's certificate."""


class RedisServer(Model):
    """A Redis or Valkey server of the site, over TLS."""

    host: Hostname
    """Its name, as in its certificate."""
    networks: tuple[AllowedCidr, ...] = Field(min_length=1)
    """Networks that its addresses lie in; pods are let out to these alone."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 6379
    """Where it listens, with TLS."""
    secret: SecretName
    """Holds `username` and `password`."""
    authority: SecretName | None = None
    """Holds `ca.crt`, where a private authority signed the server's certificate."""


class SiteStores(Model):
    """Where data lives."""

    objects: ObjectStore
    postgresql: PostgresqlServer
    """MLflow's and Feast's registries, and the pipelines' metadata."""
    mysql: MysqlServer | None = None
    """Required with the pipelines, whose runs no other database can hold."""
    cache: RedisServer | None = None
    """Required with the feature server."""
    storage_class: Name
    """For volumes of one pod, encrypted at rest."""


class VaultBackend(Model):
    """HashiCorp Vault or OpenBao, through External Secrets and the cluster's own service accounts."""

    kind: Literal["vault"]
    server: HttpsUrl
    """Its address."""
    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9/_-]{1,128}$")] = "secret"
    """Where the key-value engine (version 2) is mounted."""
    mount: Name = "kubernetes"
    """Where its Kubernetes authentication is mounted."""
    role: Name = "falaj"
    """That External Secrets signs in as."""
    authority: SecretName | None = None
    """A Kubernetes secret that holds `ca.crt`."""


class ClusterSecrets(Model):
    """Kubernetes secrets that someone puts into the namespaces by hand or by tools of the site."""

    kind: Literal["cluster"]


SecretBackend = Annotated[VaultBackend | ClusterSecrets, Field(discriminator="kind")]


class Kubernetes(Model):
    """An existing cluster."""

    kind: Literal["kubernetes"]
    country: Literal["AE"]
    """Where cluster and stores stand, as the site confirms it."""
    site: Annotated[str, Field(min_length=1, max_length=128)]
    """Which one, for people and reports."""
    kubeconfig: Annotated[str, Field(min_length=1)] | None = None
    """Path of the file; absent means what KUBECONFIG says."""
    context: Annotated[str, Field(min_length=1)]
    """Its context. Nothing is created in any other cluster."""
    zones: tuple[LabelValue, ...] = ()
    """Values of topology.kubernetes.io/zone, where the cluster has more than one."""
    control_plane: tuple[AllowedCidr, ...] = Field(min_length=1)
    """Networks of the API servers, which call the platform's webhooks."""
    nodes: Mapping[Name, NodeSelection] = Field(min_length=1)
    """Pools by name."""
    stores: SiteStores
    secrets: SecretBackend
    """Where the secrets are that this file names."""
    images: Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?$")]
    """Registry, inside the country, that holds every image: host and, where there is one, port and path."""
    image_pull: SecretName | None = None
    """A Kubernetes secret of type dockerconfigjson, where the registry wants a sign-in."""
    load_balancer: Mapping[Label, str] = {}
    """Annotations of the gateway's Service that the site's load balancer reads."""
    installed: tuple[Part, ...] = ()
    """Parts that the site runs already, in a version that fits the pins: they are used and not installed."""
    volume_gib: Gib = 1000
    """Most that all volumes together may take."""

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for field in ("zones", "installed"):
            repeated = duplicates(getattr(self, field))
            if repeated:
                raise ValueError(f"{field} names {repeated[0]} twice: name each once")
        return self
