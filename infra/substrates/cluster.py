"""What an addon knows of the cluster that it is installed on.

The substrates `aws` and `kubernetes` each make one. An addon takes it beside its own section of the
configuration, and knows neither substrate: namespaces, sources, identities and secrets come from here, so
that an addon cannot be installed without them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pulumi

from core.pins import Chart, Image, Manifest
from infra.config.model import DataClass
from infra.config.nodes import Role, Taint
from infra.config.platform import Quota
from infra.config.services import Size
from infra.substrates.base import SecretKey, Store

TENANT = "falaj.ae/tenant"
"""Label of the namespaces with a quota: what runs in them is people's own, and not the platform's."""
DATA_CLASS = "falaj.ae/data-class"
"""Label of the namespaces that hold data: of which class."""

USER = 10_001
"""Of the platform's image: no user of any node."""


def object_name(name: str) -> str:
    """The name of a Kubernetes object: a service's or secret's, with what is not allowed made a hyphen."""
    return name.replace("_", "-").replace("/", "-").lower()


@dataclass(frozen=True, kw_only=True)
class NamespaceSpec:
    """A namespace with all that belongs to one: denied traffic, a quota, a pod security level.

    Attributes:
        security: The Pod Security Standard that is enforced; `privileged` is for what manages nodes.
        callers: Namespaces whose pods may connect to this one's.
        webhooks: Ports of its pods that the API server itself connects to, for admission or as an extended API.
        quota: The most that its pods may request; None leaves it open, for the platform's own parts.
        container: What a container gets that asks for nothing, where there is a quota; None for little.
        isolated: Whether its own pods may not connect to each other either, but where a policy lets them.
        data_class: Of what its pods keep in volumes of the cluster, which go with it; None where they keep nothing.
    """

    name: str
    security: str = "restricted"
    callers: Sequence[str] = ()
    webhooks: Sequence[int] = ()
    quota: Quota | None = None
    container: Size | None = None
    isolated: bool = False
    data_class: DataClass | None = None


@dataclass(frozen=True, kw_only=True)
class Permission:
    """What a controller may do in the cloud beside stores, such as starting machines.

    Attributes:
        actions: `service:Action`, never with a wildcard.
        resources: ARNs; a wildcard only where the action knows no resource.
        condition: Operator → key → values, as in a policy document.
    """

    actions: Sequence[str]
    resources: Sequence[pulumi.Input[str]]
    condition: Mapping[str, Mapping[str, Sequence[str]]] | None = None


@dataclass(frozen=True, kw_only=True)
class IdentitySpec:
    """What the pods of a service account may do outside the cluster.

    Attributes:
        account: Name of the service account.
        reads: Stores that they may read.
        writes: Stores that they may read and write.
        permissions: Only on `aws`; elsewhere the substrate refuses them.
        pods: Labels of those that are let out to the stores; none are all of the namespace.
    """

    namespace: str
    account: str
    reads: Sequence[Store] = ()
    writes: Sequence[Store] = ()
    permissions: Sequence[Permission] = ()
    pods: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where pods run, as fields of a pod's specification."""

    node_selector: Mapping[str, str]
    tolerations: Sequence[Taint]

    def document(self) -> dict[str, Any]:
        """`nodeSelector` and `tolerations`, as charts and pods take them."""
        return {
            "nodeSelector": dict(self.node_selector),
            "tolerations": [
                {"key": taint.key, "operator": "Equal", "value": taint.value, "effect": "NoSchedule"}
                for taint in self.tolerations
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A port of a Kubernetes Service, and the pods behind it.

    Attributes:
        pods: Labels that select them; the gateway is let in to these alone.
        pod_port: Where they listen, by number or name; None where it is the Service's own port.
        weight: Its part of the requests, beside those of the route's other backends.
    """

    service: str
    port: int
    pods: Mapping[str, str] = field(default_factory=dict)
    pod_port: int | str | None = None
    weight: int = 1


@dataclass(frozen=True, kw_only=True)
class ClusterRoute:
    """Paths of the gateway that lead to Services of one namespace.

    Whoever comes this way has signed in. The backend learns who by the header X-Falaj-User alone: tokens stay
    at the gateway.

    Attributes:
        name: Names the route's objects; one of its own in the stack.
        prefixes: A request whose path begins with one of them, whole parts between slashes, is the route's.
            `/` takes what no other route takes.
        rewrite: Replaces the prefix; None leaves the path as it is.
        timeout_seconds: For the whole answer; None for none.
        limit_body: Whether the gateway holds the body back and refuses one above its limit.
        websockets: Whether connections may be upgraded: bodies are not held back then, and nothing is timed
            but silence.
        page: Whether a person opens it, and may leave out the slash at the end of a prefix.
        who: Groups of `gateway.public.oidc` whose members are let through.
        headers: Set on each request.
    """

    name: str
    namespace: str
    prefixes: Sequence[str]
    backends: Sequence[Backend]
    rewrite: str | None = None
    timeout_seconds: int | None = 60
    limit_body: bool = True
    websockets: bool = False
    page: bool = False
    who: Literal["users", "administrators"] = "users"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a container needs in order to use some stores, beside its identity.

    Attributes:
        environment: Variables whose values anyone may see.
        secrets: Variables whose values the secret store holds.
        files: Such as the certificate of a private authority: where the container looks for each.
    """

    environment: Mapping[str, pulumi.Input[str]]
    secrets: Mapping[str, SecretKey]
    files: Mapping[str, SecretKey]


@dataclass(frozen=True, kw_only=True)
class ChartSource:
    """Where a chart is read from, as `helm.v4.Chart` takes it: a folder, an OCI address, or a name and a repository."""

    chart: str
    version: str | None
    repository: str | None


class Cluster(Protocol):
    """A cluster that addons are installed on."""

    @property
    def provider(self) -> pulumi.ProviderResource:
        """The Kubernetes provider of everything in the cluster; there is no default one."""

    @property
    def name(self) -> pulumi.Input[str]:
        """The cluster's name, where a controller asks for it."""

    @property
    def storage_class(self) -> str:
        """For volumes of one pod, encrypted at rest."""

    def namespace(self, spec: NamespaceSpec) -> pulumi.Resource:
        """Create a namespace, or give the one that was created; whatever lives in it depends on this.

        Raises:
            ConfigError: It was created with another specification.
        """

    def chart(self, pin: Chart) -> ChartSource:
        """Where a chart comes from: its own repository, the stack's mirror or the vendored folder."""

    def manifest(self, pin: Manifest, folder: str = "") -> str:
        """Address or path of a manifest or kustomization at its pin, or of a folder in it."""

    def image(self, pin: Image) -> str:
        """Full name of an image in a registry inside the country, by digest where the lock has one."""

    def registry(self, upstream: str) -> str:
        """Host and path that stand for an upstream registry, such as `quay.io`, for charts that take it apart."""

    def identity(self, spec: IdentitySpec) -> pulumi.Resource:
        """Give a service account exactly these rights; its pods depend on this."""

    def secret(self, namespace: str, name: str, keys: Mapping[str, str], called: str | None = None) -> pulumi.Resource:
        """Put a secret of the stack's secret store into a namespace.

        Args:
            name: In the secret store; the Kubernetes secret has it with `/` made `-`.
            keys: Key of the Kubernetes secret → key in the secret store.
            called: Name of the Kubernetes secret, where something asks for one of its own.
        """

    def uri(self, store: Store) -> str:
        """Address of a store, as `Substrate.uri`."""

    def access(self, stores: Sequence[Store]) -> Access:
        """What a container needs in order to use the stores.

        Raises:
            ConfigError: Two of them set a variable differently.
        """

    @property
    def control_plane(self) -> Sequence[pulumi.Input[str]]:
        """Networks of the API servers, for pods of namespaces with a quota that call them."""

    def connect(self, namespace: str, pods: Mapping[str, str], services: Sequence[str]) -> None:
        """Let pods of another namespace call services of ours, past the gateway.

        Args:
            pods: Labels that select them; none are all of the namespace.
            services: Names of workloads that run already.
        """

    def placement(self, role: Role, pool: str | None = None) -> Placement:
        """Where pods of `role` run: on one pool, or on any that is open to all."""

    def pull_secrets(self, namespace: NamespaceSpec) -> Sequence[str]:
        """Put the sign-in of the image registry into a namespace.

        A site puts it into the namespaces `external-secrets` and `cert-manager` by itself: what they hold comes
        before anything that could bring it.

        Returns:
            Names for `imagePullSecrets` of its pods; empty where the nodes may pull by themselves.
        """

    def route(self, route: ClusterRoute) -> None:
        """Lead paths of the gateway to a namespace that was asked for before.

        The gateway opens it after its own sign-in, whether this is called before or after it.

        Raises:
            ConfigError: Another route has this name or one of its prefixes.
        """

    def installed(self, part: str) -> bool:
        """Whether the site already runs a part, so that it is used and not installed."""
