"""Our own services, the same on every substrate. A service that is absent from a stack is not deployed there."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infra.config.model import (
    AllowedCidr,
    Duration,
    Email,
    Gib,
    Hostname,
    HttpsUrl,
    Model,
    Name,
    Percent,
    Port,
    SecretName,
)


class Size(Model):
    """What one replica is given: the request, and for memory also the limit."""

    cpu: Annotated[float, Field(gt=0, le=192)]
    """Virtual CPUs."""
    memory_mib: Annotated[int, Field(ge=64, le=2 << 20)]
    """Memory."""
    gpus: Annotated[int, Field(ge=0, le=8)] = 0
    """Whole GPUs."""


class Replicas(Model):
    """How many replicas run. On `local` there is one of each service."""

    minimum: Annotated[int, Field(ge=1, le=100)] = 1
    """Replicas that always run."""
    maximum: Annotated[int, Field(ge=1, le=100)] = 1
    """Above the minimum, replicas follow the use of the CPU."""
    target_cpu: Percent = 70
    """Of its request, where a replica more is started."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum is {self.minimum} and maximum {self.maximum}: swap them")
        return self


class Service(Model):
    """What every service of ours can be told on a cluster; `local` reads none of it."""

    replicas: Replicas = Replicas()
    size: Size | None = None
    """Absent means what the service itself thinks right."""
    pool: Name | None = None
    """The node pool that it runs on; absent means any that is not dedicated."""


class Acme(Model):
    """Certificates from a public authority that speaks ACME, on `aws` alone.

    By the DNS-01 challenge: the gateway has no plain HTTP for the other one.
    """

    kind: Literal["acme"]
    server: HttpsUrl = "https://acme-v02.api.letsencrypt.org/directory"
    """Its directory."""
    email: Email
    """Where the authority writes before a certificate lapses."""
    dns_zone: Annotated[str, Field(pattern=r"^Z[A-Z0-9]{8,32}$")]
    """Route 53 zone where the challenge is written."""


class Authority(Model):
    """Certificates from a certificate authority of one's own."""

    kind: Literal["authority"]
    secret: SecretName
    """Holds `tls.crt` and `tls.key` of the authority."""


class Certificate(Model):
    """A certificate that someone else renews."""

    kind: Literal["certificate"]
    secret: SecretName
    """Holds `tls.crt` and `tls.key`."""


Tls = Annotated[Acme | Authority | Certificate, Field(discriminator="kind")]


class Oidc(Model):
    """Sign-in at any OpenID Connect issuer: the people of Grafana, pipelines and notebooks; tokens of programs."""

    issuer: HttpsUrl
    """As in the tokens' `iss`; its discovery document says the rest."""
    jwks: HttpsUrl
    """Where its public keys are: `jwks_uri` of the discovery document."""
    client_id: Annotated[str, Field(min_length=1, max_length=255)]
    """As registered at the issuer."""
    client_secret: SecretName
    """Holds `client-secret`."""
    authority: SecretName | None = None
    """Holds `ca.crt`: whoever signs the issuer's certificate; absent means any public authority."""
    audience: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """What `aud` of a program's token must be; absent means `client_id`."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What a person's session asks for; some issuers put groups into a token for a scope of that name alone."""
    groups_claim: Annotated[str, Field(min_length=1, max_length=64)] = "groups"
    """Name of the claim that lists a person's groups."""
    user_claim: Annotated[str, Field(min_length=1, max_length=64)] = "preferred_username"
    """Name of the claim that services know a caller by; it must be one that no person can change for himself."""
    users: tuple[str, ...] = Field(min_length=1)
    """Groups whose members may use the platform."""
    administrators: tuple[str, ...] = Field(min_length=1)
    """Groups whose members may also see metrics, alerts and costs of the platform, and silence alerts."""


class Public(Model):
    """How people and programs outside the cluster reach the gateway."""

    hostname: Hostname
    """Its name; all services are paths below it."""
    tls: Tls
    """Where its certificate comes from."""
    oidc: Oidc
    internal: bool = True
    """Whether the load balancer has private addresses alone."""
    allow_from: tuple[AllowedCidr, ...] = Field(min_length=1)
    """Networks that may connect."""


class Gateway(Model):
    """Envoy: the one address in front of all services."""

    port: Port = 8080
    """Where it listens on `local`."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 32 << 20
    """Largest request that inference and the feature server are given; artifacts are not limited."""
    max_connections: Annotated[int, Field(ge=1)] = 4096
    """Connections and requests that may be under way to one service; more are refused with 503."""
    requests_per_second: Annotated[int, Field(ge=1)] | None = None
    """Of one caller, on a cluster; more are refused with 429."""
    replicas: Replicas = Replicas()
    public: Public | None = None
    """Required on a cluster; `local` listens on the loopback interface alone."""


class Mlflow(Service):
    """MLflow: experiment tracking, model registry and artifacts."""

    port: Port = 5000
    """Where it listens."""


class FeatureServer(Service):
    """Feast's feature server."""

    port: Port = 6566
    """Where it listens."""
    registry_ttl_seconds: Annotated[int, Field(ge=1)] = 5
    """How long the server may answer from an older registry after a pipeline registered features."""


class Inference(Service):
    """The KServe inference runtime."""

    http_port: Port = 8085
    """Where it listens for HTTP."""
    grpc_port: Port = 8086
    """Where it listens for gRPC."""
    grace_seconds: Annotated[int, Field(ge=1)] = 30
    """How long requests under way may take to finish when the runtime is stopped."""


class Route(Model):
    """Where alerts go. Each ends at a person."""

    kind: Literal["email", "webhook", "sns"]
    """An e-mail, a webhook of a messenger or on-call service, or on `aws` the topic that operations read."""
    severities: tuple[Literal["critical", "warning", "info"], ...] = Field(
        default=("critical", "warning"), min_length=1
    )
    """Of the alerts that it takes."""
    to: Email | None = None
    """Of a `email` route."""
    secret: SecretName | None = None
    """Holds `url` for a webhook, `password` of the mail server for an e-mail route."""
    server: Annotated[str, Field(pattern=r"^[a-z0-9.-]+:[0-9]{1,5}$")] | None = None
    """Of a `email` route: host and port of a mail server that speaks TLS."""
    username: Annotated[str, Field(min_length=1, max_length=254)] | None = None
    """Of a `email` route: who signs in there."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        wants = {"email": ("to", "secret", "server", "username"), "webhook": ("secret",), "sns": ()}[self.kind]
        for field in ("to", "secret", "server", "username"):
            if (getattr(self, field) is None) == (field in wants):
                verb = "needs" if field in wants else "has no use for"
                raise ValueError(
                    f"a route of kind {self.kind} {verb} {field}: {'add' if field in wants else 'remove'} it"
                )
        return self


class Grafana(Model):
    """Dashboards, behind the gateway's sign-in."""

    storage_gib: Gib = 5
    """Of its volume."""


class Prometheus(Model):
    """Prometheus: metrics of all services, and the rules in monitoring/alerts; on a cluster by its operator."""

    port: Port = 9090
    """Where it listens."""
    retention: Duration = "15d"
    """How long samples are kept."""
    scrape_seconds: Annotated[int, Field(ge=1)] = 5
    """Between two readings of each target."""
    replicas: Annotated[int, Field(ge=1, le=3)] = 1
    """On a cluster; each keeps all samples."""
    storage_gib: Gib = 50
    """Of each replica's volume, on a cluster."""
    size: Size = Size(cpu=0.5, memory_mib=2048)
    grafana: Grafana | None = None
    routes: tuple[Route, ...] = ()
    """Required on a cluster, where every severity that a rule has must have a route."""

    @model_validator(mode="after")
    def _alerts_arrive(self) -> Self:
        covered = {severity for route in self.routes for severity in route.severities}
        if self.routes and not {"critical", "warning"} <= covered:
            missing = ", ".join(sorted({"critical", "warning"} - covered))
            raise ValueError(f"no route takes alerts of severity {missing}: add it to one of prometheus.routes")
        return self
